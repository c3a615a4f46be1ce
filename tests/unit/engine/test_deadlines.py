"""Deadlines: each passes once it is reached, whatever the wall clock did meanwhile."""

from __future__ import annotations

import numpy as np

from herder.engine.deadlines import Deadlines

NOW = 1_700_000_000_000


def waiting(*moments_ms: int) -> tuple[Deadlines, np.ndarray]:
    """Machines 1, 2, ... that wait until these moments."""
    column = np.array([0, *moments_ms], "<i8")
    deadlines = Deadlines()
    deadlines.put_all(column)
    return deadlines, column


def test_one_that_passed_and_was_not_dealt_with_yet_passes_again_when_the_wall_clock_went_back_and_on():
    """It was forgotten: no longer late, and no longer waited for."""
    deadlines, column = waiting(NOW, NOW + 50)
    assert deadlines.passed(column, NOW + 10).tolist() == [1]
    assert deadlines.passed(column, NOW - 3_600_000).tolist() == []
    assert deadlines.next_ms() == NOW
    assert deadlines.passed(column, NOW + 60).tolist() == [1, 2]


def test_one_that_moved_on_meanwhile_passes_at_its_new_moment_only():
    deadlines, column = waiting(NOW, NOW)
    assert deadlines.passed(column, NOW).tolist() == [1, 2]
    column[1], column[2] = NOW + 20, 0
    deadlines.put(NOW + 20, 1)
    assert deadlines.passed(column, NOW + 10).tolist() == []
    assert deadlines.passed(column, NOW + 20).tolist() == [1]
    column[1] = 0
    assert deadlines.passed(column, NOW + 30).tolist() == []
    assert deadlines.next_ms() is None
