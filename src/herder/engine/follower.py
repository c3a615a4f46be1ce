"""The projection of a large fleet: rows that follow the log in sets. Only a machine's last state matters, so a machine that
moves ten times between two writes is written once; what waits is one bit a machine, however far the rows are behind.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from herder.engine.marks import Marks, distinct
from herder.engine.projection import history_of, unit_block
from herder.engine.record import Record, open_record
from herder.engine.world import World
from herder.model.errors import Conflict, Unreachable
from herder.ports.clock import Clock
from herder.ports.store import Change, Collision, HistoryRow, Store, StoredRecord

log = logging.getLogger("herder.engine")

ALONG_MACHINES = 10_000
"""Up to so many, a record carries its own rows: a reader sees what was committed, with nothing to wait for."""

SLICE = 65_536
"""Machines of one transaction: 0.2-1 s of PostgreSQL, after which those whom somebody waits for have their turn."""

URGENT = 256
"""A commit that moves no more machines than that is written before the many."""

HISTORY_SLICE = 5_000
"""Rows of the history in one transaction (a record's are not divided)."""

MOST_HISTORY = 100_000
BEHIND_S = 60.0
"""Further behind than this in rows of history or in seconds, and bulk moves are asked to wait."""

LINGER_S = 0.25
"""Rows of that time go in one transaction where nobody waits for them: records come in bursts, one for each step of a remedy."""

QUIET_S = 0.05
PATIENCE_S = 0.5
"""A flood is let pass for so long before its rows are begun: they would be written over at once."""

RETRY_S = 0.5
TAIL = 64
"""Records read at once while catching up."""


@dataclass(frozen=True, slots=True)
class Lag:
    """What the rows lack: records, seconds since the oldest of those, machines."""

    records: int
    seconds: float
    machines: int


@dataclass(slots=True, eq=False)
class _Waiter:
    """machines: those whose rows are wanted; empty: everything up to seq."""

    seq: int
    machines: tuple[int, ...]
    future: asyncio.Future[None]


class Follower:
    """Of one shard. `follow` is told every commit; `run` writes. The world is read at the moment of writing."""

    def __init__(
        self, store: Store, shard: int, clock: Clock, world: Callable[[], World], along_machines: int = ALONG_MACHINES
    ) -> None:
        self._store = store
        self._shard = shard
        self._clock = clock
        self._world = world
        self._along_machines = along_machines
        self._dirty = Marks()
        self._fresh: Marks | None = None  # what a rebuild still has to write
        self._urgent: dict[int, None] = {}
        self._history: deque[tuple[int, list[HistoryRow]]] = deque()
        self._history_rows = 0
        self._mark = 0  # every unit as of this record or later
        self._told = 0  # every move up to this record
        self._head = (0, 0)  # (seq, at_ms) of the last record
        self._since_ms: int | None = None  # of the oldest record that is not written
        self._next_ms: int | None = None  # of the oldest record that came since this round began
        self._in_round = False
        self._catching_up = False
        self._lost = False
        self._waiters: list[_Waiter] = []
        self._rebuilding: asyncio.Task[int] | None = None
        self._wake = asyncio.Event()
        self._moved = asyncio.Event()
        self._asked = asyncio.Event()
        self._turn = asyncio.Lock()  # one write at a time

    # what the shard tells

    async def open(self) -> None:
        """After the replay: find where the rows are. A short gap (a takeover, mostly) is read at once, a long one by `run`."""
        world = self._world()
        found = await self._store.watermark(self._shard)
        self._mark, self._told = (found.seq, found.history_seq) if found else (0, 0)
        self._head = (world.seq, self._clock.now_ms())
        self._lost, self._history_rows, self._urgent = False, 0, {}
        self._since_ms = self._next_ms = self._fresh = None
        self._history.clear()
        self._dirty = Marks(world.size)
        self._catching_up = min(self._mark, self._told) < world.seq
        if self._catching_up and world.seq - min(self._mark, self._told) <= TAIL:
            await self._catch_up()

    def along(self) -> bool:
        """May the next record carry its own rows? Only when the fleet is small and nothing is outstanding."""
        outstanding = self._catching_up or self._since_ms is not None or self._fresh is not None
        return not outstanding and self._world().size - 1 <= self._along_machines

    def follow(self, record: Record, *, carried: bool) -> None:
        """A record that the world has taken in. carried: its rows were committed with it."""
        self._head = (record.seq, record.at_ms)
        machines = record.columns["machine"]
        if self._fresh is not None:
            self._fresh.set(machines, self._world().size)
        if carried:
            self.carried(record.seq, record.at_ms)
            return
        history = [] if self._catching_up else history_of(record, self._world())
        self._note(record.seq, record.at_ms, machines, history)

    def carried(self, seq: int, at_ms: int) -> None:
        """A record whose rows were committed with it."""
        self._head = (seq, at_ms)
        self._mark = self._told = seq
        self._answer()

    def _note(self, seq: int, at_ms: int, machines: NDArray[np.uint32], history: list[HistoryRow]) -> None:
        self._dirty.set(machines, self._world().size)
        if len(machines) <= URGENT:
            self._urgent.update(dict.fromkeys(machines.tolist()))
        if history:
            self._history.append((seq, history))
            self._history_rows += len(history)
        if self._since_ms is None:
            self._since_ms = at_ms
        if self._in_round and self._next_ms is None:
            self._next_ms = at_ms
        self._moved.set()
        self._wake.set()

    # what readers and the loop ask

    @property
    def behind(self) -> bool:
        """So far behind that bulk moves should wait."""
        return self._history_rows > MOST_HISTORY or self._lag_s() > BEHIND_S

    def lag(self) -> Lag:
        """What the rows lack at this moment."""
        records = self._head[0] - self._mark if self._since_ms is not None or self._catching_up else 0
        return Lag(records, self._lag_s(), len(self._dirty))

    def _lag_s(self) -> float:
        return 0.0 if self._since_ms is None else max(0.0, (self._clock.now_ms() - self._since_ms) / 1000)

    async def room(self, timeout_s: float) -> bool:
        """Wait until it is not `behind` any more; False when that takes longer."""
        return not self.behind or await self.wait(self._mark + 1, timeout_s)

    async def wait(self, seq: int, timeout_s: float, machines: Iterable[int] = ()) -> bool:
        """Until the rows show record `seq`, for `machines` or (none given) for all; False when that takes longer."""
        waiter = _Waiter(seq, tuple(machines), asyncio.get_running_loop().create_future())
        if self._satisfied(waiter):
            return True
        self._waiters.append(waiter)
        self._asked.set()
        self._wake.set()
        self._moved.set()
        late = asyncio.ensure_future(self._clock.sleep(timeout_s))
        try:
            await asyncio.wait((waiter.future, late), return_when=asyncio.FIRST_COMPLETED)
            return waiter.future.done()
        finally:
            late.cancel()
            self._waiters = [each for each in self._waiters if each is not waiter]

    def _satisfied(self, waiter: _Waiter) -> bool:
        if not self._catching_up and (self._since_ms is None or self._mark >= waiter.seq):
            return True
        if not waiter.machines or self._catching_up or self._turn.locked():
            return False
        return not any(machine in self._dirty for machine in waiter.machines)

    def _answer(self) -> None:
        for waiter in self._waiters:
            if not waiter.future.done() and self._satisfied(waiter):
                waiter.future.set_result(None)

    # writing

    async def run(self) -> None:
        """Until cancelled, or another controller writes this projection."""
        while not self._lost:
            try:
                if self._catching_up:
                    await self._catch_up()
                await self._wake.wait()
                await self._linger()
                await self._let_a_flood_pass()
                await self.write()
            except Unreachable as error:
                log.warning("the projection waits for the store: %s", error.message)
                self._wake.set()
                await self._clock.sleep(RETRY_S)
            except Collision as error:  # it took the shard: this one's next commit will find that out too
                log.warning(
                    "another controller writes the projection of shard %d, this one stops following: %s",
                    self._shard,
                    error,
                )
                self._lost = True

    async def _linger(self) -> None:
        """For LINGER_S, or until somebody waits for his rows."""
        if self._waiters:
            return
        self._asked.clear()
        ends = [asyncio.ensure_future(self._clock.sleep(LINGER_S)), asyncio.ensure_future(self._asked.wait())]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()

    async def _let_a_flood_pass(self) -> None:
        until = self._clock.monotonic() + PATIENCE_S
        while not self._waiters and self._dirty.more_than(SLICE) and self._clock.monotonic() < until:
            self._moved.clear()
            await self._clock.sleep(QUIET_S)
            if not self._moved.is_set():
                return

    async def write(self, target: tuple[int, int] | None = None) -> None:
        """One round: all that waits at this moment, those few first whom somebody may be looking at. target: (seq, at_ms) of
        the record up to which everything was noted, the newest one unless told otherwise.
        """
        self._wake.clear()
        if self._since_ms is None:
            return
        seq, at_ms = target or self._head
        self._begin_round()
        try:
            ids = self._dirty.all()
            for at in range(0, len(ids), SLICE):
                part = ids[at : at + SLICE]
                part = self._dirty.among(part)  # the urgent ones went with another slice
                if len(part):
                    await self._write(part, None if at + SLICE < len(ids) else (seq, at_ms))
            while self._mark < seq or (self._history and self._history[0][0] <= seq):
                await self._write(np.empty(0, np.uint32), (seq, at_ms))
        finally:
            self._in_round = False
        self._since_ms = self._next_ms
        if self._since_ms is not None:
            self._wake.set()
        self._answer()

    def _begin_round(self) -> None:
        self._in_round, self._next_ms = True, None

    async def _write(self, part: NDArray[np.uint32], target: tuple[int, int] | None) -> None:
        """One transaction: these machines, the urgent ones, some history; with a target, the watermark when it is reached."""
        async with self._turn:
            urgent = np.fromiter(self._urgent, np.uint32, len(self._urgent))
            ids = distinct(np.concatenate([part, urgent])) if len(urgent) else part
            self._urgent.clear()
            history, told = self._take_history()
            whole = target is not None and not (self._history and self._history[0][0] <= target[0])
            seq, at_ms = target if target is not None and whole else (None, 0)
            self._dirty.clear(ids)  # before the wait: what moves meanwhile is dirty again
            change = Change(
                shard=self._shard,
                epoch=self._world().epoch,
                units=unit_block(self._world(), ids) if len(ids) else None,
                history=[row for _, rows in history for row in rows],
                history_seq=max(told, seq or 0, self._told) or None,
                seq=seq,
                at_ms=at_ms,
            )
            try:
                await self._store.project(change)
            except BaseException:
                self._dirty.set(ids, self._world().size)
                self._history.extendleft(reversed(history))
                self._history_rows += sum(len(rows) for _, rows in history)
                raise
            self._told = max(self._told, told, seq or 0)
            self._mark = max(self._mark, seq or 0)
        self._answer()

    def _take_history(self) -> tuple[list[tuple[int, list[HistoryRow]]], int]:
        """Whole records' rows, in order, and the record that they reach."""
        taken: list[tuple[int, list[HistoryRow]]] = []
        rows = 0
        while self._history and rows < HISTORY_SLICE:
            taken.append(self._history.popleft())
            rows += len(taken[-1][1])
        self._history_rows -= rows
        return taken, taken[-1][0] if taken else 0

    async def _catch_up(self) -> None:
        """Read what was committed since the rows were written last. Commits meanwhile mark their machines, no more."""
        seq, prev = min(self._mark, self._told), None
        while seq < self._head[0]:
            records = await self._store.tail(self._shard, seq, TAIL)
            if not records:
                break
            if records[0].seq != seq + 1:
                log.warning("records up to %d are dropped: every row is written anew", records[0].seq - 1)
                self._note(seq, self._clock.now_ms(), self._everybody(), [])
            for stored in records:
                self._note_old(open_record(stored, prev))
                prev, seq = stored, stored.seq
            if self._history_rows > HISTORY_SLICE:
                await self.write((seq, records[-1].at_ms))
        self._catching_up = False
        if self._since_ms is None:
            self._mark = self._told = self._head[0]
        self._answer()

    def _note_old(self, record: Record) -> None:
        if len(record.columns):
            moved = record.columns["machine"] if record.seq > self._mark else np.empty(0, np.uint32)
            told = history_of(record, self._world()) if record.seq > self._told else []
            self._note(record.seq, record.at_ms, moved, told)

    def _everybody(self) -> NDArray[np.uint32]:
        world = self._world()
        return np.flatnonzero(world.columns.kind[: world.size]).astype(np.uint32)

    # building anew

    def begin_rebuild(self) -> None:
        """`rebuild` as a task of its own; raises Conflict while one runs."""
        if self._rebuilding is not None and not self._rebuilding.done():
            raise Conflict("the projection is being rebuilt already", "wait for it to end")
        self._rebuilding = asyncio.create_task(self.rebuild(), name="rebuild of the projection")

    async def rebuilt(self) -> int | None:
        """The number of units that the last rebuild wrote, once it has ended; None when there was none. Raises what it
        raised.
        """
        return None if self._rebuilding is None else await asyncio.shield(self._rebuilding)

    def facts(self) -> dict[str, Any]:
        """What `/v1/projection` says."""
        lag, task = self.lag(), self._rebuilding
        ended = task is not None and task.done() and not task.cancelled() and task.exception() is None
        return {
            "seq": self._head[0] - lag.records, "lag_records": lag.records, "lag_s": round(lag.seconds, 3),
            "lag_machines": lag.machines, "behind": self.behind, "rebuilding": task is not None and not task.done(),
            "rebuilt": task.result() if task is not None and ended else None,
        }  # fmt: skip

    async def rebuild(self) -> int:
        """Derive every row again while commits go on: units beside those that are read, put in their place at the end, and
        the history record by record from the log. Returns the number of units. Raises Conflict while another one runs.
        """
        if self._fresh is not None:
            raise Conflict("the projection is being rebuilt already", "wait for it to end")
        epoch, everybody = self._world().epoch, self._everybody()
        self._fresh = Marks(self._world().size)
        self._fresh.set(everybody, self._world().size)
        try:
            await self._store.begin_rebuild(self._shard, epoch)
            await self._drop_stale()  # of a rebuild whose controller died
            await self._write_fresh(everybody)
            while self._fresh.more_than(SLICE):
                await self._write_fresh(self._fresh.all())
            async with self._turn:
                seq, at_ms = self._head
                await self._write_fresh(self._fresh.all())
                await self._store.finish_rebuild(self._shard, epoch, seq, at_ms)
                self._mark = max(self._mark, seq)
                self._dirty, self._urgent = self._fresh, {}  # whatever moved before is in the new rows
                if len(self._fresh):
                    self._note(*self._head, self._fresh.all(), [])
        finally:
            self._fresh = None
        await self._drop_stale()
        await self._retell(self._head[0])
        return len(everybody)

    async def _write_fresh(self, ids: NDArray[np.uint32]) -> None:
        for at in range(0, len(ids), SLICE):
            part = ids[at : at + SLICE]
            if self._fresh is not None:
                self._fresh.clear(part)
            units = unit_block(self._world(), part)
            await self._store.project(Change(shard=self._shard, epoch=self._world().epoch, units=units, fresh=True))

    async def _drop_stale(self) -> None:
        while await self._store.drop_stale_units(self._shard):
            pass

    async def _retell(self, end: int) -> None:
        """The history of what the log still has; older lines stay as they are."""
        prev: StoredRecord | None = None
        while (seq := prev.seq if prev else 0) < end:
            records = await self._store.tail(self._shard, seq, TAIL)
            if not records:
                return
            rows: list[HistoryRow] = []
            first = records[0].seq
            for stored in records:
                rows.extend(history_of(open_record(stored, prev), self._world()))
                prev = stored
            await self._store.replace_history(self._shard, first, records[-1].seq, rows)
