"""S3 by exhaustion: no election loses a write that was acknowledged. Every order of steps is searched in `tests/proof`.

The arithmetic is the real one (`elect_sync`); only the engines are modelled: a member's log is a prefix, so it is a number.
"""

from __future__ import annotations

import itertools

import pytest

from herder.ports.driver import Position
from herder.remedies.election import Elected, Short, elect_sync, pledges_needed

# ---- one election


@pytest.mark.parametrize("others", [0, 1])
@pytest.mark.parametrize("voters", [1, 2, 3, 4])
def test_the_elected_holds_every_acknowledged_commit(voters: int, others: int):
    """Every way in which up to four voters may have received two commits, the first, or none, and pledge or not.

    others: members that are no voters. Where the only voter is the only other member, nobody would be left to wait for.
    """
    everyone = range(1, voters + 1)
    members = range(1, voters + others + 1)
    elections = 0
    for reached in itertools.product(range(3), repeat=voters):
        acknowledged = max(reached)  # k = 1: a commit was acknowledged when one voter had it
        for count in range(voters + 1):
            for pledgers in itertools.combinations(everyone, count):
                pledges = {voter: Position(1, reached[voter - 1]) for voter in pledgers}
                elected = elect_sync(everyone, members, pledges)
                assert isinstance(elected, Elected) is (count >= pledges_needed(voters) and len(members) > 1)
                if isinstance(elected, Elected):
                    elections += 1
                    assert reached[elected.candidate - 1] >= acknowledged
                    assert elected.new_voters
                    assert elected.candidate not in elected.new_voters
    assert elections == (3**voters if len(members) > 1 else 0)


@pytest.mark.parametrize("voters", [2, 3])
def test_one_pledge_less_would_lose_a_commit(voters: int):
    """The bound is tight: the checker above is not satisfied by everything."""
    reached = dict.fromkeys(range(1, voters), 0) | {voters: 1}
    short = {voter: Position(1, reached[voter]) for voter in range(1, voters)}
    assert isinstance(elect_sync(range(1, voters + 1), range(1, voters + 1), short), Short)
    assert max(reached[voter] for voter in short) < max(reached.values())
