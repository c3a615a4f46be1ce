"""Which servers that are known not to run are started again, and when."""

from __future__ import annotations

from typing import Any, cast

import pytest

from herder.engine.world import World
from herder.governor.budget import COUNTED, Budgets
from herder.governor.gate import Reason
from herder.ports.driver import Role
from herder.pulse.board import Board
from herder.pulse.detector import Limits
from herder.remedies.hands import Hands
from herder.remedies.reboot import bring_back
from herder.sim.clock import SimClock, run
from tests.machines import sample
from tests.unit.remedies.asked import NOW, PRIMARY, SERVICE, dead_primary, proposed, settled, with_states
from tests.unit.remedies.test_promotion import NOT_NEEDED, Agent


def boots(world: World, now_ms: int = NOW + 600_000) -> list[int]:
    """Servers that a tick starts."""
    return [item.machine for item in proposed(world, now_ms) if item.event == "boot"]


def test_the_lost_primarys_server_is_started_after_its_fence():
    """Found by a drill: the fence for the failover ended the life that had just been begun, a minute later it was begun anew."""
    world = with_states(dead_primary(), s0="unavailable", s1="unavailable")
    assert boots(world) == [sample.SERVERS[1]]
    world.get(PRIMARY).data["deposed"] = True
    assert boots(world) == list(sample.SERVERS[:2])


def test_a_lost_primarys_server_is_started_where_no_failover_comes():
    alone = with_states(dead_primary(sample.small("postgres", "dev", 1)), s0="unavailable")
    assert boots(alone) == [sample.SERVERS[0]]
    spent = with_states(dead_primary(failovers=[NOW + 599_000]), s0="unavailable")
    assert boots(spent) == [sample.SERVERS[0]]


def test_no_more_servers_are_started_at_a_time_than_the_provider_can(monkeypatch: pytest.MonkeyPatch):
    world = with_states(s1="unavailable", s2="unavailable")
    monkeypatch.setattr("herder.remedies.catalogue.BOOTS_AT_ONCE", 1)
    assert boots(world) == [sample.SERVERS[1]]
    assert boots(with_states(s0="restart", s1="unavailable")) == []


def test_a_boot_and_a_remedy_that_wait_for_different_things_are_one_note(monkeypatch: pytest.MonkeyPatch):
    """Found by seed 731700: one waited for the provider, one for the budget, each took the other's note, and no end of it."""
    monkeypatch.setattr(Budgets, "reason", lambda self, service, playbook: "used up" if playbook in COUNTED else "")
    world = with_states(dead_primary(), s1="unavailable")
    sample.put(world, 20, "dependency", "unavailable", name="provider:", what="provider", scope="")
    decision = settled(world, now_ms=NOW + 600_000)
    assert [(move.machine, move.patch["parked_kind"]) for move in decision.moves] == [(SERVICE, "boot")]
    assert world.get(SERVICE).data.get("parked", 0) == 0
    noted = decision.after[SERVICE].data
    assert (noted["parked"], noted["parked_kind"]) == (Reason.DEPENDENCY, "boot")
    sample.change(world, SERVICE, data=noted)
    assert settled(world, now_ms=NOW + 600_001).moves == [], "both wait still: nothing new to say"
    world.get(20).state = "available"
    begun = settled(world, now_ms=NOW + 600_002).after
    assert begun[sample.SERVERS[1]].state == "restart"
    assert (begun[SERVICE].data["parked"], begun[SERVICE].data["parked_kind"]) == (Reason.BUDGET, "failover")


@pytest.mark.parametrize(
    ("server", "failed", "sync", "again"),
    [
        pytest.param("restart", "failover", False, False, id="the server that it fenced is being started"),
        pytest.param("unavailable", "failover", False, True, id="that start failed"),
        pytest.param("restart", "restart", False, True, id="nothing was fenced yet"),
        pytest.param("restart", "failover", True, True, id="a sync plan fences nobody"),
    ],
)
def test_a_failover_that_fenced_in_vain_is_not_begun_again_while_the_server_boots(
    server: str, failed: str, sync: bool, again: bool
):
    """Found by the crash sweep: each try ended the boot that would have brought the service back, for a minute."""
    world = with_states(dead_primary(sample.well() if sync else sample.small()), s0=server)
    sample.put(world, 40, failed, "paged", **sample.playbook_facts(sync=sync))
    world.get(sample.SERVICE).data["failed_playbook"] = 40
    begun = [item.create for item in proposed(world, NOW + 600_000)]
    assert ("failover" in begun) is again


@pytest.mark.parametrize(
    ("member", "deposed", "moves", "started"),
    [
        pytest.param(0, False, False, True, id="a primary"),
        pytest.param(0, False, True, False, id="a primary whose lead moves"),
        pytest.param(0, True, False, False, id="one that was deposed meanwhile"),
        pytest.param(1, False, True, True, id="a standby of a service whose lead moves"),
    ],
)
def test_a_planned_boot_starts_nobody_who_would_take_writes_beside_the_one_that_leads(
    member: int, deposed: bool, moves: bool, started: bool
):
    """Found by seed 710913: a server was booted as planned long after, and its deposed primary took writes for 11 s."""
    world = sample.small()
    if moves:
        sample.put(world, sample.PLAYBOOK, "failover", "pledging", **sample.playbook_facts())
    if deposed:
        world.get(sample.MEMBERS[member]).data["deposed"] = True
    agent = Agent(role=Role.STANDBY if member else Role.PRIMARY, alive=False)
    rest: dict[str, Any] = dict.fromkeys(NOT_NEEDED)
    hands = Hands(
        world=lambda: world, board=Board(1.0, Limits(1.5, 8.0)), wire=cast(Any, agent), clock=SimClock(), **rest,
    )  # fmt: skip
    run(lambda: bring_back(hands, world.get(sample.SERVERS[member])))
    assert ("start" in agent.heard) is started
