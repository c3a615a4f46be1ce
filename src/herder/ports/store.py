"""Where the log, its projection and the few relational things are kept. Record bodies are opaque to a store.

The primary key (shard, seq) is the fence between controllers: a stale owner's append collides and it stops.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    """A machine as people query it (projection). data: its facts, secrets left out."""

    machine: int
    kind: str
    name: str
    service: str
    state: str
    version: int
    since_ms: int
    deadline_ms: int
    data: dict[str, Any]


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

    async def save_snapshot(self, shard: int, seq: int, body: bytes) -> None:
        """Keep a snapshot of the shard as of seq; older ones but one may be dropped."""

    async def latest_snapshot(self, shard: int) -> tuple[int, bytes] | None:
        """(seq, body) of the newest snapshot."""

    async def rebuild_projection(self, units: Sequence[UnitRow], history: Sequence[HistoryRow]) -> None:
        """Throw the projection away and write this one, in one transaction."""

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
