"""Divergent logs that are kept beside the data (rule S5), and their end: after the plan's days they are removed.

Their age is counted in minutes in which an agent lived, in a file inside each, and not read off a clock: one that jumps must not
remove the only copy of acknowledged writes.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from herder.ports.driver import MemberSpec

log = logging.getLogger(__name__)

EVERY_MIN = 10
"""Minutes between two looks: an agent that ends in between forgets at most as much."""

_AGE = "herder.age"
_MINUTES_A_DAY = 24 * 60


def kept_logs(spec: MemberSpec) -> list[Path]:
    """The directories that a member's driver has set aside."""
    data = Path(spec.data_dir)
    return [path for path in data.parent.glob(f"{data.name}.diverged-*") if path.is_dir()]


def size_of(directory: Path) -> int:
    """Bytes on disk: a kept log has holes where nothing was written."""
    return sum(path.stat().st_blocks * 512 for path in directory.rglob("*") if path.is_file())


def grow_older(spec: MemberSpec, minutes: int) -> list[Path]:
    """Count that each was kept for so much longer; remove, and return, those that were kept for the plan's days."""
    over = []
    for path in kept_logs(spec):
        age = _age(path) + minutes
        if age < spec.kept_days * _MINUTES_A_DAY:
            (path / _AGE).write_text(f"{age}\n")
        else:
            shutil.rmtree(path)
            over.append(path)
    return over


def _age(path: Path) -> int:
    try:
        return int((path / _AGE).read_text())
    except (OSError, ValueError):  # not counted yet, or cut off by a full disk: younger than it is, never older
        return 0


async def keep_house(specs: Callable[[], Iterable[MemberSpec]]) -> None:
    """Until cancelled. A disk that cannot be written or read is looked at again later."""
    while True:
        await asyncio.sleep(EVERY_MIN * 60)
        for spec in specs():
            try:
                for path in await asyncio.to_thread(grow_older, spec, EVERY_MIN):
                    log.warning("%s: removed %s, kept for %d days", spec.member, path, spec.kept_days)
            except OSError as error:
                log.warning("%s: what was kept of it cannot be looked at: %s", spec.member, error)
