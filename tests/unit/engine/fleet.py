"""Many machines at once, for tests of what works on arrays: members without documents, put in place without a log."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from herder.engine.record import Birth
from herder.engine.shapes import Shape
from herder.engine.world import World
from herder.machines.registry import BY_KIND

KIND = "member"


def fleet(count: int, state: str, **facts: object) -> World:
    """Members 1 … count in that state, entered with their first move."""
    world = World()
    world._bear(Birth(1, count, (Shape(KIND, dict(facts)),)))
    move(world, state, np.arange(1, count + 1, dtype=np.uint32))
    return world


def move(world: World, state: str, ids: NDArray[np.uint32], seq: int = 1) -> None:
    """As a span of a commit does."""
    columns = world.columns
    columns.state[ids] = BY_KIND[KIND].state_codes[state]
    world.recount()
    columns.version[ids] += 1
    columns.entered[ids] = columns.version[ids]
    columns.order[ids] = seq
