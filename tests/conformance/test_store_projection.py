"""What follows the log in sets, and what is dropped of it: asked of each store alike."""

import asyncio

import numpy as np
import pytest

from herder.ports.store import Change, Collision, UnitBlock
from tests.conformance.store_fixtures import (  # noqa: F401  fixtures are found by name
    SHARD,
    batch,
    database_fixture,
    move,
    own_postgres_fixture,
    postgres_store_fixture,
    store_fixture,
    unit,
)

WORDS = ("member", "available", "uncertain")


def block(machines, *, state=1, version=1, service=0, **texts) -> UnitBlock:
    ids = np.array(machines, "<u4")
    return UnitBlock(
        machines=ids.tobytes(),
        kinds=np.zeros(len(ids), "<u2").tobytes(),
        states=np.full(len(ids), state, "<u2").tobytes(),
        versions=np.full(len(ids), version, "<u4").tobytes(),
        since_ms=np.full(len(ids), 1000, "<i8").tobytes(),
        deadline_ms=np.zeros(len(ids), "<i8").tobytes(),
        services=np.full(len(ids), service, "<u4").tobytes(),
        words=WORDS,
        **texts,
    )


def change(units=None, *, seq=None, epoch=1, **parts) -> Change:
    return Change(shard=SHARD, epoch=epoch, units=units, seq=seq, at_ms=5000, **parts)


def plain(machine, **changes):
    return unit(machine, **({"name": f"member-{machine}", "service": "", "data": {}} | changes))


async def test_a_block_reads_back_as_rows(store):
    names, data = {2: "orders-2"}, {3: {"port": 5432, "deep": [1, {"x": None}]}}
    await store.project(change(block([1, 2, 3], service=7, names=names, data=data), seq=4))
    assert await store.units() == [
        plain(1, service="service-7", service_id=7),
        plain(2, name="orders-2", service="service-7", service_id=7),
        plain(3, data=data[3], service="service-7", service_id=7),
    ]


async def test_a_service_with_a_name_is_named_in_its_members_rows(store):
    await store.project(change(block([1], service=7, service_names={7: "orders"})))
    assert [row.machine for row in await store.units(service="orders")] == [1]
    await store.project(change(block([1], service=8)))
    assert [row.service for row in await store.units()] == ["service-8"]


async def test_a_block_over_rows_that_are_there_changes_them_and_adds_the_rest(store):
    await store.project(change(block([2, 4, 6], names={4: "four"}, data={6: {"a": 1}})))
    await store.project(change(block([1, 2, 4, 5, 6, 9], state=2, version=3)))
    assert await store.units() == [plain(machine, state="uncertain", version=3) for machine in (1, 2, 4, 5, 6, 9)]


async def test_rows_in_sets_and_rows_with_the_record_are_the_same(store):
    rows = (
        plain(1, service="orders", service_id=1, data={"port": 1}),
        plain(2, name="other", service="service-3", service_id=3),
    )
    await store.append(batch(None, units=rows))
    along = await store.units()
    await store.rebuild_projection([], [], shard=SHARD)
    await store.project(change(block([1], service=1, service_names={1: "orders"}, data={1: {"port": 1}})))
    await store.project(change(block([2], service=3, names={2: "other"})))
    assert await store.units() == along == list(rows)


async def test_words_that_a_database_refuses_do_not_stop_a_block(store):
    said = "a NUL \0, half a pair \udc80"
    await store.project(change(block([1], names={1: said}, data={1: {"said": said}})))
    (row,) = await store.units()
    assert row.name == row.data["said"]
    assert row.name.startswith("a NUL \ufffd, half a pair \ufffd")


async def test_the_watermark_says_what_the_rows_show(store):
    assert await store.watermark(SHARD) is None
    first = batch(None)
    await store.append(first)
    mark = await store.watermark(SHARD)
    assert (mark.seq, mark.history_seq, mark.epoch, mark.at_ms) == (1, 1, 1, 1000)
    await store.append(type(first)(record=batch(first.record).record, projected=False))
    assert (await store.watermark(SHARD)).seq == 1
    await store.project(change(block([1]), history_seq=2))
    mark = await store.watermark(SHARD)
    assert (mark.seq, mark.history_seq, mark.at_ms) == (1, 2, 1000)
    await store.project(change(seq=2))
    mark = await store.watermark(SHARD)
    assert (mark.seq, mark.history_seq, mark.at_ms) == (2, 2, 5000)


async def test_a_change_that_is_repeated_changes_nothing(store):
    same = change(block([1, 2]), history=[move(3), move(3, 1)], history_seq=3, seq=3)
    await store.project(same)
    before = (await store.units(), await store.history(), await store.watermark(SHARD))
    await store.project(same)
    assert (await store.units(), await store.history(), await store.watermark(SHARD)) == before


async def test_an_older_controller_changes_nothing(store):
    await store.project(change(block([1]), epoch=5, seq=9))
    before = (await store.units(), await store.history(), await store.watermark(SHARD))
    for late in (
        store.project(change(block([1], state=2), epoch=4, history=[move(1)], seq=20)),
        store.begin_rebuild(SHARD, 4),
        store.finish_rebuild(SHARD, 4, 20, 1),
    ):
        with pytest.raises(Collision):
            await late
    assert (await store.units(), await store.history(), await store.watermark(SHARD)) == before


async def test_a_generation_is_seen_when_it_is_whole(store):
    await store.project(change(block([1, 2, 3]), seq=3))
    await store.begin_rebuild(SHARD, 2)
    await store.project(change(block([1, 2], state=2), epoch=2, fresh=True))
    assert [row.state for row in await store.units()] == ["available"] * 3
    await store.project(change(block([3], version=2), epoch=2))
    await store.finish_rebuild(SHARD, 2, 4, 4000)
    assert [(row.machine, row.state) for row in await store.units()] == [(1, "uncertain"), (2, "uncertain")]
    assert (await store.watermark(SHARD)).seq == 4
    while await store.drop_stale_units(SHARD, 2):
        pass
    assert len(await store.units()) == 2


async def test_an_unfinished_generation_is_given_up_for_the_next(store):
    await store.project(change(block([1])))
    await store.begin_rebuild(SHARD, 1)
    await store.project(change(block([7, 8]), fresh=True))
    await store.begin_rebuild(SHARD, 2)
    await store.project(change(block([1], state=2), epoch=2, fresh=True))
    await store.finish_rebuild(SHARD, 2, 1, 1)
    assert [(row.machine, row.state) for row in await store.units()] == [(1, "uncertain")]
    with pytest.raises(Collision):
        await store.finish_rebuild(SHARD, 2, 1, 1)


async def test_the_rows_with_a_record_go_to_the_generation_that_is_read(store):
    first = batch(None, units=(unit(1),))
    await store.append(first)
    await store.begin_rebuild(SHARD, 1)
    await store.project(change(block([1]), fresh=True))
    await store.finish_rebuild(SHARD, 1, 1, 1000)
    await store.append(batch(first.record, units=(unit(1, state="retired", version=2),)))
    assert await store.units() == [unit(1, state="retired", version=2)]


async def test_the_history_of_some_records_is_told_again(store):
    await store.project(change(history=[move(1), move(2), move(2, 1), move(3)]))
    await store.replace_history(SHARD, 2, 2, [move(2, why="better")])
    assert [(row.seq, row.ordinal, row.why) for row in await store.history()] == [
        (1, 0, "its pulse is good"), (2, 0, "better"), (3, 0, "its pulse is good"),
    ]  # fmt: skip


async def logged(store, count):
    last = None
    for _ in range(count):
        one = batch(last)
        await store.append(one)
        last = one.record
    return last


async def test_the_log_is_dropped_below_the_older_snapshot_only(store):
    last = await logged(store, 9)
    assert await store.drop_log(SHARD, 100) == 0
    await store.save_snapshot(SHARD, 4, b"four")
    assert await store.drop_log(SHARD, 100) == 0, "one snapshot may be torn"
    await store.save_snapshot(SHARD, 7, b"seven")
    assert await store.drop_log(SHARD, 3) == 2
    assert await store.drop_log(SHARD, 100, limit=1) == 1
    assert await store.drop_log(SHARD, 100) == 0
    assert [each.seq for each in await store.tail(SHARD, 0)] == [4, 5, 6, 7, 8, 9]
    assert await store.read(SHARD, 3) is None
    await store.append(batch(last))
    assert await store.drop_log(SHARD + 1, 100) == 0


async def test_a_time_in_the_log_is_found(store):
    assert await store.seq_before(SHARD, 1) == 0
    await logged(store, 9)  # record n is of n seconds
    assert [await store.seq_before(SHARD, at_ms) for at_ms in (0, 1000, 1001, 5000, 99_000)] == [0, 0, 1, 4, 9]


async def test_old_history_is_dropped_oldest_first(store):
    await store.project(change(history=[move(3), move(1), move(2), move(4)]))
    assert await store.drop_history(4000, limit=2) == 2
    assert [row.seq for row in await store.history()] == [3, 4]
    assert await store.drop_history(4000) == 1
    assert await store.drop_history(4000) == 0


async def test_a_large_snapshot_is_kept_whatever_its_pieces(store):
    pieces = [bytes([number]) * 3_000_001 for number in range(4)]
    await store.save_snapshot(SHARD, 5, [*pieces[:2], memoryview(pieces[2]), pieces[3]], record_hash=b"h" * 32)
    found = await store.load_snapshot(SHARD)
    assert (found.seq, found.record_hash, found.torn) == (5, b"h" * 32, ())
    assert found.body == b"".join(pieces)
    await store.save_snapshot(SHARD, 6, b"")
    assert await store.latest_snapshot(SHARD) == (6, b"")


async def test_two_followers_at_once_leave_whole_rows(store):
    blocks = [block(range(1, 200), state=state, version=version) for state, version in ((1, 1), (2, 2))]
    await asyncio.gather(*(store.project(change(each)) for each in blocks), return_exceptions=True)
    assert {(row.state, row.version) for row in await store.units()} <= {("available", 1), ("uncertain", 2)}
