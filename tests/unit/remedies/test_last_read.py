"""What a promotion may lose, told by a controller that never heard the primary: from the note of the one before it (S4)."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import msgspec
import pytest

from herder.engine.effects import Outcome
from herder.engine.world import World
from herder.ports.driver import Heard, Position, Reading, Role
from herder.ports.wire import Job, JobReply, JobStatus, MemberPulse, Pulse
from herder.pulse.board import Board
from herder.pulse.detector import Limits
from herder.remedies.failover import Pledged, collect_pledges
from herder.remedies.hands import Hands
from herder.remedies.last_read import FACT, note, noted
from tests.machines import sample

OLD, STANDBY = sample.MEMBERS[:2]
NOT_NEEDED = (
    "provider", "submit", "probe", "mint_join", "nats_url", "engine_user", "agent_settings", "probe_timeout_s", "lease_s", "sure",
)  # fmt: skip
MB = 1_000_000


class At:
    """A clock that stands. monotonic and wall seconds are the same here."""

    def __init__(self, now_s: float) -> None:
        self.now_s = now_s

    def monotonic(self) -> float:
        return self.now_s

    def now_ms(self) -> int:
        return sample.NOW_MS + int(self.now_s * 1000)

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def heard(board: Board, slot: int, at_s: float, reading: Reading) -> None:
    """A pulse of a member's agent."""
    pulse = MemberPulse(member=f"orders-{slot}", service="orders", term=1, reading=reading)
    server = f"srv-{sample.SERVERS[slot]}"
    frame = Pulse(
        version=1, server=server, incarnation=1, agent_pid=1, life="one", seq=int(at_s), sent_ms=0, paused_ms=0, rss_kb=0,
        disk_free=10**10, members=(pulse,),
    )  # fmt: skip
    assert board.fold(frame, at_s)


def listened(world: World, *, history: str = "", lag_s: float = 0.0) -> Board:
    """A board that heard both members until second 100: the primary writes a megabyte a second. lag_s: the standby has lost its
    stream so long before.
    """
    board = Board(1.0, Limits(1.5, 8.0))
    for slot in (0, 1):
        board.expect(f"srv-{sample.SERVERS[slot]}", 1, 90.0, machine=sample.SERVERS[slot], member=sample.MEMBERS[slot])
    for second in range(90, 101):
        at = Position(1 if not history else 0, second * MB, history)
        streaming = {"orders-1": at.lsn}
        heard(board, 0, float(second), Reading(alive=True, role=Role.PRIMARY, position=at, streaming=streaming))
        up = second <= 100 - lag_s
        heard(
            board, 1, float(second), Reading(alive=True, role=Role.STANDBY, position=at, received=at.lsn, upstream=up)
        )
    return board


def told(world: World, board: Board, now_s: float = 100.5) -> dict[str, Any]:
    return note(world, board, cast(Any, At(now_s)), world.get(OLD))


def test_a_note_says_where_the_log_ended_how_fast_it_grew_and_how_far_behind_each_standby_may_be():
    world = sample.small()
    found = told(world, listened(world, lag_s=4.0))[FACT]
    assert found["at_ms"] == sample.NOW_MS + 100_000
    assert (found["timeline"], found["lsn"], found["bytes_per_s"]) == (1, 100 * MB, MB)
    assert found["lags"] == [[STANDBY, 4.0]]


@pytest.mark.parametrize(
    "world",
    [
        pytest.param(sample.well(), id="its commits wait for voters"),
        pytest.param(sample.small(members=1, plan="dev"), id="nobody could lead in its place"),
        pytest.param(sample.small(primary=STANDBY), id="another leads"),
    ],
)
def test_nothing_is_noted_where_nobody_could_need_it(world: World):
    assert told(world, listened(world)) == {}


def test_nothing_is_noted_of_a_primary_that_was_never_heard():
    world = sample.small()
    assert told(world, Board(1.0, Limits(1.5, 8.0))) == {}


def test_since_a_note_the_primary_may_have_written_on_all_the_time():
    world = sample.small()
    facts = told(world, listened(world, lag_s=4.0))
    known = noted(facts, world.get(OLD), STANDBY, sample.NOW_MS + 120_000)
    assert known is not None
    assert (known.age_s, known.writes_s, known.lag_s) == (20.0, 20.0, 24.0)
    assert known.reached == Position(1, 120 * MB)


def test_a_note_of_an_earlier_lead_and_one_of_another_standby_say_nothing():
    world = sample.small()
    facts = told(world, listened(world))
    other = noted(facts, world.get(OLD), sample.MEMBERS[2], sample.NOW_MS + 101_000)
    assert other is not None
    assert other.lag_s == float("inf")
    world.get(OLD).data["led_ms"] = sample.NOW_MS
    assert noted(facts, world.get(OLD), STANDBY, sample.NOW_MS + 101_000) is None
    assert noted({}, world.get(OLD), STANDBY, sample.NOW_MS) is None


# ---- the election of a successor


class Agent:
    """The standby's. at: how far it reaches; heard: what it remembers of its upstream."""

    def __init__(self, at: Position, heard: Heard | None = None) -> None:
        self.at, self.heard = at, heard

    async def ask(self, job: Job, timeout_s: float) -> JobReply:
        reading = Reading(alive=True, role=Role.STANDBY, position=self.at, upstream=False, heard=self.heard)
        answers = {"pledge": self.at, "read": reading}
        return JobReply(intent=job.intent, status=JobStatus.DONE, result=msgspec.to_builtins(answers[job.name]))


def pledged(
    world: World,
    at: Position,
    now_s: float,
    board: Board | None = None,
    heard: Heard | None = None,
    agent: Agent | None = None,
    **facts: Any,
) -> Outcome:
    """What a controller says at second `now_s`. board: what it has heard, nothing by default; heard: what the standby has."""
    facts = {"standbys": [STANDBY], "new_voters": [], "sync": False} | facts
    work = sample.put(world, sample.PLAYBOOK, "failover", "pledging", **sample.playbook_facts(**facts))
    rest: dict[str, Any] = dict.fromkeys(NOT_NEEDED)
    hands = Hands(
        world=lambda: world, board=board or Board(1.0, Limits(1.5, 8.0)), wire=cast(Any, agent or Agent(at, heard)),
        clock=cast(Any, At(now_s)), **rest,
    )  # fmt: skip

    async def main() -> Outcome:
        return await collect_pledges(hands, work)

    return asyncio.run(main())


@pytest.mark.parametrize("history", ["", "abc"], ids=["postgres", "valkey"])
def test_a_successor_promotes_within_the_bound_by_the_note_of_its_predecessor(history: str):
    world = sample.small("valkey" if history else "postgres")
    world.get(OLD).data.update(told(world, listened(world, history=history)))
    at = Position(0 if history else 1, 100 * MB, history)
    outcome = pledged(world, at, 120.0)
    assert (outcome.event, outcome.facts["loss_bytes"]) == (Pledged.PLEDGED, 20 * MB)


def test_without_a_note_and_with_an_agent_that_remembers_nothing_it_promotes_nobody():
    assert pledged(sample.small(), Position(1, 100 * MB), 120.0).event is Pledged.SHORT


def test_without_a_note_what_the_standbys_agent_heard_last_is_the_bound():
    outcome = pledged(sample.small(), Position(1, 100 * MB), 120.0, heard=Heard(Position(1, 102 * MB), 20.0, MB))
    assert (outcome.event, outcome.facts["loss_bytes"]) == (Pledged.PLEDGED, 22 * MB)


@pytest.mark.parametrize(
    ("heard", "event"),
    [
        pytest.param(Heard(Position(1, 100 * MB), 601.0, 0.0), Pledged.BEYOND_BOUND, id="too long ago"),
        pytest.param(Heard(Position(1, 100 * MB), 20.0, 9 * MB), Pledged.BEYOND_BOUND, id="too many bytes since"),
        pytest.param(Heard(Position(1, 300 * MB), 1.0, 0.0), Pledged.BEYOND_BOUND, id="it lacked too much already"),
    ],
)
def test_what_the_agent_heard_does_not_widen_the_bound(heard: Heard, event: Pledged):
    assert pledged(sample.small(), Position(1, 100 * MB), 120.0, heard=heard).event is event


def test_what_was_heard_of_the_primary_before_this_one_says_nothing():
    world = sample.small(timeline=2)
    assert pledged(world, Position(1, 100), 120.0, heard=Heard(Position(1, 100), 1.0, 0.0)).event is Pledged.SHORT


def test_what_the_fence_noted_counts_as_well_and_the_newest_note_counts():
    world = sample.small()
    facts = told(world, listened(world))
    facts[FACT]["at_ms"] -= 50_000
    world.get(OLD).data.update(facts)
    outcome = pledged(world, Position(1, 100 * MB), 120.0, **told(world, listened(world)))
    assert outcome.facts["loss_bytes"] == 20 * MB


@pytest.mark.parametrize("later_s", [200.0, 700.0], ids=["bytes", "seconds"])
def test_past_the_bound_since_the_note_it_is_a_persons(later_s: float):
    world = sample.small()
    facts = told(world, listened(world))
    facts[FACT]["bytes_per_s"] = MB if later_s < 600 else 1
    world.get(OLD).data.update(facts)
    assert pledged(world, Position(1, 100 * MB), 100.0 + later_s).event is Pledged.BEYOND_BOUND


def began_late(world: World) -> Board:
    """A board that heard the primary, and the standby only after its stream was lost."""
    board = listened(world, lag_s=20.0)
    board.forget(f"srv-{sample.SERVERS[1]}")
    board.expect(f"srv-{sample.SERVERS[1]}", 1, 99.0, machine=sample.SERVERS[1], member=STANDBY)
    heard(board, 1, 99.5, Reading(alive=True, role=Role.STANDBY, position=Position(1, 80 * MB), upstream=False))
    return board


def test_who_heard_the_standby_only_without_its_stream_knows_no_bound_by_itself():
    world = sample.small()
    assert pledged(world, Position(1, 80 * MB), 110.0, began_late(world)).event is Pledged.BEYOND_BOUND


def test_then_the_note_of_who_was_there_before_says_since_when():
    world = sample.small()
    world.get(OLD).data.update(told(world, listened(world, lag_s=8.0)))
    outcome = pledged(world, Position(1, 80 * MB), 110.0, began_late(world))
    assert (outcome.event, outcome.facts["loss_bytes"]) == (Pledged.PLEDGED, 30 * MB)


def test_or_the_standbys_agent_does():
    world = sample.small()
    told_by_agent = Heard(Position(1, 80 * MB), 30.0, MB)
    outcome = pledged(world, Position(1, 80 * MB), 110.0, began_late(world), heard=told_by_agent)
    assert (outcome.event, outcome.facts["loss_bytes"]) == (Pledged.PLEDGED, 30 * MB)
    told_by_agent = Heard(Position(1, 80 * MB), 601.0, MB)
    assert (
        pledged(world, Position(1, 80 * MB), 110.0, began_late(world), heard=told_by_agent).event
        is Pledged.BEYOND_BOUND
    )


def test_a_primary_that_was_first_heard_as_ended_tells_no_position_and_the_note_counts():
    world = sample.small()
    world.get(OLD).data.update(told(world, listened(world)))
    board = Board(1.0, Limits(1.5, 8.0))
    for slot in (0, 1):
        board.expect(f"srv-{sample.SERVERS[slot]}", 1, 119.0, machine=sample.SERVERS[slot], member=sample.MEMBERS[slot])
    heard(board, 0, 119.0, Reading(alive=False, detail="exited"))
    outcome = pledged(world, Position(1, 100 * MB), 120.0, board)
    assert (outcome.event, outcome.facts["loss_bytes"]) == (Pledged.PLEDGED, 20 * MB)
    assert pledged(sample.small(), Position(1, 100 * MB), 120.0, board).event is not Pledged.PLEDGED


def test_who_has_heard_the_primary_itself_goes_by_that():
    world = sample.small()
    board = listened(world)
    facts = told(world, board)
    facts[FACT]["at_ms"] -= 1_000_000
    world.get(OLD).data.update(facts)
    outcome = pledged(world, Position(1, 100 * MB), 110.0, board)
    assert (outcome.event, outcome.facts["loss_bytes"]) == (Pledged.PLEDGED, MB)
