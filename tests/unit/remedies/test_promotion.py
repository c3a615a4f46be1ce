"""A promotion whose answer was lost: the old primary is never opened beside a candidate that may lead. Found by `verify`."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import msgspec
import pytest

from herder.engine.effects import Outcome
from herder.engine.world import Machine
from herder.model.errors import HerderError, Unreachable
from herder.ports.driver import Position, Reading, Role
from herder.ports.wire import Job, JobReply, JobStatus
from herder.pulse.board import Board
from herder.pulse.detector import Limits
from herder.remedies.failover import Promoted, Withdrawn, promote_candidate, withdraw_promotion
from herder.remedies.hands import Hands, JobFailed
from herder.remedies.switchover import promote_drained
from herder.sim.clock import SimClock
from tests.machines import sample

OLD, CANDIDATE = sample.MEMBERS[:2]
NOT_NEEDED = (
    "provider", "submit", "probe", "mint_join", "nats_url", "engine_user", "agent_settings", "probe_timeout_s", "lease_s", "sure",
)  # fmt: skip


class Agent:
    """The candidate's agent and engine. refuses: jobs that it will not do; heard: jobs that it was asked."""

    def __init__(self, role: Role = Role.STANDBY, refuses: tuple[str, ...] = (), *, alive: bool = True) -> None:
        self.role, self.refuses, self.alive = role, refuses, alive
        self.heard: list[str] = []
        self.loses_answer = False
        self.fails = 0
        self.intents: list[str] = []

    async def ask(self, job: Job, timeout_s: float) -> JobReply:
        self.heard.append(job.name)
        self.intents.append(job.intent)
        if job.name in self.refuses:
            return JobReply(intent=job.intent, status=JobStatus.REFUSED, error="No space left on device")
        if job.name == "pledge" and self.role is Role.PRIMARY:
            return JobReply(intent=job.intent, status=JobStatus.FAILED, error="it is no standby")
        if job.name == "start":
            self.alive = True
        if job.name == "pledge" and self.fails:
            self.fails -= 1
            return JobReply(intent=job.intent, status=JobStatus.FAILED, error="it takes long")
        if job.name == "promote" and not self.alive:
            return JobReply(intent=job.intent, status=JobStatus.FAILED, error="connection refused")
        if job.name == "promote":
            self.role = Role.PRIMARY
            if self.loses_answer:
                raise Unreachable("no answer")
        return JobReply(intent=job.intent, status=JobStatus.DONE, result=msgspec.to_builtins(self._says(job.name)))

    def _says(self, name: str) -> Any:
        position = Position(2 if self.role is Role.PRIMARY else 1, 100)
        if name == "read":
            return Reading(
                alive=self.alive, role=self.role if self.alive else Role.NONE, position=position, received=200
            )
        return position


def ask(handler: Any, agent: Agent, **facts: Any) -> Outcome:
    """What a handler says of the playbook's candidate. The plan is asynchronous, with one standby."""
    world = sample.small()
    told = {"standbys": [CANDIDATE], "new_voters": [], "sync": False, "rest": {"timeline": 1, "lsn": 99}} | facts
    kind = "switchover" if handler is promote_drained else "failover"
    state = "withdrawing" if handler is withdraw_promotion else "promoting"
    work = sample.put(world, sample.PLAYBOOK, kind, state, **sample.playbook_facts(**told))
    rest: dict[str, Any] = dict.fromkeys(NOT_NEEDED)
    hands = Hands(
        world=lambda: world, board=Board(1.0, Limits(1.5, 8.0)), wire=cast(Any, agent), clock=SimClock(), **rest,
    )  # fmt: skip
    return asyncio.run(_answer(handler, hands, work))


async def _answer(handler: Any, hands: Hands, work: Machine) -> Outcome:
    outcome: Outcome = await handler(hands, work)
    return outcome


BOTH = pytest.mark.parametrize("handler", [promote_candidate, promote_drained])


@BOTH
def test_a_candidate_that_leads_by_an_ask_whose_answer_was_lost_is_promoted_though_its_agent_refuses_now(handler: Any):
    agent = Agent()
    agent.loses_answer = True
    with pytest.raises(Unreachable):
        ask(handler, agent)
    agent.refuses = ("promote",)
    outcome = ask(handler, agent)
    assert (outcome.event, outcome.facts) == (Promoted.PROMOTED, {"timeline": 2})


@BOTH
def test_a_standby_whose_agent_refuses_does_not_lead(handler: Any):
    assert ask(handler, Agent(refuses=("promote",))).event is Promoted.REFUSED


@BOTH
@pytest.mark.parametrize(
    "agent",
    [
        pytest.param(lambda: Agent(refuses=("promote", "read")), id="its agent is of another life"),
        pytest.param(lambda: Agent(refuses=("promote",), alive=False), id="its engine does not answer"),
    ],
)
def test_a_candidate_of_which_nothing_is_seen_is_asked_again_and_not_given_up(handler: Any, agent: Any):
    made = agent()
    with (
        pytest.raises(Unreachable, match="may lead or not")
        if "read" not in made.refuses
        else pytest.raises(HerderError)
    ):
        ask(handler, made)


@pytest.mark.parametrize("rest", [{"timeline": 1, "lsn": 99}, None], ids=["drained cleanly", "not cleanly"])
def test_a_planned_move_whose_controller_died_after_the_promotion_goes_on_with_the_one_that_leads(rest: Any):
    agent = Agent(role=Role.PRIMARY)
    assert ask(promote_drained, agent, rest=rest).event is Promoted.PROMOTED
    assert "pledge" not in agent.heard


def test_a_candidate_that_does_not_pledge_may_have_been_promoted_before_so_the_old_primary_stays_closed():
    agent = Agent(role=Role.PRIMARY, alive=False)
    with pytest.raises(Unreachable, match="may lead or not"):
        ask(promote_drained, agent, rest=None)


@pytest.mark.parametrize("rest", [{"timeline": 1, "lsn": 99}, None], ids=["drained cleanly", "not cleanly"])
def test_a_candidate_that_was_promoted_and_then_booted_is_started_and_leads(rest: Any):
    """Found by seed 721004: its answer was lost, its host died; it was no standby that could pledge, and nobody started it."""
    agent = Agent(role=Role.PRIMARY, alive=False)
    with pytest.raises(Unreachable, match="may lead or not"):
        ask(promote_drained, agent, rest=rest)
    assert agent.heard[-1] == "start"
    assert ask(promote_drained, agent, rest=rest).event is Promoted.PROMOTED


@BOTH
def test_a_candidate_whose_engine_ended_after_its_pledge_is_started_and_asked_again(handler: Any):
    """Found by `verify`: nobody started it while the playbook held the service, so only a person could go on."""
    agent = Agent(alive=False)
    with pytest.raises(JobFailed, match="connection refused"):
        ask(handler, agent, rest={"timeline": 1, "lsn": 99} if handler is promote_candidate else None)
    assert agent.heard[-1] == "start"
    assert ask(handler, agent).event is Promoted.PROMOTED


def test_a_promotion_is_given_up_only_when_its_candidate_has_promised_to_something_newer():
    """Found by `verify`: an order of a controller that lost its shard was taken after the old primary had been opened again."""
    agent = Agent()
    assert ask(withdraw_promotion, agent).event is Withdrawn.WITHDRAWN
    assert agent.heard == ["pledge"]


def test_a_candidate_that_has_been_promoted_meanwhile_leads_after_all():
    outcome = ask(withdraw_promotion, Agent(role=Role.PRIMARY))
    assert (outcome.event, outcome.facts) == (Withdrawn.PROMOTED, {"timeline": 2})


def test_a_candidate_that_led_and_whose_engine_ended_is_started_and_leads():
    agent = Agent(role=Role.PRIMARY, alive=False)
    assert ask(withdraw_promotion, agent).event is Withdrawn.PROMOTED
    assert "start" in agent.heard


def test_a_candidate_that_cannot_promise_is_asked_again_each_time_as_something_new():
    agent = Agent()
    agent.fails = 2
    assert ask(withdraw_promotion, agent).event is Withdrawn.WITHDRAWN
    pledges = [
        intent for name, intent in zip(agent.heard, agent.intents, strict=True) if name == "pledge"
    ]  # an agent does an intent once
    assert len(pledges) == len(set(pledges)) == 3


def test_a_candidate_of_which_nothing_is_seen_is_not_given_up():
    with pytest.raises(HerderError):
        ask(withdraw_promotion, Agent(refuses=("pledge", "read")))
