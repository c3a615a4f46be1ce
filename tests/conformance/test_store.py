"""What every store keeps to: the port's contract, asked of each adapter alike."""

import asyncio

import pytest

from herder.ports.store import Claim, ClaimTaken, Collision, LeaseHeld
from tests.conformance.store_fixtures import (  # noqa: F401  fixtures are found by name
    SHARD,
    batch,
    database_fixture,
    move,
    own_postgres_fixture,
    postgres_store_fixture,
    record,
    store_fixture,
    takeover,
    unit,
)

NAME = Claim("name", "orders", 1)


async def everything(store):
    """What can be read, to see that nothing was written."""
    return (
        await store.tail(SHARD, 0),
        await store.claims("name"),
        await store.units(),
        await store.history(),
    )


async def test_an_appended_record_reads_back_as_it_was_written(store):
    first = batch(None, body=bytes(range(256)) * 1000)
    await store.append(first)
    assert await store.read(SHARD, 1) == first.record
    assert await store.read(SHARD, 2) is None
    assert await store.read(SHARD + 1, 1) is None


async def test_the_tail_is_in_order_and_ends_at_the_limit(store):
    last = None
    for _ in range(5):
        await store.append(batch(last))
        last = await store.read(SHARD, last.seq + 1 if last else 1)
    assert [each.seq for each in await store.tail(SHARD, 0)] == [1, 2, 3, 4, 5]
    assert [each.seq for each in await store.tail(SHARD, 2, limit=2)] == [3, 4]
    assert await store.tail(SHARD, 5) == []
    assert await store.tail(SHARD + 1, 0) == []


async def test_a_second_record_of_one_number_collides_and_writes_nothing(store):
    await store.append(batch(None))
    before = await everything(store)
    with pytest.raises(Collision):
        await store.append(batch(None, body=b"other", claims=(NAME,), units=(unit(1),), history=(move(1),)))
    assert await everything(store) == before


async def test_a_collision_is_told_before_a_claim_that_is_taken(store):
    await store.append(batch(None, claims=(NAME,)))
    with pytest.raises(Collision):
        await store.append(batch(None, body=b"stale", claims=(NAME,)))


async def test_a_record_after_a_hole_collides(store):
    first = batch(None)
    await store.append(first)
    with pytest.raises(Collision):
        await store.append(batch(record(first.record)))
    assert len(await store.tail(SHARD, 0)) == 1


async def test_a_record_that_follows_another_history_collides(store):
    await store.append(batch(None, body=b"what happened"))
    with pytest.raises(Collision):
        await store.append(batch(record(None, b"what another believes")))
    assert len(await store.tail(SHARD, 0)) == 1


async def test_a_record_of_an_older_epoch_collides(store):
    newest = await store.take_over(SHARD, "one", 60.0, takeover)
    newest = await store.take_over(SHARD, "one", 60.0, takeover)
    stale = batch(None)
    with pytest.raises(Collision):
        await store.append(type(stale)(record=record(newest, epoch=1)))


@pytest.mark.parametrize("wrong", [{"hash": b"short"}, {"prev_hash": b""}, {"seq": 0}, {"epoch": 0}, {"shard": -1}])
async def test_a_record_that_cannot_be_is_a_bug(store, wrong):
    stale = batch(None)
    with pytest.raises(ValueError):
        await store.append(type(stale)(record=record(None, **wrong)))


async def test_of_many_writers_of_one_number_one_wins(store):
    outcomes = await asyncio.gather(
        *(store.append(batch(None, body=b"writer %d" % number)) for number in range(8)), return_exceptions=True
    )
    assert sum(outcome is None for outcome in outcomes) == 1
    assert sum(isinstance(outcome, Collision) for outcome in outcomes) == 7


async def test_a_claim_that_is_taken_names_its_holder_and_writes_nothing(store):
    first = batch(None, claims=(NAME, Claim("name", "billing", 2)))
    await store.append(first)
    before = await everything(store)
    wanted = (Claim("name", "fresh", 3), Claim("name", "orders", 3))
    with pytest.raises(ClaimTaken) as caught:
        await store.append(batch(first.record, claims=wanted, units=(unit(3),), history=(move(2),)))
    assert (caught.value.claim, caught.value.holder) == (wanted[1], 1)
    assert await everything(store) == before


async def test_a_claim_is_unique_across_shards(store):
    await store.append(batch(None, claims=(NAME,)))
    with pytest.raises(ClaimTaken):
        await store.append(batch(None, shard=SHARD + 1, claims=(Claim("name", "orders", 9),)))
    await store.append(batch(None, shard=SHARD + 1, claims=(Claim("address", "orders", 9),)))


async def test_a_holder_that_claims_again_is_told_that_it_is_the_holder(store):
    first = batch(None, claims=(Claim("key", "k-1", 5),))
    await store.append(first)
    with pytest.raises(ClaimTaken) as caught:
        await store.append(batch(first.record, claims=(Claim("key", "k-1", 5),)))
    assert caught.value.holder == 5


async def test_one_batch_cannot_claim_one_thing_twice(store):
    with pytest.raises(ClaimTaken):
        await store.append(batch(None, claims=(NAME, Claim("name", "orders", 2))))
    assert await store.tail(SHARD, 0) == []


async def test_a_claim_that_was_let_go_can_be_taken_even_in_the_same_batch(store):
    first = batch(None, claims=(NAME, Claim("name", "billing", 1)))
    await store.append(first)
    released = (("name", "orders"), ("name", "billing"), ("name", "never taken"))
    await store.append(batch(first.record, releases=released, claims=(Claim("name", "orders", 2),)))
    assert await store.claims("name") == [Claim("name", "orders", 2)]


async def test_of_many_shards_that_want_one_name_one_gets_it(store):
    wants = [
        store.append(batch(None, shard=shard, claims=(Claim("name", "b", shard), Claim("name", "a", shard))))
        for shard in range(8)
    ]
    outcomes = await asyncio.gather(*wants, return_exceptions=True)
    winner = outcomes.index(None)
    assert await store.claims("name") == [Claim("name", "a", winner), Claim("name", "b", winner)]
    losers = [outcome for outcome in outcomes if outcome is not None]
    assert [(type(loser), loser.holder) for loser in losers] == [(ClaimTaken, winner)] * 7


async def test_taking_over_bumps_the_epoch_and_appends_in_one(store):
    first = await store.take_over(SHARD, "one", 60.0, takeover)
    second = await store.take_over(SHARD, "one", 60.0, takeover)
    assert (first.seq, first.epoch, second.seq, second.epoch) == (1, 1, 2, 2)
    assert await store.tail(SHARD, 0) == [first, second]


async def test_a_lease_that_holds_keeps_others_out(store):
    await store.take_over(SHARD, "one", 60.0, takeover)
    with pytest.raises(LeaseHeld) as caught:
        await store.take_over(SHARD, "two", 60.0, takeover)
    assert caught.value.owner == "one"
    assert 0 < caught.value.left_s <= 60
    assert len(await store.tail(SHARD, 0)) == 1
    await store.take_over(SHARD + 1, "two", 60.0, lambda epoch, last: record(last, epoch=epoch, shard=SHARD + 1))


async def test_a_lease_that_ran_out_is_taken_and_its_old_owner_can_do_nothing(store):
    old = await store.take_over(SHARD, "one", 0.0, takeover)
    new = await store.take_over(SHARD, "two", 60.0, takeover)
    assert new.epoch == old.epoch + 1
    assert not await store.renew(SHARD, "one", old.epoch, 60.0)
    with pytest.raises(Collision):
        await store.append(batch(old))
    await store.append(batch(new))


async def test_a_lease_is_renewed_by_its_owner_in_its_epoch_only(store):
    taken = await store.take_over(SHARD, "one", 0.0, takeover)
    assert not await store.renew(SHARD, "two", taken.epoch, 60.0)
    assert not await store.renew(SHARD, "one", taken.epoch + 1, 60.0)
    assert not await store.renew(SHARD + 1, "one", taken.epoch, 60.0)
    assert await store.renew(SHARD, "one", taken.epoch, 60.0)
    with pytest.raises(LeaseHeld):
        await store.take_over(SHARD, "two", 60.0, takeover)


async def test_a_takeover_that_cannot_build_its_record_takes_nothing(store):
    def refuse(epoch, last):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await store.take_over(SHARD, "one", 60.0, refuse)
    first = await store.take_over(SHARD, "two", 60.0, takeover)
    assert first.epoch == 1


async def test_of_two_that_take_over_at_once_one_is_refused(store):
    await store.append(batch(None))
    outcomes = await asyncio.gather(
        store.take_over(SHARD, "one", 60.0, takeover),
        store.take_over(SHARD, "two", 60.0, takeover),
        return_exceptions=True,
    )
    assert sum(isinstance(outcome, LeaseHeld) for outcome in outcomes) == 1


async def test_the_newest_snapshot_is_found_whatever_the_order(store):
    assert await store.latest_snapshot(SHARD) is None
    for seq in (10, 30, 20):
        await store.save_snapshot(SHARD, seq, b"state at %d" % seq)
    assert await store.latest_snapshot(SHARD) == (30, b"state at 30")
    await store.save_snapshot(SHARD, 30, b"again")
    assert await store.latest_snapshot(SHARD) == (30, b"again")
    assert await store.latest_snapshot(SHARD + 1) is None


async def test_units_are_kept_as_they_end(store):
    first = batch(None, units=(unit(1), unit(2), unit(1, state="uncertain", version=2)))
    await store.append(first)
    await store.append(
        batch(first.record, units=(unit(2, state="retired", version=3, data={"deep": {"x": [1, 2.5]}}),))
    )
    assert await store.units() == [
        unit(1, state="uncertain", version=2),
        unit(2, state="retired", version=3, data={"deep": {"x": [1, 2.5]}}),
    ]
    assert await store.units(service="other") == []
    assert await store.units(kind="member", service="orders") == await store.units()


async def test_history_is_the_newest_that_matches_oldest_first(store):
    last = None
    for seq in range(1, 5):
        rows = (move(seq, 0), move(seq, 1, service="billing", kind="service"))
        one = batch(last, history=rows)
        await store.append(one)
        last = one.record
    assert [(row.seq, row.ordinal) for row in await store.history(limit=3)] == [(3, 1), (4, 0), (4, 1)]
    assert [row.seq for row in await store.history(service="billing", limit=2)] == [3, 4]
    assert [row.service for row in await store.history(kind="service")] == ["billing"] * 4
    assert await store.history(service="orders", kind="service") == []
    assert await store.history(limit=0) == []


async def test_words_that_a_database_refuses_do_not_stop_a_commit(store):
    words = 'a NUL \0, half a pair \udc80, a backslash \\u0000, ünïcode and "quotes"'
    await store.append(batch(None, units=(unit(1, data={"said": [words]}),), history=(move(1, why=words),)))
    (told,) = await store.history()
    assert told.why.startswith("a NUL \ufffd, half a pair \ufffd")
    assert told.why.endswith('a backslash \\u0000, ünïcode and "quotes"')
    assert (await store.units())[0].data == {"said": [told.why]}


async def test_a_projection_is_the_same_after_it_was_rebuilt(store):
    first = batch(None, units=(unit(1), unit(2)), history=(move(1),))
    await store.append(first)
    await store.append(batch(first.record, units=(unit(2, state="retired", version=2),), history=(move(2), move(2, 1))))
    units, history = await store.units(), await store.history()
    await store.rebuild_projection([*units, unit(9)], [*history, move(9)], shard=SHARD)
    assert unit(9) in await store.units()
    await store.rebuild_projection(units, history, shard=SHARD)
    assert (await store.units(), await store.history()) == (units, history)


async def test_rebuilding_one_shard_leaves_the_others(store):
    await store.append(batch(None, units=(unit(1),), history=(move(1),)))
    await store.append(batch(None, shard=SHARD + 1, units=(unit(1, service="other"),)))
    await store.rebuild_projection([], [], shard=SHARD)
    assert await store.units() == [unit(1, service="other")]
    assert await store.history() == []


async def test_the_first_secret_is_kept(store):
    assert await store.get_secret("key") is None
    kept = await asyncio.gather(*(store.put_secret("key", f"value {number}") for number in range(8)))
    assert set(kept) == {await store.get_secret("key")}
    assert await store.put_secret("other", "another") == "another"


async def test_a_join_token_is_spent_once(store):
    await store.add_join_token("hash", "server-1", 3)
    spent = await asyncio.gather(*(store.use_join_token("hash") for _ in range(8)))
    assert sorted(spent, key=str) == [("server-1", 3), *[None] * 7]
    assert await store.use_join_token("hash") is None
    assert await store.use_join_token("unknown") is None


async def test_a_newer_join_token_drops_the_unused_one(store):
    await store.add_join_token("old", "server-1", 1)
    await store.add_join_token("other", "server-2", 1)
    await store.add_join_token("new", "server-1", 2)
    assert await store.use_join_token("old") is None
    assert await store.use_join_token("new") == ("server-1", 2)
    assert await store.use_join_token("other") == ("server-2", 1)


async def test_closing_twice_is_no_error(store):
    await store.append(batch(None))
    await store.close()
    await store.close()
