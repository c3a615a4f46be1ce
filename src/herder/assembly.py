"""Builds a control plane from ports. What the ports are made of is `wiring`'s business, or the simulator's."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from herder.engine.effects import EffectRunner, check_handlers
from herder.engine.loop import Loop
from herder.engine.shard import Shard
from herder.fleet.control import Control
from herder.fleet.leases import Leases
from herder.fleet.watch import Watch
from herder.machines.registry import TABLES
from herder.model.errors import Unreachable
from herder.ports.clock import Clock, Random
from herder.ports.provider import Provider
from herder.ports.store import Store
from herder.ports.wire import Wire
from herder.pulse.board import Board
from herder.pulse.detector import Limits
from herder.remedies.catalogue import Catalogue
from herder.remedies.handlers import bind
from herder.remedies.hands import Hands

log = logging.getLogger("herder")

LEASE_TTL_S = 15.0
"""How long a dead controller's shard stays its own; renewed every third of it."""

SURE_S = LEASE_TTL_S - 3.0
"""How long after a renewal this controller is sure that the shard is its own; another may have it after LEASE_TTL_S."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that a control plane stands on."""

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


class ControlPlane:
    """One controller with one shard."""

    def __init__(self, parts: Parts, owner: str) -> None:
        self.parts = parts
        self.owner = owner
        self.shard = Shard(0, parts.store, parts.clock)
        self.board = Board(parts.pulse_interval_s, Limits(parts.silence_floor_s, parts.silence_ceiling_s))
        self.loop = Loop(self.shard, parts.clock, Catalogue(parts.failovers_per_hour).review)
        self.watch = Watch(
            lambda: self.shard.world, self.board, parts.wire, parts.clock, self.loop.submit, self.loop.freeze
        )
        self.hands = Hands(
            world=lambda: self.shard.world, board=self.board, wire=parts.wire, provider=parts.provider, clock=parts.clock,
            submit=self.loop.submit, probe=parts.probe, mint_join=parts.mint_join, nats_url=parts.nats_url,
            engine_user=parts.engine_user, agent_settings=parts.agent_settings, probe_timeout_s=parts.probe_timeout_s,
            lease_s=parts.lease_s, sure=self._sure,
        )  # fmt: skip
        handlers = check_handlers(TABLES, bind(self.hands))
        self.effects = EffectRunner(handlers, parts.clock, parts.chance, self.loop.submit)
        self.loop.effects = self.effects
        self._sure_until = 0.0
        self.leases = Leases(self.hands, self.loop.propose)
        self.control = Control(
            self.loop, self.board, parts.store, self.watch, parts.clock, parts.chance, parts.subnet_prefix,
            parts.on_isolation, parts.settings,
        )  # fmt: skip

    async def open(self) -> None:
        """Schema, lease, replay, and the ear on the wire; nothing acts yet."""
        await self.parts.store.migrate()
        asked = self.parts.clock.monotonic()
        await self.shard.open(self.owner, LEASE_TTL_S)
        self._sure_until = asked + SURE_S
        await self.watch.start()

    async def run(self) -> None:
        """Act until cancelled, or until the shard is lost (then it raises)."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.loop.run(), name="loop")
                group.create_task(self.watch.run(), name="watch")
                group.create_task(self.leases.run(), name="leases of primaries")
                group.create_task(self._renew(), name="lease")
        finally:
            await self.effects.close()

    def _sure(self) -> bool:
        """Is the shard ours for certain? A controller that was frozen must not renew what its successor waits out."""
        return self.parts.clock.monotonic() < self._sure_until

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
