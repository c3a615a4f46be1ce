"""What a run of tests that was broken off leaves: engines without a test, and what killed PostgreSQLs leave in the kernel.

A postmaster that is killed leaves a System V segment (a few bytes, but a machine has 4096 of them, and then no PostgreSQL starts)
and its POSIX segments (half a megabyte). The next start in the same directory removes both; here the directory is gone.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
from pathlib import Path

from herder.drivers.postgres.segments import IPC_RMID, POSIX, SYSV, listed

__all__ = ["POSIX", "SYSV", "end_all_in", "engine_users", "remove"]


def end_all_in(directory: Path) -> int:
    """Kill what works in this directory, or was started with a path in it; how many.

    A worker that was killed for a test that hung cannot end its engines.
    """
    ended, of = 0, f"{directory}/"
    for process in Path("/proc").glob("[0-9]*"):
        try:
            handle = os.pidfd_open(int(process.name))  # first: the number may come to mean another
        except OSError:
            continue
        try:
            if of in f"{process.joinpath('cwd').readlink()}/" or of in process.joinpath("cmdline").read_text():
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                ended += 1
        except (OSError, UnicodeDecodeError):
            continue  # it has ended, or is another user's
        finally:
            os.close(handle)
    return ended


def remove(since: float, users: frozenset[int] | None = None) -> int:
    """Remove what was made after that time (seconds since 1970), belongs to engines' users and is used by nobody; how many."""
    of = users if users is not None else engine_users()
    libc = ctypes.CDLL(None, use_errno=True)
    removed = sum(libc.shmctl(ident, IPC_RMID, None) == 0 for ident in _sysv(since, of))
    left = [path for path in POSIX.glob("PostgreSQL.*") if _is_of(path, since, of)]
    used = _mapped() if left else set()  # after the list: what is made is mapped at once
    for path in left:
        if str(path) not in used:
            path.unlink(missing_ok=True)
            removed += 1
    return removed


def engine_users() -> frozenset[int]:
    """Ourselves, and whom engines run as when we are root."""
    return frozenset({os.geteuid(), pwd.getpwnam("nobody").pw_uid} if os.geteuid() == 0 else {os.geteuid()})


def _sysv(since: float, users: frozenset[int]) -> list[int]:
    """Ids of segments that nobody has attached and whose maker is dead."""
    return [
        each["shmid"]
        for each in listed()
        if each["nattch"] == 0
        and each["cuid"] in users
        and each["ctime"] >= int(since)
        and not Path(f"/proc/{each['cpid']}").exists()
    ]


def _is_of(path: Path, since: float, users: frozenset[int]) -> bool:
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    return found.st_uid in users and found.st_ctime >= since


def _mapped() -> set[str]:
    """POSIX segments that some process has in its memory."""
    found: set[str] = set()
    for maps in Path("/proc").glob("[0-9]*/maps"):
        try:
            text = maps.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        found |= {line.split()[-1] for line in text.splitlines() if f" {POSIX}/PostgreSQL." in line}
    return found
