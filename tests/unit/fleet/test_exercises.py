"""The task that exercises: a real loop over a store in memory; what an agent would do is told as the effects' outcomes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from herder.engine.decide import Input
from herder.engine.world import Machine
from herder.fleet import exercise
from herder.fleet.exercise import Policy
from herder.fleet.exercises import LATER_MS, TICK_S, Exercises
from herder.ports.driver import Position, Reading
from herder.stores.memory.store import MemoryStore
from tests.machines import sample
from tests.unit.engine import yard
from tests.unit.engine.test_loop import Stage

NOBODY = Policy()
TWO = int(datetime(2026, 11, 24, 2, tzinfo=UTC).timestamp() * 1000)
MINUTE = 60_000


class Field(Stage):
    """A loop whose world holds well services, and the exercises over it. plane: why this control plane may not act."""

    def __init__(self) -> None:
        super().__init__()
        self.plane = ""
        self.behind: set[str] = set()

    async def open(self) -> Field:
        self.clock.at_ms = TWO
        self.store = yard.FrailStore(MemoryStore(self.clock))
        await super().open()
        return self

    def watch(self, rules: Policy = NOBODY) -> None:
        self.exercises = Exercises(
            lambda: self.loop.world, self.reading, self.clock, self.loop.propose, lambda: self.plane, rules
        )
        self.loop.watch(lambda committed: self.exercises.moved(committed.moved))

    def add(self, name: str, first: int, plan: str = "premium", zone: str = "", **facts: object) -> Machine:
        """A service whose machines have ids from `first` on."""
        for machine in [*sample.well().machines.values()]:
            data = dict(machine.data)
            for key in ("service", "server", "member", "primary"):
                if key in data:
                    data[key] += first - 1
            for key in ("members", "servers", "voters"):
                if key in data:
                    data[key] = [ident + first - 1 for ident in data[key]]
            data["name"] = data["name"].replace("orders", name)
            if machine.kind == "service":
                data |= {"plan": plan} | facts
            if machine.kind == "server":
                data |= {"zone": zone}
            sample.put(self.loop.world, machine.id + first - 1, machine.kind, "available", **data)
        return self.loop.world.get(first)

    def reading(self, member: Machine) -> Reading:
        names = (machine.name for machine in self.loop.world.of_kind("member"))
        return Reading(
            alive=True, position=Position(1, 1), streaming={name: 1 for name in names if name not in self.behind}
        )

    async def turn(self, at_ms: int = 0) -> None:
        self.clock.at_ms = at_ms or self.clock.at_ms + round(TICK_S * 1000)
        await self.exercises.turn()

    async def tell(self, ident: int, event: str, **facts: object) -> None:
        await self.loop.propose(lambda _: [Input(ident, event, facts)])

    def under_way(self) -> list[str]:
        kinds = ("failover", "switchover")
        return [machine.name for kind in kinds for machine in self.loop.world.of_kind(kind) if machine.live]

    async def move(self, playbook: str) -> None:
        """A switchover from its beginning to its end."""
        work = next(m for m in self.loop.world.of_kind("switchover") if m.name == playbook)
        candidate, *rest = work.data["standbys"]
        await self.tell(
            work.id, "ready", candidate=candidate, new_voters=[*rest, work.data["old_primary"]], counts=False
        )
        await self.tell(work.id, "drained")
        await self.tell(work.id, "promoted", timeline=2)
        await self.tell(work.id, "followed")


PART = {"every_s": 86_400, "window": "02:00-05:00", "how": "switchover", "since_ms": 1}


@pytest.fixture
async def field() -> AsyncIterator[Field]:
    made = await Field().open()
    async with made.running():
        yield made


async def calendar(field: Field, rules: Policy = NOBODY) -> None:
    field.watch(rules)
    task = yard.asyncio.create_task(field.exercises.run())
    await yard.settle()
    task.cancel()


async def test_who_has_it_on_is_exercised_when_its_time_comes_and_is_well_afterwards(field: Field):
    field.add("orders", 1, exercise=PART)
    field.add("bills", 11)
    await calendar(field)
    assert field.exercises.view(9)["taking_part"] == 1
    await field.turn()
    assert field.under_way() == [], "its spot in the window is later"
    await field.turn(TWO + 170 * MINUTE)
    (work,) = field.under_way()
    assert work.startswith("orders/switchover-")
    assert field.exercises.view(9)["services"][0]["running"]
    await field.move(work)
    await field.turn()
    assert field.loop.world.get(1).data["exercise_run"], "the old primary does not follow yet"
    await field.tell(2, "followed")
    await field.tell(1, "voter_added", added=[2])
    await field.turn()
    row = field.exercises.view(9)["services"][0]
    assert (row["running"], row["last"]["result"], row["next_due_ms"] > TWO + 24 * 60 * MINUTE) == (False, "well", True)
    assert field.loop.world.get(1).data["failovers"] == []
    await field.turn(TWO + 175 * MINUTE)
    assert field.under_way() == [], "one a day"


async def test_one_at_a_time_and_the_others_have_their_turn_in_the_same_window(field: Field):
    for number in range(3):
        field.add(f"s{number}", 1 + 10 * number, exercise=PART)
    await calendar(field)
    await field.turn(TWO + 170 * MINUTE)
    assert len(field.under_way()) == 1
    waiting = [row for row in field.exercises.view(9)["services"] if row["waits_for"]]
    assert [row["waits_for"] for row in waiting] == [
        "1 exercise(s) at once in the fleet, as exercises_at_once says"
    ] * 2
    running = next(row["name"] for row in field.exercises.view(9)["services"] if row["running"])
    first = int(running[1]) * 10 + 1
    await field.tell(next(m.id for m in field.loop.world.of_kind("switchover")), "not_ready")
    await field.tell(first, "primary_well")
    await field.turn()
    assert field.loop.world.get(first).data["exercise_last"]["result"] == "gave_way"
    await field.turn(TWO + 170 * MINUTE + LATER_MS + 1000)
    assert [name[:2] for name in field.under_way()] != [f"s{first // 10}"]
    assert len(field.under_way()) == 1


async def test_two_zones_may_be_exercised_at_once_where_the_fleet_allows_two(field: Field):
    for number, zone in enumerate("aab"):
        field.add(f"s{number}", 1 + 10 * number, zone=zone, exercise=PART)
    await calendar(field, Policy(at_once=5))
    await field.turn(TWO + 170 * MINUTE)
    assert sorted(zone for zones in field.exercises.standing().running.values() for zone in zones) == ["a", "b"]


async def test_nothing_begins_while_the_plane_is_not_well_or_a_standby_is_behind(field: Field):
    field.add("orders", 1, exercise=PART)
    await calendar(field)
    field.plane = "it is deaf"
    await field.turn(TWO + 170 * MINUTE)
    assert (field.under_way(), field.exercises.view(9)["held"]) == ([], "it is deaf")
    field.plane, field.behind = "", {"orders-1"}
    await field.turn()
    assert field.under_way() == []
    assert field.exercises.view(9)["services"][0]["waits_for"] == "orders-1 does not stream from orders-0"
    field.behind = set()
    await field.turn(field.clock.at_ms + LATER_MS)
    assert len(field.under_way()) == 1


async def test_a_failure_stops_its_plan_until_somebody_has_seen_to_it(field: Field):
    field.add("orders", 1, exercise=PART)
    field.add("bills", 11, exercise=PART)
    await calendar(field)
    await field.loop.propose(
        lambda world: exercise.begin(world, "orders", "failover", "now", TWO, field.reading, "ann")
    )
    (work,) = field.loop.world.of_kind("failover")
    await field.tell(work.id, "ended")
    await field.tell(work.id, "short")
    await field.turn()
    assert field.loop.world.get(1).data["exercise_last"]["result"] == "failed"
    reasons = [page.data["reason"] for page in field.loop.world.of_kind("page")]
    assert sorted(reasons) == ["exercise_failed", "pledges_short"]
    await field.turn(TWO + 170 * MINUTE)
    assert field.under_way() == []
    row = next(row for row in field.exercises.view(9)["services"] if row["name"] == "bills")
    assert row["waits_for"] == "exercises of plan premium are stopped: that of orders failed"
    await field.loop.propose(lambda world: exercise.take_no_part(world, "orders", "ann"))
    await field.turn(field.clock.at_ms + LATER_MS)
    assert [name[:5] for name in field.under_way()] == ["bills"]


async def test_the_next_controller_goes_on_with_what_is_under_way(field: Field):
    field.add("orders", 1, exercise=PART)
    await calendar(field)
    await field.turn(TWO + 170 * MINUTE)
    (work,) = field.under_way()
    await calendar(field)
    assert field.exercises.view(9)["running"] == 1
    await field.tell(next(m.id for m in field.loop.world.of_kind("switchover")), "not_ready")
    await field.tell(1, "primary_well")
    await field.turn()
    assert (field.exercises.view(9)["running"], field.loop.world.get(1).data["exercise_run"]) == (0, {}), work


async def test_a_plan_takes_part_as_a_whole_but_for_those_that_do_not(field: Field):
    field.add("orders", 1)
    field.add("bills", 11, exercise={"off": True})
    field.add("small", 21, plan="dev")
    await calendar(field, Policy(frozenset({"premium"})))
    view = field.exercises.view(9)
    assert [row["name"] for row in view["services"]] == ["orders"]
    assert [(plan["plan"], plan["takes_part"]) for plan in view["plans"]] == [("premium", True), ("standard", False)]


async def test_services_that_came_by_the_thousand_take_part_with_their_plan(field: Field):
    await calendar(field, Policy(frozenset({"premium"})))
    assert field.exercises.view(9)["taking_part"] == 0
    field.add("orders", 1)  # no single move tells of it
    task = yard.asyncio.create_task(field.exercises.run())
    await yard.settle()
    task.cancel()
    assert field.exercises.view(9)["taking_part"] == 1


async def test_on_and_off_are_heard_at_once(field: Field):
    field.add("orders", 1)
    await calendar(field)
    await field.loop.propose(lambda world: exercise.take_part(world, "orders", "1d", "", "", "ann", TWO))
    assert field.exercises.view(9)["taking_part"] == 1
    await field.loop.propose(lambda world: exercise.take_no_part(world, "orders", "ann"))
    assert field.exercises.view(9)["services"] == []
