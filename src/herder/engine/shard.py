"""One shard: take it over, replay its log, and commit batches to it. The append is the commit."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from herder.engine.decide import Decision, Input, Review, decide
from herder.engine.projection import history_rows, moves_of, unit_rows
from herder.engine.record import FORMAT, Body, Broken, Record, open_record, pack, seal, takeover
from herder.engine.world import World
from herder.model.errors import Conflict, HerderError, Unreachable
from herder.ports.clock import Clock
from herder.ports.store import Batch, ClaimTaken, Collision, CommitUnknown, HistoryRow, LeaseHeld, Store, StoredRecord

log = logging.getLogger("herder.engine")

SNAPSHOT_EVERY = 5_000
"""Records between snapshots: replaying that many takes about a second in Python."""


Proposal = Callable[[World], Sequence[Input]]
"""A command: looks at the world of the moment and says what to put in. It may raise HerderError: nothing happens then."""


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
        self._attempts: dict[bytes, tuple[StoredRecord, Record]] = {}  # by hash, all at seq + 1

    async def open(self, owner: str, lease_ttl_s: float) -> None:
        """Take the lease with a takeover record, then replay through it. Raises Broken (named) or LeaseHeld."""
        try:
            mine = await self._take_over(owner, lease_ttl_s)
        except LeaseHeld as held:
            raise Conflict(
                f"another herder ({held.owner}) owns this store", f"end it, or wait {held.left_s:.0f} s for its lease"
            ) from held
        self.world, self._last = await self._replay()
        if self._last is None or self._last.hash != mine.hash:
            raise ShardLost("the log does not end with this controller's takeover", "start herder again")
        self._snapshot_seq = self.world.seq

    async def _take_over(self, owner: str, lease_ttl_s: float) -> StoredRecord:
        return await self.store.take_over(
            self.number,
            owner,
            lease_ttl_s,
            lambda epoch, last: takeover(self.number, owner, self.clock.now_ms(), epoch, last),
        )

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

    async def commit(self, inputs: Sequence[Input] | Proposal, review: Review | None = None) -> Committed:
        """Decide, append once, take it in. Raises Conflict (a claim is taken, nothing written), Unreachable (the store
        is gone; nothing was written, or what was is found again), ShardLost.
        """
        moved: list[int] = []
        async with self._lock:
            await self._look_for_attempts(moved)
            while True:
                now_ms = self.clock.now_ms()
                wanted = inputs(self.world) if callable(inputs) else inputs  # ids are chosen in the world of the moment
                decision = decide(self.world, wanted, now_ms, review)
                if not decision.moves:
                    break
                stored, record = self._record(decision, now_ms)
                self._attempts[stored.hash] = (stored, record)
                written = await self._append(self._batch(decision, stored))
                self._take_in(written, moved)
                if written == stored.hash:
                    break
        await self._snapshot_when_due()
        return Committed(self.world.seq, tuple(moved), decision)

    def _batch(self, decision: Decision, stored: StoredRecord) -> Batch:
        shadow = decision.after
        return Batch(
            record=stored,
            claims=tuple(decision.claims),
            releases=tuple(decision.releases),
            units=unit_rows(shadow.values(), self.world, shadow),
            history=history_rows(decision.moves, stored.seq, stored.at_ms, shadow, self.world),
        )

    def _take_in(self, written: bytes, moved: list[int]) -> None:
        """The attempt that is in the log becomes the state; all others at its seq can never be."""
        stored, record = self._attempts[written]
        moved.extend(self.world.apply(record))
        self._last = stored
        self._attempts.clear()

    async def _look_for_attempts(self, moved: list[int]) -> None:
        """An append whose end was never learnt may have been committed since."""
        if self._attempts:
            found = await self.store.read(self.number, self.world.seq + 1)
            if found is not None:
                self._take_in(self._mine(found), moved)

    def _record(self, decision: Decision, now_ms: int) -> tuple[StoredRecord, Record]:
        columns, notes = pack(decision.moves)
        last = self._last
        if last is None:
            raise RuntimeError("the shard is not open")
        body = Body(FORMAT, "moves", "", columns, notes)
        stored = seal(self.number, last.seq + 1, self.world.epoch, now_ms, last.hash, body)
        return stored, open_record(stored, last)

    async def _append(self, batch: Batch) -> bytes:
        """Returns the hash of the record that is at this seq now: this one's, or that of an earlier attempt of ours."""
        try:
            await self.store.append(batch)
        except ClaimTaken as taken:
            del self._attempts[batch.record.hash]
            raise Conflict(f"{taken.claim.kind} '{taken.claim.value}' is taken", "choose another") from taken
        except (Collision, CommitUnknown) as error:
            found = await self.store.read(self.number, batch.record.seq)
            if found is None:
                raise Unreachable("the store lost the connection at the commit", "it is tried again") from error
            return self._mine(found)
        return batch.record.hash

    def _mine(self, found: StoredRecord) -> bytes:
        """Mine means committed; another's means that the shard is lost."""
        if found.hash not in self._attempts:
            raise ShardLost(f"another controller wrote record {found.seq}", "only one controller may own a shard")
        return found.hash

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
