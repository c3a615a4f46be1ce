"""Who may lead next, and when nobody may: the arithmetic of pledges and of bounded loss."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from herder.ports.driver import Position
from herder.remedies.election import (
    Bound,
    Elected,
    Loss,
    Short,
    elect_async,
    elect_sync,
    farthest,
    loss,
    may_lead_drained,
    pledges_needed,
)

POSITIONS = st.builds(Position, timeline=st.integers(1, 4), lsn=st.integers(0, 50))
PLEDGES = st.dictionaries(st.integers(1, 6), POSITIONS, max_size=6)
VOTERS = st.sets(st.integers(1, 6), max_size=5)


def at(lsn: int, timeline: int = 1, history: str = "") -> Position:
    return Position(timeline, lsn, history)


@pytest.mark.parametrize(
    ("voters", "k", "needed"), [(1, 1, 1), (2, 1, 2), (3, 1, 3), (3, 2, 2), (5, 3, 3), (0, 1, 1), (2, 3, 1)]
)
def test_so_many_pledges_meet_every_acknowledging_set(voters: int, k: int, needed: int):
    assert pledges_needed(voters, k) == needed
    assert k + needed > voters


def test_both_voters_pledge_and_the_one_that_reaches_farthest_leads():
    assert elect_sync([2, 3], [2, 3], {2: at(100), 3: at(101)}) == Elected(3, at(101), (2,))


def test_a_newer_timeline_reaches_farther_than_any_position():
    assert elect_sync([2, 3], [2, 3], {2: at(5, timeline=3), 3: at(900, timeline=2)}) == Elected(
        2, at(5, timeline=3), (3,)
    )


def test_equal_ones_are_elected_the_same_way_every_time():
    assert farthest({4: at(7), 3: at(7), 9: at(7)}) == 3


def test_of_equal_ones_one_with_room_on_its_disk_leads():
    assert farthest({3: at(7), 4: at(7), 9: at(7)}, cramped=[3]) == 4
    assert elect_sync([2, 3], [2, 3], {2: at(100), 3: at(100)}, cramped=[2]) == Elected(3, at(100), (2,))
    assert elect_async({2: at(100), 3: at(100)}, cramped=[2]) == Elected(3, at(100), ())


def test_room_on_a_disk_never_outweighs_what_was_acknowledged():
    assert farthest({3: at(8), 4: at(7)}, cramped=[3]) == 3


@pytest.mark.parametrize(
    ("voters", "pledges", "short"),
    [
        ([2, 3], {2: at(100)}, Short(2, 1, (3,))),
        ([2, 3], {}, Short(2, 0, (2, 3))),
        ([2, 3], {2: at(100), 4: at(200)}, Short(2, 1, (3,))),
        ([], {2: at(100), 3: at(100)}, Short(1, 0, ())),
        ([2], {3: at(100)}, Short(1, 0, (2,))),
    ],
    ids=["one of two", "none", "one is no voter", "no voter in the log", "the only voter is missing"],
)  # fmt: skip
def test_too_few_pledges_elect_nobody_and_name_who_is_missing(
    voters: list[int], pledges: dict[int, Position], short: Short
):
    assert elect_sync(voters, [2, 3, 4], pledges) == short


def test_one_who_is_no_voter_may_not_lead_and_may_follow():
    assert elect_sync([2], [2, 3], {2: at(100), 3: at(900)}) == Elected(2, at(100), (3,))


def test_the_sync_set_is_never_empty_while_there_is_another_member():
    assert elect_sync([2], [2, 3], {2: at(100)}) == Elected(2, at(100), (3,))


def test_a_sync_set_of_nobody_elects_nobody():
    """A sync service of one standby: whoever leads would acknowledge alone."""
    assert elect_sync([2], [2], {2: at(100)}) == Short(1, 1, (2,))


def test_a_pledge_from_before_the_present_primarys_timeline_does_not_count():
    """It never followed this primary, so it may lack what its predecessor's other voters had, however far it reaches."""
    pledges = {2: at(100, timeline=2), 3: at(900, timeline=1)}
    assert elect_sync([2, 3], [2, 3], pledges, timeline=1) == Elected(2, at(100, timeline=2), (3,))
    assert elect_sync([2, 3], [2, 3], pledges, timeline=2) == Short(2, 1, (3,))
    assert elect_sync([2, 3], [2, 3], pledges, timeline=3) == Short(2, 0, (2, 3))


def test_one_that_is_behind_the_timeline_may_follow():
    assert elect_sync([2], [2, 3], {2: at(100, timeline=2), 3: at(900)}, timeline=2) == Elected(
        2, at(100, timeline=2), (3,)
    )


@given(VOTERS, PLEDGES, st.integers(0, 5))
def test_the_elected_is_a_pledged_voter_that_nobody_among_them_outreaches(
    voters: set[int], pledges: dict[int, Position], timeline: int
):
    elected = elect_sync(voters, range(1, 7), pledges, timeline)
    binding = {voter for voter in voters & pledges.keys() if pledges[voter].timeline >= timeline}
    assert isinstance(elected, Elected) is bool(voters and len(binding) >= pledges_needed(len(voters)))
    if isinstance(elected, Elected):
        assert elected.candidate in binding
        assert elected.position == pledges[elected.candidate]
        assert all(pledges[voter].reach <= elected.position.reach for voter in binding)
        assert elected.new_voters
        assert elected.candidate not in elected.new_voters
    else:
        assert set(elected.missing) == voters - binding


@given(VOTERS, PLEDGES, st.randoms())
def test_the_order_of_answers_elects_nobody_else(voters: set[int], pledges: dict[int, Position], chance):
    shuffled = list(pledges.items())
    chance.shuffle(shuffled)
    assert elect_sync(voters, range(1, 7), pledges) == elect_sync(voters, range(1, 7), dict(shuffled))


@given(VOTERS, PLEDGES, st.integers(1, 6), POSITIONS)
def test_another_pledge_never_takes_the_election_away(
    voters: set[int], pledges: dict[int, Position], who: int, where: Position
):
    assume(who not in pledges)
    if isinstance(elect_sync(voters, range(1, 7), pledges), Elected):
        assert isinstance(elect_sync(voters, range(1, 7), pledges | {who: where}), Elected)


# ---- asynchronous plans


def test_behind_a_fence_the_one_that_reaches_farthest_leads():
    assert elect_async({2: at(100), 3: at(101)}) == Elected(3, at(101), ())


def test_offsets_of_another_history_say_nothing():
    """A Valkey primary that was restarted counts from zero under another replication id."""
    pledges = {2: at(9000, 0, "old"), 3: at(10, 0, "new")}
    assert elect_async(pledges, "new") == Elected(3, at(10, 0, "new"), ())
    assert elect_async(pledges, "third") == Short(1, 0, (2, 3))
    assert elect_async({}) == Short(1, 0, ())


# ---- loss


@pytest.mark.parametrize(
    ("last", "candidate", "lag_s", "lost"),
    [
        (at(500), at(400), 2.0, Loss(100, 2.0)),
        (at(500), at(500), 0.0, Loss(0, 0.0)),
        (at(500), at(600), 0.0, Loss(0, 0.0)),
        (at(500), at(400, timeline=2), 1.0, Loss(0, 1.0)),
        (None, at(400), 3.0, Loss(0, 3.0)),
    ],
)
def test_the_loss_is_told_from_what_was_last_known(
    last: Position | None, candidate: Position, lag_s: float, lost: Loss
):
    assert loss(last, candidate, lag_s) == lost


@pytest.mark.parametrize(
    ("lost", "within"),
    [(Loss(100, 10.0), True), (Loss(101, 1.0), False), (Loss(1, 10.1), False), (Loss(0, 0.0), True)],
)
def test_past_either_bound_nobody_is_promoted_by_itself(lost: Loss, within: bool):
    assert lost.within(Bound(100, 10.0)) is within


# ---- a planned move whose candidate is not known to have everything


def test_the_candidate_of_a_drain_leads_when_a_quorum_says_that_nobody_has_more():
    assert may_lead_drained(2, [2, 3], {2: at(50), 3: at(40)}) == ""


@pytest.mark.parametrize(
    ("pledges", "why"),
    [
        ({3: at(40)}, "it did not pledge"),
        ({2: at(50)}, "too few voters"),
        ({2: at(50), 3: at(60)}, "reaches farther"),
    ],
)
def test_the_candidate_of_a_drain_does_not_lead_otherwise(pledges: dict[int, Position], why: str):
    assert why in may_lead_drained(2, [2, 3], pledges)


def test_a_voter_that_never_followed_the_drained_primary_says_nothing_of_it():
    """It streams since a failover and has not reached its timeline: it may lack what the election went by."""
    assert "too few voters" in may_lead_drained(3, [3], {3: at(0)}, timeline=2)
    assert may_lead_drained(3, [3], {3: at(0, timeline=2)}, timeline=2) == ""


def test_an_asynchronous_candidate_needs_no_quorum():
    assert may_lead_drained(2, [], {2: at(50)}) == ""
