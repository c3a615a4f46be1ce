"""The store in PostgreSQL: the log, its projection and the few relational things. All SQL is in queries.sql."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import asyncpg
import msgspec

from herder.ports.store import (
    Batch,
    Change,
    Claim,
    ClaimTaken,
    Collision,
    CommitUnknown,
    HistoryRow,
    LeaseHeld,
    PlaybookRuns,
    Snapshot,
    StoredRecord,
    UnitRow,
    Watermark,
)
from herder.stores import rows
from herder.stores.postgres import projector, schema, snapshots
from herder.stores.postgres.named import QUERIES
from herder.stores.postgres.pool import Pool, is_lost, is_refused, unreachable

T = TypeVar("T")

TRIES = 5
"""Of a transaction that was rolled back for a reason that passes: a deadlock, a claim let go while we looked."""

_BROKEN_CHAIN = "HD001"
_CLAIM_TAKEN = "HD002"
_RETRY = frozenset({"40001", "40P01"})


class PostgresStore:
    """`dsn` is a libpq URL; `options` are keyword arguments of asyncpg.connect for what a URL does not say.

    Nothing is connected before the first call. connect_timeout_s: until a connection must be there. timeout_s: a
    statement's, after which its outcome counts as unknown (a read of a large snapshot fits in).
    """

    def __init__(
        self,
        dsn: str | None = None,
        *,
        connect_timeout_s: float = 5.0,
        timeout_s: float = 10.0,
        **options: Any,
    ) -> None:
        self._pool = Pool(dsn, options, connect_timeout_s=connect_timeout_s, timeout_s=timeout_s)
        self._projector = projector.Projector()

    async def migrate(self) -> int:
        return await self._call(lambda connection: schema.migrate(connection, schema.known()))

    async def take_over(
        self, shard: int, owner: str, ttl_s: float, build: Callable[[int, StoredRecord | None], StoredRecord]
    ) -> StoredRecord:
        """Time is the server's, so that controllers need not agree on theirs. `build` may be called more than once: the
        old owner can still append between our look at the log and our record. Raises CommitUnknown as `append` does;
        taking over again resolves it.
        """
        for _ in range(TRIES):
            try:
                async with self._pool.connection() as connection:
                    return await self._take(connection, shard, owner, ttl_s, build)
            except _DRIVER_ERRORS as error:
                if not (_is_collision(error) or _passes(error)):
                    raise _commit_error(error) from error
        raise Collision(f"another controller kept appending to shard {shard}")

    async def _take(
        self,
        connection: Any,
        shard: int,
        owner: str,
        ttl_s: float,
        build: Callable[[int, StoredRecord | None], StoredRecord],
    ) -> StoredRecord:
        async with connection.transaction():
            await connection.execute(QUERIES["make_lease"], shard, owner)
            lease = await connection.fetchrow(QUERIES["lock_lease"], shard)
            if lease["owner"] != owner and lease["left_s"] > 0:
                raise LeaseHeld(lease["owner"], lease["left_s"])
            found = await connection.fetchrow(QUERIES["last_record"], shard)
            last = _record(found) if found else None
            # The log's epoch counts too, should the lease have been lost or come from an older backup.
            epoch = max(0 if lease["fresh"] else lease["epoch"], last.epoch if last else 0) + 1
            record = build(epoch, last)
            rows.check_record(record)
            await connection.execute(QUERIES["append_record"], *_record_values(record))
            await connection.execute(QUERIES["take_lease"], shard, owner, epoch, ttl_s)
            return record

    async def renew(self, shard: int, owner: str, epoch: int, ttl_s: float) -> bool:
        return bool(await self._fetchval("renew_lease", shard, owner, epoch, ttl_s))

    async def append(self, batch: Batch) -> None:
        """One round trip. Raises Unreachable when nothing was written for certain.

        After CommitUnknown (or a cancellation) the record may be there, or still arrive: a frozen server commits what it
        had received when it thaws. `read` that finds nothing proves nothing; what does is the same batch appended again,
        which is written or collides, with itself or with the record that shut it out.
        """
        rows.prepare(batch)
        values = (
            *_record_values(batch.record),
            _json([{"kind": kind, "value": value} for kind, value in batch.releases]),
            _json(batch.claims and [{"kind": c.kind, "value": c.value, "machine": c.machine} for c in batch.claims]),
            rows.to_json(rows.last_by_machine(batch.units)),
            rows.to_json(batch.history),
            batch.projected,
        )
        for left in reversed(range(TRIES)):
            try:
                async with self._pool.connection() as connection:
                    await connection.fetchval(QUERIES["append"], *values)
                    return
            except _DRIVER_ERRORS as error:
                if not left or not _passes(error):
                    raise _append_error(error, batch) from error

    async def read(self, shard: int, seq: int) -> StoredRecord | None:
        found = await self._fetch("read_record", shard, seq)
        return _record(found[0]) if found else None

    async def tail(self, shard: int, after_seq: int, limit: int = 1000) -> list[StoredRecord]:
        return [_record(row) for row in await self._fetch("tail", shard, after_seq, limit)]

    async def save_snapshot(
        self, shard: int, seq: int, body: bytes | Sequence[bytes | memoryview], *, record_hash: bytes = b""
    ) -> None:
        await self._call(lambda connection: snapshots.save(connection, shard, seq, body, record_hash))

    async def latest_snapshot(self, shard: int) -> tuple[int, bytes] | None:
        found = await self.load_snapshot(shard)
        return (found.seq, found.body) if found else None

    async def load_snapshot(self, shard: int) -> Snapshot | None:
        return await self._call(lambda connection: snapshots.load(connection, shard))

    async def seq_before(self, shard: int, at_ms: int) -> int:
        return await self._call(lambda connection: snapshots.seq_before(connection, shard, at_ms))

    async def drop_log(self, shard: int, below_seq: int, limit: int = 1000) -> int:
        return int(await self._fetchval("drop_log", shard, below_seq, limit))

    async def drop_history(self, before_ms: int, limit: int = 10_000) -> int:
        return int(await self._fetchval("drop_history", before_ms, limit))

    async def watermark(self, shard: int) -> Watermark | None:
        found = await self._fetch("watermark", shard)
        return Watermark(**found[0]) if found else None

    async def project(self, change: Change) -> None:
        await self._call(lambda connection: self._projector.write(connection, change))

    async def begin_rebuild(self, shard: int, epoch: int) -> None:
        await self._call(lambda connection: self._projector.begin(connection, shard, epoch))

    async def finish_rebuild(self, shard: int, epoch: int, seq: int, at_ms: int) -> None:
        await self._call(lambda connection: self._projector.finish(connection, shard, epoch, seq, at_ms))

    async def drop_stale_units(self, shard: int, limit: int = 50_000) -> int:
        return int(await self._fetchval("drop_stale_units", shard, limit))

    async def replace_history(self, shard: int, first_seq: int, last_seq: int, told: Sequence[HistoryRow]) -> None:
        await self._call(lambda connection: projector.retell(connection, shard, (first_seq, last_seq), told))

    async def rebuild_projection(
        self, units: Sequence[UnitRow], history: Sequence[HistoryRow], *, shard: int = 0
    ) -> None:
        """The rows of one shard, all at once: for few. Readers see the old rows until the end."""
        await self._call(lambda connection: projector.replace(connection, shard, units, history))

    async def units(self, *, service: str = "", kind: str = "") -> list[UnitRow]:
        """The projected units that match, by shard and machine; '' = all."""
        found = await self._fetch("units", service, kind)
        return [UnitRow(**{**row, "data": msgspec.json.decode(row["data"])}) for row in found]

    async def history(self, *, service: str = "", kind: str = "", limit: int = 200) -> list[HistoryRow]:
        if service:
            return [HistoryRow(**row) for row in await self._fetch("history_of_service", kind, limit, service)]
        return [HistoryRow(**row) for row in await self._fetch("history", kind, limit)]

    async def playbook_runs(self, since_ms: int) -> list[PlaybookRuns]:
        found = await self._fetch("playbook_runs", since_ms, rows.PLAYBOOK_KINDS, rows.ENDS, rows.EXERCISER)
        return [PlaybookRuns(**row) for row in found]

    async def claims(self, kind: str) -> list[Claim]:
        return [Claim(**row) for row in await self._fetch("claims", kind)]

    async def get_secret(self, name: str) -> str | None:
        found = await self._fetch("get_secret", name)
        return str(found[0]["value"]) if found else None

    async def put_secret(self, name: str, value: str) -> str:
        """Two statements, because one would not see a value that another controller commits meanwhile."""
        await self._fetch("put_secret", name, value)
        return str(await self._fetchval("get_secret", name))

    async def add_join_token(self, token_hash: str, server: str, incarnation: int) -> None:
        async def add(connection: Any) -> None:
            async with connection.transaction():
                await connection.execute(QUERIES["drop_unused_join_tokens"], server)
                await connection.execute(QUERIES["add_join_token"], token_hash, server, incarnation)

        await self._call(add)

    async def use_join_token(self, token_hash: str) -> tuple[str, int] | None:
        """Never tried twice: the second try of a spent token would say that it is no good. Unreachable may therefore
        mean that it is spent; the agent then needs a new one.
        """
        found = await self._fetch("use_join_token", token_hash, tries=1)
        return (found[0]["server"], found[0]["incarnation"]) if found else None

    async def close(self) -> None:
        await self._pool.close()

    async def _fetch(self, query: str, *values: Any, tries: int = 2) -> list[dict[str, Any]]:
        """Rows of one statement that may be repeated: a connection that died unnoticed is met once, then replaced."""

        async def fetch(connection: Any) -> list[dict[str, Any]]:
            found = await connection.fetch(QUERIES[query], *values)
            return [dict(row) for row in found]

        return await self._call(fetch, tries)

    async def _fetchval(self, query: str, *values: Any) -> Any:
        found = await self._fetch(query, *values)
        return next(iter(found[0].values())) if found else None

    async def _call(self, work: Callable[[Any], Awaitable[T]], tries: int = 2) -> T:
        """Do the work on a connection, again on another one when the first is lost; Unreachable after that. The work
        is one transaction whose repetition changes nothing.
        """
        for left in reversed(range(tries)):
            try:
                async with self._pool.connection() as connection:
                    return await work(connection)
            except _DRIVER_ERRORS as error:
                if not (is_lost(error) or is_refused(error)):
                    raise
                if not left or is_refused(error) or isinstance(error, TimeoutError):
                    raise unreachable(error) from error
        raise AssertionError("unreachable code")


_DRIVER_ERRORS = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


class _Taken(msgspec.Struct):
    """The detail of SQLSTATE HD002; no machine when the holder has let go since."""

    kind: str
    value: str
    machine: int | None


def _taken(error: BaseException) -> _Taken | None:
    if getattr(error, "sqlstate", None) != _CLAIM_TAKEN:
        return None
    return msgspec.json.decode(str(getattr(error, "detail", "")), type=_Taken)


def _passes(error: BaseException) -> bool:
    """True when the transaction was rolled back for a reason that is gone at the next try."""
    taken = _taken(error)
    return (taken is not None and taken.machine is None) or getattr(error, "sqlstate", None) in _RETRY


def _is_collision(error: BaseException) -> bool:
    if isinstance(error, asyncpg.UniqueViolationError):
        return bool(error.constraint_name == "log_pkey")
    return getattr(error, "sqlstate", None) == _BROKEN_CHAIN


def _commit_error(error: Exception) -> Exception:
    """What a commit that failed means to the engine; anything else is a bug and stays as it is."""
    if _is_collision(error):
        return Collision(str(error))
    if is_refused(error):
        return unreachable(error)
    if is_lost(error):
        return CommitUnknown(str(error) or type(error).__name__)
    return error


def _append_error(error: Exception, batch: Batch) -> Exception:
    """As `_commit_error`, and for a claim that is taken the claim as it was asked for."""
    taken = _taken(error)
    if taken is None:
        return _commit_error(error)
    claim = next(claim for claim in batch.claims if (claim.kind, claim.value) == (taken.kind, taken.value))
    return ClaimTaken(claim, taken.machine or 0)


def _json(values: Any) -> str | None:
    return msgspec.json.encode(values).decode() if values else None


def _record(row: Any) -> StoredRecord:
    return StoredRecord(**dict(row))


def _record_values(record: StoredRecord) -> tuple[int, int, int, int, bytes, bytes, bytes]:
    return (
        record.shard, record.seq, record.epoch, record.at_ms, record.body, record.prev_hash, record.hash,
    )  # fmt: skip
