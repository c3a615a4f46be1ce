"""Clusters made ahead of demand: a copy of the template with an identity of its own, whole and durable, waiting for a name.

Copying the template and making it durable costs 0.3-1.2 s on a busy machine; taking a spare is one rename.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from herder.drivers.postgres import layout, template
from herder.drivers.processes import Account, in_thread


def _shelf(root: Path, major: int) -> Path:
    return root / f"postgres-{major}-{template.REVISION}-spares"


async def take(root: Path, major: int, target: Path) -> bool:
    """Move a spare to `target`; False when there is none (or it lies on another disk). Two takers never get the same."""
    shelf = _shelf(root, major)
    if not shelf.is_dir() or target.exists():
        return False
    for spare in sorted(path for path in shelf.iterdir() if not path.name.endswith(".half")):
        try:
            spare.rename(target)
        except OSError:
            continue
        return True
    return False


async def stock(bin_dir: Path, major: int, root: Path, account: Account, wanted: int) -> int:
    """Make spares until `wanted` wait; returns how many were made. One caller a directory (the control plane)."""
    source = await template.ensure(bin_dir, major, root, account)
    shelf = _shelf(root, major)
    account.make_dir(shelf)
    for rubbish in shelf.glob("*.half"):
        await in_thread(shutil.rmtree, rubbish, ignore_errors=True)
    made = 0
    while sum(1 for _ in shelf.iterdir()) < wanted:
        half = shelf / f"{os.urandom(8).hex()}.half"
        await template.clone(source, half, account)
        await in_thread(layout.sync_tree, half)
        half.rename(half.with_suffix(""))
        made += 1
    return made
