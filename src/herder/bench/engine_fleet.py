"""What the engine's benchmark steps: the production shard, loop and effect runner over a fleet made as cohorts.

Members are stepped in bulk by rows that need no document (`restarting`, `overdue`, `recheck`); whole services beside them
are where single commands go, so that a command passes the review as any other does.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from herder.engine.bulk import Bulk, Cohort
from herder.engine.decide import Input
from herder.engine.effects import EffectRunner
from herder.engine.loop import Loop
from herder.engine.shapes import Shape
from herder.engine.shard import Committed, Shard
from herder.remedies.catalogue import Catalogue
from herder.stores.postgres.store import PostgresStore
from herder.wiring import SystemClock, SystemRandom

OWNER = "bench"
LEASE_S = 3600.0
SERVICES = 1_000
"""Whole services (a service, a member, a server each) beside the members that are stepped."""

PROJECTED_S = 600.0

_FACTS: dict[str, Any] = {
    "plan": "dev", "engine": "postgres", "major": 18, "term": 1, "sync": False, "voters": [], "port": 5432, "database": "app",
    "user": "app", "playbook": 0, "failovers": [], "on_isolation": "serve",
}  # fmt: skip
BLOCK = (
    Shape("service", _FACTS, {"primary": 1, "members": (1,), "servers": (2,)}),
    Shape("member", {"role": "primary", "slot": 0, "port": 5432}, {"service": -1, "server": 1}),
    Shape("server", {"incarnation": 1}, {"service": -2, "member": -1}),
)
MEMBER = Shape("member", {"plan": "standard", "role": "standby", "slot": 1, "port": 5432})

EVENTS = ("restarting", "overdue", "recheck")
"""Of a member: available -> restart -> unavailable -> unavailable, and on. None of them starts an effect."""


@dataclass(slots=True)
class Fleet:
    """An open shard with its loop. ids: the members that are stepped, shape (n,), u4. moves: made since it was opened."""

    store: PostgresStore
    shard: Shard
    loop: Loop
    ids: NDArray[np.uint32] = field(default_factory=lambda: np.empty(0, np.uint32))
    moves: int = 0
    _round: int = 0
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def count(self, committed: Committed) -> None:
        """A watcher of the loop."""
        self.moves += len(committed.moved) + sum(len(span.machines) for span in committed.spans)
        self._changed.set()

    async def adopt(self, machines: int) -> float:
        """Make the fleet; seconds until all of it is committed."""
        began = time.perf_counter()
        await self.loop.propose(lambda world: [Cohort(SERVICES, BLOCK)])
        first = self.shard.world.next_id
        await self.loop.propose(lambda world: [Cohort(machines, (MEMBER,))])
        self.ids = np.arange(first, first + machines, dtype=np.uint32)
        return time.perf_counter() - began

    async def step(self, count: int | None = None) -> float:
        """Every member (or the first `count`) takes one step in bulk; seconds from the submission to the last commit."""
        ids, event = self.ids[:count], EVENTS[min(self._round, len(EVENTS) - 1)]
        if count is None:
            self._round += 1
        goal, began = self.moves + len(ids), time.perf_counter()
        self.loop.submit(Bulk("member", event, ids, why="the benchmark", actor=OWNER))
        while self.moves < goal:
            self._changed.clear()
            await self._changed.wait()
        return time.perf_counter() - began

    async def projected(self) -> float:
        """Seconds until the rows that people query show everything that is committed now."""
        began = time.perf_counter()
        if not await self.shard.follower.wait(self.shard.world.seq, PROJECTED_S):
            raise TimeoutError(f"the projection is not there after {PROJECTED_S:g} s")
        return time.perf_counter() - began

    async def command(self, number: int) -> float:
        """One person's command on one service, from the call to its commit, in milliseconds."""
        service = 1 + number % SERVICES * len(BLOCK)
        event = ("parked", "unparked")[number // SERVICES % 2]
        began = time.perf_counter()
        committed = await self.loop.propose(lambda world: [Input(service, event, why="the benchmark")])
        took = (time.perf_counter() - began) * 1000
        if not committed.moved:
            raise RuntimeError(f"'{event}' means nothing to service {service}: nothing was committed")
        return took

    async def single_moves(self, count: int) -> None:
        """So many moves of one machine each, in records as full as the loop makes them."""
        for ident in self.ids[-count:].tolist():
            self.loop.submit(Input(ident, EVENTS[-1], why="the benchmark"))
        goal = self.moves + count
        while self.moves < goal:
            self._changed.clear()
            await self._changed.wait()

    def bytes_in_memory(self) -> int:
        """What the arrays over all machines hold: columns, ids by kind, the effect runner's versions."""
        world = self.shard.world
        columns = sum(value.nbytes for value in vars(world.columns).values() if isinstance(value, np.ndarray))
        return columns + sum(world.ids(kind).nbytes for kind in ("service", "member", "server")) + 5 * world.size


@contextlib.asynccontextmanager
async def opened(options: dict[str, Any]) -> AsyncIterator[Fleet]:
    """Open the shard as `herder up` does and run its loop; close both at the end."""
    store = PostgresStore(**options)
    try:
        await store.migrate()
        clock = SystemClock()
        shard = Shard(0, store, clock)
        await shard.open(OWNER, LEASE_S)
        loop = Loop(shard, clock, Catalogue(1).review)
        loop.effects = EffectRunner({}, clock, SystemRandom(), loop.submit)
        fleet = Fleet(store, shard, loop)
        loop.watch(fleet.count)
        running = asyncio.create_task(loop.run())
        try:
            yield fleet
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await loop.effects.close()
    finally:
        await store.close()
