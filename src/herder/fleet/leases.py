"""Keeps primaries under their leases: begins, renews and gives back, round after round, by what the log says of the moment.

Only services whose owner chose `on_isolation=stop`, and only where no quorum stands behind a commit. The log says that a
lease is in force after the agent has confirmed it, and that it is not before the agent is told: what a failover waits
out is always enforced.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from herder.engine.decide import Input
from herder.engine.world import Machine, World
from herder.model.errors import HerderError
from herder.ports.wire import Job, JobStatus
from herder.remedies.hands import Hands

log = logging.getLogger("herder.leases")

ROUNDS = 5
"""Renewals in the time of a lease: four in a row may be lost before a primary stops that could have gone on."""

BEGIN_ANSWER_S = 5.0
"""Beginning a lease starts a process; a renewal is answered at once."""


class Grip(msgspec.Struct, frozen=True):
    """What an agent says of a lease, in seconds. stamp: of its own clock; lease_s: 0 = it holds none; left_s: until it stops."""

    stamp: float
    lease_s: float
    left_s: float


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to do about a primary. renew: say that it leads. Then, by what its agent holds: `next_step`."""

    renew: bool
    lease: bool
    keep: bool


def wanted(world: World, service: Machine) -> Wanted:
    """Pure. lease: a standby could lead, so the lease buys something. keep: not the moment to give it back.

    Not renewed while a failover holds the service: it waits for the lease to run out. One that was deposed is not renewed
    either, and not let off.
    """
    primary = world.get(service.data["primary"])
    playbook = world.find(service.data.get("playbook", 0))
    held = playbook is not None and playbook.live
    # an exercise ends its primary by hand: while it is at that, the lease must not do it less gently
    failing_over = held and playbook is not None and playbook.kind == "failover" and playbook.state != "stopping"
    leads = primary.data.get("role") == "primary" and not primary.data.get("deposed")
    standbys = [world.get(ident) for ident in service.data["members"] if ident != primary.id]
    ready = any(member.state == "available" and not member.data.get("deposed") for member in standbys)
    perhaps = any(member.state in ("available", "uncertain") for member in standbys)
    calm = not held and service.state == "available" and primary.state == "available"
    return Wanted(renew=leads and not failing_over, lease=calm and ready, keep=not calm or perhaps)


def next_step(want: Wanted, recorded_s: float, grip: Grip, lease_s: float) -> str:
    """Pure: 'begin', 'give_back', 'forget' (the log must not count on it) or ''. recorded_s: 0 = none on record."""
    if recorded_s and grip.lease_s != recorded_s:
        return "forget"
    if recorded_s and not want.keep:
        return "forget"
    if recorded_s and want.lease and recorded_s != lease_s:
        return "forget"
    if recorded_s or grip.left_s < 0:
        return ""
    if want.lease and grip.lease_s in (0.0, lease_s):
        return "begin"
    if grip.lease_s and (not want.keep or want.lease):
        return "give_back"
    return ""


def bound(world: World) -> list[Machine]:
    """Services whose primary is to run under a lease."""
    services = (world.get(ident) for ident in sorted(world.isolated))
    return [
        service
        for service in services
        if service.live
        and service.state not in ("installing", "retired")
        and not service.data["sync"]
        and len(service.data["members"]) > 1
    ]


class Leases:
    """One task a service while it is tended, so that an agent that does not answer delays no other's renewal."""

    def __init__(self, hands: Hands, propose: Callable[[Callable[[World], Sequence[Input]]], Awaitable[Any]]) -> None:
        self._hands = hands
        self._propose = propose
        self._every_s = hands.lease_s / ROUNDS
        self._stamps: dict[int, tuple[float, float]] = {}
        self._tending: dict[int, asyncio.Task[None]] = {}
        self._asked = 0

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                for service in bound(self._hands.world()):
                    if service.id not in self._tending:
                        task = asyncio.create_task(self._tend(service.id), name=f"lease of {service.name}")
                        self._tending[service.id] = task
                await self._hands.clock.sleep(self._every_s)
        finally:
            for task in list(self._tending.values()):
                task.cancel()

    async def _tend(self, ident: int) -> None:
        service = self._hands.get(ident)
        try:
            await self._once(service, self._hands.get(service.data["primary"]))
        except HerderError as error:
            log.debug("the lease of %s: %s", service.name, error.message)
        except Exception:
            log.exception("the lease of %s", service.name)
        finally:
            self._tending.pop(ident, None)

    async def _once(self, service: Machine, primary: Machine) -> None:
        if not wanted(self._hands.world(), service).renew:
            return
        grip = await self._renew(service, primary)
        if grip is None or self._hands.service(primary).data["primary"] != primary.id:
            return
        recorded_s = float(primary.data.get("lease_s", 0.0)) if primary.data.get("leased") else 0.0
        step = next_step(wanted(self._hands.world(), service), recorded_s, grip, self._hands.lease_s)
        if step == "begin":
            entered, order = primary.entered, self._hands.world().seq
            held_s = await self._ask(service, primary, "lease", {"lease_s": self._hands.lease_s}, BEGIN_ANSWER_S, order)
            facts = {"leased": True, "lease_s": float(held_s)}
            await self._note(
                Input(primary.id, "leased", facts, why=f"lease of {held_s:g} s confirmed", entered=entered)
            )
        elif step == "forget":
            gone = grip.lease_s != recorded_s
            why = "its agent holds no such lease (any more)" if gone else ""
            await self._note(Input(primary.id, "released", {}, why=why))
        elif step == "give_back":
            await self._ask(service, primary, "lease", {"lease_s": 0.0}, BEGIN_ANSWER_S, self._hands.world().seq)

    async def _renew(self, service: Machine, primary: Machine) -> Grip | None:
        """Send back the stamp of the last answer; one that is old, or of an answer that was lost, is renewed first."""
        now = self._hands.clock.monotonic()
        stamp, heard_at = self._stamps.get(primary.id, (0.0, 0.0))
        fresh = stamp and now - heard_at < 1.5 * self._every_s
        grip = await self._grant(service, primary, stamp if fresh else 0.0)
        if grip is not None and not fresh:
            grip = await self._grant(service, primary, grip.stamp)
        return grip

    async def _grant(self, service: Machine, primary: Machine, stamp: float) -> Grip | None:
        """One renewal; None when it is not ours to renew at this moment."""
        if not self._hands.sure() or not wanted(self._hands.world(), service).renew:
            return None
        told = await self._ask(service, primary, "renew", {"stamp": stamp}, self._every_s, 0)
        grip = msgspec.convert(told, Grip)
        self._stamps[primary.id] = (grip.stamp, self._hands.clock.monotonic())
        return grip

    async def _ask(
        self, service: Machine, primary: Machine, name: str, args: dict[str, Any], answer_s: float, order: int
    ) -> Any:
        self._asked += 1
        server = self._hands.server_of(primary)
        world = self._hands.world()
        job = Job(
            intent=f"lease.{world.epoch}.{primary.id}.{self._asked}", name=name, server=server.name,
            incarnation=server.data["incarnation"], member=primary.name, term=service.data["term"], order=order,
            spec=None if name == "renew" else self._hands.spec(primary), args=args, wait_s=answer_s,
        )  # fmt: skip
        reply = await self._hands.wire.ask(job, answer_s + 0.2)
        if reply.status is not JobStatus.DONE:
            raise HerderError(f"{primary.name}: {name}: {reply.error or reply.status}", reply.hint)
        return reply.result

    async def _note(self, item: Input) -> None:
        """Into the log, and wait until it is there: the next step builds on it."""
        await self._propose(lambda _: [item])
