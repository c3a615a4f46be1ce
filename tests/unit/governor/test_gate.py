"""What a remedy waits for, and what it does not wait for."""

from __future__ import annotations

from typing import Any

import pytest

from herder.engine.decide import Draft
from herder.engine.world import World
from herder.governor.gate import LANES, NEEDS, Gate, Held, Reason, gate, lane_of
from tests.machines import sample

PROVIDER, STORE, INCIDENT, FREEZE = 20, 21, 22, 23


def held(world: World, playbook: str, **how: Any) -> Held | None:
    draft = Draft(world, sample.NOW_MS)
    return Gate(draft, **how).hold(draft.get(sample.SERVICE), playbook)


def with_dependency(state: str, what: str = "provider", scope: str = "", ident: int = PROVIDER) -> World:
    world = sample.well()
    sample.put(world, ident, "dependency", state, name=f"{what}:{scope}", what=what, scope=scope)
    return world


def recovering(upto: list[int], state: str = "recovering", scope: str = "fleet") -> World:
    world = sample.well()
    sample.put(world, INCIDENT, "incident", state, name="incident-22", scope=scope, scopes=[scope], upto=upto)
    return world


def test_nothing_holds_a_remedy_where_all_is_well():
    assert held(sample.well(), "failover") is None
    assert gate(Draft(sample.well(), sample.NOW_MS), sample.well().get(sample.SERVICE), "rebuild") == ""


@pytest.mark.parametrize("state", ["uncertain", "unavailable"])
def test_what_needs_a_provider_waits_for_it(state: str):
    found = held(with_dependency(state), "rebuild")
    assert found is not None
    assert (found.reason, found.by, found.noted) == (Reason.DEPENDENCY, PROVIDER, True)
    assert "does not answer" in found.words


@pytest.mark.parametrize("state", ["available", "restart"])
def test_one_that_answers_again_holds_nobody(state: str):
    assert held(with_dependency(state), "rebuild") is None


@pytest.mark.parametrize("playbook", ["failover", "switchover", "strike", "restart"])
def test_what_saves_a_service_with_what_it_has_waits_for_nobody(playbook: str):
    assert playbook not in NEEDS
    assert held(with_dependency("unavailable"), playbook) is None


def test_nothing_waits_for_the_pager():
    assert held(with_dependency("unavailable", "pager"), "provision") is None


def test_another_zones_outage_is_not_this_services():
    world = with_dependency("unavailable", "zone", "b")
    assert held(world, "rebuild") is not None, "a service that does not say where it stands may stand there"
    for server in sample.SERVERS:
        sample.change(world, server, data=world.get(server).data | {"zone": "a"})
    assert held(world, "rebuild") is None


def test_nothing_is_replaced_that_could_only_come_back_from_a_store_that_is_down():
    world = with_dependency("unavailable", "object_store", "eu-1", STORE)
    assert held(world, "replace") is None, "three members hold its data"
    for member in sample.MEMBERS:
        sample.change(world, member, state="unavailable")
    found = held(world, "replace")
    assert found is not None
    assert found.by == STORE


def test_a_restore_waits_for_its_store():
    assert held(with_dependency("unavailable", "object_store"), "restore") is not None


def test_a_remedy_waits_for_its_turn_in_a_recovery():
    found = held(recovering([]), "failover")
    assert found is not None
    assert (found.reason, found.by, found.noted) == (Reason.WAVE, INCIDENT, False)
    assert held(recovering([sample.SERVICE]), "failover") is None


def test_a_turn_for_its_primary_is_none_for_its_standbys():
    assert held(recovering([sample.SERVICE]), "rebuild") is not None
    assert held(recovering([sample.SERVICE, sample.SERVICE]), "rebuild") is None


@pytest.mark.parametrize(("state", "waits"), [("repointing", False), ("done", True)])
def test_a_rebuild_that_a_failover_waits_for_is_of_its_turn_and_has_its_slot(state: str, waits: bool):
    """Seed 800550: the wave waited for the failover, the failover for the rebuild, and the rebuild for its turn."""
    world = recovering([sample.SERVICE])
    sample.put(world, sample.PLAYBOOK, "failover", state, **sample.playbook_facts())
    service = world.get(sample.SERVICE)
    sample.change(world, sample.SERVICE, data=service.data | {"playbook": sample.PLAYBOOK})
    assert (held(world, "rebuild") is not None) == waits
    assert (held(world, "rebuild", spent=lambda *_: "used up") is not None) == waits


def test_turns_are_taken_by_plan_then_primaries_before_standbys():
    order = [(rank, playbook) for rank in (0, 1, 2) for playbook in ("failover", "rebuild")]
    assert [lane_of(rank, playbook) for rank, playbook in order] == list(range(LANES))


def test_a_recovery_elsewhere_holds_nobody():
    assert held(recovering([], scope="zone:elsewhere"), "failover") is None


@pytest.mark.parametrize("state", ["aborted", "over"])
def test_one_that_is_over_holds_nobody(state: str):
    assert held(recovering([], state), "failover") is None


def test_a_person_who_destroys_or_creates_waits_for_no_turn():
    assert held(recovering([]), "destroy") is None
    assert held(recovering([]), "provision") is None


def test_while_it_is_not_known_whether_it_is_us_the_scope_is_frozen():
    found = held(recovering([sample.SERVICE], "verifying"), "failover")
    assert found is not None
    assert (found.reason, found.noted) == (Reason.FROZEN, False)


def test_a_used_up_budget_holds_and_is_asked_last():
    spent: list[str] = []

    def spend(service: Any, playbook: str) -> str:
        spent.append(playbook)
        return "used up"

    assert held(with_dependency("unavailable"), "rebuild", spent=spend).reason is Reason.DEPENDENCY
    assert spent == [], "nothing is spent on what waits anyhow"
    found = held(sample.well(), "rebuild", spent=spend)
    assert (found.reason, found.words) == (Reason.BUDGET, "used up")


def test_a_service_that_has_noted_a_reason_does_not_note_it_again():
    world = with_dependency("unavailable")
    found = held(world, "rebuild")
    assert found is not None
    service = world.get(sample.SERVICE)
    assert not found.known(service)
    sample.change(world, sample.SERVICE, data=service.data | found.facts("rebuild", sample.NOW_MS))
    assert found.known(world.get(sample.SERVICE))
    assert world.get(sample.SERVICE).data["parked_kind"] == "rebuild"
