"""Voters and pledges: nothing is lost in any order, what was once lost is found again, and names do not matter."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import pytest

from herder.machines.registry import TABLES
from herder.proof import voters
from herder.proof.voters import Arithmetic, Scene
from herder.proof.voters.canonical import _renamed, canonical
from herder.proof.voters.control import Control
from herder.proof.voters.fleet import Fleet, Left, first
from herder.proof.voters.search import broken, steps
from herder.remedies import election

SMALL = tuple(scene for scene in voters.QUICK if scene.name in (
    "three members, one voter comes and one goes", "three members, two failovers",
))  # fmt: skip


def scene(members: int, of_them: int, **left: int) -> Scene:
    return Scene("a test", members, of_them, Left(**{**dict.fromkeys(Left._fields, 0), **left}))


def found(arithmetic: Arithmetic, where: Scene) -> voters.Broken:
    (searched,) = voters.check(TABLES, [where], arithmetic=arithmetic).searched
    assert searched.broken is not None
    return searched.broken


@pytest.mark.parametrize("where", SMALL, ids=lambda each: each.name)
def test_no_order_of_steps_loses_an_acknowledged_write(where: Scene):
    (searched,) = voters.check(TABLES, [where]).searched
    assert searched.broken is None, searched.broken
    assert searched.whole
    assert searched.states > 300


def test_every_sort_of_step_is_taken():
    everything = scene(3, 2, commits=1, crashes=1, takeovers=1, leads=1, strikes=1, rebuilds=1)
    (searched,) = voters.check(TABLES, [everything], states_max=8000).searched
    told = "\n".join(searched.fired)
    for step in ("writes", "receives", "confirms", "acknowledges", "crashes", "starts again", "pledges", "takes over",
                 "a late job reaches", "a strike begins", "a rebuild begins", "a failover begins", "a switchover begins"):  # fmt: skip
        assert step in told, step


# ---- what the search found when it was new: each was in the production code


@pytest.mark.slow
def test_a_rebuild_that_outlived_the_failover_added_a_voter_that_was_not_asked():
    def only_by_another_primary(
        kind: str, facts: Mapping[str, Any], service: Mapping[str, Any], *, enrolling: bool
    ) -> bool:
        return kind == "rebuild" and facts["primary"] != service["primary"]

    lost = found(Arithmetic(overtaken=only_by_another_primary), scene(3, 1, commits=1, leads=1, rebuilds=1))
    assert lost.rule == "S3"
    assert "the rebuild is told 'caught_up'" in lost.trace
    assert lost.trace[-1] == "an acknowledged commit is lost: who leads now does not hold it"


def test_a_strike_forgot_a_voter_that_an_enrolment_had_put_back():
    lost = found(Arithmetic(enrols=lambda playbooks: False), scene(3, 2, strikes=1, rebuilds=1))
    assert "W is no subset of V" in lost.what
    assert any("a strike begins" in step for step in lost.trace)


def test_a_drained_candidate_was_chosen_by_one_that_had_never_followed():
    def any_timeline(candidate: int, among: Any, pledges: Any, timeline: int = 0) -> str:
        return election.may_lead_drained(candidate, among, pledges)

    lost = found(Arithmetic(may_lead=any_timeline), scene(3, 2, commits=1, leads=2))
    assert lost.rule == "S3"
    assert "somebody asks: a switchover begins" in lost.trace


def test_the_way_to_what_is_broken_is_a_shortest_one_and_can_be_walked():
    arithmetic = Arithmetic(kept=lambda among, lost: list(among))
    lost = found(arithmetic, scene(3, 2, strikes=1))
    assert lost.trace[0].endswith("a strike begins")
    assert len(lost.trace) <= 5
    control, now = Control(TABLES, arithmetic), first(3, 2, Left(0, 0, 0, 0, 1, 0))
    for wanted in lost.trace[:-1]:
        now = next(then for what, then in steps(control, now) if what == wanted)
    assert broken(now) == (lost.rule, lost.what)


# ---- symmetry


def walked(length: int) -> list[Fleet]:
    """Fleets along one way that takes another step each time, until nothing may happen any more."""
    control, now, found = Control(TABLES, Arithmetic()), first(4, 3, Left(2, 1, 1, 2, 1, 1)), []
    for at in range(length):
        choices = [then for _, then in steps(control, now)]
        if not choices:
            break
        now = choices[(at * 7) % len(choices)]
        found.append(now)
    return found


def test_fleets_that_differ_in_names_only_are_one():
    way = walked(60)
    assert len(way) > 20
    for fleet in way:
        one = canonical(fleet)
        for order in itertools.permutations(range(1, 5)):
            assert canonical(_renamed(canonical(fleet), (0, *order))) == one


def test_fleets_that_differ_in_more_than_names_are_not_one():
    fleet = first(3, 2, Left(1, 0, 0, 1, 0, 0))
    assert canonical(fleet) != canonical(fleet.with_node(2, log=(1,)))
    assert canonical(fleet.with_node(2, log=(1,))) == canonical(fleet.with_node(3, log=(1,)))
    assert canonical(fleet.with_node(2, log=(1,))) != canonical(fleet.with_node(1, log=(1,)))
