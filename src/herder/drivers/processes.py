"""Engine processes: started as an unprivileged user, not dependent on the agent's life, found again by their directory.

Shared by the drivers. A process is only ever signalled through a pidfd that was opened before its identity was checked,
so a recycled pid is never hit. "Stopped" is what /proc shows, never what a parent or a pid file says: a busy PostgreSQL
backend outlives its postmaster and leaves its process group, but it keeps the data directory as its cwd.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

from herder.model.errors import Environment, TimedOut

POLL_S = 0.005
"""Seconds between looks where the kernel offers no signal to wait for (a scan of /proc costs 2-5 ms)."""

OOM_SCORE_ADJ = -900
"""What PostgreSQL's documentation advises for a first process, so that the kernel kills a backend and not the service."""


@dataclass(frozen=True, slots=True)
class Account:
    """Whom engine processes run as. uid None: as ourselves (the agent is not root, or must not change users)."""

    uid: int | None = None
    gid: int | None = None

    @classmethod
    def named(cls, user: str) -> Account:
        """The account for `user` when we are root; ourselves when we are not. Environment error when it is unknown."""
        if os.geteuid() != 0:
            return cls()
        try:
            entry = pwd.getpwnam(user)
        except KeyError:
            raise Environment(
                f"there is no user '{user}' on this machine",
                "create it, or name another with HERDER_ENGINE_USER; engines never run as root",
            ) from None
        if entry.pw_uid == 0:
            raise Environment(f"'{user}' is root", "engines never run as root: name another with HERDER_ENGINE_USER")
        return cls(entry.pw_uid, entry.pw_gid)

    def own(self, path: Path) -> None:
        """Give one file or directory to the account (nothing to do when we are it)."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def make_dir(self, path: Path, mode: int = 0o700) -> None:
        """Make a directory that belongs to the account; parents are made readable and stay ours."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode)
        self.own(path)

    @property
    def options(self) -> dict[str, object]:
        """Keyword arguments of subprocess for running as the account, with none of our groups."""
        if self.uid is None:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """A small environment for engine programs: ours may hold PG* variables, secrets, or a locale they do not have."""
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC", **(extra or {})}


def spawn(
    argv: Sequence[str], *, account: Account, cwd: Path, log: Path, extra_env: Mapping[str, str] | None = None
) -> int:
    """Start a process that outlives us: its own session, standard streams to `log` (appended). Returns its pid.

    Nothing waits for it here; it is watched by pidfd (`gone`), so an agent that was started again treats it alike.
    """
    with log.open("ab") as stream:
        account.own(log)
        process = subprocess.Popen(
            argv,
            cwd=cwd,
            env=environment(extra_env),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
            umask=0o077,
            **account.options,  # type: ignore[call-overload]  # user, group and extra_groups, or none of them
        )
    pid: int = process.pid
    process.returncode = 0  # we reap by pid ourselves; this keeps Popen from warning that its process still runs
    return pid


def shield_from_oom(pid: int) -> None:
    """Make the kernel prefer other victims, where we may."""
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/oom_score_adj").write_text(str(OOM_SCORE_ADJ))


def reap(pid: int) -> None:
    """Collect the exit status when it was our child, so that no zombie keeps its pid."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def started_at(pid: int) -> int | None:
    """The kernel's start time of a process in ticks since boot; with the pid it names one process for good.

    None when there is none, or only a zombie (a zombie neither runs nor acknowledges anything).
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in {b"Z", b"X"} else int(fields[19])


def cpu_ticks(pid: int) -> int:
    """Ticks of processor time a process used so far; 0 when it is gone. Progress of a recovery shows here."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(fields[11]) + int(fields[12])


def command_of(pid: int) -> str:
    """A process's command line with spaces between arguments; '' when it is gone."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""
    return raw.replace(b"\0", b" ").decode(errors="replace").strip()


def signal_waits(pid: int, number: int) -> bool:
    """Is a signal sent to the process still pending, that is, its handler has not run yet?"""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    bit = 1 << (number - 1)
    return any(
        int(line.split()[1], 16) & bit for line in status.splitlines() if line.startswith(("SigPnd:", "ShdPnd:"))
    )


def _cwd_is(pid: str, wanted: set[str]) -> bool:
    try:
        # os.readlink and os.listdir: pathlib costs three times as much, and this runs for every process of the machine.
        return os.readlink(f"/proc/{pid}/cwd").removesuffix(" (deleted)") in wanted
    except OSError:  # gone, a zombie, a kernel thread, or another user's: an engine of ours is none of these
        return False


def lives_in(pid: int, directory: Path) -> bool:
    """Is there a live process of this pid whose cwd is `directory`? A zombie has no cwd any more."""
    return _cwd_is(str(pid), {str(directory), os.path.realpath(directory)})


def within(directory: Path) -> list[int]:
    """Pids of all live processes whose cwd is `directory` (also one deleted meanwhile), lowest first. About 2-5 ms."""
    wanted = {str(directory), os.path.realpath(directory)}
    entries = os.listdir("/proc")
    return sorted(int(entry) for entry in entries if entry.isdigit() and _cwd_is(entry, wanted))


def send(pid: int, number: int, directory: Path | None = None, start: int | None = None) -> bool:
    """Signal a process, but only when it is the one meant: its cwd is `directory`, or its start time `start`.

    Returns whether it was signalled. The pidfd is opened first and the identity checked after, so the pid cannot be
    handed to another process in between.
    """
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if directory is not None and not _cwd_is(str(pid), {str(directory), os.path.realpath(directory)}):
            return False
        if start is not None and started_at(pid) != start:
            return False
        signal.pidfd_send_signal(descriptor, number)
        return True
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)


async def gone(pid: int, timeout_s: float) -> bool:
    """Wait until a process has ended, woken by the kernel; False when it still runs after `timeout_s`."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        await asyncio.wait_for(ended.wait(), timeout_s)
        reap(pid)
        return True
    except TimeoutError:
        return started_at(pid) is None
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


async def kill_within(directory: Path, timeout_s: float = 10.0) -> int:
    """SIGKILL everything in `directory` until two scans in a row, `POLL_S` apart, show nothing. Returns how many died.

    Two scans, because a process may be forked between the reading of one /proc entry and the next. A process that
    cannot die (stuck in the kernel on its disk) is a TimedOut error: it may still write, so nobody may promote.
    """
    deadline = time.monotonic() + timeout_s
    killed: set[int] = set()
    empty = 0
    while empty < 2:
        left = within(directory)
        empty = 0 if left else empty + 1
        for pid in left:
            if send(pid, signal.SIGKILL, directory):
                killed.add(pid)
        if left and time.monotonic() > deadline:
            raise TimedOut(
                f"processes {left} of {directory} do not die",
                "they hang in the kernel, mostly on a stuck volume: fence the server",
            )
        if empty < 2:
            await asyncio.sleep(POLL_S)
    for pid in killed:
        reap(pid)
    return len(killed)


async def _ended(process: subprocess.Popen[bytes], timeout_s: float) -> None:
    """Wait for our own child, woken by the kernel. Raises TimeoutError."""
    descriptor = os.pidfd_open(process.pid)
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        await asyncio.wait_for(ended.wait(), timeout_s)
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    process.poll()


async def run(
    argv: Sequence[str],
    *,
    account: Account,
    cwd: Path,
    timeout_s: float,
    extra_env: Mapping[str, str] | None = None,
    done_codes: tuple[int, ...] = (0,),
) -> str:
    """Run a program of the engine to its end and return what it said. Environment error with its last lines when it fails.

    cwd: a directory only this member uses, so that a run whose agent was killed is found by `within(cwd)` and ended.
    """
    name = Path(argv[0]).name
    # Not asyncio's own subprocesses: uvloop's cannot change the user. Output goes to a file, so nothing can block on a pipe.
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(  # noqa: ASYNC220  the fork is all that blocks
            argv,
            cwd=cwd,
            env=environment(extra_env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=0o077,
            **account.options,  # type: ignore[call-overload]  # user, group and extra_groups, or none of them
        )
        try:
            await _ended(process, timeout_s)
        except TimeoutError:
            raise TimedOut(
                f"{name} did not finish within {timeout_s:.0f} s", "look at the server's load and disk"
            ) from None
        finally:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        output.seek(0)
        text = output.read().decode(errors="replace")
    if process.returncode not in done_codes:
        tail = "; ".join(line.strip() for line in text.splitlines()[-6:] if line.strip())
        raise Environment(
            f"{name} failed ({process.returncode}): {tail}", "see the engine's log beside its data directory"
        )
    return text


P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """asyncio.to_thread that ends with its thread, also when it is cancelled.

    A thread cannot be cancelled. Were its caller, whoever comes next would find it still at work on the same files
    (seen: a copy of a cluster, begun anew while the first one's thread still wrote, kept a directory of root's).
    """
    at_work = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(at_work)
    except asyncio.CancelledError:
        await asyncio.wait({at_work})
        if not at_work.cancelled():
            at_work.exception()  # asked for, or asyncio complains that nobody did
        raise
