"""The store in memory: for simulation only, where a run must be had again from its seed. It never waits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from herder.ports.clock import Clock
from herder.ports.store import (
    Batch,
    Claim,
    ClaimTaken,
    Collision,
    HistoryRow,
    LeaseHeld,
    PlaybookRuns,
    StoredRecord,
    UnitRow,
)
from herder.stores import rows
from herder.stores.memory import runs

SCHEMA_VERSION = 2
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
    """log: records in order, without holes, whatever number the first one has."""

    log: list[StoredRecord] = field(default_factory=list)
    snapshots: dict[int, bytes] = field(default_factory=dict)
    units: dict[int, UnitRow] = field(default_factory=dict)
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


class MemoryStore:
    """Keeps everything that the PostgreSQL store keeps, for as long as the object lives. `close` forgets nothing, so a
    simulated controller that restarts finds its log again.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
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
        self._project(batch.record.shard, units, history)

    def _project(self, shard: int, units: Sequence[UnitRow], history: Sequence[HistoryRow]) -> None:
        kept = self._shard(shard)
        kept.units.update({unit.machine: unit for unit in units})
        for row in history:
            kept.history.setdefault((row.seq, row.ordinal), row)

    async def read(self, shard: int, seq: int) -> StoredRecord | None:
        kept = self._shard(shard)
        index = kept.index(seq)
        return kept.log[index] if 0 <= index < len(kept.log) else None

    async def tail(self, shard: int, after_seq: int, limit: int = 1000) -> list[StoredRecord]:
        kept = self._shard(shard)
        start = max(0, kept.index(after_seq + 1))
        return kept.log[start : start + limit]

    async def save_snapshot(self, shard: int, seq: int, body: bytes) -> None:
        kept = self._shard(shard).snapshots
        kept[seq] = body
        for old in sorted(kept)[:-SNAPSHOTS_KEPT]:
            del kept[old]

    async def latest_snapshot(self, shard: int) -> tuple[int, bytes] | None:
        return max(self._shard(shard).snapshots.items(), default=None)

    async def rebuild_projection(
        self, units: Sequence[UnitRow], history: Sequence[HistoryRow], *, shard: int = 0
    ) -> None:
        """The rows of one shard: a controller rebuilds what it leads."""
        new_units, new_history = rows.clean_units(units), rows.clean_history(history)
        self._shard(shard).units.clear()
        self._shard(shard).history.clear()
        self._project(shard, new_units, new_history)

    async def units(self, *, service: str = "", kind: str = "") -> list[UnitRow]:
        """The projected units that match, by shard and machine; '' = all."""
        return [
            unit
            for _, kept in sorted(self._shards.items())
            for _, unit in sorted(kept.units.items())
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
        return runs.playbook_runs(((shard, row) for shard, at in kept for _, row in sorted(at.history.items())), since_ms)

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
