"""Data of a destroyed member is moved aside, never deleted: what is done by mistake must be undoable for days."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from herder.agent.ledger import sync_directory
from herder.model.errors import Environment


def move_aside(data_dir: Path, trash: Path) -> list[str]:
    """Rename `data_dir` and its siblings `data_dir.*` into `trash`; returns where they are now. Idempotent.

    A rename and nothing else: copying to another filesystem could fail half-way and needs the space twice.
    """
    trash.mkdir(mode=0o700, parents=True, exist_ok=True)
    siblings = sorted(data_dir.parent.glob(f"{data_dir.name}.*")) if data_dir.parent.is_dir() else []
    moved: list[str] = []
    for path in (data_dir, *siblings):
        if not os.path.lexists(path):
            continue
        target = _free_name(trash / path.name)
        try:
            path.rename(target)
        except OSError as error:
            if error.errno == errno.EXDEV:
                raise Environment(f"{trash} is on another filesystem than {path}", "name a trash beside it") from None
            raise Environment(f"{path} cannot be moved to {trash}: {error.strerror}") from None
        moved.append(str(target))
    if moved:
        sync_directory(trash)
        sync_directory(data_dir.parent)
    return moved or sorted(str(path) for path in trash.iterdir() if path.name.startswith(data_dir.name))


def _free_name(path: Path) -> Path:
    """An earlier try, or an earlier life of the member, may have left its data there."""
    candidate, number = path, 0
    while os.path.lexists(candidate):
        number += 1
        candidate = path.with_name(f"{path.name}~{number}")
    return candidate
