"""One shard: take it over, replay its log, and commit batches to it. The append is the commit."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from herder.engine.decide import Decision, Input, Review, decide
from herder.engine.projection import history_rows, moves_of, unit_rows
from herder.engine.record import FORMAT, Body, Broken, Record, open_record, pack, seal, takeover
from herder.engine.world import World
from herder.model.errors import Conflict, HerderError, Unreachable
from herder.ports.clock import Clock
from herder.ports.store import Batch, ClaimTaken, Collision, CommitUnknown, HistoryRow, Store, StoredRecord

log = logging.getLogger("herder.engine")

SNAPSHOT_EVERY = 5_000
"""Records between snapshots: replaying that many takes about a second in Python."""


class ShardLost(HerderError):
    """Another controller owns the shard now, or its log is broken: this one stops deciding."""

    code = "shard_lost"


@dataclass(frozen=True, slots=True)
class Committed:
    """What a commit did. moved: machines in the order of their moves (empty: nothing fired, nothing was written)."""

    seq: int
    moved: tuple[int, ...]
    decision: Decision


class Shard:
    """A shard that this controller owns. Exactly one append is in flight at a time."""

    def __init__(self, number: int, store: Store, clock: Clock) -> None:
        self.number = number
        self.store = store
        self.clock = clock
        self.world = World()
        self._last: StoredRecord | None = None
        self._lock = asyncio.Lock()
        self._snapshot_seq = 0

    async def open(self, owner: str, lease_ttl_s: float) -> None:
        """Take the lease with a takeover record, then replay through it. Raises Broken (named) or LeaseHeld."""
        mine = await self.store.take_over(
            self.number, owner, lease_ttl_s,
            lambda epoch, last: takeover(self.number, owner, self.clock.now_ms(), epoch, last),
        )  # fmt: skip
        self.world, self._last = await self._replay()
        if self._last is None or self._last.hash != mine.hash:
            raise ShardLost("the log does not end with this controller's takeover", "start herder again")
        self._snapshot_seq = self.world.seq

    async def _replay(self) -> tuple[World, StoredRecord | None]:
        snapshot = await self.store.latest_snapshot(self.number)
        world = World.restore(snapshot[1]) if snapshot else World()
        prev = await self.store.read(self.number, world.seq) if world.seq else None
        if world.seq and prev is None:
            raise Broken(f"record {world.seq} of shard {self.number} is missing")
        while records := await self.store.tail(self.number, world.seq):
            for stored in records:
                if prev is None and stored.seq != 1:
                    raise Broken(f"record 1 of shard {self.number} is missing")
                world.apply(open_record(stored, prev))
                prev = stored
        return world, prev

    async def commit(self, inputs: Sequence[Input], review: Review | None = None) -> Committed:
        """Decide, append once, take it in. Raises Conflict (a claim is taken, nothing written), Unreachable (the store
        is gone; nothing was written, or what was is found again), ShardLost.
        """
        async with self._lock:
            now_ms = self.clock.now_ms()
            decision = decide(self.world, inputs, now_ms, review)
            if not decision.moves:
                return Committed(self.world.seq, (), decision)
            stored, record = self._record(decision, now_ms)
            shadow = decision.after
            batch = Batch(
                record=stored, claims=tuple(decision.claims), releases=tuple(decision.releases),
                units=unit_rows(shadow.values(), self.world),
                history=history_rows(decision.moves, stored.seq, now_ms, shadow, self.world),
            )  # fmt: skip
            await self._append(batch)
            moved = tuple(self.world.apply(record))
            self._last = stored
        await self._snapshot_when_due()
        return Committed(self.world.seq, moved, decision)

    def _record(self, decision: Decision, now_ms: int) -> tuple[StoredRecord, Record]:
        columns, notes = pack(decision.moves)
        last = self._last
        if last is None:
            raise RuntimeError("the shard is not open")
        body = Body(FORMAT, "moves", "", columns, notes)
        stored = seal(self.number, last.seq + 1, self.world.epoch, now_ms, last.hash, body)
        return stored, open_record(stored, last)

    async def _append(self, batch: Batch) -> None:
        try:
            await self.store.append(batch)
        except ClaimTaken as taken:
            raise Conflict(f"{taken.claim.kind} '{taken.claim.value}' is taken", "choose another") from taken
        except (Collision, CommitUnknown) as error:
            await self._settle(batch.record, error)

    async def _settle(self, mine: StoredRecord, error: Exception) -> None:
        """Read the row: mine means committed; nothing there means not committed; another's means the shard is lost."""
        found = await self.store.read(self.number, mine.seq)
        if found is None:
            raise Unreachable("the store lost the connection before the commit", "it is tried again") from error
        if found.hash != mine.hash:
            raise ShardLost(
                f"another controller wrote record {mine.seq}", "only one controller may own a shard"
            ) from error

    async def _snapshot_when_due(self) -> None:
        if self.world.seq - self._snapshot_seq < SNAPSHOT_EVERY:
            return
        self._snapshot_seq = self.world.seq
        await self.store.save_snapshot(self.number, self.world.seq, self.world.snapshot())

    async def history_from_log(self) -> list[HistoryRow]:
        """Every move in words, from the log itself (the projection's source)."""
        world, seq = World(), 0
        prev: StoredRecord | None = None
        rows: list[HistoryRow] = []
        while records := await self.store.tail(self.number, seq):
            for stored in records:
                record = open_record(stored, prev)
                world.apply(record)
                moves = moves_of(record)
                rows.extend(history_rows(moves, record.seq, record.at_ms, {}, world))
                prev, seq = stored, stored.seq
        return rows

    async def rebuild_projection(self) -> int:
        """Throw the projection away and derive it again; returns the number of units."""
        async with self._lock:
            history = await self.history_from_log()
            units = unit_rows(self.world.machines.values(), self.world)
            await self.store.rebuild_projection(units, history)
            return len(units)
