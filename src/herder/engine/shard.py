"""One shard: take it over, replay its log, and commit batches to it. The append is the commit."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from herder.engine.bulk import Bulk, Cohort, chunks, decide_bulk
from herder.engine.decide import Decision, Input, Review, decide
from herder.engine.follower import Follower
from herder.engine.projection import history_rows, unit_rows
from herder.engine.record import FORMAT, Body, Broken, Move, Record, Span, as_record, open_record, pack, seal, takeover
from herder.engine.world import World
from herder.model.errors import Conflict, HerderError, Unreachable
from herder.ports.clock import Clock
from herder.ports.store import Batch, ClaimTaken, Collision, CommitUnknown, LeaseHeld, Store, StoredRecord

log = logging.getLogger("herder.engine")

SNAPSHOT_RECORDS = 5_000
SNAPSHOT_MOVES = 50_000
"""A snapshot is due after that many records, or after so many single moves: either replays in about a second."""

SNAPSHOT_GROWTH = 4
"""Moves of spans replay a thousand times faster, so a snapshot waits for that many of them a machine."""

Item = Input | Bulk | Cohort
Proposal = Callable[[World], Sequence[Item]]
"""A command: looks at the world of the moment and says what to put in. It may raise HerderError: nothing happens then."""


class ShardLost(HerderError):
    """Another controller owns the shard now, or its log is broken: this one stops deciding."""

    code = "shard_lost"


@dataclass(frozen=True, slots=True)
class Committed:
    """What a commit did. moves: single moves in their order; spans: those that moved in bulk (neither: nothing fired, nothing
    was written). Both also hold what an earlier attempt wrote, whose end was not learnt then. decision: of the last round
    only. singles: what of a bulk must be stepped one by one, and was not yet.
    """

    seq: int
    moves: tuple[Move, ...]
    decision: Decision
    spans: tuple[Span, ...] = ()
    singles: tuple[Input, ...] = ()

    @property
    def moved(self) -> tuple[int, ...]:
        """Machines in the order of their single moves."""
        return tuple(move.machine for move in self.moves)


@dataclass(slots=True)
class _Taken:
    """What came into the world and was told to nobody yet: more than one record, when an earlier attempt is found in the log."""

    moves: list[Move] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One formed record. batch: as it is given to the store. moves: its single moves, as they were decided."""

    stored: StoredRecord
    record: Record
    batch: Batch
    moves: Sequence[Move] = ()


class Shard:
    """A shard that this controller owns. Exactly one append is in flight at a time."""

    def __init__(self, number: int, store: Store, clock: Clock) -> None:
        self.number = number
        self.store = store
        self.clock = clock
        self.world = World()
        self.follower = Follower(store, number, clock, world=lambda: self.world)
        self._last: StoredRecord | None = None
        self._lock = asyncio.Lock()
        self._snapshot_seq = 0
        self._single_moves = 0
        self._span_moves = 0
        self._snapshotting: asyncio.Task[None] | None = None
        self._attempts: dict[bytes, _Attempt] = {}  # by hash, all at seq + 1
        self._taken = _Taken()

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
        await self.follower.open()

    async def _take_over(self, owner: str, lease_ttl_s: float) -> StoredRecord:
        now_ms = self.clock.now_ms()  # read here: a store may call back from a thread, where a drill's clock is another
        return await self.store.take_over(
            self.number, owner, lease_ttl_s, lambda epoch, last: takeover(self.number, owner, now_ms, epoch, last)
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

    @property
    def unsure(self) -> bool:
        """The next commit has something to look for, or to tell: an append whose end was never learnt, or one that was found
        in the log by a commit that failed itself, so that nobody knows of its moves yet.
        """
        return bool(self._attempts or self._taken.moves or self._taken.spans)

    async def commit(self, inputs: Sequence[Item] | Proposal, review: Review | None = None) -> Committed:
        """Decide, append, take it in: one record for single inputs, one for each part of a bulk. Raises Conflict (a claim
        is taken, nothing written), Unreachable (the store is gone; nothing was written, or what was is found again),
        ShardLost.
        """
        singles: list[Input] = []
        async with self._lock:
            await self._look_for_attempts()
            wanted = inputs(self.world) if callable(inputs) else inputs
            bulks = [item for item in wanted if not isinstance(item, Input)]
            decision = Decision()
            if len(bulks) < len(wanted) or not bulks:
                decision = await self._commit_singles(wanted, inputs, review)
            for bulk in bulks:
                for part in chunks(bulk):
                    singles.extend(await self._commit_bulk(part))
            taken, self._taken = self._taken, _Taken()
        self._snapshot_when_due()
        return Committed(self.world.seq, tuple(taken.moves), decision, tuple(taken.spans), tuple(singles))

    async def _commit_singles(
        self, wanted: Sequence[Item], inputs: Sequence[Item] | Proposal, review: Review | None
    ) -> Decision:
        while True:
            now_ms = self.clock.now_ms()
            decision = decide(self.world, [item for item in wanted if isinstance(item, Input)], now_ms, review)
            if decision.unsettled:
                log.error("a bug of herder: %s", decision.unsettled, exc_info=RuntimeError(decision.unsettled))
            if not decision.moves or await self._write(self._formed(decision, now_ms)):
                for service in decision.at_rest:
                    self.world.attention.dismiss(service)
                return decision
            # an earlier attempt is in the log: ids are chosen in the world of the moment
            wanted = inputs(self.world) if callable(inputs) else inputs

    async def _commit_bulk(self, part: Bulk | Cohort) -> list[Input]:
        """Returns what of it must be stepped one by one."""
        while True:
            now_ms = self.clock.now_ms()
            found = decide_bulk(self.world, part, now_ms)
            if not len(found.moves):
                return found.singles
            body = Body(FORMAT, "moves", "", found.moves.tobytes(), [], found.spans, found.births)
            if await self._write(self._formed_of(body, now_ms)):
                return found.singles

    def _formed(self, decision: Decision, now_ms: int) -> _Attempt:
        """A record of single moves; it carries its own projection while the fleet is small."""
        columns, notes = pack(decision.moves)
        stored = self._sealed(Body(FORMAT, "moves", "", columns, notes), now_ms)
        shadow, along = decision.after, self.follower.along()
        history = history_rows(decision.moves, stored.seq, now_ms, shadow, self.world) if along else ()
        batch = Batch(
            record=stored,
            claims=tuple(decision.claims),
            releases=tuple(decision.releases),
            units=unit_rows(shadow.values(), self.world, shadow) if along else (),
            history=history,
            projected=along,
        )
        return _Attempt(stored, open_record(stored, self._last), batch, decision.moves)

    def _formed_of(self, body: Body, now_ms: int) -> _Attempt:
        """A record of spans; its projection always follows."""
        stored = self._sealed(body, now_ms)
        return _Attempt(stored, as_record(stored, body), Batch(record=stored, projected=False))

    def _sealed(self, body: Body, now_ms: int) -> StoredRecord:
        if self._last is None:
            raise RuntimeError("the shard is not open")
        return seal(self.number, self._last.seq + 1, self.world.epoch, now_ms, self._last.hash, body)

    async def _write(self, attempt: _Attempt) -> bool:
        """Append it and take in what is at its seq then. False: an earlier attempt of ours is there instead."""
        self._attempts[attempt.stored.hash] = attempt
        written = await self._append(attempt.batch)
        self._take_in(written)
        return written == attempt.stored.hash

    def _take_in(self, written: bytes) -> None:
        """The attempt that is in the log becomes the state; all others at its seq can never be."""
        attempt = self._attempts[written]
        record = attempt.record
        moved = self.world.apply(record)
        self._taken.moves.extend(attempt.moves)
        self._taken.spans.extend(record.spans)
        self._single_moves += len(moved)
        self._span_moves += len(record.columns) - len(moved)
        self._last = attempt.stored
        self._attempts.clear()
        self.follower.follow(record, carried=attempt.batch.projected)

    async def _look_for_attempts(self) -> None:
        """An append whose end was never learnt may have been committed since."""
        if self._attempts:
            found = await self.store.read(self.number, self.world.seq + 1)
            if found is not None:
                self._take_in(self._mine(found))

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

    def _snapshot_when_due(self) -> None:
        """Beside what is committed meanwhile: storing a large one takes a second, and nobody waits for it."""
        if self._snapshotting is not None and not self._snapshotting.done():
            return
        records = self.world.seq - self._snapshot_seq
        many = self._span_moves > max(SNAPSHOT_GROWTH * self.world.size, SNAPSHOT_MOVES)
        if records >= SNAPSHOT_RECORDS or self._single_moves >= SNAPSHOT_MOVES or many:
            self._snapshotting = asyncio.create_task(self._keep_snapshot(), name="snapshot")

    async def _keep_snapshot(self) -> None:
        try:
            await self.snapshot()
        except HerderError as error:
            log.warning("no snapshot was kept: %s; the next one is due as ever", error.message)

    async def snapshot(self) -> None:
        """Keep the world as it is now, so that a start need not replay what lies before."""
        last = self._last
        if last is None:
            raise RuntimeError("the shard is not open")
        self._snapshot_seq, self._single_moves, self._span_moves = self.world.seq, 0, 0
        await self.store.save_snapshot(self.number, last.seq, self.world.snapshot(), record_hash=last.hash)

    async def rebuild_projection(self) -> int:
        """Throw the projection away and derive it again while commits go on; returns the number of units."""
        return await self.follower.rebuild()
