"""Commands of people: what they put in, and what they are refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herder.engine.decide import Input, decide
from herder.engine.world import World
from herder.fleet import commands
from herder.model.errors import Conflict, Environment, HerderError, InvalidInput, NotFound, Refused
from herder.model.names import service_name
from herder.model.plans import PLANS, Engine
from tests.machines import sample
from tests.unit.engine.story import WISH

NOW = sample.NOW_MS


def facts_of(inputs: list[Input], kind: str) -> list[dict[str, Any]]:
    return [item.facts for item in inputs if item.create == kind]


def made(world: World, **changes: Any) -> World:
    """The world after a create was committed (by hand: one decision's machines put in)."""
    decision = decide(world, commands.create_service(world, replace(WISH, **changes)), NOW)
    for machine in decision.after.values():
        world.put(machine)
    return world


# ---- create


@pytest.mark.parametrize(("plan", "members"), [("dev", 1), ("standard", 2), ("premium", 3)])
@pytest.mark.parametrize("engine", list(Engine))
def test_a_plan_says_what_is_made(plan: str, members: int, engine: Engine):
    inputs = commands.create_service(World(), replace(WISH, plan=PLANS[plan], engine=engine))
    (service,) = facts_of(inputs, "service")
    assert len(facts_of(inputs, "member")) == len(facts_of(inputs, "server")) == members == len(service["members"])
    assert service["sync"] is (plan == "premium" and engine is Engine.POSTGRES)
    assert service["port"] == (5432 if engine is Engine.POSTGRES else 6379)
    assert (service["term"], service["voters"], service["failovers"]) == (1, [], [])


def test_ids_fit_together():
    inputs = commands.create_service(sample.well(), replace(WISH, name="bills"))
    assert [item.machine for item in inputs] == [8, 9, 12, 10, 13, 11, 14]
    (service,) = facts_of(inputs, "service")
    assert (service["primary"], service["members"], service["servers"]) == (9, [9, 10, 11], [12, 13, 14])
    assert [member["server"] for member in facts_of(inputs, "member")] == service["servers"]
    assert [server["member"] for server in facts_of(inputs, "server")] == service["members"]
    assert [member["role"] for member in facts_of(inputs, "member")] == ["primary", "standby", "standby"]


def test_everything_unique_is_claimed_with_the_record():
    inputs = commands.create_service(World(), WISH)
    claims = [(claim.kind, claim.value) for item in inputs for claim in item.claims]
    addresses = [item.facts["address"] for item in inputs if "address" in item.facts]
    assert claims[:2] == [("service.name", "orders"), ("command", "once")]
    assert sorted(claims[2:]) == sorted(("address", address) for address in addresses)
    assert len(set(addresses)) == 6
    without_key = commands.create_service(World(), replace(WISH, key=""))
    assert "command" not in [claim.kind for item in without_key for claim in item.claims]


@pytest.mark.parametrize("state", ["installing", "available", "unavailable", "retiring"])
def test_a_taken_name_is_refused(state: str):
    world = sample.well()
    sample.change(world, 1, state=state)
    with pytest.raises(Conflict, match="the name 'orders' is taken"):
        commands.create_service(world, WISH)


def test_a_name_is_free_again_when_its_service_is_retired():
    world = sample.well()
    sample.change(world, 1, state="retired")
    assert commands.create_service(world, WISH)
    assert commands.find_service(made(world, subnet_prefix="10.9.9."), "orders").id == 8


@pytest.mark.parametrize("name", ["", "Orders", "-a", "a-", "a_b", "a.b", "a" * 41, "größe"])
def test_a_name_that_cannot_be_a_host_name_is_refused(name: str):
    with pytest.raises(InvalidInput):
        service_name(name)


@given(st.from_regex(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?", fullmatch=True))
def test_every_label_is_a_name(name: str):
    assert service_name(name) == name


def test_an_address_is_never_used_again():
    world = sample.well()
    world.get(2).data["address"] = "10.9.9.2"
    world.get(5).data["address"] = "10.9.9.4"
    for machine in world.machines.values():
        sample.change(world, machine.id, state="retired" if machine.kind != "server" else "terminated")
    assert commands.free_addresses(world, "10.9.9.", 3) == ["10.9.9.3", "10.9.9.5", "10.9.9.6"]


def test_when_addresses_run_out_it_is_said():
    assert len(commands.free_addresses(World(), "10.9.9.", 253)) == 253
    with pytest.raises(Environment, match="has no 254 addresses left"):
        commands.free_addresses(World(), "10.9.9.", 254)
    world = World()
    for number in range(42):
        made(world, name=f"s{number}", subnet_prefix="10.9.9.", key="")
    with pytest.raises(Environment, match="no 6 addresses left"):
        commands.create_service(world, replace(WISH, subnet_prefix="10.9.9."))


# ---- destroy


def test_destroy_takes_the_very_name_as_consent():
    (item,) = commands.destroy_service(sample.well(), "orders", "orders", "ann")
    assert (item.create, item.actor, item.why) == ("destroy", "ann", "ann typed its name")
    decision = decide(sample.well(), [item], NOW)
    assert decision.after[1].state == "retiring"
    assert {decision.after[ident].state for ident in sample.MEMBERS} == {"retiring"}


@pytest.mark.parametrize("consent", ["", "yes", "Orders", "orders ", "order"])
def test_destroy_without_it_is_refused(consent: str):
    with pytest.raises(Refused, match="is not the name of the service"):
        commands.destroy_service(sample.well(), "orders", consent, "ann")


def test_a_destroy_that_goes_on_is_not_begun_again():
    world = sample.well()
    sample.change(world, 1, state="retiring")
    assert commands.destroy_service(world, "orders", "orders", "ann") == []


# ---- switchover and restart


def refused(change: Callable[[World], None], error: type[HerderError], match: str, to: str = "") -> None:
    world = sample.well()
    change(world)
    with pytest.raises(error, match=match):
        commands.switch_over(world, "orders", to, "ann")


def test_a_switchover_names_the_standbys_that_may_lead():
    (item,) = commands.switch_over(sample.well(), "orders", "", "ann")
    facts = item.facts
    assert (facts["standbys"], facts["to"], facts["term"], facts["old_primary"]) == ([3, 4], 0, 2, 2)
    assert (facts["voters"], facts["sync"], facts["server"]) == ([3, 4], True, 5)
    assert decide(sample.well(), [item], NOW).after[1].state == "upgrading"


def test_a_switchover_goes_where_it_is_told():
    (item,) = commands.switch_over(sample.well(), "orders", "orders-2", "ann")
    assert item.facts["to"] == 4


def _lose(*members: int) -> Callable[[World], None]:
    def lose(world: World) -> None:
        for ident in members:
            sample.change(world, ident, state="unavailable")

    return lose


def _hold(world: World) -> None:
    world.get(1).data["playbook"] = 8
    sample.put(world, 8, "failover", "pledging", **sample.playbook_facts(name="orders/failover-8"))


def test_a_switchover_is_refused_where_it_may_not_be():
    refused(_lose(3, 4), Refused, "no standby is not available|no standby")
    refused(_lose(3), Refused, "orders-1 is not available", to="orders-1")
    refused(lambda world: None, NotFound, "'orders-7' is no standby of 'orders'", to="orders-7")
    refused(lambda world: None, NotFound, "is no standby", to="orders-0")
    refused(lambda world: world.get(1).data.update(voters=[]), Refused, "every standby is not yet a voter")
    refused(_hold, Conflict, r"held by orders/failover-8 \(pledging\)")
    refused(lambda world: sample.change(world, 1, state="uncertain"), Conflict, "'orders' is uncertain")
    with pytest.raises(Refused, match="has one member only"):
        commands.switch_over(sample.small("postgres", "dev", 1), "orders", "", "ann")
    with pytest.raises(NotFound):
        commands.switch_over(sample.well(), "bills", "", "ann")


def test_a_switchover_to_one_that_is_no_voter_is_refused():
    refused(lambda world: world.get(1).data.update(voters=[4]), Refused, "orders-1", to="orders-1")


def test_a_playbook_that_is_over_holds_nothing():
    world = sample.well(playbook=8)
    sample.put(world, 8, "failover", "done", **sample.playbook_facts())
    assert commands.switch_over(world, "orders", "", "ann")


def test_a_restart_holds_the_service_under_its_term():
    (item,) = commands.restart_service(sample.well(), "orders", "ann")
    assert (item.create, item.facts["member"], item.facts["term"]) == ("restart", 2, 1)
    decision = decide(sample.well(), [item], NOW)
    assert (decision.after[1].state, decision.after[2].state) == ("restart", "restart")
    world = sample.well()
    _hold(world)
    with pytest.raises(Conflict):
        commands.restart_service(world, "orders", "ann")


def test_a_person_says_that_lost_data_is_there_again():
    world = sample.small("postgres", "dev", 1, no_data=2)
    sample.change(world, 1, state="unavailable")
    sample.change(world, 2, state="unavailable")
    (item,) = commands.restart_service(world, "orders", "ann")
    assert (item.create, item.facts["alone"]) == ("restart", True)
    assert decide(world, [item], NOW).after[1].state == "restart"
    _hold(world)
    with pytest.raises(Conflict, match="is held by"):
        commands.restart_service(world, "orders", "ann")


def test_a_service_that_is_down_for_another_reason_is_not_restarted_by_hand():
    world = sample.small("postgres", "dev", 1)
    sample.change(world, 1, state="unavailable")
    with pytest.raises(Conflict, match="is unavailable"):
        commands.restart_service(world, "orders", "ann")


def test_a_person_gives_the_budget_back():
    world = sample.well(failovers=[NOW])
    decision = decide(world, commands.allow_failover(world, "orders", "ann"), NOW)
    assert decision.after[1].data["failovers"] == []
    assert decision.moves[0].why == "ann allows another automatic failover"


@pytest.mark.parametrize("state", ["retired", "terminated"])
def test_what_is_gone_is_not_found(state: str):
    world = sample.well()
    sample.change(world, 1, state=state)
    with pytest.raises(NotFound, match="there is no service 'orders'"):
        commands.find_service(world, "orders")
