"""The lease's enforcer: a small process that outlives the agent and ends an engine whose lease was not renewed.

`python -I -S watchdog.py PID_FILE DATA_DIRECTORY LEASE_S`, with the deadline in shared memory as standard input. The agent
writes it at each renewal; here it is waited for with a timer of CLOCK_BOOTTIME, which also counts while the machine is
suspended and fires at once when a frozen process runs again. Memory and not a file, because a busy disk kept it waiting for
0.1 to 1.3 s over its own small record of what it did: nothing before the kill may touch one. Nothing but the standard
library is imported: it must stay under 12 MB and start in the time of a heartbeat.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import signal
import struct
import sys
import time
from collections.abc import Callable

DEADLINE = struct.Struct("=q")
"""Nanoseconds of CLOCK_BOOTTIME. Eight aligned bytes are copied whole, so no read sees half of a write."""

GIVEN_BACK = -1
"""Instead of a deadline: there is no lease any more."""

FIRED_SUFFIX = ".fired"
"""Beside the pid file: what it did, in words, for the agent's pulse."""

BUSY_S = 0.002
"""Between looks while processes are left."""

CALM_S = 0.25
"""Between looks after all are gone: what is started without a renewal is ended too. A look costs 1.5 ms."""

SECOND_NS = 1_000_000_000
_BOOTTIME, _ABSOLUTE, _CLOEXEC = 7, 1, 0o2000000


class Timer:
    """Sleeps until a moment of CLOCK_BOOTTIME; time.sleep counts CLOCK_MONOTONIC, which stands still in a suspend."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._handle = self._libc.timerfd_create(_BOOTTIME, _CLOEXEC)
        if self._handle < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")

    def wait_until(self, moment_ns: int) -> None:
        """Return then, or at once when it is over."""
        value = (ctypes.c_long * 4)(0, 0, *divmod(max(moment_ns, 1), SECOND_NS))
        if self._libc.timerfd_settime(self._handle, _ABSOLUTE, ctypes.byref(value), None):
            raise OSError(ctypes.get_errno(), "timerfd_settime")
        os.read(self._handle, 8)


def boottime_ns() -> int:
    """The clock that deadlines are of."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Deadline:
    """The shared deadline. The agent writes it, the watchdog reads it; neither touches a disk."""

    def __init__(self, handle: int) -> None:
        self._memory = mmap.mmap(handle, DEADLINE.size)

    def read(self) -> int:
        """Nanoseconds of CLOCK_BOOTTIME, or GIVEN_BACK."""
        return int(DEADLINE.unpack_from(self._memory)[0])

    def write(self, moment_ns: int) -> None:
        """Put it in force."""
        DEADLINE.pack_into(self._memory, 0, moment_ns)

    def over(self) -> bool:
        """Is there a lease, and has it run out?"""
        return GIVEN_BACK < self.read() <= boottime_ns()

    def close(self) -> None:
        """Let go of it; the other end keeps it."""
        self._memory.close()


def works_in(pid: str, wanted: frozenset[str]) -> bool:
    """Is one of these its working directory? The rule of drivers.processes, which is too heavy to import."""
    try:
        return os.readlink(f"/proc/{pid}/cwd").removesuffix(" (deleted)") in wanted
    except OSError:  # gone, a zombie, a kernel thread
        return False


def find(wanted: frozenset[str]) -> list[str]:
    """Processes of the engine, oldest first: the one that forks the others ends first."""
    return sorted((name for name in os.listdir("/proc") if name.isdigit() and works_in(name, wanted)), key=int)


def kill(pid: str, wanted: frozenset[str], still: Callable[[], bool]) -> bool:
    """SIGKILL through a pidfd that was opened before the look, so that a recycled pid is never hit.

    still: asked last, because the lease may be renewed and the engine started again while this looks.
    """
    try:
        handle = os.pidfd_open(int(pid))
    except OSError:
        return False
    try:
        if not (works_in(pid, wanted) and still()):
            return False
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return False
    finally:
        os.close(handle)
    return True


def guard(path: str, directory: str, lease_s: float) -> None:
    """Watch until the lease is given back."""
    wanted = frozenset({directory, os.path.realpath(directory)})
    deadline = Deadline(0)
    timer = Timer()
    _write(path, str(os.getpid()))  # before it is ready, so that whoever comes after a dead agent finds it
    os.write(1, b"1")  # the agent waits for this before it says that the lease is in force
    _let_go_of_pipe()
    known: list[str] = []
    killed = recorded = 0
    while (moment := deadline.read()) != GIVEN_BACK:
        if moment > boottime_ns():
            killed, recorded, known = 0, 0, find(wanted)
            timer.wait_until(moment)
            continue
        # Those known from the last look first: a scan of /proc costs milliseconds in which a thawed engine acknowledges.
        found = sum(kill(pid, wanted, deadline.over) for pid in known)
        found += sum(kill(pid, wanted, deadline.over) for pid in find(wanted))
        known, killed = [], killed + found
        if not found and killed > recorded:  # the disk comes after the killing: it may hang
            silent_s = (boottime_ns() - moment) / SECOND_NS + lease_s
            _record(path, f"stopped by its lease: no renewal for {silent_s:.1f} s ({killed} processes)")
            recorded = killed
        time.sleep(BUSY_S if found else CALM_S)


def _record(path: str, words: str) -> None:
    """A disk that is full must not keep it from killing."""
    with contextlib.suppress(OSError):
        _write(path + FIRED_SUFFIX, words)


def _write(path: str, words: str) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(handle, words.encode())
    finally:
        os.close(handle)


def _let_go_of_pipe() -> None:
    handle = os.open(os.devnull, os.O_WRONLY)
    os.dup2(handle, 1)
    os.close(handle)


def _come_first() -> None:
    """Where it may: before engines on the processor, and the last that the kernel would end for want of memory."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    with contextlib.suppress(OSError):
        handle = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        try:
            os.write(handle, b"-1000")
        finally:
            os.close(handle)


def main() -> int:
    """SIGTERM ends it: the agent sends that after the lease was given back."""
    if len(sys.argv) != 4:
        sys.stderr.write("usage: watchdog.py PID_FILE DATA_DIRECTORY LEASE_S < shared memory\n")
        return 2
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    _come_first()
    guard(sys.argv[1], sys.argv[2], float(sys.argv[3]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
