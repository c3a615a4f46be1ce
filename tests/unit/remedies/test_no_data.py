"""A primary whose data is gone: another member leads, or a person is told once; nothing is started on nothing."""

from __future__ import annotations

from typing import Any

import pytest

from herder.engine.decide import Decision, Input, decide
from herder.engine.world import World
from herder.machines.service import HOUR_MS
from tests.machines import sample
from tests.unit.remedies.test_catalogue import (
    NOW,
    PRIMARY,
    SERVICE,
    VOTER,
    begun,
    dead_primary,
    kinds,
    settled,
    with_states,
)


def no_data(world: World, **facts: Any) -> Decision:
    """A restart of the primary finds nothing to start on; what comes of it at once."""
    world = with_states(world, m0="restart", service="restart")
    sample.put(world, 20, "restart", "restarting", **sample.playbook_facts(member=PRIMARY, **facts))
    world.get(SERVICE).data["playbook"] = 20
    return settled(world, Input(20, "no_data", why="there is no data in /srv/5/data/orders-0"))


def test_a_lost_only_copy_is_a_page_with_its_reason_and_is_not_started_again():
    """Found by a drill: a dev service whose disk had died was started again every two minutes, for ever."""
    decision = no_data(sample.small("postgres", "dev", 1), alone=True)
    service, (page,) = decision.after[SERVICE], [m for m in decision.after.values() if m.kind == "page"]
    assert (decision.after[20].state, service.state, decision.after[PRIMARY].state) == (
        "paged", "unavailable", "unavailable",
    )  # fmt: skip
    assert (page.data["reason"], page.data["text"]) == ("data_lost", "there is no data in /srv/5/data/orders-0")
    world = sample.small("postgres", "dev", 1)
    for machine in decision.after.values():
        world.put(machine)
    for later_ms in (0, 121_000, HOUR_MS, 24 * HOUR_MS):
        assert begun(world, NOW + later_ms) == []


def test_a_service_that_waits_for_its_data_counts_up_its_page_and_has_no_other():
    world = sample.small("postgres", "dev", 1)
    for machine in no_data(world, alone=True).after.values():
        world.put(machine)
    decision = settled(world, Input(SERVICE, "overdue"), now_ms=NOW + 120_000)
    (page,) = [m for m in decision.after.values() if m.kind == "page"]
    assert (page.data["reason"], page.data["times"]) == ("data_lost", 2)


def test_a_lost_copy_of_a_service_with_a_standby_is_a_failover_at_once_and_nobodys_page():
    decision = no_data(sample.small(), alone=False)
    assert decision.after[20].state == "abandoned"
    assert kinds(decision).count("failover") == 1
    assert "page" not in kinds(decision)


def test_a_failover_that_failed_is_not_followed_by_a_start_on_nothing():
    world = dead_primary(sample.small(), no_data=PRIMARY, failed_playbook=20)
    sample.put(world, 20, "failover", "paged", **sample.playbook_facts())
    assert begun(world) == ["failover"]


def test_a_lost_copy_stays_lost_while_failovers_are_blocked():
    world = dead_primary(sample.small(), failovers=[NOW - 1], no_data=PRIMARY)
    assert begun(world) == ["blocked"]
    sample.put(world, 30, "page", "open", subject=SERVICE, service=SERVICE, reason="failover_blocked", times=1)
    assert begun(world) == []


@pytest.mark.parametrize(("event", "held"), [("primary_well", 0), ("restored", 20)])
def test_data_that_is_there_again_is_not_lost_any_more(event: str, held: int):
    world = dead_primary(sample.small("postgres", "dev", 1), no_data=PRIMARY, playbook=held)
    after = decide(world, [Input(SERVICE, event, {"sender": 20})], NOW).after[SERVICE]
    assert (after.state, after.data["no_data"]) == ("available", 0)


def test_what_is_known_of_a_former_primarys_data_does_not_bind_the_next():
    world = dead_primary(sample.small(), no_data=PRIMARY, playbook=20)
    told = {"sender": 20, "candidate": VOTER, "new_voters": [], "timeline": 2}
    after = decide(world, [Input(SERVICE, "promoted", told)], NOW).after[SERVICE]
    assert (after.data["primary"], after.data["no_data"]) == (VOTER, 0)
