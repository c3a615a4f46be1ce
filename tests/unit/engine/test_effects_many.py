"""Effects of many machines: by priority, through token buckets, in batches, moot ones dropped, and counted."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from enum import StrEnum

import numpy as np
import pytest
from numpy.typing import NDArray

from herder.engine.buckets import Buckets, Rate
from herder.engine.bulk import Bulk
from herder.engine.decide import Input
from herder.engine.effects import EffectRunner, Many, Outcome, Registered, RegisteredMany, check_handlers
from herder.engine.world import Machine, World
from herder.machines.table import Effect, State, Table
from herder.model.errors import Unreachable
from tests.unit.engine import yard
from tests.unit.engine.fleet import KIND, fleet, move

EFFECT, ZONE = "ask_vantages", "zone:a"
PREMIUM, STANDARD, DEV = 0, 1, 2


class Seen(StrEnum):
    SEEN_DEAD = "seen_dead"


Ids = NDArray[np.uint32]
Handle = Callable[[World, Ids], Awaitable[Sequence[Many]]]


class Bench:
    """A runner over a fleet, with what was asked of its handler and what it handed in."""

    def __init__(self, world: World, handle: Handle | None = None, **registered: object) -> None:
        self.clock = yard.VirtualClock()
        self.world = world
        self.asked: list[list[int]] = []
        self.got: list[Input | Bulk] = []
        self.buckets = Buckets()
        self._handle = handle or all_dead
        handlers = {EFFECT: RegisteredMany(EFFECT, Seen, self._run, **({"bucket": ""} | registered))}
        self.runner = EffectRunner(handlers, self.clock, yard.NoChance(), self.got.append, self.buckets)

    async def _run(self, world: World, ids: Ids) -> Sequence[Many]:
        self.asked.append(ids.tolist())
        return await self._handle(world, ids)

    def enter(self, state: str, *ids: int) -> None:
        machines = np.array(ids, np.uint32)
        move(self.world, state, machines)
        self.runner.follow_many(self.world, KIND, state, machines)

    @property
    def tally(self) -> dict[str, int]:
        return self.runner.metrics()[EFFECT]


async def all_dead(world: World, ids: Ids) -> Sequence[Many]:
    return [Many(Seen.SEEN_DEAD, ids, why="nobody answers", facts={"evidence": {}})]


@pytest.fixture
async def made() -> AsyncIterator[list[EffectRunner]]:
    runners: list[EffectRunner] = []
    yield runners
    for runner in runners:
        await runner.close()


def bench(made: list[EffectRunner], world: World, handle: Handle | None = None, **registered: object) -> Bench:
    built = Bench(world, handle, **registered)
    made.append(built.runner)
    return built


async def test_a_batch_is_asked_at_once_and_its_outcome_is_one_event(made: list[EffectRunner]):
    fleet_of = bench(made, fleet(9, "available"))
    fleet_of.enter("uncertain", 2, 3, 5)
    await yard.settle()
    (bulk,) = fleet_of.got
    assert isinstance(bulk, Bulk)
    assert fleet_of.asked == [[2, 3, 5]]
    assert (bulk.kind, bulk.event, bulk.why, bulk.actor) == (KIND, "seen_dead", "nobody answers", EFFECT)
    assert bulk.machines.tolist() == [2, 3, 5]
    assert bulk.entered is not None
    assert bulk.entered.tolist() == [2, 2, 2]
    assert (fleet_of.tally["started"], fleet_of.tally["ended"], fleet_of.runner.busy()) == (3, 3, [])


async def test_a_batch_is_never_larger_than_its_handler_wants(made: list[EffectRunner]):
    fleet_of = bench(made, fleet(10, "uncertain"), batch=4)
    fleet_of.runner.start(fleet_of.world)
    await yard.settle()
    assert fleet_of.asked == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]


async def test_single_moves_go_to_the_handler_of_batches_too(made: list[EffectRunner]):
    fleet_of = bench(made, fleet(5, "available"))
    move(fleet_of.world, "uncertain", np.array([2, 4], np.uint32))
    fleet_of.runner.follow(fleet_of.world, [4, 2, 3])
    await yard.settle()
    assert fleet_of.asked == [[4, 2]]


async def test_premium_goes_first_and_who_waits_longest_first_among_equals(made: list[EffectRunner]):
    world = fleet(6, "available")
    world.columns.priority[1:7] = [DEV, STANDARD, PREMIUM, STANDARD, DEV, PREMIUM]
    fleet_of = bench(made, world, bucket=ZONE, batch=1)
    fleet_of.buckets.set(ZONE, Rate(0))
    for seq, ident in enumerate((5, 1, 4, 2, 6, 3), 1):
        move(world, "uncertain", np.array([ident], np.uint32), seq)
        fleet_of.runner.follow(world, [ident])
    await yard.settle()
    assert fleet_of.asked == []
    fleet_of.buckets.set(ZONE, Rate(1, burst=1))
    for _ in range(7):
        await fleet_of.clock.pass_time(1.001)
    assert [ident for (ident,) in fleet_of.asked] == [6, 3, 4, 2, 5, 1]


async def test_a_bucket_lets_its_burst_go_and_then_its_rate(made: list[EffectRunner]):
    fleet_of = bench(made, fleet(1000, "uncertain"), bucket=ZONE)
    fleet_of.buckets.set(ZONE, Rate(200, burst=10))
    fleet_of.runner.start(fleet_of.world)
    await yard.settle()
    assert [len(batch) for batch in fleet_of.asked] == [10]
    for _ in range(100):
        await fleet_of.clock.pass_time(0.01)
    assert sum(map(len, fleet_of.asked)) == pytest.approx(210, abs=10)
    assert len(fleet_of.asked) <= 22  # tokens gather, so that batches stay batches
    fleet_of.buckets.set(ZONE, Rate(100_000, burst=5000))
    for _ in range(10):
        await fleet_of.clock.pass_time(0.01)
    assert sum(map(len, fleet_of.asked)) == 1000


async def test_each_zone_has_a_bucket_of_its_own_and_none_holds_up_another(made: list[EffectRunner]):
    world = fleet(6, "available")
    for ident in range(1, 7):
        machine = world.get(ident).copy()
        machine.data["zone"] = "ab"[ident % 2]
        world.put(machine)
    fleet_of = bench(made, world, bucket="kind:check zone:{zone}")
    fleet_of.buckets.set("zone:b", Rate(0))
    fleet_of.enter("uncertain", 1, 2, 3, 4, 5, 6)
    await yard.settle()
    assert fleet_of.asked == [[2, 4, 6]]
    assert fleet_of.runner.busy() == ["ask_vantages: 3 waiting"]


async def test_who_has_moved_before_its_turn_is_dropped(made: list[EffectRunner]):
    fleet_of = bench(made, fleet(4, "available"), bucket=ZONE)
    fleet_of.buckets.set(ZONE, Rate(0))
    fleet_of.enter("uncertain", 1, 2, 3)
    fleet_of.enter("available", 2)
    fleet_of.enter("uncertain", 3)
    fleet_of.buckets.lift(ZONE)
    await yard.settle()
    assert fleet_of.asked == [[1, 3]]
    assert (fleet_of.tally["asked"], fleet_of.tally["moot"], fleet_of.tally["started"]) == (4, 2, 2)


async def test_who_has_moved_while_it_was_asked_is_left_out_of_the_outcome(made: list[EffectRunner]):
    go = asyncio.Event()

    async def waits(world: World, ids: Ids) -> Sequence[Many]:
        await go.wait()
        return await all_dead(world, ids)

    fleet_of = bench(made, fleet(4, "available"), waits)
    fleet_of.enter("uncertain", 4, 1, 2)
    await yard.settle()
    assert fleet_of.runner.busy() == ["ask_vantages of 3"]
    fleet_of.enter("available", 1)
    go.set()
    await yard.settle()
    (bulk,) = fleet_of.got
    assert isinstance(bulk, Bulk)
    assert bulk.machines.tolist() == [4, 2]
    assert (fleet_of.tally["ended"], fleet_of.tally["moot"]) == (2, 1)


async def test_those_without_an_answer_are_asked_again_and_alone(made: list[EffectRunner]):
    async def answers_for_even(world: World, ids: Ids) -> Sequence[Many]:
        if len(ids) == 1:
            return await all_dead(world, ids)
        return await all_dead(world, ids[ids % 2 == 0])

    fleet_of = bench(made, fleet(3, "uncertain"), answers_for_even)
    fleet_of.runner.start(fleet_of.world)
    for _ in range(3):
        await fleet_of.clock.pass_time(0.1)
        fleet_of.clock.at_ms += 1
    assert fleet_of.asked[:2] == [[1, 2, 3], [1, 3]]
    assert (fleet_of.tally["retried"] >= 2, fleet_of.tally["resting"]) == (True, 1)


async def test_a_batch_that_fails_is_tried_again_after_growing_pauses_and_each_try_costs_tokens(
    made: list[EffectRunner],
):
    tries: list[float] = []

    async def fails(world: World, ids: Ids) -> Sequence[Many]:
        tries.append(fleet_of.clock.monotonic())
        if len(tries) < 4:
            raise Unreachable("the provider does not answer")
        return await all_dead(world, ids)

    fleet_of = bench(made, fleet(10, "uncertain"), fails, bucket=ZONE)
    fleet_of.buckets.set(ZONE, Rate(0.001, burst=40))
    fleet_of.runner.start(fleet_of.world)
    for _ in range(20):
        await fleet_of.clock.pass_time(0.1)
    pauses = np.diff(tries)
    assert pauses == pytest.approx([0.1, 0.2, 0.4], abs=0.11)
    assert (fleet_of.tally["started"], fleet_of.tally["ended"], fleet_of.tally["retried"]) == (40, 10, 30)
    assert fleet_of.runner.tallies[EFFECT].amplification == 4.0
    assert fleet_of.buckets.take([ZONE], 1, fleet_of.clock.monotonic()) == 0


async def test_an_answer_for_a_machine_that_was_not_asked_about_is_a_bug(made: list[EffectRunner]):
    async def wrong(world: World, ids: Ids) -> Sequence[Many]:
        return await all_dead(world, ids + 1)

    fleet_of = bench(made, fleet(3, "uncertain"), wrong)
    fleet_of.runner.start(fleet_of.world)
    await yard.settle()
    assert (fleet_of.got, fleet_of.runner.failures) == ([], {EFFECT: 1})


async def test_as_many_batches_as_are_allowed_are_under_way(made: list[EffectRunner]):
    go = asyncio.Event()

    async def waits(world: World, ids: Ids) -> Sequence[Many]:
        await go.wait()
        return await all_dead(world, ids)

    fleet_of = bench(made, fleet(10, "uncertain"), waits, batch=2, at_once=3)
    fleet_of.runner.start(fleet_of.world)
    await yard.settle()
    assert (len(fleet_of.asked), fleet_of.tally["running"], fleet_of.tally["waiting"]) == (3, 3, 4)
    go.set()
    await yard.settle()
    assert (len(fleet_of.asked), fleet_of.tally["ended"]) == (5, 10)


async def test_single_effects_are_bounded_and_premium_has_slots_of_its_own(made: list[EffectRunner]):
    began: list[int] = []
    go = asyncio.Event()

    async def waits(machine: Machine) -> Outcome:
        began.append(machine.id)
        await go.wait()
        return Outcome(Seen.SEEN_DEAD)

    clock, got = yard.VirtualClock(), []
    runner = EffectRunner({EFFECT: Registered(EFFECT, Seen, waits, at_once=2)}, clock, yard.NoChance(), got.append)
    made.append(runner)
    world = fleet(5, "uncertain")
    world.columns.priority[1:6] = [DEV, DEV, DEV, DEV, PREMIUM]
    runner.start(world)
    await yard.settle()
    assert began == [5, 1, 2]
    go.set()
    await yard.settle()
    assert began == [5, 1, 2, 3, 4]
    assert [item.machine for item in got] == [5, 1, 2, 3, 4]


async def test_the_same_state_is_not_asked_twice(made: list[EffectRunner]):
    fleet_of = bench(made, fleet(3, "available"))
    fleet_of.enter("uncertain", 1, 2)
    await yard.settle()
    fleet_of.runner.follow(fleet_of.world, [1, 2])
    fleet_of.runner.start(fleet_of.world)
    await yard.settle()
    assert fleet_of.asked == [[1, 2]]


async def test_a_million_due_effects_are_arrays(made: list[EffectRunner]):
    fleet_of = bench(made, fleet(1_000_000, "uncertain"), bucket=ZONE)
    fleet_of.buckets.set(ZONE, Rate(0))
    tracemalloc.start()
    fleet_of.runner.start(fleet_of.world)
    kept, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert fleet_of.tally["waiting"] == 1_000_000
    assert kept < 24 << 20
    assert most < 64 << 20


async def test_closing_drops_what_waits_and_cancels_what_runs(made: list[EffectRunner]):
    async def endless(world: World, ids: Ids) -> Sequence[Many]:
        await asyncio.Event().wait()
        raise AssertionError

    fleet_of = bench(made, fleet(10, "uncertain"), endless, batch=2)
    fleet_of.runner.start(fleet_of.world)
    await yard.settle()
    await fleet_of.runner.close()
    await yard.settle()
    assert (len(fleet_of.asked), fleet_of.got) == (4, [])


TABLE = Table(KIND, 2, "", (State("uncertain", "", Effect(EFFECT, ("seen_dead",))),), ())


async def one(machine: Machine) -> Outcome:
    return Outcome(Seen.SEEN_DEAD)


def test_an_effect_has_one_handler_of_either_sort():
    many, single = RegisteredMany(EFFECT, Seen, all_dead), Registered(EFFECT, Seen, one)
    assert check_handlers([TABLE], [many]) == {EFFECT: many}
    with pytest.raises(ValueError, match="two handlers"):
        check_handlers([TABLE], [many, single])


def test_a_batch_handler_gives_the_declared_outcomes():
    class Other(StrEnum):
        SEEN_ALIVE = "seen_alive"

    with pytest.raises(ValueError, match=r"declares .* its handler gives"):
        check_handlers([TABLE], [RegisteredMany(EFFECT, Other, all_dead)])
