"""The store in memory: for simulation only, where a run must be had again from its seed. It never waits."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from herder.model.errors import Unreachable
from herder.ports.clock import Clock
from herder.ports.store import (
    Batch,
    Change,
    Claim,
    ClaimTaken,
    Collision,
    HistoryRow,
    LeaseHeld,
    PlaybookRuns,
    Snapshot,
    StoredRecord,
    UnitRow,
    Watermark,
)
from herder.stores import rows
from herder.stores.memory import runs
from herder.stores.memory.units import Units

SCHEMA_VERSION = 3
"""As the PostgreSQL store numbers it; there is nothing to migrate here."""

SNAPSHOTS_KEPT = 2


@dataclass(slots=True)
class _Lease:
    """until: seconds of the clock's monotonic time."""

    owner: str
    epoch: int
    until: float


@dataclass(slots=True)
class _Shard:
    """log: records in order, without holes, whatever number the first one has; below `bare` their bodies are gone.

    building: the generation that nobody reads yet.
    """

    log: list[StoredRecord] = field(default_factory=list)
    bare: int = 0
    snapshots: dict[int, Snapshot] = field(default_factory=dict)
    units: Units = field(default_factory=Units)
    building: Units | None = None
    mark: Watermark | None = None
    history: dict[tuple[int, int], HistoryRow] = field(default_factory=dict)

    def index(self, seq: int) -> int:
        """Where a record of that number stands in the log, or would stand."""
        return seq - self.log[0].seq if self.log else 0

    def check_next(self, record: StoredRecord) -> None:
        """Raise Collision when the log does not end with the record's predecessor."""
        if not self.log:
            return
        last = self.log[-1]
        if record.seq <= last.seq:
            raise Collision(f"record {record.seq} of shard {record.shard} is there already")
        if (record.seq - 1, record.prev_hash) != (last.seq, last.hash) or last.epoch > record.epoch:
            raise Collision(f"shard {record.shard} does not end with the predecessor of record {record.seq}")

    def check_follower(self, epoch: int) -> None:
        """Raise Collision when a controller of a newer epoch writes the projection."""
        if self.mark is not None and self.mark.epoch > epoch:
            raise Collision("a controller of a newer epoch writes the projection")

    def oldest_snapshot(self) -> int:
        """The seq that the log is needed from, 0 while there are fewer than two snapshots."""
        return min(self.snapshots) if len(self.snapshots) >= SNAPSHOTS_KEPT else 0

    def strip(self) -> None:
        """Let go of bodies that no start reads any more; hashes stay."""
        end = self.index(self.oldest_snapshot())
        for at in range(max(0, self.index(self.bare)), end):
            self.log[at] = msgspec.structs.replace(self.log[at], body=b"")
        self.bare = max(self.bare, self.oldest_snapshot())


class MemoryStore:
    """Keeps everything that the PostgreSQL store keeps, for as long as the object lives. `close` forgets nothing, so a
    simulated controller that restarts finds its log again.

    bodies: False lets go of the bodies of records that lie before both snapshots; `tail` cannot give those any more.
    """

    def __init__(self, clock: Clock, *, bodies: bool = True) -> None:
        self._clock = clock
        self._bodies = bodies
        self._shards: dict[int, _Shard] = {}
        self._leases: dict[int, _Lease] = {}
        self._claims: dict[tuple[str, str], int] = {}
        self._secrets: dict[str, str] = {}
        self._tokens: dict[str, tuple[str, int]] = {}

    def _shard(self, shard: int) -> _Shard:
        return self._shards.setdefault(shard, _Shard())

    async def migrate(self) -> int:
        return SCHEMA_VERSION

    async def take_over(
        self, shard: int, owner: str, ttl_s: float, build: Callable[[int, StoredRecord | None], StoredRecord]
    ) -> StoredRecord:
        """The clock is this process's monotonic one: a simulation has no other."""
        now = self._clock.monotonic()
        lease = self._leases.get(shard)
        if lease is not None and lease.owner != owner and lease.until > now:
            raise LeaseHeld(lease.owner, lease.until - now)
        log = self._shard(shard).log
        last = log[-1] if log else None
        epoch = max(lease.epoch if lease else 0, last.epoch if last else 0) + 1
        record = build(epoch, last)
        rows.check_record(record)
        self._shard(shard).check_next(record)
        log.append(record)
        self._leases[shard] = _Lease(owner, epoch, now + ttl_s)
        return record

    async def renew(self, shard: int, owner: str, epoch: int, ttl_s: float) -> bool:
        lease = self._leases.get(shard)
        if lease is None or (lease.owner, lease.epoch) != (owner, epoch):
            return False
        lease.until = self._clock.monotonic() + ttl_s
        return True

    async def append(self, batch: Batch) -> None:
        """Everything is checked, then everything is written: there is nothing to roll back."""
        rows.prepare(batch)
        units, history = rows.clean_units(batch.units), rows.clean_history(batch.history)
        shard = self._shard(batch.record.shard)
        released = set(batch.releases)
        shard.check_next(batch.record)
        for claim in sorted(batch.claims, key=lambda claim: (claim.kind, claim.value)):
            key = (claim.kind, claim.value)
            if key in self._claims and key not in released:
                raise ClaimTaken(claim, self._claims[key])
        shard.log.append(batch.record)
        for key in released:
            self._claims.pop(key, None)
        self._claims.update({(claim.kind, claim.value): claim.machine for claim in batch.claims})
        shard.units.put_rows(units)
        _tell(shard, history)
        if batch.projected:
            record = batch.record
            shard.mark = Watermark(seq=record.seq, at_ms=record.at_ms, history_seq=record.seq, epoch=record.epoch)

    async def read(self, shard: int, seq: int) -> StoredRecord | None:
        kept = self._shard(shard)
        index = kept.index(seq)
        return kept.log[index] if 0 <= index < len(kept.log) else None

    async def tail(self, shard: int, after_seq: int, limit: int = 1000) -> list[StoredRecord]:
        kept = self._shard(shard)
        if after_seq + 1 < kept.bare:
            raise Unreachable(
                f"records before {kept.bare} have no bodies any more", "MemoryStore(bodies=True) keeps them"
            )
        start = max(0, kept.index(after_seq + 1))
        return kept.log[start : start + limit]

    async def save_snapshot(
        self, shard: int, seq: int, body: bytes | Sequence[bytes | memoryview], *, record_hash: bytes = b""
    ) -> None:
        at = self._shard(shard)
        whole = body if isinstance(body, bytes) else b"".join(body)
        at.snapshots[seq] = Snapshot(seq=seq, body=whole, record_hash=record_hash)
        for old in sorted(at.snapshots)[:-SNAPSHOTS_KEPT]:
            del at.snapshots[old]
        if not self._bodies:
            at.strip()

    async def latest_snapshot(self, shard: int) -> tuple[int, bytes] | None:
        found = await self.load_snapshot(shard)
        return (found.seq, found.body) if found else None

    async def load_snapshot(self, shard: int) -> Snapshot | None:
        kept = self._shard(shard).snapshots
        return kept[max(kept)] if kept else None

    async def seq_before(self, shard: int, at_ms: int) -> int:
        log = self._shard(shard).log
        older = bisect.bisect_left(log, at_ms, key=lambda record: record.at_ms)
        return log[older - 1].seq if older else 0

    async def drop_log(self, shard: int, below_seq: int, limit: int = 1000) -> int:
        at = self._shard(shard)
        dropped = max(0, min(at.index(min(below_seq, at.oldest_snapshot())), limit, len(at.log)))
        del at.log[:dropped]
        return dropped

    async def drop_history(self, before_ms: int, limit: int = 10_000) -> int:
        old = [
            (row.at_ms, shard, key)
            for shard, at in self._shards.items()
            for key, row in at.history.items()
            if row.at_ms < before_ms
        ]
        for _, shard, key in sorted(old)[:limit]:
            del self._shards[shard].history[key]
        return min(len(old), limit)

    async def watermark(self, shard: int) -> Watermark | None:
        return self._shard(shard).mark

    async def project(self, change: Change) -> None:
        at = self._shard(change.shard)
        at.check_follower(change.epoch)
        units = at.building if change.fresh else at.units
        if change.units is not None:
            if units is None:
                raise Collision(f"no rebuild of shard {change.shard} is under way any more")
            units.put_block(change.units)
        _tell(at, rows.clean_history(change.history))
        old = at.mark or Watermark(seq=0, at_ms=0, history_seq=0, epoch=change.epoch)
        at.mark = Watermark(
            seq=old.seq if change.seq is None else change.seq,
            at_ms=old.at_ms if change.seq is None else change.at_ms,
            history_seq=old.history_seq if change.history_seq is None else change.history_seq,
            epoch=change.epoch,
        )

    async def begin_rebuild(self, shard: int, epoch: int) -> None:
        at = self._shard(shard)
        at.check_follower(epoch)
        at.building = Units()
        at.mark = msgspec.structs.replace(at.mark, epoch=epoch) if at.mark else None

    async def finish_rebuild(self, shard: int, epoch: int, seq: int, at_ms: int) -> None:
        at = self._shard(shard)
        at.check_follower(epoch)
        if at.building is None:
            raise Collision(f"no rebuild of shard {shard} is under way any more")
        at.units, at.building = at.building, None
        told = at.mark.history_seq if at.mark else 0
        at.mark = Watermark(seq=seq, at_ms=at_ms, history_seq=told, epoch=epoch)

    async def drop_stale_units(self, shard: int, limit: int = 50_000) -> int:
        """There are none: a generation goes with its object."""
        return 0

    async def replace_history(self, shard: int, first_seq: int, last_seq: int, told: Sequence[HistoryRow]) -> None:
        at = self._shard(shard)
        for key in [key for key in at.history if first_seq <= key[0] <= last_seq]:
            del at.history[key]
        _tell(at, rows.clean_history(told))

    async def rebuild_projection(
        self, units: Sequence[UnitRow], history: Sequence[HistoryRow], *, shard: int = 0
    ) -> None:
        """The rows of one shard: a controller rebuilds what it leads."""
        new_units, new_history = rows.clean_units(units), rows.clean_history(history)
        at = self._shard(shard)
        at.units = Units()
        at.units.put_rows(new_units)
        at.history.clear()
        _tell(at, new_history)

    async def units(self, *, service: str = "", kind: str = "") -> list[UnitRow]:
        """The projected units that match, by shard and machine; '' = all."""
        return [
            unit
            for _, kept in sorted(self._shards.items())
            for unit in kept.units
            if service in {"", unit.service} and kind in {"", unit.kind}
        ]

    async def history(self, *, service: str = "", kind: str = "", limit: int = 200) -> list[HistoryRow]:
        found = [
            ((row.at_ms, shard, row.seq, row.ordinal), row)
            for shard, kept in self._shards.items()
            for row in kept.history.values()
            if service in {"", row.service} and kind in {"", row.kind}
        ]
        found.sort(key=lambda item: item[0])
        return [row for _, row in found[max(0, len(found) - limit) :]]

    async def playbook_runs(self, since_ms: int) -> list[PlaybookRuns]:
        kept = sorted(self._shards.items())
        return runs.playbook_runs(
            ((shard, row) for shard, at in kept for _, row in sorted(at.history.items())), since_ms
        )

    async def claims(self, kind: str) -> list[Claim]:
        return [Claim(*key, machine) for key, machine in sorted(self._claims.items()) if key[0] == kind]

    async def get_secret(self, name: str) -> str | None:
        return self._secrets.get(name)

    async def put_secret(self, name: str, value: str) -> str:
        return self._secrets.setdefault(name, value)

    async def add_join_token(self, token_hash: str, server: str, incarnation: int) -> None:
        self._tokens = {key: kept for key, kept in self._tokens.items() if kept[0] != server}
        self._tokens[token_hash] = (server, incarnation)

    async def use_join_token(self, token_hash: str) -> tuple[str, int] | None:
        return self._tokens.pop(token_hash, None)

    async def close(self) -> None:
        """There is nothing to let go of."""


def _tell(at: _Shard, history: Sequence[HistoryRow]) -> None:
    """A move is told once."""
    for row in history:
        at.history.setdefault((row.seq, row.ordinal), row)
