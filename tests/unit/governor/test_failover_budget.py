"""One automatic failover of a service an hour, whatever the cause: the second one waits for a person (docs/decisions/0013)."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from herder.engine.decide import Draft
from herder.engine.world import World
from herder.governor.budget import HOUR_MS, failovers_left
from herder.machines.service import allowed, promoted
from herder.remedies.catalogue import Catalogue
from tests.machines import sample

TOLD = {"candidate": sample.MEMBERS[1], "new_voters": [sample.MEMBERS[2]], "counts": True}
GAPS_MS = st.integers(0, 2 * HOUR_MS)
FAULTS = st.lists(st.tuples(GAPS_MS, st.booleans()), max_size=30)
"""Pauses between faults, and whether a person gives the budget back just before each."""

EVIDENCE = st.fixed_dictionaries(
    {},
    optional={
        "provider": st.sampled_from([True, False, None]), "incarnation": st.integers(1, 3), "exit_line": st.text(max_size=9),
        "verdict": st.text(max_size=9), "looks": st.dictionaries(st.text(max_size=3), st.sampled_from(["silent", "refused"])),
    },
)  # fmt: skip


def dead_primary(failovers: list[int], primary: int, evidence: dict[str, Any], incarnations: list[int]) -> World:
    """The member that leads is known not to serve, and so is its server."""
    world = sample.well(primary=primary, failovers=failovers)
    sample.change(world, sample.SERVICE, state="unavailable")
    sample.change(world, primary, state="unavailable").data["evidence"] = evidence
    for server, incarnation in zip(sample.SERVERS, incarnations, strict=True):
        world.get(server).data["incarnation"] = incarnation
    sample.change(world, sample.SERVERS[sample.MEMBERS.index(primary)], state="unavailable")
    return world


def begun(world: World, per_hour: int) -> list[str]:
    world.attention.rouse()
    return [item.create or item.event for item in Catalogue(per_hour).review(Draft(world, sample.NOW_MS))]


@given(FAULTS, st.integers(1, 4))
def test_no_hour_has_more_failovers_than_allowed_since_a_person_last_said_so(
    faults: list[tuple[int, bool]], per_hour: int
):
    facts: dict[str, Any] = {"failovers": [], "timeline": 1}
    now_ms, since_word = sample.NOW_MS, []
    for gap_ms, word in faults:
        now_ms += gap_ms
        if word:
            facts |= allowed(facts, {}, now_ms)
            since_word = []
        before = [at_ms for at_ms in since_word if at_ms > now_ms - HOUR_MS]
        assert failovers_left(facts["failovers"], now_ms, per_hour) == max(per_hour - len(before), 0)
        if failovers_left(facts["failovers"], now_ms, per_hour):
            facts |= promoted(facts, TOLD, now_ms)
            since_word.append(now_ms)
        assert sum(at_ms > now_ms - HOUR_MS for at_ms in since_word) <= per_hour


@given(st.lists(st.integers(-3 * HOUR_MS, 0)), st.integers(1, 4), st.integers(1, 3 * HOUR_MS))
def test_waiting_only_ever_gives_budget_back_and_an_hour_gives_all_of_it(ages: list[int], per_hour: int, later_ms: int):
    began = [sample.NOW_MS + age for age in ages]
    left = failovers_left(began, sample.NOW_MS, per_hour)
    assert left <= failovers_left(began, sample.NOW_MS + later_ms, per_hour)
    assert failovers_left(began, sample.NOW_MS + HOUR_MS, per_hour) == per_hour


@given(
    st.lists(st.integers(0, 2 * HOUR_MS), max_size=3), st.sampled_from(sample.MEMBERS), EVIDENCE,
    st.lists(st.integers(1, 3), min_size=3, max_size=3), st.integers(1, 3),
)  # fmt: skip
def test_no_evidence_changes_the_answer(
    ages: list[int], primary: int, evidence: dict[str, Any], incarnations: list[int], per_hour: int
):
    """Neither who failed, nor which life of which server, nor what was seen of it."""
    failovers = [sample.NOW_MS - age for age in ages]
    left = failovers_left(failovers, sample.NOW_MS, per_hour)
    found = begun(dead_primary(failovers, primary, evidence, incarnations), per_hour)
    assert ("failover" in found, "blocked" in found) == (left > 0, left == 0)
