"""Engines' data of a test run lies in memory where there is room: no test can see an fsync, and most of them waited for one.

What a test kills keeps its page cache, so a write that was never fsynced is there after it on any file system. How the code
fsyncs is shown where the calls are seen (tests/unit/agent), a disk that is slow or full by faults that make it so
(herder.lab.faults), and a real disk's own pace by `herder bench` and `herder chaos`. With TMPDIR set, that is used instead.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from tests import leftovers

SHM = Path("/dev/shm")
PREFIX = "ht-"
"""Short, and followed by the pid of its owner: paths of unix sockets have 107 bytes."""

ROOM_BYTES = 4 * 1024**3
"""What must be free; a run of four workers was seen to use 1.9 GB."""


def has_room(place: Path, *, bytes_free: int = ROOM_BYTES) -> bool:
    """May engines' data lie there: is it a file system in memory, with room in both, on which programs may be executed?"""
    try:
        mounts = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
        memory = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        found = os.statvfs(place)
    except OSError:
        return False
    kinds = [kind for _, at, kind, *_ in map(str.split, mounts) if at == str(place)]
    available = next((int(line.split()[1]) * 1024 for line in memory if line.startswith("MemAvailable:")), 0)
    return (
        kinds[-1:] == ["tmpfs"]
        and os.access(place, os.W_OK)
        and not found.f_flag & (os.ST_NOEXEC | os.ST_RDONLY)
        and min(found.f_bavail * found.f_frsize, available) >= bytes_free
    )


def owner_lives(path: Path) -> bool:
    """Does the process whose number a directory bears still run?"""
    return Path(f"/proc/{path.name.removeprefix(PREFIX)}").exists()


def use_memory(config: pytest.Config, place: Path = SHM) -> None:
    """Make the directory for this run, in force for its workers and what they start, and gone with it.

    What a run that was killed has left there is removed by the next one.
    """
    if "TMPDIR" in os.environ or not has_room(place):
        return
    for left in place.glob(f"{PREFIX}*"):
        if left.stat().st_uid == os.geteuid() and not owner_lives(left):
            leftovers.end_all_in(left)
            shutil.rmtree(left, ignore_errors=True)
    made = place / f"{PREFIX}{os.getpid()}"
    made.mkdir(mode=0o711)  # engines' user passes through
    os.environ["TMPDIR"] = str(made)
    before, tempfile.tempdir = tempfile.tempdir, None

    def give_back() -> None:
        del os.environ["TMPDIR"]
        tempfile.tempdir = before
        leftovers.end_all_in(made)
        shutil.rmtree(made)

    config.add_cleanup(give_back)
