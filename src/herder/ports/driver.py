"""What an agent can do with one engine and its data directory. Each engine has one driver; all pass one conformance suite.

A driver is a library used inside the agent: it starts processes, writes configuration, talks SQL or RESP to the local
engine. It keeps no state of its own between calls but what is on disk in the data directory, so that an agent that
was killed can be followed by another. Every call is idempotent: asked again, it finds the work done and says so.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

import msgspec


class Role(StrEnum):
    """What an engine process says it is."""

    PRIMARY = "primary"
    STANDBY = "standby"
    NONE = "none"  # not running, or not answering


class MemberSpec(msgspec.Struct, frozen=True, kw_only=True):
    """All that is needed to run one member; it travels in every job so that an agent needs no memory of its own.

    address/port: where clients and peers reach it. data_dir: absolute; the driver owns `data_dir` and `data_dir + '.*'`
    beside it (logs, kept divergent WAL, half-made copies). major: engine version, 0 = the newest found.
    """

    service: str
    member: str
    slot: int
    engine: str
    major: int
    address: str
    port: int
    data_dir: str
    memory_mb: int
    database: str
    user: str
    password: str
    admin_password: str
    replication_password: str
    kept_days: int = 7  # how long a divergent log of it is kept
    peers: tuple[str, ...] = ()  # addresses that members connect from (slots and servers), for access rules


class SyncSet(msgspec.Struct, frozen=True):
    """The standbys whose confirmation a commit waits for: ANY `k` of `members` (member ids). k = 0: asynchronous."""

    k: int = 0
    members: tuple[str, ...] = ()


class Source(msgspec.Struct, frozen=True):
    """Where a standby takes its stream from."""

    member: str
    address: str
    port: int


class Position(msgspec.Struct, frozen=True):
    """How far a member's log reaches: (timeline, lsn), compared in that order by `reach`; lsn in bytes.

    For Valkey, timeline is 0 and lsn the replication offset, which compares only within one `history` (its replication
    id); PostgreSQL's is '' because its timelines say the same.
    """

    timeline: int
    lsn: int
    history: str = ""

    @property
    def reach(self) -> tuple[int, int]:
        """What is compared."""
        return (self.timeline, self.lsn)


class Heard(msgspec.Struct, frozen=True):
    """What a standby last heard of its upstream: its log ended at `position`, `age_s` seconds ago, and had grown by up to
    `bytes_per_s` before.
    """

    position: Position
    age_s: float
    bytes_per_s: float


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What one look at a running engine showed. Lengths in bytes, ages in seconds; None = not known.

    alive: it answered. detail: the reason in words when it did not, best the engine's own last log line.
    upstream: a standby's stream is connected. upstream_age_s: since the last message of the upstream (a vantage point!).
    received: a standby's greatest received position; position: replayed (standby) or written (primary).
    streaming: members (application names) connected to this primary -> flushed lsn. sync: the set in force.
    overrides: settings of databases and roles by which commits do not wait for that set, in words; None = not
    looked for (a standby, no sync set).
    heard: of a standby whose stream brings nothing now; None = it brings something, or the engine does not tell.
    """

    alive: bool
    role: Role = Role.NONE
    position: Position | None = None
    received: int | None = None
    upstream: bool | None = None
    upstream_age_s: float | None = None
    streaming: dict[str, int] = {}
    sync: SyncSet | None = None
    system_id: str = ""
    pid: int = 0
    detail: str = ""
    overrides: tuple[str, ...] | None = None
    heard: Heard | None = None


class Running(msgspec.Struct, frozen=True):
    """A started engine: the pid of its first process (postmaster, valkey-server)."""

    pid: int
    started: bool  # False: it ran already


class Driver(Protocol):
    """One engine's actions. All raise `herder.model.errors.HerderError` with a reason a person can act on."""

    engine: str

    async def create_primary(self, spec: MemberSpec, sync: SyncSet) -> Running:
        """Make an empty primary (from a template where there is one, with a fresh system id), start it, with user and
        database ready for the first write. A half-made directory of an earlier try is cleared away first.
        """

    async def create_standby(self, spec: MemberSpec, source: Source) -> Running:
        """Copy the source beside `data_dir`, move it in place, start it following the source."""

    async def start(self, spec: MemberSpec) -> Running:
        """Start on the data as it is (also crash recovery); adopt it when it runs already. Returns once it answers."""

    async def stop(self, spec: MemberSpec, *, fast: bool) -> str:
        """End it and return only when *no process with this data directory is left* (a dead postmaster is not a
        stopped engine). fast=True: a clean shutdown that lets standbys have everything; False: at once.
        Returns how it was confirmed, in words.
        """

    async def rest(self, spec: MemberSpec) -> Position | None:
        """Where the log of a cleanly stopped primary ends: a standby that received more than this has everything.
        None when it was not stopped cleanly, or the engine has no such position.
        """

    async def leftovers(self, spec: MemberSpec) -> list[int]:
        """Pids of processes that still have this data directory (cwd or open socket), the first process included."""

    async def pledge(self, spec: MemberSpec) -> Position:
        """Standby: stop streaming durably (also over a restart), then report the greatest of received and replayed."""

    async def promote(self, spec: MemberSpec, sync: SyncSet) -> Position:
        """Set the sync set first, then promote; returns when it accepts writes. Idempotent on a primary."""

    async def follow(self, spec: MemberSpec, source: Source) -> None:
        """Standby: stream from `source` from now on (durable)."""

    async def set_sync(self, spec: MemberSpec, sync: SyncSet) -> int:
        """Primary: put the sync set in force; walsenders of members struck from it are ended. Returns its lsn then."""

    async def rejoin(self, spec: MemberSpec, source: Source) -> str:
        """A stopped former primary becomes a standby of `source`: rewound when its divergent log is kept first, else
        a fresh copy beside it. Killed at any point, the next call recovers. Ends running and following; returns how
        ('rewound', 'copied', 'followed').
        """

    async def read(self, spec: MemberSpec) -> Reading:
        """Look once, within a second, over a connection kept open between calls. Never raises for a dead engine."""

    async def checkpoint(self, spec: MemberSpec) -> None:
        """Write out dirty buffers so that the next stop, start or rewind is short."""

    async def close(self) -> None:
        """Let go of connections; engines keep running."""


class Probe(Protocol):
    """A look at an engine from outside, by address; used from other vantage points."""

    async def __call__(self, address: str, port: int, timeout_s: float) -> str:
        """'serving', 'refused' (its kernel answered that nothing listens), 'silent' (no answer within timeout_s),
        or 'starting' (it answered that it cannot serve now).
        """
