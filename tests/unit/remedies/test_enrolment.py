"""Who is waited for, and which work about it is out of date."""

from __future__ import annotations

import pytest

from herder.remedies.enrolment import enrols, flushed, kept, overtaken, successors, waited_for


def test_the_last_voter_is_not_struck():
    assert kept([2], 2) == []
    assert kept([2, 3], 2) == [3]


def test_nobody_is_kept_for_one_that_is_no_voter():
    assert kept([2, 3], 4) == []


def test_a_primary_does_not_wait_for_itself():
    assert waited_for([1, 2, 3], 1) == [2, 3]


def test_who_follows_a_planned_move_is_never_nobody():
    assert successors([2, 3], 2, 1) == [3]
    assert successors([2], 2, 1) == [1]


@pytest.mark.parametrize("kind", ["rebuild", "strike"])
def test_work_about_voters_ends_with_its_term(kind: str):
    assert overtaken(kind, {"term": 1}, {"term": 2}, enrolling=False)
    assert not overtaken(kind, {"term": 2}, {"term": 2}, enrolling=False)


def test_a_strike_gives_way_to_an_enrolment():
    assert overtaken("strike", {"term": 1}, {"term": 1}, enrolling=True)
    assert not overtaken("rebuild", {"term": 1}, {"term": 1}, enrolling=True)


def test_other_playbooks_have_their_own_ends():
    assert not overtaken("failover", {"term": 1}, {"term": 2}, enrolling=True)


def test_a_set_is_loaded_while_a_rebuild_enrols():
    assert enrols([("strike", "shrinking"), ("rebuild", "enrolling")])
    assert not enrols([("rebuild", "catching_up"), ("provision", "enrolling")])


def test_who_streams_and_has_flushed_counts_and_who_is_away_does_not():
    assert flushed({"a": 5, "b": 6}, ["a", "b"], 5)
    assert not flushed({"a": 5, "b": 4}, ["a", "b"], 5)
    assert not flushed({"a": 5}, ["a", "b"], 5)
