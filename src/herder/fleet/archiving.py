"""Turns what members say of their archiving into events of their services' archives, thousands at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from herder.engine.bulk import Bulk
from herder.engine.world import World


class Archiving:
    """A hook of the watch: members whose archiving stalled, or goes on again."""

    def __init__(self, world: Callable[[], World], submit: Callable[[Bulk], None]) -> None:
        self._world = world
        self._submit = submit

    def __call__(self, members: NDArray[np.uint32], stalled: bool) -> None:  # noqa: FBT001  the shape of the hook
        """members: machine ids. A service without an archive has nothing to say."""
        world = self._world()
        services = world.fact(members, "service", 0, np.uint32)
        archives = np.unique(world.fact(services, "archive", 0, np.uint32))
        archives = archives[archives > 0]
        if len(archives):
            self._submit(Bulk("archive", "stalled" if stalled else "drained", archives, actor="pulse"))
