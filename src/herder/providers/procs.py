"""Which processes belong to a server, read from /proc; and ending them until none is left.

A pid alone names nothing for long: it is always kept together with its start time and the boot it belongs to.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from herder.providers import cgroups


class Finder(Protocol):
    """Looks at /proc once, or only at the pids of `among`, and returns those that belong to somebody."""

    def __call__(self, among: Iterable[int] | None = None) -> list[int]: ...


_GONE = frozenset("ZXx")
"""States in /proc/PID/stat of a process that runs no more: it only waits for its parent to ask for the exit code."""


_NAMED = 5

_CHASES = 100
"""Looks at new pids after one at all: it bounds what other people's forks can cost, not what is proven."""


class StillThere(Exception):
    """Processes that were killed and did not end in time (most often waiting for a disk: state D), or no proof."""

    def __init__(self, pids: list[int]) -> None:
        named = [f"{pid} ({describe(pid)})" for pid in pids[:_NAMED]]
        more = [f"{len(pids) - _NAMED} more"] if len(pids) > _NAMED else []
        super().__init__(", ".join(named + more) or "none is seen, but others fork too fast to be sure")
        self.pids = pids


def boot_id() -> str:
    """The kernel's name for this boot: after a reboot all remembered pids and inodes are void."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _stat(pid: int) -> list[str] | None:
    """Fields of /proc/PID/stat from the third on (state first), or None when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text.rpartition(")")[2].split()  # the second field, the name, may contain anything, also ')'


def start_ticks(pid: int) -> int | None:
    """When the process began, in clock ticks since boot; None when it is gone or a zombie."""
    fields = _stat(pid)
    if fields is None or fields[0] in _GONE:
        return None
    return int(fields[19])


def is_stopped(pid: int) -> bool:
    """Is it frozen by a signal (or gone, which is as still as it gets)?"""
    fields = _stat(pid)
    return fields is None or fields[0] in "Tt" or fields[0] in _GONE


def describe(pid: int) -> str:
    """Name and state for people: 'postgres, state D'."""
    try:
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "gone"
    fields = _stat(pid)
    return f"{name}, state {fields[0]}" if fields else name


def is_running(pid: int, ticks: int) -> bool:
    """Does this very process (not a later one with the same number) still run?"""
    return pid > 0 and start_ticks(pid) == ticks


def _pids(among: Iterable[int] | None) -> Iterator[str]:
    own = str(os.getpid())
    names = os.listdir("/proc") if among is None else map(str, among)
    return (name for name in names if name[0].isdigit() and name != own)


def in_namespaces(inodes: frozenset[int], among: Iterable[int] | None = None) -> list[int]:
    """Processes whose network namespace is one of these (as `ip netns pids`). Zombies have none and do not show."""
    wanted = {f"net:[{inode}]" for inode in inodes}
    found = []
    for name in _pids(among):
        try:
            if os.readlink(f"/proc/{name}/ns/net") in wanted:
                found.append(int(name))
        except OSError:
            continue
    return found


def working_under(directory: Path, among: Iterable[int] | None = None) -> list[int]:
    """Processes whose working directory is `directory` or inside it, also when it was removed under them."""
    top = os.path.realpath(directory)
    inside = top + "/"
    found = []
    for name in _pids(among):
        try:
            where = os.readlink(f"/proc/{name}/cwd").removesuffix(" (deleted)")
        except OSError:
            continue
        if where == top or where.startswith(inside):
            found.append(int(name))
    return found


def command_line(pid: int) -> list[str]:
    """The process's arguments; empty when it is gone."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return []
    return [os.fsdecode(part) for part in raw.split(b"\0")[:-1]]


def environment(pid: int) -> dict[str, str]:
    """What the process was started with; empty when it is gone or not ours to read."""
    try:
        raw = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {}
    pairs = (part.partition(b"=") for part in raw.split(b"\0") if b"=" in part)
    return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}


def send(pid: int, number: signal.Signals) -> None:
    """Signal a process that may have ended meanwhile."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def forks() -> int:
    """How many processes and threads were ever begun on this machine since it booted."""
    lines = Path("/proc/stat").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("processes "))


def _newest() -> int:
    """The pid that was given out last."""
    return int(Path("/proc/loadavg").read_text().rsplit(maxsplit=1)[-1])


def _look(find: Finder) -> list[int]:
    """One look at /proc, then at the pids that were given out while it went on, as long as there are any.

    A look takes a millisecond and reaches the newest pids last: a process that forks and ends in less is never where
    one looks. A look at the few pids since is some microseconds behind it.
    """
    seen = _newest()
    pids = find()
    for _ in range(_CHASES):
        newest = _newest()
        if pids or newest == seen:
            break
        pids = find(range(seen + 1, newest + 2))  # after the last one wraps to the first, this is empty: no harm
        seen = newest
    return pids


def kill_until_gone(find: Finder, timeout_s: float, group: Path | None = None) -> int:
    """SIGKILL what `find` finds until it is proven that nothing is left; returns how many were seen.

    An empty look at /proc proves nothing by itself: a process that forks and ends while the look goes on is missed,
    and so is its child when it got a lower pid (seen: one that hops like this passed two empty looks in a row, twenty
    times out of twenty). Proof is the kernel's word that the cgroup is empty, where the processes were begun in one;
    or else an empty look during which nobody on the machine forked. Raises StillThere without proof after timeout_s.
    """
    seen: set[int] = set()
    give_up = time.monotonic() + timeout_s
    while True:
        if group is not None and cgroups.populated(group):
            seen.update(cgroups.pids(group))
            cgroups.kill(group)
        before = forks()
        pids = _look(find)
        if not pids and (not cgroups.populated(group) if group is not None else forks() == before):
            return len(seen)
        seen.update(pids)
        for pid in pids:
            send(pid, signal.SIGKILL)
        if time.monotonic() > give_up:
            raise StillThere(pids)
        if pids:
            time.sleep(0.0005)
