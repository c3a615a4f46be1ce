"""Rows of a fleet by their service."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from herder.sim.fleet import FleetWorld


async def test_a_backlog_that_is_stored_ends_the_stall_of_its_own_primaries_only(monkeypatch):
    world = FleetWorld(1)
    world.service_of = np.array([10, 10, 20, 20, 30], np.uint32)
    world.primary = np.array([True, False, False, True, True])
    world.relays = cast(Any, SimpleNamespace(stalled=np.array([True, True, True, True, False])))
    told: list[list[int]] = []
    monkeypatch.setattr(FleetWorld, "set_stalled", lambda self, slots, *, stalled: told.append(slots.tolist()))
    world.archive_again(np.array([20, 10], np.uint32))
    world.archive_again(np.array([15, 40], np.uint32))  # services that were made since have no rows
    world.archive_again(np.array([30], np.uint32))
    world.archive_again(np.array([], np.uint32))
    assert told == [[0, 3], [], [], []]
