"""Symptom -> playbook: what is begun, what is not, and what it may cost."""

from __future__ import annotations

import pytest

from herder.engine.decide import Decision, Input, decide
from herder.engine.world import Machine, World
from herder.fleet import commands
from herder.machines.service import STRIKE_RETRY_MS
from herder.remedies.catalogue import REBUILD_TRIES
from tests.machines import sample
from tests.unit.remedies.asked import (
    CATALOGUE,
    NOW,
    OTHER,
    PRIMARY,
    SERVICE,
    VOTER,
    begun,
    dead_primary,
    kinds,
    proposed,
    settled,
    with_states,
)

# ---- a primary that does not serve


def test_nothing_is_done_where_all_is_well():
    assert begun(sample.well()) == []
    assert begun(sample.small()) == []


def test_a_lost_primary_of_a_sync_plan_fails_over_under_the_next_term():
    (failover,) = proposed(dead_primary())
    assert failover.create == "failover"
    assert failover.facts["term"] == 2
    assert (failover.facts["old_primary"], failover.facts["server"]) == (PRIMARY, sample.SERVERS[0])
    assert (failover.facts["standbys"], failover.facts["voters"]) == ([VOTER, OTHER], [VOTER, OTHER])
    assert failover.facts["sync"] is True
    assert failover.facts["counts"] is True
    assert "restart in place about" in failover.why


@pytest.mark.parametrize("state", ["uncertain", "available", "restart", "installing"])
def test_what_is_not_known_dead_is_not_replaced(state: str):
    """S6: nothing follows from uncertainty but questions."""
    assert begun(with_states(m0=state, service="uncertain")) in ([], ["primary_well"])


def test_the_last_one_of_a_sync_plan_is_not_promoted_with_nobody_to_wait_for():
    """Found by a drill: both other hosts had died one after the other, and failovers were short of pledges for ever."""
    world = dead_primary()
    world.get(sample.MEMBERS[1]).data["deposed"] = True
    assert begun(world) == ["restart"]
    assert begun(with_states(world, s0="unavailable")) == []


def test_an_async_primary_is_restarted_in_place_while_its_server_runs():
    assert begun(dead_primary(sample.small())) == ["restart"]


def test_an_async_primary_whose_server_is_gone_fails_over():
    world = with_states(dead_primary(sample.small()), s0="unavailable")
    (failover,) = proposed(world)
    assert (failover.create, failover.facts["sync"], failover.facts["on_isolation"]) == ("failover", False, "serve")


def test_the_only_member_waits_for_its_server_and_is_restarted_then():
    alone = dead_primary(sample.small("postgres", "dev", 1))
    assert begun(alone) == ["restart"]
    assert begun(with_states(alone, s0="unavailable")) == []


def test_a_service_that_looks_well_is_looked_at_until_its_servers_are_booted():
    """Seed 801188: a restart's answer came after its server had died again; the service was at rest, and nobody started the server."""
    assert settled(sample.small()).at_rest == [SERVICE]
    assert settled(with_states(sample.small(), s0="unavailable")).at_rest == []


def test_a_server_of_which_nothing_runs_is_not_restarted_on():
    """The provider's word comes a beat before the silence shows."""
    world = dead_primary(sample.small())
    world.get(PRIMARY).data["evidence"] = {"provider": False, "incarnation": 1}
    assert begun(world) == ["failover"]
    world.get(PRIMARY).data["evidence"] = {"provider": False, "incarnation": 0}
    assert begun(world) == ["restart"]


def test_a_restart_that_failed_is_followed_by_a_failover():
    world = dead_primary(sample.small(), failed_playbook=20)
    sample.put(world, 20, "restart", "paged", **sample.playbook_facts())
    assert begun(world) == ["failover"]


def test_after_a_failure_the_next_try_waits():
    world = dead_primary(retry_ms=NOW + 1)
    assert begun(world) == []
    assert begun(world, NOW + 1) == ["failover"]


def test_each_failure_doubles_the_pause_up_to_two_minutes_and_a_success_forgets_them():
    world = dead_primary(playbook=20)
    sample.put(world, 20, "failover", "pledging", **sample.playbook_facts())
    service = world.get(SERVICE)
    pauses = []
    for _ in range(8):
        told = Input(SERVICE, "playbook_failed", {"sender": 20})
        service.data |= decide(world, [told], NOW).after[SERVICE].data | {"playbook": 20}
        pauses.append((service.data["retry_ms"] - NOW) // 1000)
    assert pauses == [3, 6, 12, 24, 48, 96, 120, 120]
    assert service.data["failures"] == 8
    for event, held in (("primary_well", 0), ("allowed", 20), ("restored", 20)):
        service.data["playbook"] = held
        after = decide(world, [Input(SERVICE, event, {"sender": 20})], NOW).after[SERVICE]
        assert (after.data["failures"], after.data["retry_ms"]) == (0, 0)


def test_one_remedy_at_a_time():
    world = dead_primary(playbook=20)
    sample.put(world, 20, "failover", "promoting", **sample.playbook_facts())
    assert begun(world) == []


def test_no_primary_is_started_beside_a_standby_that_says_it_leads():
    """Found by `verify`: an order to promote of a controller that had lost its shard was taken after the failover was given up."""
    world = with_states(dead_primary(sample.small()), m1="unavailable")
    assert begun(world) == ["restart"]
    world.get(sample.MEMBERS[1]).data["evidence"] = {"role": "primary"}
    assert begun(world) == []
    sample.change(world, sample.MEMBERS[1], state="available")
    assert begun(world) == ["restart"]


@pytest.mark.parametrize(("kind", "state", "event"), [
    ("strike", "shrinking", "overtaken"), ("failover", "repointing", "primary_lost"),
    ("switchover", "repointing", "primary_lost"), ("switchover", "preparing", "primary_lost"),
])  # fmt: skip
def test_a_remedy_that_needs_the_primary_gives_way(kind: str, state: str, event: str):
    world = dead_primary(playbook=20)
    sample.put(world, 20, kind, state, **sample.playbook_facts())
    assert [(item.machine, item.event) for item in proposed(world)] == [(20, event)]


@pytest.mark.parametrize(
    ("server", "event"), [("available", []), ("uncertain", ["primary_lost"]), ("unavailable", ["primary_lost"])]
)
def test_an_exercise_that_ends_its_primary_gives_way_when_the_server_is_lost(server: str, event: list[str]):
    world = with_states(dead_primary(playbook=20), s0=server)
    sample.put(world, 20, "failover", "stopping", **sample.playbook_facts())
    assert [item.event for item in proposed(world) if item.machine == 20] == event


def test_a_strike_that_gives_way_makes_room_for_the_failover_in_the_same_record():
    world = dead_primary(playbook=20)
    sample.put(world, 20, "strike", "shrinking", **sample.playbook_facts())
    assert [move.why.split(":")[0] for move in settled(world).moves][-2:] == [
        "orders-0 is known not to serve", "orders/failover-21"
    ]  # fmt: skip


def test_without_a_standby_that_may_live_there_is_nobody_to_promote():
    assert begun(with_states(dead_primary(), m1="unavailable", m2="installing", s0="unavailable")) == []


# ---- a lost voter


def test_a_lost_voter_is_struck_while_another_holds_everything():
    (strike,) = proposed(with_states(m1="unavailable"))
    assert (strike.create, strike.facts["member"], strike.facts["keep"]) == ("strike", VOTER, [OTHER])


@pytest.mark.parametrize("state", ["uncertain", "restart"])
def test_a_voter_that_may_live_is_not_struck(state: str):
    assert begun(with_states(m1=state)) == []


def test_the_last_voter_is_never_struck():
    assert begun(sample.well(voters=[VOTER])) == ["rebuild"]
    assert "strike" not in begun(with_states(sample.well(voters=[VOTER]), m1="unavailable"))


def test_both_voters_lost_leave_one():
    decision = settled(with_states(m1="unavailable", m2="unavailable"))
    assert [machine.kind for machine in decision.after.values() if machine.id >= 8] == ["strike"]


def test_a_strike_that_failed_waits_before_the_next():
    world = with_states(sample.well(playbook=20), m1="unavailable")
    sample.put(world, 20, "strike", "shrinking", **sample.playbook_facts())
    decision = settled(world, Input(20, "failed"))
    assert "strike" not in [machine.kind for machine in decision.after.values() if machine.id > 20]
    service = ended(decision, world, SERVICE)
    assert (service.state, service.data["playbook"]) == ("available", 0)
    assert service.data["strike_retry_ms"] == NOW + STRIKE_RETRY_MS


def test_what_waits_after_a_strike_that_failed_is_only_the_next_strike():
    world = with_states(sample.well(strike_retry_ms=NOW + STRIKE_RETRY_MS), m1="unavailable")
    assert begun(world) == ["rebuild"]
    world.get(VOTER).data.update(rebuilds=1, rebuild_ms=NOW)
    assert begun(world) == []
    assert begun(world, NOW + STRIKE_RETRY_MS) == ["strike"]
    assert begun(dead_primary(world)) == ["failover"]


def test_a_strike_gives_way_when_a_voter_is_enrolled_meanwhile():
    """The set that is loaded for it has the struck one in it again, so the log must not forget that one."""
    world = with_states(sample.well(playbook=20), m1="installing", m2="unavailable")
    sample.put(world, 20, "strike", "shrinking", **sample.playbook_facts(term=1, member=OTHER, keep=[VOTER]))
    sample.put(world, 21, "rebuild", "catching_up", **sample.playbook_facts(term=1))
    decision = settled(world, Input(21, "caught_up"))
    assert (ended(decision, world, 20).state, ended(decision, world, 21).state) == ("failed", "enrolling")
    assert ended(decision, world, SERVICE).data["voters"] == [VOTER, OTHER]


def test_no_strike_begins_while_a_voter_is_enrolled():
    world = with_states(m1="installing", m2="unavailable")
    rebuild = sample.put(world, 21, "rebuild", "enrolling", **sample.playbook_facts(term=1))
    assert "strike" not in begun(world)
    sample.change(world, rebuild.id, state="done")
    assert begun(world) == ["strike"]


# ---- rebuilds


def test_a_lost_standby_is_rebuilt():
    (rebuild,) = proposed(with_states(sample.small(), m1="unavailable"))
    assert (rebuild.create, rebuild.facts["member"], rebuild.facts["primary"]) == ("rebuild", VOTER, PRIMARY)
    assert (rebuild.facts["term"], rebuild.facts["added"]) == (1, [VOTER])


def test_a_standby_that_is_no_voter_is_enrolled():
    (rebuild,) = proposed(sample.well(voters=[VOTER]))
    assert rebuild.facts["member"] == OTHER


def test_a_member_has_one_rebuild_at_a_time():
    world = with_states(sample.small(), m1="unavailable")
    world.get(VOTER).data["playbook"] = 20
    sample.put(world, 20, "rebuild", "copying", **sample.playbook_facts(term=1))
    assert begun(world) == []


@pytest.mark.parametrize(("tries", "pause_s"), [(0, 0), (1, 2), (2, 4), (3, 8), (12, 300)])
def test_rebuilds_are_spaced_out(tries: int, pause_s: int):
    world = with_states(sample.small(), m1="unavailable")
    sample.put(world, 20, "page", "open", subject=SERVICE, reason="rebuild_fails", times=1)
    world.get(VOTER).data.update(rebuilds=tries, rebuild_ms=NOW)
    assert begun(world, NOW + pause_s * 1000) == ["rebuild"]
    if pause_s:
        assert begun(world, NOW + pause_s * 1000 - 1) == []


def test_a_rebuild_that_fails_again_and_again_is_paged_and_goes_on():
    world = with_states(sample.small(), m1="unavailable")
    world.get(VOTER).data.update(rebuilds=REBUILD_TRIES, rebuild_ms=0)
    page, rebuild = proposed(world)
    assert (page.create, page.facts["reason"], rebuild.create) == ("page", "rebuild_fails", "rebuild")


def test_a_member_without_a_vote_that_cannot_be_rebuilt_now_keeps_its_page():
    """Seed 800951: the page was made and resolved in turns, and the control plane ended at each look. The gate is closed meanwhile."""
    world = sample.well(voters=[OTHER])
    world.get(VOTER).data.update(rebuilds=REBUILD_TRIES, rebuild_ms=0)
    sample.put(world, 30, "freeze", "frozen", name="freeze-fleet", scope="fleet", by="ann", why="")
    decision = settled(world)
    assert [(each.kind, each.state) for each in decision.after.values() if each.kind == "page"] == [("page", "open")]


def test_two_failing_rebuilds_are_one_page():
    world = with_states(sample.well(sync=False, voters=[]), m1="unavailable", m2="unavailable")
    for ident in (VOTER, OTHER):
        world.get(ident).data.update(rebuilds=REBUILD_TRIES, rebuild_ms=0)
    pages = [machine for machine in settled(world).after.values() if machine.kind == "page"]
    assert [(page.data["reason"]) for page in pages] == ["rebuild_fails"]


def test_a_rebuild_of_an_older_term_is_overtaken_and_begun_anew():
    world = with_states(sample.well(term=2, voters=[OTHER]), m1="installing")
    world.get(VOTER).data.update(playbook=20, rebuilds=1, rebuild_ms=NOW)
    sample.put(world, 20, "rebuild", "copying", **sample.playbook_facts(term=1, member=VOTER))
    assert [(item.machine, item.event) for item in proposed(world)] == [(20, "overtaken")]
    decision = settled(world, now_ms=NOW)
    assert decision.after[20].state == "failed"
    assert decision.after[VOTER].state == "unavailable"


# ---- making and ending


@pytest.mark.parametrize(("state", "kind"), [("installing", "provision"), ("retiring", "destroy")])
def test_what_was_asked_for_is_begun_again_until_it_is_done(state: str, kind: str):
    world = with_states(service=state)
    (item,) = proposed(world)
    assert item.create == kind
    world.get(SERVICE).data["retry_ms"] = NOW + 1
    assert begun(world) == []
    world.get(SERVICE).data.update(retry_ms=0, playbook=20)
    sample.put(world, 20, kind, "hiring" if kind == "provision" else "stopping")
    assert begun(world) == []


@pytest.mark.parametrize("step", ["hiring", "founding", "cloning", "enrolling"])
def test_a_destroy_while_it_is_made_ends_the_making(step: str):
    """In the same record, so that no handler of it begins anything more."""
    world = with_states(sample.well(playbook=20, voters=[]), service="installing", m0="installing", m1="installing",
                        m2="installing")  # fmt: skip
    sample.put(world, 20, "provision", step, **sample.playbook_facts(term=1))
    (destroy,) = commands.destroy_service(world, "orders", "orders", "ann")
    decision = settled(world, destroy)
    service = ended(decision, world, SERVICE)
    assert ended(decision, world, 20).state == "failed"
    assert (service.state, service.data["playbook"], service.data["term"]) == ("retiring", destroy.machine, 2)
    assert ended(decision, world, destroy.machine).state == "stopping"
    assert {ended(decision, world, member).state for member in sample.MEMBERS} == {"retiring"}
    assert kinds(decision).count("destroy") == 1


@pytest.mark.parametrize("kind", ["failover", "switchover"])
@pytest.mark.parametrize("state", ["promoting", "repointing"])
def test_a_move_of_the_lead_ends_with_its_service(kind: str, state: str):
    """Found by the product search: it waited for members in the trash, and paged every half minute for good."""
    world = with_states(sample.well(playbook=20, term=2), service="unavailable")
    sample.put(world, 20, kind, state, **sample.playbook_facts())
    (destroy,) = commands.destroy_service(world, "orders", "orders", "ann")
    decision = settled(world, destroy)
    assert ended(decision, world, 20).state == "abandoned"
    service = ended(decision, world, SERVICE)
    assert (service.state, service.data["playbook"]) == ("retiring", destroy.machine)


def test_a_making_of_another_service_goes_on():
    world = with_states(service="retiring")
    world.get(SERVICE).data["playbook"] = 21
    sample.put(world, 20, "provision", "hiring", **sample.playbook_facts(service=99))
    sample.put(world, 21, "destroy", "stopping", **sample.playbook_facts())
    assert begun(world) == []


def test_destroying_goes_on_under_the_consent_that_was_given_and_a_newer_term():
    (destroy,) = proposed(with_states(service="retiring"))
    assert (destroy.facts["consent"], destroy.facts["service_name"], destroy.facts["term"]) == ("orders", "orders", 2)


@pytest.mark.parametrize("state", ["retired", "terminated"])
def test_what_is_gone_is_left_alone(state: str):
    assert begun(with_states(service=state, m0="retired", m1="retired", m2="retired")) == []


def test_a_failed_provision_of_a_service_that_is_being_destroyed_has_no_say():
    world = with_states(service="retiring")
    world.get(SERVICE).data["playbook"] = 21
    sample.put(world, 20, "provision", "hiring", **sample.playbook_facts(tries=9))
    sample.put(world, 21, "destroy", "stopping", **sample.playbook_facts())
    decision = settled(world, Input(20, "failed"))
    assert [machine.kind for machine in decision.after.values()] == ["provision"]


# ---- when all is well again


def test_pages_are_resolved_when_every_member_serves():
    world = sample.well()
    sample.put(world, 20, "page", "open", subject=SERVICE, reason="service_down", times=1)
    sample.put(world, 21, "page", "open", subject=99, reason="service_down", times=1)
    sample.put(world, 22, "page", "resolved", subject=SERVICE, reason="service_down", times=1)
    assert [(item.machine, item.event) for item in proposed(world)] == [(20, "resolve")]
    assert begun(with_states(world, m2="installing")) == []


# ---- found by these tests


def ended(decision: Decision, world: World, ident: int) -> Machine:
    return decision.after.get(ident) or world.get(ident)


def elected_while_enrolled() -> World:
    """A voter of the log whose rebuild has not ended, and the failover that promotes it."""
    world = with_states(dead_primary(playbook=20, term=2), m1="installing")
    world.get(VOTER).data["playbook"] = 21
    sample.put(world, 20, "failover", "promoting", **sample.playbook_facts())
    sample.put(world, 21, "rebuild", "enrolling", **sample.playbook_facts(term=1))
    return world


def test_a_voter_that_is_elected_while_it_is_enrolled_leads_in_the_log_too():
    world = elected_while_enrolled()
    decision = settled(world, Input(20, "promoted", {"timeline": 2}))
    assert ended(decision, world, SERVICE).data["primary"] == VOTER
    assert ended(decision, world, SERVICE).data["timeline"] == 2
    assert ended(decision, world, VOTER).data["role"] == "primary"
    assert ended(decision, world, VOTER).state == "available"
    assert ended(decision, world, PRIMARY).state == "unavailable"


def test_a_rebuild_ends_in_the_record_that_begins_a_failover():
    """A voter that it added later would be missing among those that the election asks for pledges."""
    world = with_states(sample.well(voters=[OTHER]), m0="unavailable", m1="installing", service="unavailable")
    sample.put(world, 21, "rebuild", "catching_up", **sample.playbook_facts(term=1))
    decision = settled(world)
    assert "failover" in kinds(decision)
    assert ended(decision, world, 21).state == "failed"


def test_a_rebuild_of_one_that_leads_now_is_overtaken():
    world = elected_while_enrolled()
    decision = settled(world, Input(20, "promoted"))
    assert not ended(decision, world, 21).live
    assert ended(decision, world, VOTER).state == "available"


def test_a_rebuild_that_ends_after_its_member_was_promoted_makes_no_standby_of_it():
    """Found by test_walks.py: the service's primary is a member whose role is standby, for ever."""
    world = elected_while_enrolled()
    decision = decide(world, [Input(20, "promoted"), Input(21, "enrolled")], NOW, CATALOGUE.review)
    assert decision.unsettled == ""
    assert ended(decision, world, SERVICE).data["primary"] == VOTER
    assert ended(decision, world, VOTER).data["role"] == "primary"


@pytest.mark.parametrize("state", ["installing", "available", "uncertain", "unavailable", "restart"])
def test_one_that_another_took_over_from_is_known_not_to_serve(state: str):
    world = with_states(m0=state)
    after = decide(world, [Input(PRIMARY, "deposed", {"sender": 20})], NOW).after[PRIMARY]
    assert (after.state, after.data["role"], after.data["deposed"]) == ("unavailable", "standby", True)


def test_a_destroy_during_a_switchover_retires_the_service():
    world = with_states(service="upgrading")
    facts = sample.playbook_facts(consent="orders", service_name="orders", term=3)
    decision = decide(world, [Input(20, "create", facts, create="destroy")], NOW)
    assert ended(decision, world, SERVICE).state == "retiring"


def test_a_switchover_that_finds_nobody_ready_leaves_the_service_available():
    world = with_states(sample.well(playbook=20), service="upgrading")
    sample.put(world, 20, "switchover", "preparing", **sample.playbook_facts())
    decision = settled(world, Input(20, "not_ready"))
    assert ended(decision, world, SERVICE).state == "available"


def test_a_failover_that_fails_after_the_primary_came_back_leaves_the_service_available():
    world = with_states(sample.well(playbook=20), service="unavailable")
    sample.put(world, 20, "failover", "pledging", **sample.playbook_facts())
    settled_once = settled(world, Input(20, "short"))
    assert ended(settled_once, world, SERVICE).state == "available"


@pytest.mark.parametrize("state", ["uncertain", "restart", "available", "upgrading"])
def test_a_block_settles_in_every_state_of_the_service(state: str):
    world = with_states(dead_primary(failovers=[NOW]), service=state)
    settled(world)


def test_a_deposed_member_that_leads_again_is_deposed_no_more():
    """A voter in the log whose enrolment failed: it streams, pledges, and may be elected (found by test_walks.py)."""
    world = with_states(dead_primary(playbook=20), m1="unavailable")
    world.get(VOTER).data["deposed"] = True
    sample.put(world, 20, "failover", "promoting", **sample.playbook_facts())
    decision = settled(world, Input(20, "promoted"))
    assert not ended(decision, world, VOTER).data["deposed"]
