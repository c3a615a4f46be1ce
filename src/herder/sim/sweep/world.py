"""The simulated world with a knife in it, and a count of what really took place there.

What is counted is counted where it takes place, in hosts and engines: not what was asked for, and nothing that herder keeps.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from herder.model.errors import HerderError
from herder.ports.provider import Launch
from herder.ports.store import ClaimTaken, Collision, CommitUnknown, LeaseHeld
from herder.ports.wire import Job
from herder.sim.branch import Branch
from herder.sim.clock import SimRandom
from herder.sim.controller import Controller
from herder.sim.engine import Cluster, Engine
from herder.sim.faults import Faults
from herder.sim.host import Host
from herder.sim.hosts import GONE
from herder.sim.sweep.points import AGENT_DOWN_S, DOWN_S, LEASE_OVER_S, Kill, Knife, Parting, Successor, When
from herder.sim.sweep.taps import SweptController
from herder.sim.world import World

PROMISE = (When.BEFORE, When.AFTER)
RESULT = (When.BEFORE, When.AFTER)


class CountedCluster(Cluster):
    """Counts what is done to engines and cannot be undone, and how often they were started."""

    def __init__(self, service: str, world: SweptWorld, bytes_per_s: float) -> None:
        super().__init__(service, world, bytes_per_s)
        self._counts = world.counts

    def new_branch(self, parent: Branch | None, fork: int) -> Branch:
        """See Cluster."""
        self._counts["databases founded" if parent is None else "promotions"] += 1
        return super().new_branch(parent, fork)

    def new_pid(self) -> int:
        """See Cluster."""
        self._counts["engine starts"] += 1
        return super().new_pid()

    def overwrite(self, engine: Engine, upstream: Engine, now: float) -> None:
        """See Cluster."""
        self._counts["copies made"] += 1
        super().overwrite(engine, upstream, now)


class SweptWorld(World):
    """See World. counts: effects by name. Each controller that is started is one whose writes and effects are points."""

    def __init__(self, seed: int, kills: tuple[Kill, ...], parting: Parting | None = None) -> None:
        self.counts: Counter[str] = Counter()
        super().__init__(seed)
        self.knife = Knife(self, kills, parting)
        self._faults = Faults(self, SimRandom(seed, "sweep"))
        self._alone: set[asyncio.Task[None]] = set()
        self._acting: dict[tuple[str, str], tuple[int, float]] = {}
        self._dying: dict[tuple[str, str], Kill] = {}
        self._heirs = 0
        self.steps.append(self._on_step)

    # --- what is counted

    def make_cluster(self, service: str, bytes_per_s: float) -> Cluster:
        """See World."""
        return CountedCluster(service, self, bytes_per_s)

    def power_on(self, host: Host, launch: Launch | None = None) -> None:
        """See World; an agent that is started again on a host that runs is no start of a server."""
        self.counts["starts of servers"] += not host.alive
        super().power_on(host, launch)

    def power_off(self, host: Host, why: str) -> None:
        """See World."""
        self.counts["power-offs of servers"] += host.alive
        super().power_off(host, why)

    def remove(self, host: Host) -> None:
        """See World; asked for once more it removes nothing."""
        self.counts["removals of servers"] += int(self.hosts.power[host.slot] != GONE)
        super().remove(host)

    # --- controllers

    def make_controller(self, name: str, **tuned: Any) -> Controller:
        """See World."""
        return SweptController(self, name, f"sim:{name}", **tuned)

    def kill(self, controller: Controller, successor: Successor) -> None:
        """As kill -9 does; a successor comes. One that waited for an answer to die after may be dead by then: a second successor
        of the same name would take the shard from the first, and that one from it, for ever.
        """
        if controller.dead:
            return
        controller.kill()
        loop = asyncio.get_running_loop()
        if successor is Successor.SAME:
            loop.call_later(DOWN_S, self.add_controller, controller.name)
        else:
            self._heirs += 1
            loop.call_later(LEASE_OVER_S, self.add_controller, f"{controller.name}-heir-{self._heirs}")

    def alone(self, work: Awaitable[Any], after_s: float) -> None:
        """What a dead controller had sent goes on; how it ends nobody learns."""
        task = asyncio.get_running_loop().create_task(_let(work, after_s))
        self._alone.add(task)
        task.add_done_callback(self._alone.discard)

    # --- agents

    def _on_step(self, host: Host, job: Job, step: str) -> None:
        """See SimAgent._step: a promise, an act and a result are a point each."""
        key = (job.member, job.intent)
        handle: dict[str, Callable[[Host, Job, tuple[str, str]], None]] = {
            "promising": self._promising, "promised": self._ended, "acting": self._begins, "acted": self._acted,
            "kept": self._ended,
        }  # fmt: skip
        handle[step](host, job, key)

    def _promising(self, host: Host, job: Job, key: tuple[str, str]) -> None:
        self._pass(host, key, f"promise of {job.name} for {job.member} in term {job.term}", PROMISE)

    def _begins(self, host: Host, job: Job, key: tuple[str, str]) -> None:
        number, kill = self.knife.reach(_agent(host), f"{job.name} of {job.member}", ())
        if number >= 0:
            self._acting[key] = (number, self.now)
        if kill is not None:
            asyncio.get_running_loop().call_later(kill.after_s, self._kill_agent, host)

    def _acted(self, host: Host, job: Job, key: tuple[str, str]) -> None:
        if key in self._acting:
            number, since = self._acting.pop(key)
            self.knife.lasted(number, self.now - since)
        self._pass(host, key, f"result of {job.name} of {job.member}", RESULT)

    def _pass(self, host: Host, key: tuple[str, str], words: str, whens: tuple[When, ...]) -> None:
        _, kill = self.knife.reach(_agent(host), words, whens)
        if kill is not None and kill.when is When.BEFORE:
            self._kill_agent(host)
        elif kill is not None:
            self._dying[key] = kill

    def _ended(self, host: Host, _: Job, key: tuple[str, str]) -> None:
        if self._dying.pop(key, None) is not None:
            self._kill_agent(host)

    def _kill_agent(self, host: Host) -> None:
        self._faults.kill_agent(host, AGENT_DOWN_S)


def _agent(host: Host) -> str:
    return f"the agent of {host.name}"


async def _let(work: Awaitable[Any], after_s: float) -> None:
    """A commit or a call that its sender does not wait for: that it fails is its own business."""
    if after_s:
        await asyncio.sleep(after_s)
    with contextlib.suppress(HerderError, Collision, ClaimTaken, CommitUnknown, LeaseHeld):
        await work
