"""`herder playbooks`: shares with how sure they are, times in seconds."""

from __future__ import annotations

import pytest

from herder.fleet import playbooks
from herder.ports.store import PlaybookRuns


def runs(**changes: object) -> PlaybookRuns:
    facts = {"kind": "failover", "exercised": False, "began": 0, "running": 0, "done": 0, "abandoned": 0, "failed": 0,
             "paged": 0, "needed_person": 0} | changes  # fmt: skip
    return PlaybookRuns(**facts)


def test_what_still_runs_is_neither_well_nor_not():
    row = playbooks.row_view(
        runs(began=11, running=1, done=9, paged=1, needed_person=2, p50_ms=81.4, p90_ms=99.0, max_ms=1234.5)
    )
    assert (row["success"], row["failed"], row["needed_person"]) == (0.9, 1, 2)
    assert (row["success_low"], row["success_high"]) == pytest.approx((0.5958, 0.9821), abs=1e-3)
    assert (row["p50_s"], row["p90_s"], row["max_s"]) == (0.081, 0.099, 1.234)


def test_of_one_that_has_not_ended_nothing_is_known():
    row = playbooks.row_view(runs(began=1, running=1))
    assert (row["success"], row["success_low"], row["success_high"], row["p50_s"]) == (None, 0.0, 1.0, None)


def test_what_was_real_stands_before_what_was_exercised():
    rows = playbooks.view([runs(exercised=True), runs(kind="destroy"), runs()], 5, 30.0)["playbooks"]
    assert [(row["playbook"], row["exercised"]) for row in rows] == [
        ("destroy", False), ("failover", False), ("failover", True),
    ]  # fmt: skip
