"""Whole small fleets by seeds: they end well, the same seed leaves the same trace, and a broken rule is noticed and shrunk."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from herder.assembly import ControlPlane
from herder.fleet import commands
from herder.model.errors import InvalidInput
from herder.ports.driver import SyncSet
from herder.pulse.storm import Verdict, Word
from herder.remedies import handlers
from herder.sim.act import Act
from herder.sim.seeds import plan as plans
from herder.sim.seeds.campaign import Tally, Wish, run_all, run_seed
from herder.sim.seeds.person import Person
from herder.sim.seeds.plan import Item, draw_plan
from herder.sim.seeds.run import run_plan
from herder.sim.seeds.shrink import shrink
from herder.sim.seeds.sometimes import ROWS, SEEN_WITHIN
from herder.sim.seeds.witness import Witness
from herder.sim.world import World


@pytest.mark.parametrize("seed", [1, 2])
def test_a_fleet_survives_everything_at_once_and_ends_well(seed):
    result = run_plan(draw_plan(seed, hours=0.2, services=3))
    assert result.found == []
    assert sum(result.faults.values()) > 10
    assert sum(result.completions.values()) > result.services
    assert not result.idle


def test_a_seed_draws_its_fleet_and_its_faults_before_anything_runs():
    plan = draw_plan(7)
    assert plan == draw_plan(7)
    assert plan.faults >= plans.FAULTS_AN_HOUR[0] * plans.HOURS[0]
    assert {made.plan for made in plan.services} == {"premium", "standard", "dev"}
    assert 6 <= plan.servers <= plans.SERVERS_MAX
    assert [item.at_s for item in plan.items] == sorted(item.at_s for item in plan.items)


def test_over_many_seeds_every_kind_is_drawn_and_each_is_missing_somewhere():
    drawn = [{item.kind for item in draw_plan(seed, hours=1.0).items} for seed in range(60)]
    assert set.union(*drawn) == set(plans.FAULTS + plans.ORDERS)
    assert not set.intersection(*drawn) & set(plans.FAULTS)


def test_most_orders_are_disturbed_while_they_are_carried_out():
    disturbed = orders = 0
    for seed in range(40):
        items = draw_plan(seed, hours=1.0).items
        for order in (item for item in items if item.kind in plans.ORDERS):
            soon = [item for item in items if order.at_s <= item.at_s <= order.at_s + plans.AMID_S[1]]
            orders += 1
            disturbed += any(item.kind in plans.FAULTS and item.aim == order.aim for item in soon)
    assert disturbed > orders / 2


def test_many_hosts_that_fall_at_once_are_an_incident_and_recover():
    result = run_plan(draw_plan(1, hours=0.05, services=3), [Item(1, 40.0, "outage")])
    assert result.found == []
    assert result.seen["incident.verifying -mass-> recovering"] == 1


def test_the_same_seed_leaves_the_same_trace_whatever_python_hashes():
    code = (
        "from herder.sim.seeds.plan import draw_plan; from herder.sim.seeds.run import run_plan;"
        "print(run_plan(draw_plan(9, hours=0.05, services=3)).trace)"
    )
    traces = {
        subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True,
            env=os.environ | {"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(traces) == 1


def test_other_faults_do_what_they_did_when_one_is_taken_away():
    plan = draw_plan(3, hours=0.05, services=3)
    kept = plan.items[:1]
    alone, all_of_them = run_plan(plan, kept, story=True), run_plan(plan, story=True)
    first = [words for _, words in alone.story if words.startswith("!!")]
    assert first
    assert first[0] in [words for _, words in all_of_them.story]


def test_a_list_goes_through_a_file_and_one_with_an_unknown_fault_is_refused():
    items = draw_plan(5, hours=0.1).items
    assert plans.from_json(plans.to_json(items)) == items
    with pytest.raises(InvalidInput, match="set_on_fire"):
        plans.from_json(b'[{"number": 1, "at_s": 2.0, "kind": "set_on_fire"}]')
    with pytest.raises(InvalidInput):
        plans.from_json(b"{]")


def test_jitter_moves_nobody():
    tally = run_all(Wish(1, 1, hours=0.3, services=3, jitter=True), lambda *_: None)
    assert tally.verdict(Wish(1, 1, jitter=True)) == []
    assert tally.promotions == 0
    assert sum(tally.faults.values()) > 10


# ---- that it can fail


def test_a_quorum_that_is_skipped_is_noticed_run_twice_and_shrunk(monkeypatch):
    monkeypatch.setattr("herder.remedies.election.pledges_needed", lambda voters, k=1: 1)
    items = (
        Item(50, 25.0, "clock_drift"),
        Item(51, 28.0, "kill_agent", 2),
        Item(1, 40.0, "corner", 0),
        Item(52, 60.0, "reboot_host", 2),
    )
    plan = replace(draw_plan(19, hours=0.08, services=3), items=items)
    monkeypatch.setattr("herder.sim.seeds.campaign.draw_plan", lambda seed, **_: plan)
    _, failure = run_seed(Wish(19, 1, shrink_runs=8), 19)
    assert failure is not None
    assert failure.same
    assert "lost" in {finding.check for finding in failure.found}
    assert [item.kind for item in failure.items] == ["corner"]


def test_a_voter_that_is_forgotten_before_the_others_hold_what_it_had_is_noticed(monkeypatch):
    plan, items = draw_plan(19, hours=0.08, services=3), [Item(2, 40.0, "attrition", 0)]
    assert run_plan(plan, items).found == []
    monkeypatch.setattr("herder.remedies.strike.flushed", lambda *_: True)
    assert "lost" in run_plan(plan, items).checks


def test_a_primary_that_is_promoted_to_wait_for_nobody_is_noticed(monkeypatch):
    plan, items = draw_plan(19, hours=0.08, services=3), [Item(1, 40.0, "corner", 0)]
    assert run_plan(plan, items).found == []
    monkeypatch.setattr("herder.remedies.hands.Hands.guard_set", lambda *_: SyncSet())
    assert "alone" in run_plan(plan, items).checks


def test_nearly_all_that_fall_without_an_incident_are_noticed(monkeypatch):
    plan, items = draw_plan(1, hours=0.05, services=3), [Item(5, 40.0, "outage")]
    assert run_plan(plan, items).found == []
    monkeypatch.setattr("herder.fleet.storm.first_look", lambda *_: Verdict(Word.CALM, "nobody looks"))
    assert "storm" in run_plan(plan, items).checks


async def test_a_step_that_is_done_twice_under_two_intents_is_noticed():
    world = World(1)
    witness = Witness(world, Person(world, draw_plan(1, services=3)))
    once = Act(5.0, "restart", "orders", "orders-0", "s1", 3, 20, "7.2.restart.4")
    witness.on_act(once)
    witness.on_act(replace(once, order=21, intent="7.3.restart.4"))
    assert witness.found == []
    witness.on_act(replace(once, order=21, intent="7.3.restart.4.again"))
    assert [finding.check for finding in witness.found] == ["applied twice"]


def test_a_primary_that_is_promoted_past_while_its_lease_runs_is_noticed(monkeypatch):
    items = [Item(1, 60.0, "isolate", 1)]
    plan = draw_plan(2, hours=0.08, services=3)
    plan = replace(plan, can_fence=False, pulse_s=1.0, tuned=plan.tuned | {"on_isolation": "stop", "lease_s": 8.0})
    kept = run_plan(plan, items)
    assert kept.found == []
    assert kept.seen["failover.leasing -lease_over-> pledging"] == 1
    monkeypatch.setattr("herder.remedies.failover.SKEW_S", -8.0)
    assert run_plan(plan, items).checks == {"two primaries"}


def test_a_service_that_goes_though_another_name_was_typed_is_noticed(monkeypatch):
    plan, items = draw_plan(1, hours=0.02, services=3), [Item(1, 30.0, "mistype", 1)]
    refused = run_plan(plan, items)
    assert (refused.found, refused.orders["mistype"]) == ([], 0)

    def whatever_is_typed(world, name, consent, actor):
        return destroy(world, name, name, actor)

    destroy = commands.destroy_service
    monkeypatch.setattr(commands, "destroy_service", whatever_is_typed)
    assert "destroyed" in run_plan(plan, items).checks


def test_a_crash_of_a_handler_is_a_finding(monkeypatch):
    async def fall(hands, work):
        raise ZeroDivisionError

    mended = tuple((effect, ends, fall if effect == "ask_vantages" else run) for effect, ends, run in handlers.HANDLERS)
    monkeypatch.setattr(handlers, "HANDLERS", mended)
    result = run_plan(draw_plan(1, hours=0.02, services=3), [Item(0, 20.0, "freeze_host", 0)])
    assert "crashed" in result.checks


# ---- the small parts


def test_a_control_plane_that_ends_whenever_it_begins_is_a_finding_and_no_run_without_end(monkeypatch):
    async def end(_: ControlPlane) -> None:
        raise RuntimeError("the review does not settle")

    monkeypatch.setattr(ControlPlane, "run", end)
    result = run_plan(draw_plan(3, hours=0.25, services=3), ())
    assert "took its shard 201 times and ended each time" in str(result.found[0])


def test_shrinking_keeps_what_is_needed_and_nothing_else():
    items = [Item(number, float(number), "kill_host") for number in range(40)]
    needed = {3, 17, 30}
    kept = shrink(items, lambda some: needed <= {item.number for item in some}, 500)
    assert {item.number for item in kept} == needed


def test_shrinking_ends_when_its_runs_are_spent():
    runs = []
    items = [Item(number, float(number), "kill_host") for number in range(40)]
    shrink(items, lambda some: runs.append(1) is None and False, 7)
    assert len(runs) == 7


def test_what_was_never_seen_fails_a_campaign_only_when_it_was_long_enough():
    tally = Tally(seeds=SEEN_WITHIN)
    assert len(tally.verdict(Wish(1, SEEN_WITHIN))) == len(ROWS)
    assert Tally(seeds=SEEN_WITHIN - 1).verdict(Wish(1, 10)) == []
    assert Tally(seeds=3, idle=1).verdict(Wish(1, 3)) != []
