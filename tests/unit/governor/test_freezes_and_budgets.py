"""Where no remedy may begin, and how many may: read from the world as it would be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from herder.engine.decide import Draft, Input, decide
from herder.engine.world import World
from herder.governor import budget, scopes
from herder.governor.budget import Budgets, Limits, limits_for
from herder.governor.freezes import Freezes
from herder.model.errors import InvalidInput, NotFound
from herder.pulse.storm import FLEET
from tests.machines import sample

NOW = sample.NOW_MS
FIRST = 100


def many(services: int = 40, zones: int = 4, world: World | None = None) -> World:
    """Services of one member and one server each, in zones by turns."""
    world = world or World()
    for number in range(services):
        at = FIRST + 3 * number
        facts = sample.service_facts(name=f"s{number}", primary=at + 1, members=[at + 1], servers=[at + 2], voters=[])
        sample.put(world, at, "service", "available", **facts)
        member = sample.member_facts(0) | {"name": f"s{number}-0", "service": at, "server": at + 2}
        sample.put(world, at + 1, "member", "available", **member)
        server = {"name": f"srv-{at + 2}", "incarnation": 1, "member": at + 1, "service": at, "zone": f"z{number % zones}",
                  "image": "i1"}  # fmt: skip
        sample.put(world, at + 2, "server", "available", **server)
    return world


def service(number: int) -> int:
    return FIRST + 3 * number


def draft(world: World) -> Draft:
    return Draft(world, NOW)


def incident(world: World, state: str, *frozen: str, **facts: Any) -> int:
    ident = world.next_id
    sample.put(world, ident, "incident", state, scopes=list(frozen), scope=", ".join(frozen), **facts)
    return ident


# ---- scopes


def test_a_server_stands_in_the_fleet_its_zone_its_provider_and_its_image():
    world = many(1)
    assert scopes.scopes_of(world.get(service(0) + 2)) == ("fleet", "zone:z0", "provider:local", "image:i1")


def test_a_service_stands_wherever_its_servers_do():
    found = scopes.scopes_of_service(sample.well(), sample.well().get(sample.SERVICE))
    assert {"fleet", "zone:local", "service:orders", "server:srv-5", "server:srv-7"} <= found


@pytest.mark.parametrize(
    ("scope", "count"),
    [("fleet", 40), ("zone:z1", 10), ("image:i1", 40), ("service:s3", 1), ("server:srv-102", 1), ("zone:none", 0)],
)
def test_servers_in_a_scope(scope: str, count: int):
    assert len(scopes.in_scope(many(), [scope])) == count


def test_servers_in_several_scopes_are_named_once():
    found = scopes.in_scope(many(), ["zone:z1", "service:s1", "zone:z2"])
    assert len(found) == 20
    assert (np.diff(found.astype(int)) > 0).all()


def test_a_scope_is_read_as_it_is_typed():
    world = many()
    assert scopes.read_scope(world, " zone:z1 ") == "zone:z1"
    assert scopes.read_scope(World(), "fleet") == FLEET
    for wrong in ("", "z1", "zone:", "planet:earth"):
        with pytest.raises(InvalidInput):
            scopes.read_scope(world, wrong)
    with pytest.raises(NotFound, match="no server stands in zone:z9"):
        scopes.read_scope(world, "zone:z9")


def test_a_server_is_ill_when_it_or_its_member_is():
    world = many(3)
    sample.change(world, service(1) + 1, state="unavailable")
    sample.change(world, service(2) + 2, state="uncertain")
    assert scopes.ill(world, world.ids("server")).tolist() == [False, True, True]


# ---- freezes


@pytest.mark.parametrize("state", ["verifying", "ours", "paused"])
def test_an_incident_that_is_not_decided_freezes_its_scope(state: str):
    world = many()
    ident = incident(world, state, "zone:z1")
    frozen, free = world.get(service(1)), world.get(service(2))
    why = Freezes(draft(world)).reason(frozen, "failover")
    assert why == f"zone:z1 is frozen: incident-{ident} is {state}"
    assert Freezes(draft(world)).reason(free, "failover") == ""


@pytest.mark.parametrize("state", ["recovering", "aborted", "over"])
def test_an_incident_that_is_decided_freezes_nothing(state: str):
    world = many()
    incident(world, state, "fleet")
    assert Freezes(draft(world)).reason(world.get(service(1)), "failover") == ""


@pytest.mark.parametrize("scope", ["fleet", "zone:z1", "service:s1", "server:srv-105", "provider:local"])
def test_a_person_freezes_a_scope_and_releases_it(scope: str):
    world = many()
    facts = {"scope": scope, "by": "ann", "why": "a drill"}
    made = decide(world, [Input(0, "create", facts, create="freeze")], NOW)
    (freeze,) = made.after.values()
    world.put(freeze)
    assert Freezes(draft(world)).reason(world.get(service(1)), "rebuild") == f"{scope} is frozen: a drill"
    released = decide(world, [Input(freeze.id, "release")], NOW).after[freeze.id]
    world.put(released)
    assert Freezes(draft(world)).reason(world.get(service(1)), "rebuild") == ""


def test_a_freeze_of_this_very_batch_counts():
    world = many()
    now = draft(world)
    made = decide(world, [Input(0, "create", {"scope": "fleet", "by": "ann", "why": "x"}, create="freeze")], NOW)
    now.changed.update(made.after)
    assert Freezes(now).reason(world.get(service(1)), "strike")


@pytest.mark.parametrize("playbook", ["provision", "destroy", "switchover"])
def test_what_a_person_asks_for_is_never_frozen(playbook: str):
    world = many()
    incident(world, "verifying", "fleet")
    assert Freezes(draft(world)).reason(world.get(service(1)), playbook) == ""


# ---- budgets


def busy(world: World, count: int, zone: int = 0, state: str = "promoting") -> None:
    """`count` failovers of services of that zone (of four)."""
    for number in range(count):
        ident = world.next_id
        sample.put(world, ident, "failover", state, service=service(zone + 4 * (number % 10)), name=f"failover-{ident}")


def test_a_zone_whose_slots_are_taken_waits_and_others_do_not():
    world = many()
    busy(world, 20)
    budgets = Budgets(draft(world))
    assert budgets.reason(world.get(service(0)), "failover") == "20 remedies are under way in zone:z0, of 20"
    assert budgets.reason(world.get(service(1)), "failover") == ""


def test_an_answer_takes_the_slot():
    world = many()
    busy(world, 19)
    budgets = Budgets(draft(world))
    assert budgets.reason(world.get(service(0)), "rebuild") == ""
    assert budgets.reason(world.get(service(4)), "rebuild")


def test_the_fleet_has_a_budget_of_its_own():
    world = many()
    busy(world, 20, 0)
    busy(world, 19, 1)
    budgets = Budgets(draft(world))
    assert budgets.reason(world.get(service(2)), "restart") == ""
    assert "in fleet, of 40" in budgets.reason(world.get(service(2)), "restart")


def test_what_is_over_takes_no_slot():
    world = many()
    busy(world, 60, state="done")
    assert Budgets(draft(world)).reason(world.get(service(0)), "failover") == ""


def test_a_recovery_in_waves_neither_asks_nor_fills_the_budget():
    world = many()
    busy(world, 20)
    incident(world, "recovering", "zone:z0", began_ms=NOW)
    budgets = Budgets(draft(world))
    assert budgets.reason(world.get(service(0)), "failover") == ""
    busy(world, 19, 1)
    assert Budgets(draft(world)).reason(world.get(service(1)), "failover") == ""


def test_a_large_fleet_has_a_share():
    limits = Limits()
    assert (limits.in_flight(FLEET, 1_000_000), limits.in_flight("zone:a", 100)) == (10_000, 20)
    assert (limits.hour(FLEET, 1_000_000), limits.hour("zone:a", 100)) == (50_000, 360)
    assert limits_for(3).hour_fleet == 3 * limits.hour_fleet


def test_the_hour_is_counted_from_the_log_and_recoveries_are_left_out():
    world = many()
    busy(world, 30, state="done")
    for ident in world.ids("failover")[:10].tolist():
        sample.change(world, ident, since_ms=NOW - budget.HOUR_MS - 1)
    left = {each.scope: each for each in budget.budgets(world, NOW)}
    assert (left[FLEET].hour, left["zone:z0"].hour, left["zone:z1"].hour) == (20, 20, 0)
    assert left[FLEET].in_flight == 0
    assert budget.budgets(world, NOW, Limits(hour_zone=20, hour_fleet=21))[1].empty
    incident(world, "over", "fleet", began_ms=NOW - 60_000)
    sample.change(world, world.next_id - 1, since_ms=NOW)
    assert budget.budgets(world, NOW)[0].hour == 0
