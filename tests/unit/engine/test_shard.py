"""A shard: the append is the commit, and every way in which an append can go wrong is told apart."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import msgspec
import pytest

from herder.engine import shard as shard_module
from herder.engine.decide import Input
from herder.engine.record import Broken, open_record
from herder.engine.shard import Proposal, Shard, ShardLost
from herder.engine.world import World
from herder.fleet import commands
from herder.model.errors import Conflict, NotFound, Unreachable
from herder.ports.store import Collision, StoredRecord
from herder.stores.memory.store import MemoryStore
from tests.unit.engine import story, yard


@pytest.fixture
def clock() -> yard.VirtualClock:
    return yard.VirtualClock()


@pytest.fixture
def store(clock: yard.VirtualClock) -> MemoryStore:
    return MemoryStore(clock)


@pytest.fixture
def frail(store: MemoryStore) -> yard.FrailStore:
    return yard.FrailStore(store)


def made(shard: Shard) -> list[Input]:
    return commands.create_service(shard.world, story.WISH)


def renamed(shard: Shard, name: str) -> list[Input]:
    return commands.create_service(shard.world, replace(story.WISH, name=name, key=""))


# ---- taking it over


async def test_taking_over_appends_a_record_first(store: MemoryStore, clock: yard.VirtualClock):
    shard = await yard.opened(store, clock)
    (stored,) = await store.tail(0, 0)
    record = open_record(stored, None)
    assert (record.kind, record.owner, record.seq) == ("takeover", yard.OWNER, 1)
    assert (shard.world.seq, shard.world.epoch) == (1, 1)


async def test_the_next_owner_replays_through_its_takeover(store: MemoryStore, clock: yard.VirtualClock):
    first = await yard.told(store, clock)
    clock.at_ms += 60_000
    second = await yard.opened(store, clock, "controller-b")
    assert yard.world_of(second.world) == yard.world_of(first.world)
    assert (second.world.seq, second.world.epoch) == (first.world.seq + 1, 2)


async def test_a_lease_that_runs_is_not_taken(store: MemoryStore, clock: yard.VirtualClock):
    await yard.opened(store, clock)
    with pytest.raises(Conflict, match="another herder"):
        await yard.opened(store, clock, "controller-b")


async def test_the_former_owner_stops_at_its_next_commit(store: MemoryStore, clock: yard.VirtualClock):
    first = await yard.opened(store, clock)
    clock.at_ms += 60_000
    await yard.opened(store, clock, "controller-b")
    with pytest.raises(ShardLost, match="another controller wrote record 2"):
        await first.commit(made(first))
    assert not first.world.machines
    assert not await store.claims("service.name")


@pytest.mark.parametrize("at", [1, 2, 5])
async def test_an_altered_log_is_not_replayed(store: MemoryStore, clock: yard.VirtualClock, at: int):
    await yard.told(store, clock)
    log = store._shards[0].log
    log[at - 1] = msgspec.structs.replace(log[at - 1], at_ms=1)
    with pytest.raises(Broken, match=f"record {at} of shard 0 was altered"):
        await yard.opened(store, clock)


async def test_a_log_with_a_hole_is_not_replayed(store: MemoryStore, clock: yard.VirtualClock):
    await yard.told(store, clock)
    del store._shards[0].log[0]
    with pytest.raises(Broken, match="record 1 of shard 0 is missing"):
        await yard.opened(store, clock)
    store._shards[0].log.pop(3)
    with pytest.raises(Broken, match="is missing"):
        await yard.opened(store, clock)


async def test_a_shard_that_is_not_open_does_not_commit(store: MemoryStore, clock: yard.VirtualClock):
    shard = Shard(0, store, clock)
    with pytest.raises(RuntimeError, match="not open"):
        await shard.commit(made(shard))


# ---- committing


async def test_a_commit_is_one_record_and_the_world_follows_it(store: MemoryStore, clock: yard.VirtualClock):
    shard = await yard.opened(store, clock)
    committed = await shard.commit(made(shard), story.review)
    assert committed.seq == 2
    assert len(await store.tail(0, 0)) == 2
    assert len(set(committed.moved)) == 8
    assert story.service(shard.world).name == "orders"


async def test_what_moves_nothing_writes_nothing(store: MemoryStore, clock: yard.VirtualClock):
    shard = await yard.opened(store, clock)
    committed = await shard.commit([Input(9, "exited")])
    assert (committed.seq, committed.moved) == (1, ())
    assert len(await store.tail(0, 0)) == 1


async def test_a_name_that_is_taken_writes_nothing(store: MemoryStore, clock: yard.VirtualClock):
    shard = await yard.opened(store, clock)
    await shard.commit(made(shard))
    before = (yard.world_of(shard.world), shard.world.seq)
    again = [Input(99, "create", {"name": "orders"}, create="service", claims=made(Shard(0, store, clock))[0].claims)]
    with pytest.raises(Conflict, match=r"service\.name 'orders' is taken|command 'once' is taken"):
        await shard.commit(again)
    assert (yard.world_of(shard.world), shard.world.seq) == before
    assert len(await store.tail(0, 0)) == 2
    assert (await shard.commit([])).seq == 2
    assert (await shard.commit(renamed(shard, "bills"))).seq == 3


async def test_a_released_name_may_be_taken_again(store: MemoryStore, clock: yard.VirtualClock):
    shard = await yard.told(store, clock)
    assert not await store.claims("service.name")
    await shard.commit(renamed(shard, "orders"), story.review)
    assert [claim.value for claim in await store.claims("service.name")] == ["orders"]


async def test_a_collision_with_another_owner_loses_the_shard(frail: yard.FrailStore, clock: yard.VirtualClock):
    shard = await yard.opened(frail, clock)
    clock.at_ms += 60_000
    await yard.opened(frail.store, clock, "controller-b")
    with pytest.raises(ShardLost):
        await shard.commit(made(shard))


async def test_a_collision_with_nothing_there_is_tried_again(frail: yard.FrailStore, clock: yard.VirtualClock):
    shard = await yard.opened(frail, clock)
    frail.before = yard.once(Collision("torn"))
    with pytest.raises(Unreachable):
        await shard.commit(made(shard))
    assert (await shard.commit(made(shard))).seq == 2


async def test_an_unknown_commit_that_is_there_counts(frail: yard.FrailStore, clock: yard.VirtualClock):
    shard = await yard.opened(frail, clock)
    frail.after = yard.once(yard.unknown())
    committed = await shard.commit(made(shard))
    assert (committed.seq, shard.world.seq) == (2, 2)
    assert (await shard.commit(renamed(shard, "bills"))).seq == 3


async def test_an_unknown_commit_that_is_not_there_does_not_count(frail: yard.FrailStore, clock: yard.VirtualClock):
    shard = await yard.opened(frail, clock)
    frail.before = yard.once(yard.unknown())
    with pytest.raises(Unreachable, match="lost the connection"):
        await shard.commit(made(shard))
    assert not shard.world.machines
    assert (await shard.commit(made(shard))).seq == 2


async def test_an_unknown_commit_that_cannot_be_read_yet_is_not_taken_for_anothers(
    frail: yard.FrailStore, clock: yard.VirtualClock
):
    shard = await yard.opened(frail, clock)
    frail.after, frail.unread = yard.once(yard.unknown()), 1
    inputs = made(shard)
    with pytest.raises(Unreachable):
        await shard.commit(inputs)
    clock.at_ms += 500
    await shard.commit([])
    assert shard.world.seq == 2
    assert story.service(shard.world).name == "orders"


async def test_a_command_is_asked_in_the_world_of_the_moment(frail: yard.FrailStore, clock: yard.VirtualClock):
    """Two at once, and one after an append whose end was not learnt: each sees what was committed before it."""
    shard = await yard.opened(frail, clock)
    seen: list[int] = []

    def create(name: str) -> Proposal:
        def proposal(world: World) -> list[Input]:
            seen.append(world.seq)
            return commands.create_service(world, replace(story.WISH, name=name, key=""))

        return proposal

    await asyncio.gather(shard.commit(create("orders")), shard.commit(create("bills")))
    frail.after, frail.unread = yard.once(yard.unknown(), at=3), 1
    with pytest.raises(Unreachable):
        await shard.commit(create("posts"))
    await shard.commit(create("mails"))
    assert seen == [1, 2, 3, 4]
    assert [machine.name for machine in shard.world.of_kind("service")] == ["orders", "bills", "posts", "mails"]


async def test_a_command_that_is_refused_leaves_the_shard_as_it_was(store: MemoryStore, clock: yard.VirtualClock):
    shard = await yard.opened(store, clock)

    def refuse(world: World) -> list[Input]:
        raise NotFound("there is no such service")

    with pytest.raises(NotFound):
        await shard.commit(refuse)
    assert (await shard.commit(made(shard))).seq == 2


async def test_a_retry_after_such_a_commit_goes_on(frail: yard.FrailStore, clock: yard.VirtualClock):
    shard = await yard.opened(frail, clock)
    await shard.commit(made(shard), story.review)
    frail.after, frail.unread = yard.once(yard.unknown(), at=2), 1
    inputs = story.STORY[1].come(shard.world)
    with pytest.raises(Unreachable):
        await shard.commit(inputs)
    clock.at_ms += 500
    await shard.commit(inputs)
    assert all(server.state == "available" for server in shard.world.of_kind("server"))


def whims(chance: random.Random, frail: yard.FrailStore) -> None:
    """A third of appends is not done, or is and nobody hears of it; after half of those the log cannot be read at first."""

    def lose(number: int) -> BaseException | None:
        if chance.random() > 1 / 3:
            return None
        frail.unread = chance.choice((0, 1))
        return yard.unknown()

    frail.before = frail.after = lose


@pytest.mark.parametrize("seed", range(20))
async def test_every_move_is_told_once_and_in_order_whatever_the_store_does(
    store: MemoryStore, clock: yard.VirtualClock, seed: int
):
    """Effects begin with what is told: a move that nobody hears of is a step that waits for its deadline."""
    frail = yard.FrailStore(store)
    shard = await yard.opened(frail, clock)
    whims(random.Random(seed), frail)
    told: list[tuple[int, int, int]] = []
    for step in story.STORY:
        clock.at_ms += step.wait_ms
        inputs = story.inputs_of(step, shard.world, clock.at_ms)
        committed = None
        while committed is None:
            with suppress(Unreachable):
                committed = await shard.commit(inputs, story.review)
                told += [(move.machine, move.version, move.event) for move in committed.moves]
    written = [open_record(record, None) for record in store._shards[0].log[1:]]
    assert told == [
        (int(row["machine"]), int(row["version"]), int(row["event"])) for each in written for row in each.columns
    ]
    assert len(told) > 80


async def test_what_a_refused_command_found_in_the_log_is_told_next(frail: yard.FrailStore, clock: yard.VirtualClock):
    shard = await yard.opened(frail, clock)
    frail.after, frail.unread = yard.once(yard.unknown()), 1
    with pytest.raises(Unreachable):
        await shard.commit(made(shard))

    def refuse(world: World) -> list[Input]:
        raise NotFound("there is no such service")

    with pytest.raises(NotFound):
        await shard.commit(refuse)
    assert shard.unsure
    assert len((await shard.commit([])).moves) > 3
    assert not shard.unsure


# ---- snapshots and the projection


async def test_a_shard_opens_from_its_snapshot_and_the_tail(
    store: MemoryStore, clock: yard.VirtualClock, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(shard_module, "SNAPSHOT_RECORDS", 7)
    lived = await yard.told(store, clock)
    await yard.settle()
    snapshot = await store.latest_snapshot(0)
    assert snapshot is not None
    assert snapshot[0] > 20
    before: list[StoredRecord] = store._shards[0].log
    again = await yard.opened(store, clock)
    assert yard.world_of(again.world) == yard.world_of(lived.world)
    store._shards[0].log = [record for record in before if record.seq > snapshot[0]]
    with pytest.raises(Broken, match=f"record {snapshot[0]} of shard 0 is missing"):
        await yard.opened(store, clock)


async def test_a_projection_derived_again_is_the_one_written_along(store: MemoryStore, clock: yard.VirtualClock):
    shard = await yard.told(store, clock)
    along = (await store.units(), await store.history(limit=10_000))
    assert await shard.rebuild_projection() == len(shard.world.machines)
    assert (await store.units(), await store.history(limit=10_000)) == along
    assert len(along[1]) > 80


async def test_a_projection_thrown_away_comes_back(store: MemoryStore, clock: yard.VirtualClock):
    shard = await yard.told(store, clock)
    before = (await store.units(), await store.history(limit=10_000))
    await store.rebuild_projection([], [])
    assert not await store.units()
    await shard.rebuild_projection()
    assert (await store.units(), await store.history(limit=10_000)) == before


async def test_a_unit_knows_its_service_from_its_first_row(store: MemoryStore, clock: yard.VirtualClock):
    shard = await yard.opened(store, clock)
    await shard.commit(made(shard), story.review)
    along = await store.units()
    await shard.rebuild_projection()
    assert along == await store.units()


async def test_no_secret_reaches_the_projection(store: MemoryStore, clock: yard.VirtualClock):
    shard = await yard.told(store, clock)
    told = msgspec.json.encode([await store.units(), await store.history(limit=10_000)]).decode()
    assert story.service(shard.world).data["password"] == "app-pw"
    assert not [secret for secret in story.WISH.secrets if secret in told]


async def test_a_command_after_an_unknown_commit_makes_nothing_over(frail: yard.FrailStore, clock: yard.VirtualClock):
    shard = await yard.opened(frail, clock)
    await shard.commit(made(shard), story.review)
    provision = story.live(shard.world, "provision")
    frail.after, frail.unread = yard.once(yard.unknown(), at=2), 1
    page = Input(9, "create", {"subject": 1, "reason": "any", "name": "page-9", "text": ""}, create="page")
    with pytest.raises(Unreachable):
        await shard.commit([page])
    other = Input(9, "create", {"service": 1, "name": "orders/strike-9", "primary": 2}, create="strike")
    await shard.commit([other])
    assert shard.world.get(9).kind == "page"
    assert provision.live


async def test_a_takeover_is_dated_by_the_clock_of_whoever_asks_for_it(clock: yard.VirtualClock):
    """Found by two drills of one seed: a real store builds the record in a thread, where another loop's time runs."""
    asked_ms = clock.at_ms

    class Slow(MemoryStore):
        async def take_over(
            self, shard: int, owner: str, ttl_s: float, build: Callable[[int, StoredRecord | None], StoredRecord]
        ) -> StoredRecord:
            clock.at_ms += 7_000
            return await super().take_over(shard, owner, ttl_s, build)

    store = Slow(clock)
    await yard.opened(store, clock)
    (record,) = await store.tail(0, 0)
    assert record.at_ms == asked_ms
