"""Leases as the controller keeps them: what is begun, renewed and given back, and above all what is not renewed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from herder.engine.decide import Input, decide
from herder.engine.world import World
from herder.fleet.leases import Grip, Leases, Wanted, bound, next_step, wanted
from herder.ports.wire import Job, JobReply, JobStatus
from herder.remedies.hands import Hands
from tests.machines import sample
from tests.unit.engine.yard import VirtualClock

PRIMARY, STANDBY = sample.MEMBERS[:2]
L = 5.0
CALM = Wanted(renew=True, lease=True, keep=True)
LONE = Wanted(renew=True, lease=False, keep=False)
BUSY = Wanted(renew=True, lease=False, keep=True)


def leased_world(**states: str) -> World:
    """A standard service whose owner chose `stop`; states by machine: service, m0, m1."""
    world = sample.small(on_isolation="stop")
    sample.change(world, sample.SERVICE, state=states.get("service", "available"))
    sample.change(world, PRIMARY, state=states.get("m0", "available"))
    sample.change(world, STANDBY, state=states.get("m1", "available"))
    return world


def held_by(world: World, kind: str, state: str) -> World:
    sample.put(world, sample.PLAYBOOK, kind, state, **sample.playbook_facts())
    world.get(sample.SERVICE).data["playbook"] = sample.PLAYBOOK
    return world


def want(world: World) -> Wanted:
    return wanted(world, world.get(sample.SERVICE))


# ---- what is wanted


def test_only_services_whose_owner_chose_it_and_that_have_no_quorum_are_bound():
    assert bound(sample.small(on_isolation="stop"))
    assert not bound(sample.small(on_isolation="serve"))
    assert not bound(sample.well(on_isolation="stop")), "premium PostgreSQL: pledges are the fence"
    assert not bound(sample.small(members=1, on_isolation="stop")), "nobody else could lead"


def test_a_lease_begins_when_a_standby_could_lead():
    assert want(leased_world()).lease
    for state in ("installing", "uncertain", "unavailable"):
        assert not want(leased_world(m1=state)).lease


def test_a_lone_primary_is_let_off_but_not_while_anything_is_uncertain():
    assert not want(leased_world(m1="unavailable")).keep
    assert want(leased_world(m1="uncertain")).keep
    assert want(leased_world(m1="unavailable", m0="uncertain", service="uncertain")).keep


@pytest.mark.parametrize("state", ["fencing", "leasing", "pledging", "promoting", "repointing"])
def test_nobody_renews_while_a_failover_holds_the_service(state: str):
    assert not want(held_by(leased_world(m0="unavailable", service="unavailable"), "failover", state)).renew


def test_an_exercise_is_renewed_until_its_primary_is_ended():
    assert want(held_by(leased_world(service="unavailable"), "failover", "stopping")).renew


def test_a_restart_is_renewed_through():
    found = want(held_by(leased_world(m0="restart", service="restart"), "restart", "restarting"))
    assert (found.renew, found.lease, found.keep) == (True, False, True)


def test_a_deposed_primary_is_neither_renewed_nor_let_off():
    world = leased_world(m0="unavailable")
    world.get(PRIMARY).data["deposed"] = True
    assert not want(world).renew


# ---- the next step


@pytest.mark.parametrize(
    ("what", "recorded_s", "held_s", "left_s", "step"),
    [
        (CALM, 0.0, 0.0, 0.0, "begin"),
        (CALM, 0.0, L, 3.0, "begin"),  # its agent holds it: asked again, then recorded
        (CALM, L, L, 3.0, ""),
        (CALM, L, 0.0, 0.0, "forget"),  # the log must not count on what is not enforced
        (CALM, 3.0, 3.0, 2.0, "forget"),  # the setting has changed
        (CALM, 0.0, 3.0, 2.0, "give_back"),
        (CALM, 0.0, L, -1.0, ""),  # run out: its watchdog ends it
        (CALM, L, L, -1.0, ""),
        (LONE, L, L, 3.0, "forget"),  # the log first
        (LONE, 0.0, L, 3.0, "give_back"),  # then its agent
        (LONE, 0.0, 0.0, 0.0, ""),
        (BUSY, L, L, 3.0, ""),
        (BUSY, 0.0, L, 3.0, ""),
        (BUSY, L, 0.0, 0.0, "forget"),
    ],
)
def test_the_next_step(what: Wanted, recorded_s: float, held_s: float, left_s: float, step: str):
    assert next_step(what, recorded_s, Grip(9.0, held_s, left_s), L) == step


# ---- what is sent


class Agent:
    """The other end of the wire, with a clock of its own; `on_job` is called before it answers."""

    def __init__(self) -> None:
        self.jobs: list[tuple[str, float, int]] = []
        self.now = 700.0
        self.held_s = 0.0
        self.on_job: Callable[[Job], None] = lambda _: None

    async def ask(self, job: Job, timeout_s: float) -> JobReply:
        self.on_job(job)
        self.now += 1.0
        self.jobs.append((job.name, float(job.args.get("stamp", job.args.get("lease_s"))), job.term))
        if job.name == "lease":
            self.held_s = job.args["lease_s"]
            return JobReply(intent=job.intent, status=JobStatus.DONE, result=self.held_s)
        told = {"stamp": self.now, "lease_s": self.held_s, "left_s": 2.0 if self.held_s else 0.0}
        return JobReply(intent=job.intent, status=JobStatus.DONE, result=told)


class Desk:
    """Leases over a world, with what they propose written into it as a commit would."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.agent = Agent()
        self.sure = True
        self.order: list[str] = []
        hands: dict[str, Any] = dict.fromkeys(Hands.__dataclass_fields__)
        hands |= {"world": lambda: world, "wire": self.agent, "clock": VirtualClock(), "lease_s": L,
                  "sure": lambda: self.sure}  # fmt: skip
        self.leases = Leases(Hands(**hands), self.propose)

    async def propose(self, proposal: Callable[[World], list[Input]]) -> None:
        decision = decide(self.world, proposal(self.world), sample.NOW_MS)
        for machine in decision.after.values():
            self.world.put(replace(self.world.get(machine.id), data=machine.data))
        self.order += [item.event for item in proposal(self.world)]

    async def round(self) -> list[str]:
        """One round; the names of what was asked in it."""
        before = len(self.agent.jobs)
        await self.leases._tend(sample.SERVICE)
        return [name for name, _, _ in self.agent.jobs[before:]]


async def test_a_lease_is_recorded_after_its_agent_confirmed_it():
    desk = Desk(leased_world())
    desk.agent.on_job = lambda job: job.name != "lease" or desk.order.append("asked")
    assert await desk.round() == ["renew", "renew", "lease"]
    assert desk.order == ["asked", "leased"]
    assert (desk.world.get(PRIMARY).data["leased"], desk.world.get(PRIMARY).data["lease_s"]) == (True, L)


async def test_each_renewal_carries_the_stamp_of_the_last_answer():
    desk = Desk(leased_world())
    await desk.round()
    desk.agent.jobs.clear()
    await desk.round()
    await desk.round()
    stamps = [stamp for _, stamp, _ in desk.agent.jobs]
    assert stamps == [702.0, 704.0]


async def test_the_log_forgets_a_lease_before_its_agent_is_told():
    desk = Desk(leased_world())
    await desk.round()
    sample.change(desk.world, STANDBY, state="unavailable")
    assert await desk.round() == ["renew"]
    assert desk.order[-1] == "released"
    assert not desk.world.get(PRIMARY).data["leased"]
    assert await desk.round() == ["renew", "lease"]
    assert desk.agent.held_s == 0


async def test_a_failover_that_begins_between_two_renewals_ends_them():
    desk = Desk(leased_world())
    await desk.round()
    desk.leases._stamps.clear()
    desk.agent.on_job = lambda _: sample.SERVICE and held_by(desk.world, "failover", "fencing") and None
    assert await desk.round() == ["renew"], "the stamp that came back is not granted any more"
    assert await desk.round() == []


async def test_a_controller_that_is_not_sure_of_its_shard_renews_nothing():
    desk = Desk(leased_world())
    desk.sure = False
    assert await desk.round() == []


async def test_a_confirmation_that_comes_after_the_member_has_moved_on_is_not_recorded():
    desk = Desk(leased_world())

    def restarts(job: Job) -> None:
        if job.name == "lease":
            sample.change(desk.world, PRIMARY, entered=desk.world.get(PRIMARY).entered + 1)

    desk.agent.on_job = restarts
    await desk.round()
    assert not desk.world.get(PRIMARY).data.get("leased")


async def test_renewals_carry_the_term():
    desk = Desk(leased_world())
    desk.world.get(sample.SERVICE).data["term"] = 7
    await desk.round()
    assert {term for _, _, term in desk.agent.jobs} == {7}
