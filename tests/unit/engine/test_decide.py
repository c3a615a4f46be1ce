"""Decisions: a batch in, moves out, nothing else touched."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from herder.engine.bulk import due
from herder.engine.decide import ROUNDS_MAX, Decision, Draft, Input, decide
from herder.engine.world import World
from herder.machines.registry import BY_CODE
from herder.ports.store import Claim
from tests.machines import sample
from tests.unit.engine import yard

NOW = sample.NOW_MS


def words(decision: Decision) -> list[str]:
    """kind, machine: source -event-> target."""
    found = []
    for move in decision.moves:
        table = BY_CODE[move.kind]
        found.append(
            f"{table.kind} {move.machine}: {table.state_names[move.source]} -{table.events[move.event]}-> "
            f"{table.state_names[move.target]}"
        )
    return found


def test_a_decision_changes_nothing_but_what_it_returns():
    world = sample.well()
    before = (yard.world_of(world), world.next_id, world.seq)
    decision = decide(world, [Input(2, "exited", {"evidence": {"why": "gone"}})], NOW)
    assert (yard.world_of(world), world.next_id, world.seq) == before
    assert set(decision.after) == {1, 2}
    assert decision.after[2].state == "unavailable"


def test_what_a_row_tells_follows_it_at_once_and_in_order():
    """Depth first: what a failover tells a service is done before the next machine hears of it."""
    world = sample.well(playbook=sample.PLAYBOOK)
    sample.put(world, sample.PLAYBOOK, "failover", "promoting", **sample.playbook_facts())
    inputs = [Input(sample.PLAYBOOK, "promoted"), Input(5, "silent")]
    assert words(decide(world, inputs, NOW)) == [
        "failover 8: promoting -promoted-> repointing",
        "service 1: available -promoted-> unavailable",
        "member 2: available -deposed-> unavailable",
        "member 3: available -promoted-> available",
        "server 5: available -silent-> uncertain",
    ]


def test_all_of_a_chain_is_one_record():
    """A server falls silent, so its member is, so its service is uncertain: no controller dies in between."""
    assert words(decide(sample.well(), [Input(5, "silent")], NOW)) == [
        "server 5: available -silent-> uncertain",
        "member 2: available -silent-> uncertain",
        "service 1: available -primary_uncertain-> uncertain",
    ]


def test_evidence_travels_with_what_is_told():
    evidence = {"why": "no pulse for 2 s"}
    decision = decide(sample.well(), [Input(5, "silent", {"evidence": evidence}, why="no pulse")], NOW)
    assert decision.after[2].data["evidence"] == evidence
    assert [move.why for move in decision.moves] == ["no pulse", "srv-5: no pulse", "orders-0: srv-5: no pulse"]


def test_an_outcome_of_a_state_that_was_left_is_dropped():
    world = sample.well()
    item = Input(2, "exited", entered=2)
    decision = decide(world, [item], NOW)
    assert (decision.moves, decision.dropped) == ([], [(item, "it has moved on since")])
    assert decide(world, [Input(2, "exited", entered=3)], NOW).moves


def test_the_second_of_two_outcomes_of_one_state_is_dropped():
    world = sample.well()
    decision = decide(world, [Input(2, "exited", entered=3), Input(2, "exited", entered=3)], NOW)
    assert [reason for _, reason in decision.dropped] == ["it has moved on since"]


def test_an_event_for_nobody_is_dropped():
    item = Input(99, "exited")
    assert decide(sample.well(), [item], NOW).dropped == [(item, "no such machine")]


def test_what_may_not_be_made_is_not_made():
    """Destroy without its owner's consent: no machine, no move, no claim."""
    item = Input(8, "create", {"service": 1}, create="destroy", claims=(Claim("command", "k", 8),))
    decision = decide(sample.well(), [item], NOW)
    assert (decision.moves, decision.claims, decision.after) == ([], [], {})


def test_what_is_there_is_not_made_over():
    """An append whose end was not learnt is found committed after the next command has chosen its ids."""
    decision = decide(sample.well(), [Input(2, "create", {"name": "bills-0"}, create="member")], NOW)
    assert decision.moves == []
    assert [reason for _, reason in decision.dropped] == ["a machine of that id exists"]


def test_what_the_same_batch_made_is_not_made_over_either():
    make = Input(8, "create", {"subject": 1, "reason": "any", "name": "page-8"}, create="page")
    decision = decide(sample.well(), [make, make], NOW)
    assert len(decision.moves) == 1
    assert len(decision.dropped) == 1


def test_a_row_that_keeps_its_state_keeps_its_deadline_and_its_effect():
    world = sample.well(playbook=sample.PLAYBOOK)
    service = sample.change(world, 1, state="unavailable", deadline_ms=NOW + 5)
    decision = decide(world, [Input(1, "blocked")], NOW)
    after = decision.after[1]
    assert (after.version, after.entered, after.deadline_ms, after.since_ms) == (4, 3, NOW + 5, service.since_ms)


def test_a_state_that_is_entered_again_renews_its_deadline_but_not_its_age():
    world = sample.well()
    sample.put(world, 2, "member", "uncertain", **sample.member_facts(0))
    after = decide(world, [Input(2, "recheck")], NOW).after[2]
    assert (after.entered, after.deadline_ms, after.since_ms) == (4, NOW + 30_000, NOW - 1000)


def test_facts_of_an_outcome_become_the_machines_own_and_those_of_a_teller_do_not():
    world = sample.well(playbook=sample.PLAYBOOK)
    sample.put(world, sample.PLAYBOOK, "failover", "pledging", **sample.playbook_facts())
    decision = decide(world, [Input(sample.PLAYBOOK, "pledged", {"candidate": 4, "fence": "two pledges"})], NOW)
    assert decision.moves[0].patch == {"candidate": 4, "fence": "two pledges"}
    told = decide(world, [Input(1, "primary_uncertain", {"sender": 2, "evidence": {}})], NOW)
    assert told.moves[0].patch == {}


def test_a_released_claim_is_named_by_kind_and_fact():
    world = sample.well(playbook=8)
    sample.change(world, 1, state="retiring")
    assert decide(world, [Input(1, "trashed", {"sender": 8})], NOW).releases == [("service.name", "orders")]


# ---- pages


def paged(world: World, *events: str) -> Decision:
    return decide(world, [Input(1, event) for event in events], NOW)


def down() -> World:
    world = sample.well()
    sample.change(world, 1, state="unavailable")
    return world


def test_a_page_is_made_with_the_record_that_calls_for_it():
    decision = paged(down(), "overdue")
    assert words(decision) == ["service 1: unavailable -overdue-> unavailable", "page 8: absent -create-> open"]
    assert decision.after[8].data | {"text": ""} == {
        "subject": 1, "raised_by": 1, "reason": "service_down", "text": "", "times": 1, "name": "page-8", "service": 1,
    }  # fmt: skip


def test_the_same_page_again_only_counts():
    decision = paged(down(), "overdue", "overdue", "overdue")
    assert [move for move in words(decision) if "create" in move] == ["page 8: absent -create-> open"]
    assert decision.after[8].data["times"] == 3


def test_another_reason_is_another_page_and_a_resolved_one_is_made_anew():
    world = down()
    sample.put(world, 20, "page", "resolved", subject=1, reason="service_down", times=1)
    sample.put(world, 21, "page", "open", subject=1, reason="failover_blocked", times=1)
    decision = paged(world, "overdue")
    assert words(decision)[1] == "page 22: absent -create-> open"


# ---- reviews


def test_a_review_is_asked_until_nothing_follows():
    asked: list[list[int]] = []

    def review(draft: Draft) -> Sequence[Input]:
        asked.append(sorted(draft.changed))
        return [Input(5, "silent")] if len(asked) == 1 else []

    decision = decide(sample.well(), [Input(4, "ill")], NOW, review)
    assert asked == [[4], [1, 2, 4, 5]]
    assert len(decision.moves) == 4


def test_a_review_that_does_not_settle_is_a_bug_that_is_told_and_what_was_decided_stands():
    rounds = []
    asked = words(decide(sample.well(), [Input(4, "ill")], NOW))

    def review(draft: Draft) -> Sequence[Input]:
        rounds.append(1)
        return [Input(5, "heard")]

    decision = decide(sample.well(), [Input(4, "ill")], NOW, review)
    assert decision.unsettled.startswith("the review does not settle: heard")
    assert words(decision)[: len(asked)] == asked
    assert len(rounds) == ROUNDS_MAX + 1


def test_a_draft_sees_what_is_changed_and_what_is_new():
    draft = Draft(sample.well(), NOW)
    draft.edit(2).state = "unavailable"
    ident = draft.allocate()
    draft.make(ident, "member").state = "installing"
    assert [machine.state for machine in draft.of_kind("member")] == [
        "unavailable",
        "available",
        "available",
        "installing",
    ]
    assert (ident, draft.next_id) == (8, 9)
    assert draft.find(99) is None
    assert draft.get(2).state == "unavailable"


# ---- deadlines


def test_a_deadline_is_due_when_it_has_passed_and_not_before():
    world = sample.well()
    sample.change(world, 2, state="uncertain", deadline_ms=NOW)
    assert due(world, NOW - 1) == []
    (found,) = due(world, NOW)
    assert (found.machine, found.event, found.entered, found.actor) == (2, "recheck", 3, "deadline")


def test_a_deadline_means_nothing_to_a_state_entered_since():
    world = sample.well()
    sample.change(world, 2, state="uncertain", deadline_ms=NOW)
    decision = decide(world, [Input(2, "well", entered=3), *due(world, NOW)], NOW)
    assert ("recheck", "it has moved on since") in [(item.event, reason) for item, reason in decision.dropped]
    assert decision.after[2].state == "available"


def in_incident(scope: str, state: str = "recovering", *, paged: bool = True) -> World:
    world = down()
    sample.put(world, 8, "incident", state, name="incident-8", scope=scope, scopes=[scope])
    if paged:
        sample.put(world, 9, "page", "open", name="page-9", subject=8, reason="mass_outage", times=1)
    return world


@pytest.mark.parametrize("state", ["recovering", "ours", "paused"])
def test_a_mass_event_has_one_page_and_not_one_a_unit(state: str):
    moves = words(decide(in_incident("zone:local", state), [Input(1, "overdue")], NOW))
    assert moves == ["service 1: unavailable -overdue-> unavailable", "page 9: open -again-> open"]


@pytest.mark.parametrize(
    "world", [in_incident("zone:b"), in_incident("zone:local", "over"), in_incident("zone:local", paged=False)]
)
def test_what_no_incident_has_said_has_its_own_page(world: World):
    assert any("-create-> open" in move for move in words(decide(world, [Input(1, "overdue")], NOW)))
