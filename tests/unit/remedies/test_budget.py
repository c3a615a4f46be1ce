"""One automatic failover an hour, whatever the cause; what a person asks for is free."""

from __future__ import annotations

from herder.engine.decide import Draft, Input
from herder.machines.service import HOUR_MS
from herder.remedies.catalogue import Catalogue
from tests.machines import sample
from tests.unit.remedies.asked import (
    NOW,
    OTHER,
    SERVICE,
    VOTER,
    begun,
    dead_primary,
    kinds,
    settled,
    with_states,
)


def test_a_second_failover_within_the_hour_blocks_and_pages_and_starts_in_place():
    decision = settled(dead_primary(failovers=[NOW - HOUR_MS + 1]))
    made = {machine.kind: machine for machine in decision.after.values()}
    assert made["page"].data["reason"] == "failover_blocked"
    assert made["restart"].state == "restarting"
    assert "failover" not in made


def test_a_block_is_paged_once_and_its_restart_not_repeated_at_once():
    world = dead_primary(failovers=[NOW])
    sample.put(world, 20, "page", "open", subject=SERVICE, reason="failover_blocked", times=1)
    assert begun(world) == ["restart"]
    assert begun(with_states(world, s0="unavailable")) == []


def test_the_budget_comes_back_after_an_hour_or_by_a_person():
    assert begun(dead_primary(failovers=[NOW - HOUR_MS])) == ["failover"]
    blocked = dead_primary(failovers=[NOW])
    assert "failover" in kinds(settled(blocked, Input(SERVICE, "allowed")))


def test_a_larger_budget_is_a_larger_budget():
    world = dead_primary(failovers=[NOW - 5, NOW - 4])
    assert [item.create for item in Catalogue(3).review(Draft(world, NOW))] == ["failover"]


def test_a_planned_move_costs_no_budget():
    from herder.machines.service import promoted

    told = {"candidate": VOTER, "new_voters": [OTHER], "counts": False}
    assert "failovers" not in promoted({"failovers": []}, told, NOW)
    assert promoted({"failovers": [NOW - HOUR_MS]}, told | {"counts": True}, NOW)["failovers"] == [NOW]
