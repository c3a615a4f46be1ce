"""Where the log, its projection and the few relational things are kept. Record bodies are opaque to a store.

The primary key (shard, seq) is the fence between controllers: a stale owner's append collides and it stops.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec


class StoredRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One record of a shard's log as it lies in the store. hash covers prev_hash and body (32 bytes, sha-256)."""

    shard: int
    seq: int
    epoch: int
    at_ms: int
    body: bytes
    prev_hash: bytes
    hash: bytes


class UnitRow(msgspec.Struct, frozen=True, kw_only=True):
    """A machine as people query it (projection). data: what it knows beyond its shape, secrets left out. service: a name;
    service_id: that service's machine, 0 = none.
    """

    machine: int
    kind: str
    name: str
    service: str
    state: str
    version: int
    since_ms: int
    deadline_ms: int
    data: dict[str, Any]
    service_id: int = 0


class UnitBlock(msgspec.Struct, frozen=True, kw_only=True):
    """Many machines as columns, ascending by machine: what `UnitRow` says of each. Columns are little-endian numbers, since
    no port knows numpy: machines, versions, services (0 = none) u4; kinds, states u2, places in `words`; times i8.

    names, service_names: only those that are not `kind-id`, by machine and by service. data: only where there is any.
    """

    machines: bytes
    kinds: bytes
    states: bytes
    versions: bytes
    since_ms: bytes
    deadline_ms: bytes
    services: bytes
    words: tuple[str, ...]
    names: Mapping[int, str] = {}
    service_names: Mapping[int, str] = {}
    data: Mapping[int, dict[str, Any]] = {}

    def __len__(self) -> int:
        return len(self.machines) // 4


class HistoryRow(msgspec.Struct, frozen=True, kw_only=True):
    """A move in words (projection)."""

    seq: int
    ordinal: int
    at_ms: int
    machine: int
    kind: str
    name: str
    service: str
    source: str
    event: str
    target: str
    why: str
    actor: str


class Claim(msgspec.Struct, frozen=True):
    """A UNIQUE row taken in the same transaction as the record: a name, an address, a port, an idempotency key."""

    kind: str
    value: str
    machine: int


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """What one commit writes: the record, the claims it takes and lets go, and the projection rows that follow."""

    record: StoredRecord
    claims: tuple[Claim, ...] = ()
    releases: tuple[tuple[str, str], ...] = ()  # (kind, value)
    units: tuple[UnitRow, ...] = ()  # upserts by machine
    history: tuple[HistoryRow, ...] = ()
    projected: bool = True  # the rows come with the record; False: they follow by `project`


class Watermark(msgspec.Struct, frozen=True, kw_only=True):
    """How far a shard's projection is: every unit as of record `seq` or later, every move up to `history_seq` told.

    epoch: of the controller that wrote it; at_ms: of record seq.
    """

    seq: int
    at_ms: int
    history_seq: int
    epoch: int


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Rows that follow the log, written in one transaction. seq: the watermark afterwards, None = as it was. fresh: the units
    go to the generation that is being built, which nobody reads yet.
    """

    shard: int
    epoch: int
    units: UnitBlock | None = None
    history: Sequence[HistoryRow] = ()
    history_seq: int | None = None
    seq: int | None = None
    at_ms: int = 0
    fresh: bool = False


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot as it was kept. record_hash: of the record at seq, empty when it was not said. torn: seqs of newer ones that
    are not whole.
    """

    seq: int
    body: bytes
    record_hash: bytes = b""
    torn: tuple[int, ...] = ()


class PlaybookRuns(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the playbooks of one kind that began in a period, exercises apart.

    exercised: begun as an exercise, or while one of its service was under way. abandoned: it gave way. needed_person: it
    ended `paged`, or a page was raised with one of its moves. Times in ms from its first move to its last, of those that
    ended well; percentiles interpolate; None when there are none.
    """

    kind: str
    exercised: bool
    began: int
    running: int
    done: int
    abandoned: int
    failed: int
    paged: int
    needed_person: int
    p50_ms: float | None = None
    p90_ms: float | None = None
    max_ms: float | None = None


class Collision(Exception):
    """(shard, seq) is there already: another controller owns the shard now. Stop that shard."""


class CommitUnknown(Exception):
    """The connection broke around the commit: read the row to learn whether it is mine."""


class ClaimTaken(Exception):
    """Nothing was written: `claim.value` belongs to machine `holder`."""

    def __init__(self, claim: Claim, holder: int) -> None:
        super().__init__(f"{claim.kind} {claim.value} is taken by machine {holder}")
        self.claim = claim
        self.holder = holder


class LeaseHeld(Exception):
    """Another owner holds an unexpired lease of the shard."""

    def __init__(self, owner: str, left_s: float) -> None:
        super().__init__(f"shard is leased by {owner} for {left_s:.0f} s more")
        self.owner = owner
        self.left_s = left_s


class Store(Protocol):
    """All methods raise `herder.model.errors.Unreachable` when the store does not answer."""

    async def migrate(self) -> int:
        """Bring the schema up to date (one transaction a migration); returns the version. A schema newer than this
        herder knows raises NewerData and changes nothing.
        """

    async def take_over(
        self, shard: int, owner: str, ttl_s: float, build: Callable[[int, StoredRecord | None], StoredRecord]
    ) -> StoredRecord:
        """In one transaction: bump the lease's epoch to this owner, read the last record, append `build(epoch, last)`.
        The same owner may take its own lease again at once. Raises LeaseHeld.
        """

    async def renew(self, shard: int, owner: str, epoch: int, ttl_s: float) -> bool:
        """Extend the lease; False when somebody else has taken it."""

    async def append(self, batch: Batch) -> None:
        """All or nothing. Raises Collision, ClaimTaken, CommitUnknown."""

    async def read(self, shard: int, seq: int) -> StoredRecord | None:
        """One record, to resolve an unknown commit."""

    async def tail(self, shard: int, after_seq: int, limit: int = 1000) -> list[StoredRecord]:
        """Records with seq > after_seq in order."""

    async def save_snapshot(
        self, shard: int, seq: int, body: bytes | Sequence[bytes | memoryview], *, record_hash: bytes = b""
    ) -> None:
        """Keep a snapshot of the shard as of seq; older ones but one may be dropped. It is there whole or not at all."""

    async def latest_snapshot(self, shard: int) -> tuple[int, bytes] | None:
        """(seq, body) of the newest snapshot that is whole; the log names those that are not."""

    async def load_snapshot(self, shard: int) -> Snapshot | None:
        """The same, with all that is known of it."""

    async def seq_before(self, shard: int, at_ms: int) -> int:
        """The newest record that is older than at_ms, 0 = none."""

    async def drop_log(self, shard: int, below_seq: int, limit: int = 1000) -> int:
        """Drop up to `limit` of the oldest records below below_seq; returns how many. Never any that the older of the last
        two snapshots needs (the record at its seq stays, which the chain goes on from), and none before there are two.
        """

    async def drop_history(self, before_ms: int, limit: int = 10_000) -> int:
        """Drop up to `limit` of the oldest moves told before that; returns how many."""

    async def rebuild_projection(self, units: Sequence[UnitRow], history: Sequence[HistoryRow]) -> None:
        """Throw the projection away and write this one, in one transaction."""

    async def watermark(self, shard: int) -> Watermark | None:
        """How far the projection is; None before its first row."""

    async def project(self, change: Change) -> None:
        """Write rows that follow. What is there already is written again, so it may be repeated. Raises Collision when a
        controller of a newer epoch has written the shard's projection.
        """

    async def begin_rebuild(self, shard: int, epoch: int) -> None:
        """An empty generation of the units beside the one that is read; an unfinished one is given up. Raises Collision."""

    async def finish_rebuild(self, shard: int, epoch: int, seq: int, at_ms: int) -> None:
        """From now on the generation that was built is the one that is read. Raises Collision."""

    async def drop_stale_units(self, shard: int, limit: int = 50_000) -> int:
        """Drop up to `limit` rows of generations that nobody reads or builds; returns how many."""

    async def replace_history(self, shard: int, first_seq: int, last_seq: int, told: Sequence[HistoryRow]) -> None:
        """The moves of these records are told by `told` and by no others."""

    async def units(self, *, service: str = "", kind: str = "") -> list[UnitRow]:
        """The projected units that match, by shard and machine; '' = all."""

    async def history(self, *, service: str = "", kind: str = "", limit: int = 200) -> list[HistoryRow]:
        """Newest `limit` rows that match, oldest first. service '' = all."""

    async def playbook_runs(self, since_ms: int) -> list[PlaybookRuns]:
        """Playbooks that began at or after `since_ms`, counted by kind and by whether they were exercised, in that order."""

    async def claims(self, kind: str) -> list[Claim]:
        """All claims of one kind."""

    async def get_secret(self, name: str) -> str | None:
        """A secret of the control plane (keys)."""

    async def put_secret(self, name: str, value: str) -> str:
        """Keep it unless there is one; returns the one that is kept."""

    async def add_join_token(self, token_hash: str, server: str, incarnation: int) -> None:
        """A one-use token for a server's agent; an unused older one of the same server is dropped."""

    async def use_join_token(self, token_hash: str) -> tuple[str, int] | None:
        """Spend it: (server, incarnation) the first time, None ever after."""

    async def close(self) -> None:
        """Let go of connections."""
