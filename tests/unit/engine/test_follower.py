"""The projection that follows: the same rows as those that come with the record, whatever happens on the way."""

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest

from herder.engine import follower as module
from herder.engine.bulk import Bulk, Cohort
from herder.engine.decide import Input
from herder.engine.follower import Follower
from herder.engine.shapes import Shape
from herder.model.errors import Conflict, Unreachable
from herder.ports.store import Collision
from herder.stores.memory.store import MemoryStore
from tests.unit.engine import story, yard

BLOCK = (
    Shape("service", {"plan": "dev", "name": ""}, {"members": (1, 2)}),
    Shape("member", {"port": 5432}, {"service": -1}),
    Shape("member", {"port": 5432}, {"service": -2}, {"name": "second-{id}"}),
)


class WatchedStore:
    """Counts what is projected, and fails when a test says so; all else is the real store's."""

    def __init__(self, store):
        self.store = store
        self.changes = []
        self.fail = []
        self.during = None

    def __getattr__(self, name):
        return getattr(self.store, name)

    async def project(self, change):
        if self.fail:
            raise self.fail.pop(0)
        self.changes.append(change)
        await self.store.project(change)
        if self.during is not None:
            during, self.during = self.during, None
            await during()


@pytest.fixture(name="clock")
def clock_fixture():
    return yard.VirtualClock()


@pytest.fixture(name="store")
def store_fixture(clock):
    return WatchedStore(MemoryStore(clock))


async def following(store, clock, owner=yard.OWNER):
    """A shard whose rows always follow."""
    shard = await yard.opened(store, clock, owner)
    shard.follower = Follower(store, 0, clock, world=lambda: shard.world, along_machines=-1)
    await shard.follower.open()
    return shard


@asynccontextmanager
async def running(shard):
    task = asyncio.create_task(shard.follower.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def fleet(shard, count=4):
    await shard.commit([Cohort(count, BLOCK, why="adopted", actor="ann")])


async def rows(store):
    return await store.units(), await store.history(limit=10_000)


async def test_rows_that_follow_are_those_that_come_along(store, clock):
    along = MemoryStore(clock)
    began = clock.at_ms
    await yard.told(along, clock)
    clock.at_ms = began
    shard = await following(store, clock)
    for step in story.STORY:
        clock.at_ms += step.wait_ms
        await shard.commit(story.inputs_of(step, shard.world, clock.at_ms), story.review)
    assert not await store.units()
    await shard.follower.write()
    assert await rows(store) == await rows(along)


async def test_a_span_is_one_line_of_the_history(store, clock):
    shard = await following(store, clock)
    await fleet(shard)
    await shard.follower.write()
    told = await store.history()
    assert [(row.kind, row.name, row.event, row.why, row.actor) for row in told if row.kind == "service"] == [
        ("service", "4 machines", "adopt", "adopted", "ann")
    ]
    assert [row.machine for row in told] == [0] * len(told)


async def test_machines_of_a_cohort_are_named_and_need_no_document(store, clock):
    shard = await following(store, clock)
    await fleet(shard, 2)
    await shard.follower.write()
    units = await store.units()
    assert [(unit.name, unit.service, unit.service_id, unit.data) for unit in units[:3]] == [
        ("service-1", "service-1", 1, {}), ("member-2", "service-1", 1, {}), ("second-3", "service-1", 1, {}),
    ]  # fmt: skip
    assert len(units) == 6


async def test_only_the_last_state_of_a_machine_is_written(store, clock):
    shard = await following(store, clock)
    await fleet(shard)
    members = shard.world.ids("member")
    for event in ("restarting", "overdue", "recheck"):
        await shard.commit([Bulk("member", event, members)])
    await shard.follower.write()
    written = sum(len(change.units or ()) for change in store.changes)
    assert written == 12
    assert {(unit.state, unit.version) for unit in await store.units(kind="member")} == {("unavailable", 4)}


async def test_a_large_set_is_written_in_slices_and_the_watermark_comes_last(store, clock, monkeypatch):
    monkeypatch.setattr(module, "SLICE", 5)
    monkeypatch.setattr(module, "URGENT", 0)
    shard = await following(store, clock)
    await fleet(shard)
    await shard.follower.write()
    assert [len(change.units) for change in store.changes] == [5, 5, 2]
    assert [change.seq for change in store.changes] == [None, None, shard.world.seq]
    assert (await store.watermark(0)).seq == shard.world.seq


async def test_a_machine_that_moves_while_it_is_written_is_written_again(store, clock):
    shard = await following(store, clock)
    await fleet(shard)
    member = int(shard.world.ids("member")[0])

    async def move():
        await shard.commit([Input(member, "restarting", {})])

    store.during = move
    await shard.follower.write()
    assert shard.follower.lag().machines == 1
    await shard.follower.write()
    assert shard.follower.lag() == module.Lag(0, 0.0, 0)
    assert (await store.units(kind="member"))[0].state == "restart"


async def test_a_store_that_fails_loses_no_row(store, clock):
    shard = await following(store, clock)
    await fleet(shard)
    store.fail = [Unreachable("the store is gone", ""), Unreachable("the store is gone", "")]
    async with running(shard):
        await clock.pass_time(module.LINGER_S)
        assert not await store.units()
        for _ in range(2):
            await clock.pass_time(module.RETRY_S)
            await clock.pass_time(module.LINGER_S)
        assert len(await store.units()) == 12
        assert len(await store.history()) == len({row.ordinal for row in await store.history()})


async def test_a_reader_waits_for_its_own_write(store, clock):
    shard = await following(store, clock)
    await fleet(shard)
    async with running(shard):
        assert await shard.follower.wait(shard.world.seq, 5.0)
        await shard.commit([Input(2, "restarting", {})])
        assert await shard.follower.wait(shard.world.seq, 5.0, machines=[2])
        assert (await store.units())[1].state == "restart"
        assert await shard.follower.wait(shard.world.seq, 0.0)


async def test_a_wait_ends_when_its_time_is_over(store, clock):
    shard = await following(store, clock)
    await fleet(shard)
    waiting = asyncio.create_task(shard.follower.wait(shard.world.seq, 5.0))
    await clock.pass_time(5.0)
    assert await waiting is False


async def test_what_was_not_written_when_a_controller_died_is_written_by_the_next(store, clock):
    shard = await following(store, clock)
    await fleet(shard)
    await shard.follower.write()
    await shard.commit([Input(2, "restarting", {}, why="before the crash")])
    again = await following(store, clock)
    await again.follower.write()
    assert (await store.units())[1].state == "restart"
    assert [row.why for row in await store.history()].count("before the crash") == 1
    assert (await store.watermark(0)).seq == again.world.seq
    assert again.follower.lag() == module.Lag(0, 0.0, 0)


async def test_a_gap_in_the_log_means_that_every_row_is_written(store, clock):
    shard = await following(store, clock)
    await fleet(shard)
    await shard.snapshot()
    await shard.commit([Input(2, "restarting", {})])
    await shard.snapshot()
    await shard.commit([Input(3, "restarting", {})])
    assert await store.drop_log(0, shard.world.seq) > 0
    again = await following(store, clock)
    await again.follower.write()
    assert len(await store.units()) == 12


async def test_one_who_is_not_owner_any_more_writes_nothing_over(store, clock):
    old = await following(store, clock)
    await fleet(old)
    new = await following(store, clock)
    await new.commit([Input(2, "restarting", {})])
    await new.follower.write()
    with pytest.raises(Collision):
        await old.follower.write()
    assert (await store.units())[1].state == "restart"


async def test_a_small_fleet_carries_its_rows_and_a_large_one_does_not(store, clock):
    shard = await yard.opened(store, clock)
    shard.follower = Follower(store, 0, clock, world=lambda: shard.world, along_machines=12)
    await shard.follower.open()
    assert shard.follower.along()
    await fleet(shard)
    assert not shard.follower.along(), "the cohort's rows are outstanding"
    await shard.follower.write()
    assert shard.follower.along()
    await fleet(shard, 1)
    await shard.follower.write()
    assert not shard.follower.along()


async def test_a_rebuild_mends_rows_while_commits_go_on(store, clock):
    shard = await following(store, clock)
    await fleet(shard)
    await shard.commit([Input(3, "restarting", {}, why="told")])
    await shard.follower.write()
    right = await rows(store)
    await store.rebuild_projection(right[0][:5], right[1][:1])

    async def move():
        await shard.commit([Input(2, "restarting", {})])
        await shard.follower.write()
        assert len(await store.units()) == 5, "readers see the old rows until the end"

    store.during = move
    assert await shard.follower.rebuild() == 12
    await shard.follower.write()
    units, history = await rows(store)
    assert [unit.machine for unit in units] == list(range(1, 13))
    assert units[1].state == "restart"
    assert history[: len(right[1])] == right[1]
    assert len(history) == len(right[1]) + 1


async def test_two_rebuilds_at_once_are_refused(store, clock):
    shard = await following(store, clock)
    await fleet(shard)

    async def another():
        with pytest.raises(Conflict):
            await shard.follower.rebuild()

    store.during = another
    assert await shard.follower.rebuild() == 12


async def test_a_rebuild_in_the_background_says_when_it_has_ended(store, clock):
    shard = await following(store, clock)
    await fleet(shard)
    assert await shard.follower.rebuilt() is None
    shard.follower.begin_rebuild()
    assert shard.follower.facts()["rebuilding"]
    with pytest.raises(Conflict):
        shard.follower.begin_rebuild()
    assert await shard.follower.rebuilt() == 12
    facts = shard.follower.facts()
    assert (facts["rebuilding"], facts["rebuilt"], facts["lag_machines"]) == (False, 12, 0)


async def test_a_rebuild_that_died_is_begun_again(store, clock):
    shard = await following(store, clock)
    await fleet(shard)
    store.fail = [Unreachable("the store is gone", "")]
    with pytest.raises(Unreachable):
        await shard.follower.rebuild()
    assert await shard.follower.rebuild() == 12
    assert len(await store.units()) == 12


async def test_bulk_moves_wait_when_the_rows_are_far_behind(store, clock):
    shard = await following(store, clock)
    await fleet(shard)
    assert not shard.follower.behind
    clock.at_ms += round(module.BEHIND_S * 1000) + 1
    assert shard.follower.behind
    waiting = asyncio.create_task(shard.follower.room(1.0))
    await yard.settle()
    assert not waiting.done()
    await shard.follower.write()
    assert await waiting
    assert not shard.follower.behind


async def test_a_flood_is_let_pass_before_its_rows_are_begun(store, clock, monkeypatch):
    monkeypatch.setattr(module, "SLICE", 4)
    shard = await following(store, clock)
    async with running(shard):
        await fleet(shard)
        await clock.pass_time(module.LINGER_S)
        assert not store.changes
        await clock.pass_time(module.QUIET_S)
        assert len(await store.units()) == 12


async def test_rows_that_nobody_waits_for_go_together(store, clock):
    shard = await following(store, clock)
    async with running(shard):
        await fleet(shard)
        await yard.settle()
        await fleet(shard)
        await yard.settle()
        assert not store.changes
        await clock.pass_time(module.LINGER_S)
        assert len(store.changes) == 1
