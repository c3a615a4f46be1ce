"""A drain whose end nobody learnt: who leads is looked at, and nothing is taken for granted. Found by the crash sweep."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import msgspec
import pytest

from herder.engine.effects import Outcome
from herder.model.errors import Unreachable
from herder.ports.driver import Reading, Role
from herder.ports.wire import Job, JobReply, JobStatus
from herder.pulse.board import Board
from herder.pulse.detector import Limits
from herder.remedies.hands import Hands, JobFailed
from herder.remedies.switchover import Looked, Seen, look_who_leads, who_leads
from herder.sim.clock import SimClock
from tests.machines import sample

OLD, CANDIDATE = sample.MEMBERS[:2]
NOT_NEEDED = (
    "provider", "submit", "probe", "mint_join", "nats_url", "engine_user", "agent_settings", "probe_timeout_s", "lease_s", "sure",
)  # fmt: skip

LEADS, FOLLOWS = Reading(alive=True, role=Role.PRIMARY, pid=7), Reading(alive=True, role=Role.STANDBY, pid=7)
ENDED, STARTS = Reading(alive=False), Reading(alive=False, pid=7, detail="loading its data set")


@pytest.mark.parametrize(
    ("old", "candidate", "gone", "found"),
    [
        (Seen.FOLLOWS, Seen.LEADS, False, Looked.MOVED),
        (Seen.ENDED, Seen.LEADS, False, Looked.MOVED),
        (Seen.UNSEEN, Seen.LEADS, False, Looked.MOVED),
        (Seen.LEADS, Seen.LEADS, False, None),
        (Seen.LEADS, Seen.FOLLOWS, False, Looked.STAYED),
        (Seen.LEADS, Seen.UNSEEN, False, Looked.STAYED),
        (Seen.FOLLOWS, Seen.FOLLOWS, False, None),
        (Seen.FOLLOWS, Seen.UNSEEN, False, None),
        (Seen.FOLLOWS, Seen.ENDED, False, Looked.MOVED),
        (Seen.ENDED, Seen.FOLLOWS, False, Looked.STAYED),
        (Seen.ENDED, Seen.UNSEEN, False, None),
        (Seen.UNSEEN, Seen.FOLLOWS, False, None),
        (Seen.UNSEEN, Seen.FOLLOWS, True, Looked.STAYED),
        (Seen.UNSEEN, Seen.UNSEEN, True, None),
    ],
)
def test_who_leads_is_told_only_where_it_can_be(old: Seen, candidate: Seen, gone: bool, found: Looked | None):
    assert who_leads(old, candidate, gone=gone) is found


class Agents:
    """Agents of both members. readings: by member's name, none = out of reach. goes_on: does the old primary lead when told so?"""

    def __init__(self, old: Reading | None, candidate: Reading | None, *, goes_on: bool = True) -> None:
        self.readings = {"orders-0": old, "orders-1": candidate}
        self.goes_on = goes_on
        self.heard: list[tuple[str, str]] = []

    async def ask(self, job: Job, timeout_s: float) -> JobReply:
        reading = self.readings[job.member]
        if reading is None:
            raise Unreachable("no answer")
        if job.name == "read":
            return JobReply(intent=job.intent, status=JobStatus.DONE, result=msgspec.to_builtins(reading))
        self.heard.append((job.name, job.member))
        status = JobStatus.DONE if self.goes_on else JobStatus.FAILED
        return JobReply(intent=job.intent, status=status, result=0, error="it is not the primary")


def look(agents: Agents, engine: str = "valkey", server: str = "available") -> Outcome:
    world = sample.small(engine)
    sample.change(world, sample.SERVERS[0], state=server)
    facts = sample.playbook_facts(standbys=[CANDIDATE], new_voters=[], sync=False)
    work = sample.put(world, sample.PLAYBOOK, "switchover", "looking", **facts)
    rest: dict[str, Any] = dict.fromkeys(NOT_NEEDED)
    hands = Hands(
        world=lambda: world, board=Board(1.0, Limits(1.5, 8.0)), wire=cast(Any, agents), clock=SimClock(), **rest
    )

    async def main() -> Outcome:
        return await look_who_leads(hands, work)

    return asyncio.run(main())


def test_a_candidate_that_leads_goes_on_as_after_a_hand_over_and_is_asked_nothing_by_the_look():
    agents = Agents(FOLLOWS, LEADS)
    outcome = look(agents)
    assert (outcome.event, "fence" in outcome.facts, agents.heard) == (Looked.MOVED, True, [])


def test_an_old_primary_that_leads_is_told_to_go_on_so_that_no_older_order_moves_its_lead_later():
    agents = Agents(LEADS, FOLLOWS)
    assert look(agents).event is Looked.STAYED
    assert agents.heard == [("set_sync", "orders-0")]


def test_an_old_primary_that_gives_its_lead_away_at_that_moment_is_looked_at_again():
    with pytest.raises(JobFailed):
        look(Agents(LEADS, FOLLOWS, goes_on=False))


@pytest.mark.parametrize(
    ("old", "candidate"), [(None, FOLLOWS), (None, None), (FOLLOWS, FOLLOWS), (LEADS, LEADS), (STARTS, FOLLOWS)]
)
def test_what_cannot_be_told_is_looked_at_again(old: Reading | None, candidate: Reading | None):
    with pytest.raises(Unreachable, match="cannot be told"):
        look(Agents(old, candidate))


def test_an_old_primary_whose_server_is_known_not_to_run_hands_nothing_over_any_more():
    assert look(Agents(None, FOLLOWS), server="unavailable").event is Looked.STAYED


def test_an_engine_that_does_not_hand_over_by_itself_is_not_looked_at():
    assert look(Agents(None, None), engine="postgres").event is Looked.STAYED
