"""The crash test: killed before or after any append, a controller that starts again ends where it would have ended."""

from __future__ import annotations

import pytest

from herder.engine.decide import Input
from herder.model.errors import HerderError
from herder.stores.memory.store import MemoryStore
from tests.unit.engine import story, yard

TIMES = story.times()


async def run(frail: yard.FrailStore, clock: yard.VirtualClock) -> tuple[yard.Shard, int]:
    """The story with deaths in between; (the shard at the end, how often it died). Inputs come at least once: an effect
    gives its outcome again, a person asks again and is told that it is done.
    """
    shard, deaths = await yard.opened(frail, clock), 0
    for step, at_ms in zip(story.STORY, TIMES, strict=True):
        clock.at_ms = at_ms
        inputs: list[Input] = []
        again = True
        while again:
            again = False
            try:
                if not inputs or step.command:
                    inputs = story.inputs_of(step, shard.world, at_ms)
                await shard.commit(inputs, story.review)
            except HerderError:
                assert step.command
                assert deaths
            except yard.Died:
                deaths += 1
                again = True
                shard = await yard.opened(frail, clock)
    return shard, deaths


async def lived() -> yard.Shard:
    clock = yard.VirtualClock()
    shard, deaths = await run(yard.FrailStore(MemoryStore(clock)), clock)
    assert not deaths
    return shard


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_death_at_any_append_changes_nothing(when: str):
    whole = await lived()
    appends = whole.store.appends
    assert appends > 30
    for number in range(1, appends + 1):
        clock = yard.VirtualClock()
        frail = yard.FrailStore(MemoryStore(clock))
        setattr(frail, when, yard.once(yard.Died(), at=number))
        shard, deaths = await run(frail, clock)
        assert deaths == 1
        assert yard.world_of(shard.world) == yard.world_of(whole.world), f"killed {when} append {number}"
        assert shard.world.epoch == 2


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_death_at_every_append_changes_nothing(when: str):
    whole = await lived()
    clock = yard.VirtualClock()
    frail = yard.FrailStore(MemoryStore(clock))
    died: set[int] = set()

    def kill(number: int) -> BaseException | None:
        at = frail.store._shards[0].log[-1].seq if when == "after" else clock.at_ms
        if at in died:
            return None
        died.add(at)
        return yard.Died()

    setattr(frail, when, kill)
    shard, deaths = await run(frail, clock)
    assert deaths >= len(story.STORY) - 2
    assert yard.world_of(shard.world) == yard.world_of(whole.world)


async def test_the_projection_written_along_survives_deaths_too():
    whole = await lived()
    for number in (1, 7, 8, 20):
        clock = yard.VirtualClock()
        frail = yard.FrailStore(MemoryStore(clock))
        frail.after = yard.once(yard.Died(), at=number)
        await run(frail, clock)
        assert await frail.store.units() == await whole.store.units()
