"""SQL to the local engine, over one connection a member that is kept open between looks."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg

from herder.drivers.postgres import config
from herder.drivers.postgres.hearing import Hearing
from herder.drivers.postgres.layout import Layout
from herder.model.errors import Unreachable
from herder.ports.driver import Heard, MemberSpec, Position, Reading, Role, Source

CONNECT_TIMEOUT_S = 3.0
QUERY_TIMEOUT_S = 10.0
"""Seconds for a statement of an action; a look has READ_TIMEOUT_S."""

READ_TIMEOUT_S = 1.0

BROKEN = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, TimeoutError)
"""All ways in which a connection fails; TimeoutError and ConnectionError are OSErrors, said for the reader."""

READ = """
SELECT pg_is_in_recovery() AS standby,
       CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() - '0/0'::pg_lsn
            ELSE pg_current_wal_lsn() - '0/0'::pg_lsn END::bigint AS position,
       (pg_last_wal_receive_lsn() - '0/0'::pg_lsn)::bigint AS received,
       CASE WHEN pg_is_in_recovery()
            THEN greatest(c.timeline_id, r.min_recovery_end_timeline, w.received_tli)
            ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int END AS timeline,
       w.status = 'streaming' AS upstream,
       extract(epoch FROM clock_timestamp() - w.last_msg_receipt_time)::float8 AS upstream_age,
       extract(epoch FROM clock_timestamp() - w.last_msg_send_time)::float8 AS sent_age,
       (w.latest_end_lsn - '0/0'::pg_lsn)::bigint AS upstream_end, w.received_tli AS upstream_timeline,
       (SELECT json_object_agg(application_name, (flush_lsn - '0/0'::pg_lsn)::bigint)
          FROM pg_stat_replication WHERE state = 'streaming' AND flush_lsn IS NOT NULL)::text AS streaming,
       current_setting('synchronous_standby_names') AS sync,
       s.system_identifier::text AS system_id
  FROM pg_control_checkpoint() c, pg_control_recovery() r, pg_control_system() s
  LEFT JOIN pg_stat_wal_receiver w ON true
"""
"""One look, one round trip. A primary's timeline is that of the segment it writes; a standby's the newest it has
anything of: pg_control's two values lag behind until the next restart point, the receiver's is current."""

PLEDGED = """
SELECT greatest(pg_last_wal_receive_lsn() - '0/0'::pg_lsn, pg_last_wal_replay_lsn() - '0/0'::pg_lsn)::bigint AS lsn,
       pg_last_wal_receive_lsn() IS NULL AS replays,
       greatest(c.timeline_id, r.min_recovery_end_timeline) AS timeline,
       (SELECT setting::bigint FROM pg_settings WHERE name = 'wal_segment_size') AS segment
  FROM pg_control_checkpoint() c, pg_control_recovery() r
"""

WAL_TIMELINE = """
SELECT max(('x' || left(name, 8))::bit(32)::int) FROM pg_ls_waldir()
 WHERE name ~ '^[0-9A-F]{24}$'
   AND ('x' || substr(name, 9, 8))::bit(32)::bigint * (4294967296 / $2::bigint)
       + ('x' || substr(name, 17, 8))::bit(32)::bigint = ($1::bigint - 1) / $2::bigint
"""
"""The newest timeline of which the segment that ends with a position is there: what the receiver wrote it on."""


class Sessions:
    """Open connections by data directory. Nothing of value is lost with them."""

    def __init__(self) -> None:
        self._open: dict[str, Any] = {}

    async def get(self, spec: MemberSpec, *, fresh: bool = False) -> Any:
        """The member's connection, made when there is none. Raises one of BROKEN."""
        kept = self._open.get(spec.data_dir)
        if kept is not None and not fresh and not kept.is_closed():
            return kept
        self.drop(spec)
        connection = await connect_local(spec)
        self._open[spec.data_dir] = connection
        return connection

    def drop(self, spec: MemberSpec) -> None:
        """Forget a member's connection without waiting for its server."""
        kept = self._open.pop(spec.data_dir, None)
        if kept is not None:
            kept.terminate()

    @asynccontextmanager
    async def use(self, spec: MemberSpec) -> AsyncIterator[Any]:
        """The member's connection for an action; Unreachable, with the server's own words, when it fails.

        A connection that turns out to be dead is replaced once, before anything was asked of it.
        """
        try:
            connection = await self.get(spec)
            try:
                await connection.execute("SELECT 1", timeout=QUERY_TIMEOUT_S)
            except (OSError, asyncpg.InterfaceError, asyncpg.PostgresConnectionError):
                connection = await self.get(spec, fresh=True)
            yield connection
        except BROKEN as error:
            self.drop(spec)
            raise Unreachable(f"PostgreSQL of {spec.member}: {words(error)}", "see its log beside its data") from error

    async def close(self) -> None:
        for connection in self._open.values():
            connection.terminate()
        self._open.clear()


def words(error: BaseException) -> str:
    """An error's own words, or its kind when it has none (a timeout)."""
    return str(error) or type(error).__name__


async def connect_local(spec: MemberSpec) -> Any:
    """Connect to the local engine as `herder` over its unix socket: known by our operating system user."""
    layout = Layout.of(spec)
    return await asyncpg.connect(
        host=str(layout.socket_dir),
        port=spec.port,
        user=config.ADMIN,
        password=spec.admin_password,
        database="postgres",
        timeout=CONNECT_TIMEOUT_S,
        command_timeout=QUERY_TIMEOUT_S,
        # What herder does to a member must not wait for that member's standbys: it is how they are repaired.
        server_settings={"application_name": "herder", "synchronous_commit": "local"},
    )


@asynccontextmanager
async def at_source(spec: MemberSpec, source: Source, user: str, password: str) -> AsyncIterator[Any]:
    """A connection to the member that is to be followed. Unreachable when it fails."""
    connection = None
    try:
        connection = await asyncpg.connect(
            host=source.address,
            port=source.port,
            user=user,
            password=password,
            database="postgres",
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=QUERY_TIMEOUT_S,
            ssl="prefer",
            server_settings={"application_name": f"herder for {spec.member}"},
        )
        yield connection
    except BROKEN as error:
        raise Unreachable(f"{source.member} at {source.address}:{source.port}: {words(error)}", "is it up?") from error
    finally:
        if connection is not None:
            connection.terminate()


async def make_slot(connection: Any, member: str) -> None:
    """The physical slot of a follower, when it is not there. Also on a standby that is about to be promoted."""
    with contextlib.suppress(asyncpg.DuplicateObjectError):
        await connection.execute(
            "SELECT pg_create_physical_replication_slot($1) WHERE NOT EXISTS"
            " (SELECT FROM pg_replication_slots WHERE slot_name = $1)",
            config.slot_name(member),
        )


async def look(connection: Any, pid: int, hearing: Hearing | None = None, data_dir: str = "") -> Reading:
    """One reading over an open connection. hearing: takes in and tells what a standby hears of its upstream's log."""
    row = await connection.fetchrow(READ, timeout=READ_TIMEOUT_S)
    standby: bool = row["standby"]
    heard = _heard(row, hearing, data_dir) if hearing is not None else None
    return Reading(
        heard=heard,
        alive=True,
        role=Role.STANDBY if standby else Role.PRIMARY,
        position=Position(row["timeline"], row["position"] or 0),
        received=max(row["received"] or 0, row["position"] or 0) if standby else None,
        upstream=bool(row["upstream"]) if standby else None,
        upstream_age_s=max(0.0, row["upstream_age"]) if standby and row["upstream_age"] is not None else None,
        streaming=json.loads(row["streaming"] or "{}"),
        sync=config.parse_sync(row["sync"]),
        system_id=row["system_id"],
        pid=pid,
    )


FRESH_S = 1.5
"""A stream that had a message within this brings something: nobody needs to remember what it said."""


def _heard(row: Any, hearing: Hearing, data_dir: str) -> Heard | None:
    if not row["standby"]:
        hearing.forget(data_dir)
        return None
    if row["upstream"] and row["upstream_end"] is not None and row["upstream_age"] is not None:
        # by either clock: a message that was long on its way, or one that came long ago
        age_s = max(row["upstream_age"], row["sent_age"] or 0.0, 0.0)
        hearing.take(data_dir, Position(row["upstream_timeline"], row["upstream_end"]), age_s)
        if age_s < FRESH_S:
            return None
    return hearing.told(data_dir)


_OTHERS = (" client backend ", " not yet connected ", " walsender ")
"""Kinds of process whose FATAL only says that somebody else was refused or ended."""


def last_words(log: Path, *, receiver: bool = False, limit: int = 64 * 1024) -> str:
    """The last line of an engine's log that gives a reason: PANIC or FATAL of the server itself, else its last LOG.

    receiver: may it be the walreceiver's? It says why a standby does not stream, never why an engine ended.
    """
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - limit))
            lines = stream.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    others = _OTHERS if receiver else (*_OTHERS, " walreceiver ")
    for marks in ((" PANIC: ", " FATAL: "), ("postmaster 00000 LOG: ", "startup 00000 LOG: ")):
        for line in reversed(lines):
            if any(mark in line for mark in marks) and not any(kind in line for kind in others):
                return line.strip()
    return lines[-1].strip() if lines else ""
