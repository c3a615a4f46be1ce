"""PostgreSQL processes of one data directory: which one leads, and what a killed one left behind (Linux: /proc)."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

KILL_S = 10.0
"""Seconds until a killed process must be gone; longer means that it hangs in the kernel."""

_OURS = frozenset({"postgres", "initdb"})
"""Names of programs that are ended when they still stand in the store's directory; a person's shell is not."""

_QUIT_S = 5.0


def postmaster(data: Path) -> int | None:
    """Its pid when it lives: a number in postmaster.pid may since belong to somebody else, or to a zombie."""
    found = status(data)
    if found is None or not _stands_in(found[0], data):
        return None
    return found[0]


def status(data: Path) -> tuple[int, str] | None:
    """(pid, status) of postmaster.pid: 'starting', 'ready', 'stopping', or '' before it says."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
        return int(lines[0]), lines[7].strip() if len(lines) > 7 else ""
    except (OSError, ValueError, IndexError):
        return None


def _stands_in(pid: int, folder: Path) -> bool:
    """True for a living PostgreSQL program whose working directory is `folder` or inside. A zombie has none."""
    try:
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        where = Path(os.readlink(f"/proc/{pid}/cwd").removesuffix(" (deleted)"))
    except OSError:
        return False
    return name in _OURS and where.is_relative_to(folder.resolve())


def has_ended(child: subprocess.Popen[bytes] | None, pid: int) -> bool:
    """True for our child once it ended, and for an adopted process once it is gone."""
    if child is not None:
        return child.poll() is not None
    return not Path(f"/proc/{pid}/cwd").exists()


def _standing_in(folder: Path) -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid() and _stands_in(int(entry.name), folder):
            yield int(entry.name)


def end_leftovers(home: Path) -> None:
    """Kill what a killed postmaster or initdb left: its backends hold the shared memory, and could write on."""
    for pid in list(_standing_in(home)):
        with suppress(ProcessLookupError):
            _signal_and_wait(pid, signal.SIGKILL, KILL_S)


def stop_postmaster(pid: int, fast_s: float) -> None:
    """A fast stop; then an immediate one (which recovery repairs); its leftovers are the caller's to end."""
    with suppress(ProcessLookupError):
        if not _signal_and_wait(pid, signal.SIGINT, fast_s) and not _signal_and_wait(pid, signal.SIGQUIT, _QUIT_S):
            _signal_and_wait(pid, signal.SIGKILL, KILL_S)


def _signal_and_wait(pid: int, number: signal.Signals, seconds: float) -> bool:
    """True when the process ended in time. A pidfd, so that a pid used again is never hit."""
    descriptor = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(descriptor, number)
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(seconds * 1000))
    finally:
        os.close(descriptor)
