"""Start and stop: an engine is running when it answers, and stopped when no process keeps its directory."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from pathlib import Path

from herder.drivers import processes
from herder.drivers.postgres import config, layout, segments
from herder.drivers.postgres.layout import Layout
from herder.drivers.postgres.session import last_words
from herder.drivers.processes import POLL_S, Account
from herder.model.errors import Environment, TimedOut
from herder.ports.driver import MemberSpec, Running, SyncSet

READY_LIMIT_S = 3600.0
"""Seconds a start may take while it makes progress: crash recovery of a large log takes as long as it takes."""

STALLED_S = 60.0
"""Seconds without progress after which a start has failed. A read of a slow disk may last some seconds."""

STALLED_TICKS = 20
"""Clock ticks (10 ms) of work in STALLED_S that count as progress: waiting for WAL that never comes uses about 1 a second."""

CLEAN_STOP_S = 20.0
"""Seconds a clean stop may take; then it is ended at once. A frozen standby holds it up for wal_sender_timeout, 6 s."""

LOG_MAX_BYTES = 16 * 1024**2
"""A log larger than this is turned over at the next start (one older log is kept)."""


def postmaster(paths: Layout) -> int | None:
    """Pid of the live postmaster of this directory, or None. The pid file is believed only as far as /proc agrees."""
    try:
        pid = int(paths.pid_file.read_text().splitlines()[0])
    except (FileNotFoundError, NotADirectoryError, IndexError, ValueError):
        return None
    return pid if processes.lives_in(pid, paths.data) else None


def _status(paths: Layout) -> str:
    """The postmaster's own word in its pid file: 'starting', 'ready', 'standby', 'stopping'; '' while there is none."""
    try:
        lines = paths.pid_file.read_text().splitlines()
    except FileNotFoundError:
        return ""
    return lines[7].strip() if len(lines) > 7 else ""


def _work_done(paths: Layout) -> int:
    """Processor time the directory's processes used, in ticks."""
    return sum(processes.cpu_ticks(pid) for pid in processes.within(paths.data))


async def _await_ready(paths: Layout, pid: int, limit_s: float, stalled_s: float) -> None:
    """Wait for the postmaster to say that it accepts connections. The pid file is read, not connected to: 20 us a look."""
    began = looked = time.monotonic()
    done = 0
    while _status(paths) != "ready":
        if processes.started_at(pid) is None:
            processes.reap(pid)
            raise Environment(f"PostgreSQL did not start: {last_words(paths.log)}", f"see {paths.log}")
        now = time.monotonic()
        if now - began > limit_s:
            raise TimedOut(
                f"PostgreSQL is not ready after {limit_s:.0f} s: {last_words(paths.log)}", f"see {paths.log}"
            )
        if now - looked > stalled_s:
            work, looked = _work_done(paths), now
            if work - done < STALLED_TICKS * stalled_s / STALLED_S:
                raise TimedOut(f"PostgreSQL's start makes no progress: {last_words(paths.log)}", f"see {paths.log}")
            done = work
        await asyncio.sleep(POLL_S)


def _turn_log_over(paths: Layout) -> None:
    with contextlib.suppress(FileNotFoundError):
        if paths.log.stat().st_size > LOG_MAX_BYTES:
            paths.log.replace(paths.log.with_suffix(".log.1"))


def write_config(spec: MemberSpec, paths: Layout, at: Path, account: Account) -> None:
    """Write what follows from the spec into the directory `at` (the data, or a copy being made)."""
    there = paths.at(at)
    layout.write_if_changed(at / "postgresql.conf", config.render_main(spec, paths), account)
    layout.write_if_changed(at / "pg_hba.conf", config.render_hba(spec), account)
    layout.write_if_changed(at / "pg_ident.conf", config.render_ident(), account)
    layout.write_if_changed(
        at / "postgresql.auto.conf", "# ALTER SYSTEM is off: herder writes postgresql.conf.\n", account
    )
    for path, text in (
        (there.sync_conf, config.render_sync(SyncSet())),
        (there.stream_conf, config.render_stream(spec, None)),
    ):
        if not path.exists():
            layout.write(path, text, account)


async def start(
    spec: MemberSpec, bin_dir: Path, account: Account, *, limit_s: float = READY_LIMIT_S, stalled_s: float = STALLED_S
) -> Running:
    """Start on the data as it is, or adopt what runs. Returns once it accepts connections."""
    paths = Layout.of(spec)
    running = postmaster(paths)
    if running is not None and _status(paths) == "stopping":
        await processes.gone(running, CLEAN_STOP_S)
        running = None  # it ends; what may be left of it is killed below
    if running is not None:
        await _await_ready(paths, running, limit_s, stalled_s)
        return Running(running, started=False)
    await clear(paths)
    layout.prepare(paths, account)
    for stale in paths.socket_dir.glob(".s.PGSQL.*"):  # its lock file names a pid, too, and pids come round in minutes
        stale.unlink(missing_ok=True)
    write_config(spec, paths, paths.data, account)
    _turn_log_over(paths)
    pid = processes.spawn(
        [str(bin_dir / "postgres"), "-D", str(paths.data)],
        account=account,
        cwd=paths.data,
        log=paths.log,
        # Children give up the postmaster's protection from the kernel's out-of-memory killer.
        extra_env={"PG_OOM_ADJUST_FILE": "/proc/self/oom_score_adj", "PG_OOM_ADJUST_VALUE": "0"}
        if os.geteuid() == 0
        else {},
    )
    if os.geteuid() == 0:
        processes.shield_from_oom(pid)
    await _await_ready(paths, pid, limit_s, stalled_s)
    return Running(pid, started=True)


async def clear(paths: Layout) -> int:
    """Kill what is left in the directory and forget the first process; returns how many were killed.

    Backends of a dead postmaster still acknowledge. A stale pid file names somebody else's process soon, or a zombie of
    ours, and PostgreSQL then refuses to start; with no process left in the directory it is safe to remove. It names the shared
    memory that was left, too: who is copied anew or goes to the trash has no next start that would give it back.
    """
    left = segments.named_in(paths.pid_file)
    try:
        first = int(paths.pid_file.read_text().splitlines()[0])
    except (FileNotFoundError, NotADirectoryError, IndexError, ValueError):
        first = 0
    killed = await processes.kill_within(paths.data)
    if first > 0:
        processes.reap(first)
        paths.pid_file.unlink(missing_ok=True)
    if left is not None:
        segments.give_back(left)
    return killed


async def stop(spec: MemberSpec, *, fast: bool) -> str:
    """End it; returns in words how it was confirmed that nothing is left."""
    paths = Layout.of(spec)
    pid = postmaster(paths)
    how = "its first process was gone"
    if pid is not None and fast:
        processes.send(pid, signal.SIGINT, paths.data)
        clean = await processes.gone(pid, CLEAN_STOP_S)
        how = "clean shutdown" if clean else f"ended at once: no clean shutdown within {CLEAN_STOP_S:.0f} s"
    elif pid is not None:
        how = "ended at once"
    killed = await clear(paths)
    if killed and not how.startswith("ended"):
        how += f", {killed} processes left over were killed"
    return f"{how}; two scans of /proc/*/cwd found no process in {paths.data}"
