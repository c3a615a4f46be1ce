"""The loop: commands are answered, events are committed together, and nothing is lost while the store is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from herder.engine.decide import Draft, Input
from herder.engine.effects import EffectRunner
from herder.engine.loop import STORE_RETRY_S, Loop
from herder.engine.shard import ShardLost
from herder.engine.world import World
from herder.fleet import commands
from herder.model.errors import Conflict, NotFound, Unreachable
from herder.stores.memory.store import MemoryStore
from tests.unit.engine import story, yard


def no_review(draft: Draft) -> Sequence[Input]:
    return []


class Idle(EffectRunner):
    """Runs nothing; remembers what it was told to follow."""

    def __init__(self) -> None:
        super().__init__({}, yard.VirtualClock(), yard.NoChance(), lambda item: None)
        self.followed: list[list[int]] = []

    def follow(self, world: World, moved: object) -> None:
        self.followed.append(list(moved))


def create(name: str = "orders"):
    return lambda world: commands.create_service(world, replace(story.WISH, name=name, key=""))


class Stage:
    """A loop over a frail store. `running` runs it."""

    def __init__(self) -> None:
        self.clock = yard.VirtualClock()
        self.store = yard.FrailStore(MemoryStore(self.clock))

    async def open(self) -> Stage:
        self.shard = await yard.opened(self.store, self.clock)
        self.loop = Loop(self.shard, self.clock, no_review)
        self.loop.effects = self.effects = Idle()
        return self

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        task = asyncio.create_task(self.loop.run())
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_a_command_is_answered_when_it_is_committed():
    stage = await Stage().open()
    async with stage.running():
        committed = await stage.loop.propose(create())
    assert committed.seq == 2
    assert story.service(stage.loop.world).name == "orders"
    assert stage.effects.followed == [list(committed.moved)]


async def test_a_command_that_may_not_be_fails_alone():
    stage = await Stage().open()
    async with stage.running():
        answers = await asyncio.gather(
            stage.loop.propose(create()),
            stage.loop.propose(create()),
            stage.loop.propose(lambda world: commands.destroy_service(world, "bills", "bills", "ann")),
            stage.loop.propose(create("bills")),
            return_exceptions=True,
        )
    assert [type(answer) for answer in answers[1:3]] == [Conflict, NotFound]
    assert [service.name for service in stage.loop.world.of_kind("service")] == ["orders", "bills"]


async def test_events_that_came_together_are_one_record():
    stage = await Stage().open()
    async with stage.running():
        await stage.loop.propose(create())
        committed = asyncio.get_running_loop().create_future()
        stage.loop.watch(committed.set_result)
        for server in list(stage.loop.world.of_kind("server")):
            stage.loop.submit(Input(server.id, "up", entered=server.entered))
        assert len((await committed).moved) == 3
    assert stage.loop.world.seq == 3


async def test_a_watcher_that_left_hears_nothing():
    stage = await Stage().open()
    heard: list[int] = []
    stop = stage.loop.watch(lambda committed: heard.append(committed.seq))
    async with stage.running():
        await stage.loop.propose(create())
        stop()
        await stage.loop.propose(create("bills"))
    assert heard == [2]


async def test_a_deadline_that_has_passed_is_an_event():
    stage = await Stage().open()
    async with stage.running():
        await stage.loop.propose(create())
        server = next(stage.loop.world.of_kind("server"))
        committed = asyncio.get_running_loop().create_future()
        stop = stage.loop.watch(lambda done: committed.done() or committed.set_result(done))
        stage.clock.at_ms = server.deadline_ms
        await committed
        stop()
    assert stage.loop.world.get(server.id).state == "unavailable"


async def test_while_the_store_is_gone_nothing_is_lost():
    stage = await Stage().open()
    async with stage.running():
        await stage.loop.propose(create())
        server = next(stage.loop.world.of_kind("server"))
        stage.store.before = lambda number: Unreachable("the store is gone")
        stage.loop.submit(Input(server.id, "up"))
        await until(lambda: stage.clock.asleep)
        assert stage.loop.facts()["store_down"]
        assert server.state == "installing"
        stage.store.before = lambda number: None
        await stage.clock.pass_time(STORE_RETRY_S)
        await until(lambda: not stage.loop.facts()["store_down"])
    assert stage.loop.world.get(server.id).state == "available"


async def until(true) -> None:
    """Give the loop its turns; its own ticks are real, so a deadline stands over it all."""
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110  there is no one signal for whatever `true` asks
            await asyncio.sleep(0)


async def test_a_lost_shard_ends_the_loop_and_answers_its_commands():
    stage = await Stage().open()
    stage.clock.at_ms += 60_000
    await yard.opened(stage.store, stage.clock, "controller-b")
    async with stage.running() as task:
        with pytest.raises(ShardLost):
            await stage.loop.propose(create())
        with pytest.raises(ShardLost):
            await task


async def test_an_asker_who_leaves_during_the_commit_ends_nothing():
    stage = await Stage().open()
    asked = []

    def leave(number: int) -> None:
        if number == 1:
            asked[0].cancel()

    stage.store.after = leave
    async with stage.running() as task:
        asked.append(asyncio.create_task(stage.loop.propose(create())))
        await asyncio.gather(*asked, return_exceptions=True)
        again = asyncio.create_task(stage.loop.propose(create("bills")))
        await asyncio.wait({task, again}, return_when=asyncio.FIRST_COMPLETED, timeout=5)
        assert not task.done()
        assert again.done()


async def test_a_loop_without_effects_does_not_start():
    stage = await Stage().open()
    stage.loop.effects = None
    with pytest.raises(RuntimeError, match="no effects"):
        await stage.loop.run()
