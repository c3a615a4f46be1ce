"""What is dropped of the log, and that a start reads on from what is left."""

import asyncio
from contextlib import suppress

import pytest

from herder.engine import retention as module
from herder.engine.record import Broken
from herder.engine.retention import DAY_MS, Retention
from herder.stores.memory.store import MemoryStore
from tests.unit.engine import story, yard


@pytest.fixture(name="clock")
def clock_fixture():
    return yard.VirtualClock()


@pytest.fixture(name="store")
def store_fixture(clock):
    return MemoryStore(clock)


async def ended(clock, work):
    """Its result, with time passing while it pauses."""
    task = asyncio.ensure_future(work)
    await yard.settle()
    while not task.done():
        await clock.pass_time(module.PAUSE_S)
    return task.result()


async def aged(store, clock, monkeypatch):
    """A log with two snapshots in it, forty days later."""
    monkeypatch.setattr(module, "LOG_SLICE", 3)
    shard = await yard.told(store, clock, story.STORY[:12])
    await shard.snapshot()
    first = shard.world.seq
    for step in story.STORY[12:20]:
        clock.at_ms += step.wait_ms
        await shard.commit(story.inputs_of(step, shard.world, clock.at_ms), story.review)
    await shard.snapshot()
    clock.at_ms += 40 * DAY_MS
    return shard, first


async def test_what_lies_before_both_snapshots_goes_when_it_is_old(store, clock, monkeypatch):
    shard, first = await aged(store, clock, monkeypatch)
    assert await ended(clock, Retention(store, 0, clock, 50).once()) == (0, 0)
    records, moves = await ended(clock, Retention(store, 0, clock, 30).once())
    assert (records, moves > 0) == (first - 1, True)
    assert await store.history() == []
    assert (await store.tail(0, 0))[0].seq == first
    again = await yard.opened(store, clock)
    assert yard.world_of(again.world) == yard.world_of(shard.world)


async def test_the_chain_is_checked_from_the_snapshot_on(store, clock, monkeypatch):
    _, first = await aged(store, clock, monkeypatch)
    await ended(clock, Retention(store, 0, clock, 30).once())
    log = store._shards[0].log
    log.pop(2)
    store._shards[0].snapshots.pop(max(store._shards[0].snapshots))
    with pytest.raises(Broken, match=f"record {first + 2} of shard 0 is missing"):
        await yard.opened(store, clock)


async def test_nothing_is_ever_dropped_with_zero_days(store, clock, monkeypatch):
    await aged(store, clock, monkeypatch)
    assert await Retention(store, 0, clock, 0).once() == (0, 0)


async def test_it_looks_once_an_hour(store, clock, monkeypatch):
    _, first = await aged(store, clock, monkeypatch)
    task = asyncio.create_task(Retention(store, 0, clock, 30).run())
    await clock.pass_time(module.EVERY_S)
    while (await store.tail(0, 0))[0].seq < first:
        await clock.pass_time(module.PAUSE_S)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_bodies_that_no_start_reads_can_be_let_go(clock, monkeypatch):
    store = MemoryStore(clock, bodies=False)
    shard, first = await aged(store, clock, monkeypatch)
    assert {len(record.body) for record in store._shards[0].log[: first - 1]} == {0}
    again = await yard.opened(store, clock)
    assert yard.world_of(again.world) == yard.world_of(shard.world)
