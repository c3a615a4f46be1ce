"""Builds a control plane from ports. What the ports are made of is `wiring`'s business, or the simulator's."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from herder.engine.buckets import Buckets, Rate
from herder.engine.effects import EffectRunner, check_handlers
from herder.engine.loop import Loop
from herder.engine.retention import Retention
from herder.engine.shard import Shard
from herder.fleet import exercise
from herder.fleet.archiving import Archiving
from herder.fleet.control import Control
from herder.fleet.dependencies import Dependencies
from herder.fleet.exercises import Exercises
from herder.fleet.leases import Leases
from herder.fleet.recovery import AT_ONCE, Recovery
from herder.fleet.rollouts import Rollouts
from herder.fleet.storm import Storm
from herder.fleet.watch import Watch
from herder.governor.budget import limits_for
from herder.machines.registry import TABLES
from herder.model.errors import Unreachable
from herder.ports.archive import ArchiveDriver
from herder.ports.clock import Clock, Random
from herder.ports.provider import Provider
from herder.ports.store import Store
from herder.ports.wire import Wire
from herder.pulse.board import Board
from herder.pulse.detector import Limits
from herder.pulse.storm import Ourselves
from herder.remedies.catalogue import Catalogue
from herder.remedies.handlers import bind
from herder.remedies.hands import Hands
from herder.remedies.tally import Counted, Tally

log = logging.getLogger("herder")

LEASE_TTL_S = 15.0
"""How long a dead controller's shard stays its own; renewed every third of it."""

SURE_S = LEASE_TTL_S - 3.0
"""How long after a renewal this controller is sure that the shard is its own; another may have it after LEASE_TTL_S."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that a control plane stands on.

    rates: of token buckets by name; nobody is held back by one that is not named. archive_driver None: nothing archives
    here. dependency_probes: by a dependency's name, does it answer? recovery_at_once: remedies of a mass recovery.
    """

    store: Store
    wire: Wire
    provider: Provider
    clock: Clock
    chance: Random
    probe: Callable[[str, str, int, float], Awaitable[str]]
    mint_join: Callable[[str, int], Awaitable[str]]
    nats_url: str
    engine_user: str
    subnet_prefix: str
    agent_settings: dict[str, str]
    settings: list[dict[str, Any]]
    pulse_interval_s: float = 1.0
    silence_floor_s: float = 1.5
    silence_ceiling_s: float = 8.0
    probe_timeout_s: float = 0.8
    failovers_per_hour: int = 1
    lease_s: float = 5.0
    on_isolation: str = "serve"
    rates: Mapping[str, Rate] = field(default_factory=dict)
    archive_driver: ArchiveDriver | None = None
    dependency_probes: Mapping[str, Callable[[], Awaitable[bool]]] = field(default_factory=dict)
    drain_per_s: float = 2000.0
    recovery_at_once: int = AT_ONCE
    exercise_plans: str = ""
    exercises_at_once: int = 1
    log_retention_days: float = 30.0


class ControlPlane:
    """One controller with one shard."""

    def __init__(self, parts: Parts, owner: str) -> None:
        self.parts = parts
        self.owner = owner
        self.shard = Shard(0, parts.store, parts.clock)
        self.board = Board(parts.pulse_interval_s, Limits(parts.silence_floor_s, parts.silence_ceiling_s))
        self.loop = Loop(self.shard, parts.clock, Catalogue(parts.failovers_per_hour).review)
        self.watch = Watch(
            lambda: self.shard.world, self.board, parts.wire, parts.clock, self.loop.submit, self.loop.freeze,
            on_archiving=Archiving(lambda: self.shard.world, self.loop.submit),
        )  # fmt: skip
        self.storm = Storm(
            lambda: self.shard.world, parts.clock, self.loop.submit,
            self._signs,
            budget=limits_for(parts.failovers_per_hour),
        )  # fmt: skip
        self.watch.storm = self.storm
        self.loop.watch(self.storm.on_commit)
        self.buckets, tally = Buckets(parts.rates), Tally()
        provider = Counted(parts.provider, tally, parts.clock.monotonic)
        self.hands = Hands(
            world=lambda: self.shard.world, board=self.board, wire=parts.wire, provider=provider, clock=parts.clock,
            submit=self.loop.submit, probe=parts.probe, mint_join=parts.mint_join, nats_url=parts.nats_url,
            engine_user=parts.engine_user, agent_settings=parts.agent_settings, probe_timeout_s=parts.probe_timeout_s,
            lease_s=parts.lease_s, sure=self._sure, archive_driver=parts.archive_driver,
            dependency_probes=parts.dependency_probes, drain_per_s=parts.drain_per_s, tally=tally, buckets=self.buckets,
        )  # fmt: skip
        handlers = check_handlers(TABLES, bind(self.hands))
        self.effects = EffectRunner(handlers, parts.clock, parts.chance, self.loop.submit, self.buckets)
        self.loop.effects = self.effects
        self.dependencies = Dependencies(self.hands, self.loop.propose)
        self.recovery = Recovery(self.hands, parts.recovery_at_once)
        self.retention = Retention(parts.store, 0, parts.clock, parts.log_retention_days)
        self._sure_until = 0.0
        self.leases = Leases(self.hands, self.loop.propose)
        self.exercises = Exercises(
            lambda: self.shard.world, self.hands.reading, parts.clock, self.loop.propose, self._may_exercise,
            exercise.policy(parts.exercise_plans, parts.exercises_at_once),
        )  # fmt: skip
        self.loop.watch(lambda committed: self.exercises.moved(committed.moved))
        self.rollouts = Rollouts(self.hands, self.loop.propose, self._may_exercise)
        self.control = Control(
            self.loop, self.board, parts.store, self.watch, parts.clock, parts.chance, parts.subnet_prefix,
            parts.on_isolation, parts.settings, self.exercises, self.storm, self.rollouts,
        )  # fmt: skip

    async def open(self) -> None:
        """Schema, lease, replay, and the ear on the wire; nothing acts yet."""
        await self.parts.store.migrate()
        asked = self.parts.clock.monotonic()
        await self.shard.open(self.owner, LEASE_TTL_S)
        self._sure_until = asked + SURE_S
        self.storm.took_over()
        await self.watch.start()

    async def run(self) -> None:
        """Act until cancelled, or until the shard is lost (then it raises)."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.loop.run(), name="loop")
                group.create_task(self.watch.run(), name="watch")
                group.create_task(self.leases.run(), name="leases of primaries")
                group.create_task(self.exercises.run(), name="exercises")
                group.create_task(self.storm.run(), name="storm")
                group.create_task(self.dependencies.run(), name="dependencies")
                group.create_task(self.recovery.run(), name="recovery")
                group.create_task(self.rollouts.run(), name="rollouts")
                group.create_task(self.retention.run(), name="retention")
                group.create_task(self._renew(), name="lease")
        finally:
            await self.effects.close()

    def _sure(self) -> bool:
        """Is the shard ours for certain? A controller that was frozen must not renew what its successor waits out."""
        return self.parts.clock.monotonic() < self._sure_until

    def _signs(self) -> Ourselves:
        """What we know of ourselves at this moment."""
        return Ourselves(
            deaf=self.watch.deaf, store_down=self.loop.store_down_since is not None,
            echo_s=self.parts.clock.monotonic() - self.watch.echo_at,
        )  # fmt: skip

    def _may_exercise(self) -> str:
        """Not while we ourselves are not well: what is begun must also be ended."""
        if self.loop.frozen or self.loop.store_down_since is not None or not self._sure():
            return "this control plane decides nothing now"
        return "our own pulse does not come back" if self.watch.deaf else ""

    async def _renew(self) -> None:
        while True:
            await self.parts.clock.sleep(LEASE_TTL_S / 3)
            asked = self.parts.clock.monotonic()
            try:
                mine = await self.parts.store.renew(0, self.owner, self.shard.world.epoch, LEASE_TTL_S)
            except Unreachable as error:
                log.warning("the lease could not be renewed: %s", error.message)
                continue
            if not mine:
                raise RuntimeError("another controller took this shard")
            self._sure_until = asked + SURE_S
