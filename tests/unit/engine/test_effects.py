"""Effects: what a state declares is run, tried again, cancelled when the state is left, and answered once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from enum import StrEnum
from typing import Any

import pytest

from herder.engine.decide import Input, decide
from herder.engine.effects import BACKOFF_FIRST_S, BACKOFF_LAST_S, EffectRunner, Outcome, Registered
from herder.engine.world import Machine, World
from herder.model.errors import Unreachable
from tests.machines import sample
from tests.unit.engine import yard


class Seen(StrEnum):
    """Outcomes of `ask_vantages`."""

    SEEN_DEAD = "seen_dead"


def enter(world: World, state: str, ident: int = 2, **facts: Any) -> None:
    """Another version, another state, other facts."""
    machine = world.get(ident).copy()
    machine.version += 1
    machine.state, machine.entered = state, machine.version
    machine.data.update(facts)
    world.put(machine)


class Bench:
    """A runner with one handler, and what it submitted."""

    def __init__(self, handle: Callable[[Machine], Awaitable[Outcome]]) -> None:
        self.clock = yard.VirtualClock()
        self.got: list[Input] = []
        self.world = sample.well()
        self.runner = EffectRunner(
            {"ask_vantages": Registered("ask_vantages", Seen, handle)}, self.clock, yard.NoChance(), self.got.append
        )

    def move(self, state: str, ident: int = 2) -> None:
        """As a commit does: another version, another state."""
        enter(self.world, state, ident)
        self.runner.follow(self.world, [ident])


@pytest.fixture
async def benches() -> AsyncIterator[list[Bench]]:
    made: list[Bench] = []
    yield made
    for bench in made:
        await bench.runner.close()


async def dead(machine: Machine) -> Outcome:
    return Outcome(Seen.SEEN_DEAD, {"evidence": {"verdict": "refused"}}, why="refused by two")


async def test_an_outcome_becomes_the_next_event(benches: list[Bench]):
    bench = Bench(dead)
    benches.append(bench)
    bench.move("uncertain")
    await yard.settle()
    assert bench.got == [
        Input(
            2, "seen_dead", {"evidence": {"verdict": "refused"}}, why="refused by two", entered=4, actor="ask_vantages"
        )
    ]
    assert decide(bench.world, bench.got, sample.NOW_MS).after[2].state == "unavailable"
    assert bench.runner.busy() == []


async def test_a_state_without_an_effect_starts_nothing(benches: list[Bench]):
    bench = Bench(dead)
    benches.append(bench)
    bench.move("unavailable")
    await yard.settle()
    assert (bench.got, bench.runner.busy()) == ([], [])


async def test_what_was_due_at_a_death_is_started_again(benches: list[Bench]):
    """At the start of a controller the states say what is due."""
    bench = Bench(dead)
    benches.append(bench)
    enter(bench.world, "uncertain")
    bench.runner.start(bench.world)
    await yard.settle()
    assert [item.machine for item in bench.got] == [2]


async def test_leaving_the_state_cancels_its_work(benches: list[Bench]):
    ended: list[str] = []

    async def endless(machine: Machine) -> Outcome:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(machine.state)
        raise AssertionError

    bench = Bench(endless)
    benches.append(bench)
    bench.move("uncertain")
    await yard.settle()
    assert bench.runner.busy() == ["ask_vantages orders-0"]
    bench.move("available")
    await yard.settle()
    assert (ended, bench.got, bench.runner.busy()) == (["uncertain"], [], [])


async def test_entering_the_state_anew_starts_the_work_anew(benches: list[Bench]):
    began: list[int] = []

    async def endless(machine: Machine) -> Outcome:
        began.append(machine.entered)
        await asyncio.Event().wait()
        raise AssertionError

    bench = Bench(endless)
    benches.append(bench)
    bench.move("uncertain")
    await yard.settle()
    bench.runner.follow(bench.world, [2])
    await yard.settle()
    assert began == [4]
    bench.move("uncertain")
    await yard.settle()
    assert began == [4, 5]


async def test_an_operating_error_is_tried_again_with_growing_pauses(benches: list[Bench]):
    tries: list[float] = []

    async def fails(machine: Machine) -> Outcome:
        tries.append(bench.clock.monotonic())
        if len(tries) < 9:
            raise Unreachable("nobody answers")
        return await dead(machine)

    bench = Bench(fails)
    benches.append(bench)
    bench.move("uncertain")
    for _ in range(200):
        await bench.clock.pass_time(0.1)
        bench.clock.at_ms += 1  # rounding to milliseconds must not keep an alarm from ringing
    assert bench.clock.slept[:3] == pytest.approx([BACKOFF_FIRST_S, 2 * BACKOFF_FIRST_S, 4 * BACKOFF_FIRST_S])
    assert max(bench.clock.slept) == pytest.approx(BACKOFF_LAST_S)
    assert len(tries) == 9
    assert [item.event for item in bench.got] == ["seen_dead"]
    assert bench.runner.failures == {"ask_vantages": 8}


async def test_a_bug_in_a_handler_is_counted_and_does_not_stop_the_rest(benches: list[Bench]):
    async def crashes(machine: Machine) -> Outcome:
        raise KeyError(machine.name)

    bench = Bench(crashes)
    benches.append(bench)
    bench.move("uncertain")
    bench.move("uncertain", ident=3)
    await yard.settle()
    assert bench.runner.failures == {"ask_vantages": 2}
    assert bench.clock.slept == [pytest.approx(BACKOFF_LAST_S)]
    assert bench.runner.busy() == ["ask_vantages orders-0", "ask_vantages orders-1"]
    assert bench.got == []


async def test_a_handler_sees_the_machine_as_it_entered(benches: list[Bench]):
    seen: list[Machine] = []

    async def keeps(machine: Machine) -> Outcome:
        seen.append(machine)
        return await dead(machine)

    bench = Bench(keeps)
    benches.append(bench)
    bench.move("uncertain")
    enter(bench.world, "uncertain", role="standby")
    await yard.settle()
    assert seen[0].data["role"] == "primary"


async def test_an_outcome_that_comes_too_late_changes_nothing(benches: list[Bench]):
    bench = Bench(dead)
    benches.append(bench)
    bench.move("uncertain")
    await yard.settle()
    enter(bench.world, "uncertain")
    assert decide(bench.world, bench.got, sample.NOW_MS).moves == []


async def test_closing_cancels_everything(benches: list[Bench]):
    async def endless(machine: Machine) -> Outcome:
        await asyncio.Event().wait()
        raise AssertionError

    bench = Bench(endless)
    bench.move("uncertain")
    bench.move("uncertain", ident=3)
    await yard.settle()
    await bench.runner.close()
    assert bench.runner.busy() == []
    assert bench.got == []
