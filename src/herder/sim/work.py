"""Jobs by name, as a simulated agent does them: how long each takes, and when it takes effect on the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from herder.model.errors import Conflict, Environment, InvalidInput, TimedOut
from herder.model.plans import Engine as Engines
from herder.ports.driver import MemberSpec, Running, Source, SyncSet
from herder.ports.wire import Job
from herder.sim import actions
from herder.sim.engine import Data, Engine
from herder.sim.host import Host

if TYPE_CHECKING:
    from herder.sim.agent import SimAgent
    from herder.sim.world import World

LOOKS = ("read", "probe", "stamp")
FOLLOWING_S = 10.0
POLL_S = 0.02
GONE = "all processes of its data directory are gone"
_T = TypeVar("_T")


def argument(job: Job, name: str, kind: type[_T]) -> _T:
    """One argument as its type. Raises InvalidInput."""
    try:
        return msgspec.convert(job.args[name], kind)
    except (KeyError, msgspec.ValidationError) as error:
        raise InvalidInput(f"the job's '{name}' is not usable: {error}") from None


async def look(agent: SimAgent, job: Job) -> Any:
    """Jobs that change nothing."""
    if job.name == "stamp":
        return agent.host.now
    if job.name == "probe":
        address, port = argument(job, "address", str), argument(job, "port", int)
        return await agent.world.probe_from(agent.host.name, address, port, argument(job, "timeout_s", float))
    if job.spec is None:
        raise InvalidInput(f"{job.member} is not known here and the job has no spec")
    await agent.host.pass_time(0.002)
    return agent.world.read(job.spec)


def end_under_lease(world: World, host: Host, member: str) -> None:
    """End the member's engine if its lease has run out by the host's clock; else look again when it would have."""
    if member not in host.deadlines or not host.alive:
        return
    left_s = host.deadlines[member] - host.now
    if left_s > 0:
        asyncio.get_running_loop().call_later(
            host.clock.true_span(left_s) + 0.001, host.when_awake, lambda: end_under_lease(world, host, member)
        )
        return
    entry = host.disk.members.get(member)
    if entry is not None and entry.spec is not None:
        host.fired[member] = "stopped by its watchdog: its lease was not renewed"
        world.crash_engine(entry.spec.service, member, host.fired[member])


@dataclass(frozen=True, slots=True)
class Work:
    """One job under way on its member."""

    agent: SimAgent
    job: Job
    spec: MemberSpec

    @property
    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def run(self) -> Any:
        """Do it. Raises HerderError."""
        action = ACTIONS[self.job.name]
        self._bind(action.bond)
        result = await action.run(self)
        self.agent.world.settle(self.spec.service)
        return result

    async def _takes(self, what: str) -> None:
        await self.agent.host.pass_time(self.agent.world.takes(what))

    def _engine(self) -> Engine:
        cluster = self.agent.world.cluster(self.spec.service)
        return cluster.engines.setdefault(self.spec.member, Engine(self.spec.member, self.agent.host.name))

    # --- leases

    def _bind(self, bond: str) -> None:
        """What the job means for the lease its member runs under. Raises HerderError when the lease forbids it."""
        host, member = self.agent.host, self.spec.member
        entry = host.disk.members[member]
        if bond == "sets":
            self._set_lease(argument(self.job, "lease_s", float))
        elif bond == "revives" and entry.lease_s:
            stamp = float(self.job.args.get("stamp", 0.0))
            if stamp > host.now:
                raise InvalidInput("the stamp is not of this boot", "ask for a new one")
            if stamp + entry.lease_s <= host.now:
                raise Conflict(f"{member} runs under a lease, and this order is older than it", "ask again")
            host.fired.pop(member, None)
            host.deadlines[member] = max(host.deadlines.get(member, 0.0), stamp + entry.lease_s)
            self.agent.watch_lease(member)
        elif bond == "ends" and entry.lease_s:
            if host.deadlines.get(member, 0.0) <= host.now:
                self.agent.world.crash_engine(self.spec.service, member, "its lease has run out")
            if self._engine().running:
                raise Conflict(f"{member} runs under its lease", "stop it first")
            self._drop_lease()

    def _set_lease(self, lease_s: float) -> None:
        host, member = self.agent.host, self.spec.member
        entry = host.disk.members[member]
        if lease_s <= 0:
            if entry.lease_s and host.deadlines.get(member, 0.0) <= host.now:
                self.agent.world.crash_engine(self.spec.service, member, "its lease has run out")
            self._drop_lease()
        elif not entry.lease_s:
            host.disk.members[member] = replace(entry, lease_s=lease_s)
            host.fired.pop(member, None)
            host.deadlines[member] = host.now + lease_s
            self.agent.watch_lease(member)
        elif entry.lease_s != lease_s:
            raise Conflict(f"{member} is under a lease of {entry.lease_s:g} s", "give that one back first")
        elif host.deadlines.get(member, 0.0) <= host.now:
            raise Conflict(f"the lease of {member} has run out", "a restart revives it")

    def _drop_lease(self) -> None:
        host, member = self.agent.host, self.spec.member
        host.disk.members[member] = replace(host.disk.members[member], lease_s=0.0)
        host.deadlines.pop(member, None)
        host.fired.pop(member, None)

    # --- jobs

    async def lease(self) -> Any:
        await self._takes("lease")
        return argument(self.job, "lease_s", float)

    async def create_primary(self) -> Any:
        sync = argument(self.job, "sync", SyncSet)
        self._writable()
        await self._takes("create_primary")
        engine = actions.found(self._cluster, self.spec.member, self.agent.host.name, sync, self._now)
        return Running(engine.pid, started=True)

    async def create_standby(self) -> Any:
        source = argument(self.job, "source", Source)
        engine = self._engine()
        if engine.data is Data.WHOLE:
            if not engine.standby:
                raise Conflict(f"{self.spec.member} holds a former primary", "let it rejoin: its log is kept then")
            if await self._start_following(source):
                return Running(engine.pid, started=False)
        await self._copy(source)
        return Running(engine.pid, started=True)

    async def start(self) -> Any:
        return await self._start("start")

    async def _start(self, what: str) -> Running:
        self._writable()
        self._cluster.has(self.spec.member)
        if self._engine().running:
            return Running(self._engine().pid, started=False)
        await self._takes(what)
        started = actions.start(self._cluster, self.spec.member, self._now)
        self.agent.world.settle(self.spec.service)
        return Running(self._engine().pid, started=started)

    async def stop(self) -> Any:
        await self._stop(fast=bool(self.job.args.get("fast", True)))
        return GONE

    async def _stop(self, *, fast: bool) -> None:
        if self._engine().running:
            await self._takes("stop")
        actions.stop(self._cluster, self.spec.member, self._now, clean=fast)
        self.agent.world.settle(self.spec.service)

    async def drain(self) -> Any:
        await self._stop(fast=True)
        return {"how": GONE, "rest": self._engine().rest}

    async def restart(self) -> Any:
        await self._stop(fast=True)
        return await self._start("recovery")

    async def pledge(self) -> Any:
        actions.pledge(self._cluster, self.spec.member, self._now)
        if not self._engine().running:
            await self._start("recovery")
        await self._takes("pledge")
        self._cluster.up(self.spec.member, self._now)
        return actions.pledge(self._cluster, self.spec.member, self._now)

    async def promote(self) -> Any:
        sync = argument(self.job, "sync", SyncSet)
        self._cluster.up(self.spec.member, self._now)
        await self._takes("promote")
        self._writable()
        if self._engine().standby and self.agent.host.disk.cramped:
            self.agent.world.saw("a candidate's disk was full when it was promoted")
            self.agent.world.crash_engine(
                self.spec.service, self.spec.member, "FATAL: could not write to file: No space left"
            )
            raise Environment(f"{self.spec.member} ended while it was promoted: no space left", "make room")
        return actions.promote(self._cluster, self.spec.member, sync, self._now)

    async def follow(self) -> Any:
        await self._takes("setting")
        actions.follow(self._cluster, self.spec.member, argument(self.job, "source", Source).member, self._now)

    async def set_sync(self) -> Any:
        await self._takes("setting")
        return actions.set_sync(self._cluster, self.spec.member, argument(self.job, "sync", SyncSet), self._now)

    async def checkpoint(self) -> Any:
        self._cluster.up(self.spec.member, self._now)
        await self._takes("checkpoint")

    async def rejoin(self) -> Any:
        source = argument(self.job, "source", Source)
        self._writable()
        engine = self._engine()
        if engine.running and engine.standby and await self._start_following(source):
            return {"how": "followed", "kept": {}}
        if engine.running and engine.standby:
            await self._stop(fast=True)
        kept: dict[str, int] = {}
        how = actions.rejoin(self._cluster, self.spec.member, source.member, self._now)
        if how == "followed":
            engine.standby = True
            if await self._start_following(source):
                return {"how": how, "kept": kept}
            await self._stop(fast=False)
            how = "copied"
        if engine.data is Data.WHOLE and (size := actions.diverged(self._cluster, self.spec.member, source.member)):
            kept[f"{self.spec.data_dir}.diverged-{self._cluster.at:.0f}"] = size
            engine.kept += size
        await self._copy(source, what="rewind" if how == "rewound" else "base_copy")
        if not await self._streams():
            raise TimedOut(f"{self.spec.member} does not stream after {FOLLOWING_S:.0f} s", "copy it again")
        return {"how": how, "kept": kept}

    async def _copy(self, source: Source, what: str = "base_copy") -> None:
        """A copy is made beside the data and moved in place; a rewind changes it in place, so that one cut short is half."""
        engine = self._engine()
        await self._stop(fast=False)
        self._writable()
        actions.source_of(self._cluster, self.spec.member, source.member, self._now)
        if what == "rewind":
            engine.data = Data.HALF
        await self._takes(what)
        actions.copy(self._cluster, self.spec.member, source.member, self._now)
        await self._start("start")

    async def _start_following(self, source: Source) -> bool:
        """Start a standby and see it stream; False when its log does not fit the source's."""
        actions.follow(self._cluster, self.spec.member, source.member, self._now)
        await self._start("recovery")
        return await self._streams()

    async def _streams(self) -> bool:
        end = self._now + FOLLOWING_S
        self.agent.world.settle(self.spec.service)
        while not self._engine().streaming:
            if self._now > end:
                return False
            await self.agent.host.pass_time(POLL_S)
        return True

    async def destroy(self) -> Any:
        await self._stop(fast=True)
        engine = self._engine()
        engine.data, engine.source, engine.branch, engine.lsn = Data.NONE, "", None, 0
        self._leave()
        return {"stopped": GONE, "moved": [argument(self.job, "trash", str)]}

    async def forget(self) -> Any:
        if self._engine().running:
            raise Conflict(f"{self.spec.member} still runs", "stop it first: an engine that nobody watches is a danger")
        self._leave()

    def _leave(self) -> None:
        members = self.agent.host.disk.members
        members[self.spec.member] = replace(members[self.spec.member], spec=None, lease_s=0.0)
        self.agent.host.deadlines.pop(self.spec.member, None)

    async def failover_to(self) -> Any:
        if self.spec.engine != Engines.VALKEY:
            raise InvalidInput(f"{self.spec.engine} has no planned failover of its own")
        target = argument(self.job, "source", Source)
        await self._takes("promote")
        return actions.hand_over(self._cluster, self.spec.member, target.member, self._now)

    @property
    def _cluster(self) -> Any:
        return self.agent.world.cluster(self.spec.service)

    def _writable(self) -> None:
        if self.agent.host.disk.full or self.agent.host.disk.stuck:
            raise Environment(f"no space left on the disk of {self.agent.host.name}", "make room or replace it")


@dataclass(frozen=True, slots=True)
class Action:
    """restarts, leaves: as in the agent. bond: what it does to a lease ('keeps', 'revives', 'ends', 'sets')."""

    run: Callable[[Work], Awaitable[Any]]
    restarts: bool
    leaves: bool = False
    bond: str = "keeps"


ACTIONS: dict[str, Action] = {
    "create_primary": Action(Work.create_primary, restarts=True, bond="ends"),
    "create_standby": Action(Work.create_standby, restarts=True, bond="ends"),
    "start": Action(Work.start, restarts=True, bond="revives"),
    "stop": Action(Work.stop, restarts=True),
    "drain": Action(Work.drain, restarts=True),
    "restart": Action(Work.restart, restarts=True, bond="revives"),
    "rejoin": Action(Work.rejoin, restarts=True, bond="ends"),
    "destroy": Action(Work.destroy, restarts=True, leaves=True),
    "forget": Action(Work.forget, restarts=False, leaves=True),
    "pledge": Action(Work.pledge, restarts=True, bond="ends"),
    "promote": Action(Work.promote, restarts=False),
    "follow": Action(Work.follow, restarts=False, bond="ends"),
    "set_sync": Action(Work.set_sync, restarts=False),
    "checkpoint": Action(Work.checkpoint, restarts=False),
    "failover_to": Action(Work.failover_to, restarts=False),
    "lease": Action(Work.lease, restarts=True, bond="sets"),
}
