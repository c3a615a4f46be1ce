"""A cgroup (v2) a server, where root may make one: the only thing that a fork cannot slip out of.

A process that forks and ends faster than /proc can be read is never seen there; its cgroup names it, kills it in one
write with all it forks meanwhile, and says when nothing is left. The groups hang at the top of the hierarchy, not
below the controller's own: a service manager that stops the controller must not stop the servers (decision 5).
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_PLACES = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"))  # v2 alone; v2 beside v1 (hybrid)


def top_of(tag: str) -> Path | None:
    """The directory of this herder's groups, made when missing; None where there is no v2 hierarchy to write to."""
    if os.geteuid() != 0:
        return None
    for place in _PLACES:
        if not (place / "cgroup.controllers").exists():
            continue
        top = place / f"herder-{tag}"
        try:
            top.mkdir(exist_ok=True)
        except OSError:
            continue
        if os.access(top / "cgroup.kill", os.W_OK):  # Linux 5.14
            return top
        with contextlib.suppress(OSError):
            top.rmdir()
    return None


def existing(tag: str, server: str) -> Path | None:
    """The group a server was begun in; None when it was begun without (then its emptiness would prove nothing)."""
    groups = (place / f"herder-{tag}" / server for place in _PLACES)
    return next((group for group in groups if (group / "cgroup.kill").exists()), None)


def make(group: Path) -> None:
    """Make a server's group, or find it."""
    group.mkdir(exist_ok=True)


def entering(group: Path, command: list[str]) -> list[str]:
    """`command`, begun inside the group: a shell of one line moves itself and becomes the command (same pid).

    Moved by its parent after the start, it could have forked before; a preexec function would run Python between
    fork and exec of a process with threads.
    """
    return ["/bin/sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(group), *command]


def populated(group: Path) -> bool:
    """Does any process live in it or below? A group that is gone has none: the kernel removes only empty ones."""
    try:
        events = (group / "cgroup.events").read_text()
    except OSError:
        return False
    return "populated 1" in events


def kill(group: Path) -> None:
    """SIGKILL everything in it and below, also what is being forked at this moment; frozen or not."""
    with contextlib.suppress(FileNotFoundError):
        (group / "cgroup.kill").write_text("1")


def pids(group: Path) -> list[int]:
    """Processes in it and below."""
    found: list[int] = []
    for directory, _, _ in os.walk(group):
        with contextlib.suppress(OSError):
            found += [int(line) for line in Path(directory, "cgroup.procs").read_text().split()]
    return found


def remove(group: Path) -> None:
    """Remove an empty group with those below it; leaves alone what is not empty."""
    for directory, _, _ in os.walk(group, topdown=False):
        with contextlib.suppress(OSError):
            Path(directory).rmdir()
