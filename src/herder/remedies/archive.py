"""The handler of an archive that drains: thousands at a time, since they stalled together.

Outside the simulator no archive machine is made yet (backups come later), so wiring passes no driver.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from herder.engine.effects import Many
from herder.engine.world import World
from herder.model.errors import Environment
from herder.remedies.hands import Hands

BUCKET = "archive:drain"
"""The bucket that `drain_archive` takes a token from for each archive."""

BATCH = 4096
"""Archives of one call: their ids are 16 KiB."""


class Drain(StrEnum):
    """Outcomes of `drain_archive`."""

    DRAINED = "drained"
    STALLED = "stalled"


async def drain_archive(hands: Hands, world: World, machines: NDArray[np.uint32]) -> Sequence[Many]:
    """Have the agents send what they buffered. One that is neither drained nor stalled is asked for again."""
    if hands.archive_driver is None:
        raise Environment("nothing here archives yet", "archives are made by the simulator only")
    ended = await hands.archive_driver.drain(np.ascontiguousarray(machines, np.uint32).data)
    found = (
        Many(Drain.DRAINED, np.frombuffer(ended.drained, np.uint32), why="everything buffered is archived"),
        Many(Drain.STALLED, np.frombuffer(ended.stalled, np.uint32), why="the store did not take it"),
    )
    return [many for many in found if len(many.machines)]
