"""Replication settings put in force and *proved* to be: a reload is only a signal, and each process takes it when it can."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import Any

import asyncpg

from herder.drivers import processes
from herder.drivers.postgres import config
from herder.drivers.postgres.layout import Layout
from herder.drivers.postgres.session import PLEDGED, WAL_TIMELINE
from herder.drivers.processes import POLL_S
from herder.model.errors import Refused, TimedOut
from herder.ports.driver import MemberSpec, Position, SyncSet

LIMIT_S = 10.0
"""Seconds a running engine may take to put a setting in force; a stuck disk takes longer, and then nothing is claimed."""

BUSY_S = 0.1
"""Seconds without a walreceiver after which a startup process that is busy replaying counts too: it looks at its signals
between two records."""

REPLAY_SETTLED_S = 0.35
"""Seconds without replay after which all of the log on disk is replayed: three times wal_retrieve_retry_interval."""

_AUXILIARY = "SELECT pid, wait_event FROM pg_stat_activity WHERE backend_type = $1"

_IDLE_STARTUP = frozenset({"RecoveryWalStream", "RecoveryRetrieveRetryInterval"})

_IDLE_CHECKPOINTER = frozenset({"CheckpointerMain", "CheckpointWriteDelay"})
"""Where the checkpointer takes a reload before it sleeps on. While it fsyncs it does not, for seconds on a slow disk."""


def _receivers(paths: Layout) -> list[int]:
    """Walreceiver processes. From /proc: pg_stat_wal_receiver does not show one that is only starting."""
    return [pid for pid in processes.within(paths.data) if "walreceiver" in processes.command_of(pid)]


async def require_no_promotion(connection: Any, paths: Layout, spec: MemberSpec) -> None:
    """Raise Refused when it leads, or will in a moment: a promotion that was asked for is not taken back by whoever gave way.

    It is a file until the startup process has seen it, then a flag, of which only the functions that pause tell.
    """
    if (paths.data / "promote").exists():
        raise Refused(f"{spec.member} is being promoted", "ask again: it will be a primary")
    try:
        await connection.execute("SELECT pg_wal_replay_resume()")  # does nothing where nothing is paused
    except asyncpg.ObjectNotInPrerequisiteStateError as error:
        raise Refused(f"{spec.member} leads or is being promoted: {error}", "read it again") from error


async def stop_receiving(connection: Any, paths: Layout) -> None:
    """After `herder.stream.conf` was emptied: return when no walreceiver runs and none can be started any more.

    Only the startup process starts receivers, by the setting as *it* last read it. So it is signalled directly, its
    handler must have run, and it must be seen waiting (which is after it has looked at the flag) with no receiver in two
    looks. A look at pg_stat_wal_receiver alone is no proof: with a dead primary the receiver comes and goes every 100 ms.
    """
    await connection.execute("SELECT pg_reload_conf()")
    row = await connection.fetchrow(_AUXILIARY, "startup")
    startup: int = row["pid"]
    processes.send(startup, signal.SIGHUP, paths.data)
    for receiver in _receivers(paths):
        processes.send(receiver, signal.SIGTERM, paths.data)
    deadline = time.monotonic() + LIMIT_S
    quiet_since: float | None = None
    idle = 0
    while True:
        now = time.monotonic()
        waiting = (await connection.fetchrow(_AUXILIARY, "startup"))["wait_event"] in _IDLE_STARTUP
        if processes.signal_waits(startup, signal.SIGHUP) or _receivers(paths):
            quiet_since, idle = None, 0
        else:
            quiet_since = quiet_since or now
            idle = idle + 1 if waiting else 0
            if idle >= 2 or now - quiet_since > BUSY_S:
                return
        if now > deadline:
            raise TimedOut("the standby does not stop streaming", "its disk may hang; this member has not pledged")
        await asyncio.sleep(POLL_S)


async def pledged_position(connection: Any, before: int) -> Position:
    """How far a standby that receives nothing any more reaches. before: the timeline its receiver had, 0 when unknown."""
    row = await connection.fetchrow(PLEDGED)
    if row["replays"]:  # nothing was received in this life: what counts is on disk, and is known once it is replayed
        settled = time.monotonic()
        while time.monotonic() - settled < REPLAY_SETTLED_S:
            await asyncio.sleep(REPLAY_SETTLED_S / 10)
            again = await connection.fetchrow(PLEDGED)
            if again["lsn"] != row["lsn"]:
                settled = time.monotonic()
            row = again
    lsn: int = row["lsn"] or 0
    written = await connection.fetchval(WAL_TIMELINE, lsn, row["segment"])
    return Position(max(row["timeline"] or 0, written or 0, before), lsn)


async def sync_in_force(connection: Any, paths: Layout, sync: SyncSet) -> None:
    """After `herder.sync.conf` was written: return when every commit from now on waits for `sync`.

    Two things must have happened: walsenders have the new list (sync_priority is what each made of it), and, when the
    list was empty before, the checkpointer has told all backends to wait (SyncRepUpdateSyncStandbysDefined).
    """
    await connection.execute("SELECT pg_reload_conf()")
    row = await connection.fetchrow(_AUXILIARY, "checkpointer")
    checkpointer: int | None = row["pid"] if row else None
    if checkpointer is not None:
        processes.send(checkpointer, signal.SIGHUP, paths.data)
    deadline = time.monotonic() + LIMIT_S
    idle = 0
    while True:
        shown = config.parse_sync(await connection.fetchval("SHOW synchronous_standby_names"))
        row = await connection.fetchrow(_AUXILIARY, "checkpointer")
        taken = checkpointer is None or (
            not processes.signal_waits(checkpointer, signal.SIGHUP)
            and row is not None
            and row["wait_event"] in _IDLE_CHECKPOINTER
        )
        idle = idle + 1 if taken and shown == sync else 0
        if idle >= 2:
            return
        if time.monotonic() > deadline:
            raise TimedOut(
                f"the sync set {sync} is not in force (it shows {shown})", "a checkpoint may hang on the disk"
            )
        await asyncio.sleep(POLL_S / 2)


async def end_senders(connection: Any, old: SyncSet, new: SyncSet) -> None:
    """End the walsenders that may still release commits by the old list: struck members', and all when k changed.

    They connect again within wal_retrieve_retry_interval and then go by the new list.
    """
    struck = set(old.members) - set(new.members)
    if old.k != new.k and old.k > 0 and new.k > 0:
        struck |= set(old.members)
    rows = await connection.fetch(
        "SELECT pid, pg_terminate_backend(pid) FROM pg_stat_replication"
        " WHERE application_name = ANY($1) OR (sync_priority > 0 AND application_name <> ALL($2))",
        sorted(struck),
        list(new.members),
    )
    deadline = time.monotonic() + LIMIT_S
    for pid in (row["pid"] for row in rows):  # pg_terminate_backend's own wait looks every 100 ms only
        if not await processes.gone(pid, max(0.0, deadline - time.monotonic())):
            raise TimedOut("a walsender of the old sync set does not end", "its disk or network may hang")
