"""Elections against brute force: every set of voters, every history of acknowledgements and every set of pledges."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, combinations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herder.ports.driver import Position
from herder.remedies.election import (
    SYNC_K,
    Bound,
    Elected,
    Loss,
    elect_async,
    elect_sync,
    farthest,
    loss,
    may_lead_drained,
    pledges_needed,
)
from tests.property.effort import PLENTY

MEMBERS = (1, 2, 3, 4)
COMMITS = 2
NOW, BEFORE = 2, 1
"""Timelines: the present primary's, and its predecessor's."""

REACHES = (*(Position(NOW, lsn) for lsn in range(COMMITS + 1)), Position(BEFORE, COMMITS + 5))
"""How far a member may reach: none, one or all of the present primary's commits, or far along its predecessor's log
without ever having followed it (a standby that a failover left behind)."""

POSITIONS = st.builds(Position, st.integers(0, 3), st.integers(0, 9), st.sampled_from(["", "x", "y"]))
PLEDGES = st.dictionaries(st.integers(1, 6), POSITIONS, max_size=5)


def subsets(of: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    return chain.from_iterable(combinations(of, size) for size in range(len(of) + 1))


def acknowledged(voters: tuple[int, ...], reach: dict[int, Position]) -> int:
    """The last commit that the present primary may have acknowledged: SYNC_K of its voters have it."""
    has = sorted((reach[voter].lsn if reach[voter].timeline == NOW else 0 for voter in voters), reverse=True)
    return has[SYNC_K - 1] if len(has) >= SYNC_K else 0


@pytest.mark.parametrize("voters", list(subsets(MEMBERS)), ids=str)
def test_no_acknowledged_commit_is_lost_and_none_can_follow(voters: tuple[int, ...]):
    """16 sets of voters x 256 reaches x 16 sets of pledges: whoever is elected has all that was acknowledged on this
    primary, and too few voters are left unpledged for it to acknowledge anything more.
    """
    elected = 0
    for places in product(REACHES, repeat=len(MEMBERS)):
        reach = dict(zip(MEMBERS, places, strict=True))
        for pledging in subsets(MEMBERS):
            found = elect_sync(voters, MEMBERS, {member: reach[member] for member in pledging}, NOW)
            if not isinstance(found, Elected):
                continue
            elected += 1
            assert found.candidate in voters
            assert found.candidate in pledging
            assert reach[found.candidate].timeline == NOW
            assert reach[found.candidate].lsn >= acknowledged(voters, reach)
            assert len(set(voters) - set(pledging)) < SYNC_K, "the old primary could still acknowledge"
            assert found.new_voters
            assert found.candidate not in found.new_voters
    assert bool(elected) is bool(voters), "an election that nobody ever wins proves nothing"


@pytest.mark.parametrize("voters", list(subsets(MEMBERS)), ids=str)
def test_nobody_is_refused_whom_the_pledges_prove(voters: tuple[int, ...]):
    """The other side: when the pledges of all voters are there and fresh, somebody leads (S9)."""
    for places in product(REACHES[:-1], repeat=len(MEMBERS)):
        reach = dict(zip(MEMBERS, places, strict=True))
        found = elect_sync(voters, MEMBERS, {member: reach[member] for member in voters}, NOW)
        assert isinstance(found, Elected) is bool(voters)


@pytest.mark.parametrize("voters", list(subsets(MEMBERS)), ids=str)
def test_a_drained_move_needs_the_same_proof(voters: tuple[int, ...]):
    for places in product(REACHES, repeat=len(MEMBERS)):
        reach = dict(zip(MEMBERS, places, strict=True))
        for pledging in subsets(MEMBERS):
            pledges = {member: reach[member] for member in pledging}
            for candidate in MEMBERS:
                if may_lead_drained(candidate, voters, pledges, NOW):
                    continue
                assert candidate in pledging
                if voters:
                    assert reach[candidate].reach >= (NOW, acknowledged(voters, reach))


@pytest.mark.parametrize(("voters", "k"), [(v, k) for v in range(1, 8) for k in range(1, v + 1)])
def test_so_many_pledges_meet_every_quorum_and_fewer_do_not(voters: int, k: int):
    everyone, needed = range(voters), pledges_needed(voters, k)

    def meet(pledges: int) -> bool:
        return all(
            set(one) & set(other) for one in combinations(everyone, k) for other in combinations(everyone, pledges)
        )

    assert meet(needed)
    assert needed == 1 or not meet(needed - 1)


@PLENTY
@given(PLEDGES, st.sampled_from(["", "x", "y"]))
def test_behind_a_fence_nobody_of_the_same_history_reaches_farther(pledges: dict[int, Position], history: str):
    found = elect_async(pledges, history)
    same = {member: at for member, at in pledges.items() if history in ("", at.history)}
    assert isinstance(found, Elected) is bool(same)
    if isinstance(found, Elected):
        assert found.candidate in same
        assert max(at.reach for at in same.values()) == found.position.reach
        assert found.candidate == farthest(same)


@PLENTY
@given(POSITIONS, POSITIONS, st.integers(0, 9), st.floats(0, 900), st.integers(0, 9), st.floats(0, 900))
def test_a_candidate_that_reaches_farther_never_loses_more(
    last: Position, at: Position, more: int, lag_s: float, most: int, most_s: float
):
    nearer, farther = loss(last, at, lag_s), loss(last, Position(at.timeline, at.lsn + more), lag_s)
    assert 0 <= farther.bytes <= nearer.bytes
    bound = Bound(most, most_s)
    assert farther.within(bound) or not nearer.within(bound)
    assert not Loss(most + 1, 0.0).within(bound)
