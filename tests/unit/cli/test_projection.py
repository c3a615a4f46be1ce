"""`herder rebuild-projection`: what a person reads."""

from __future__ import annotations

from tests.unit.api.standin import PROJECTION


def test_it_waits_and_says_how_many_were_written(herder, plane):
    assert "12 machines written anew; 2 records, 0.2 s behind the log" in herder("rebuild-projection").out
    assert herder("rebuild-projection", "--json").json == PROJECTION


def test_it_can_be_left_to_itself(herder, plane):
    assert "being rebuilt" in herder("rebuild-projection", "--no-wait").out
