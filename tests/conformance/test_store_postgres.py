"""What only the PostgreSQL store can get wrong: connections that break around a commit, and the schema's versions."""

import asyncio
import os
import re
import signal
from contextlib import asynccontextmanager, suppress

import asyncpg
import pytest

from herder.model.errors import Environment, InvalidInput, NewerData, Unreachable
from herder.ports.store import Claim, Collision, CommitUnknown
from herder.stores.postgres import schema
from herder.stores.postgres.named import QUERIES, parse
from herder.stores.postgres.store import PostgresStore
from tests.conformance.store_fixtures import (  # noqa: F401  fixtures are found by name
    SHARD,
    WAIT_S,
    batch,
    database_fixture,
    move,
    own_postgres_fixture,
    postgres_store_fixture,
    short_directory_fixture,
    takeover,
    unit,
)

NAME = Claim("name", "orders", 1)


@asynccontextmanager
async def connected(options):
    connection = await asyncpg.connect(**options)
    try:
        yield connection
    finally:
        await connection.close()


async def backend_that(observer, condition: str) -> int:
    """The pid of herder's backend that is so, once there is one."""
    query = f"select pid from pg_stat_activity where application_name = 'herder' and {condition}"  # a test's own words
    async with asyncio.timeout(WAIT_S):
        while True:
            pid = await observer.fetchval(query + " and datname = current_database()")
            if pid is not None:
                return pid


@asynccontextmanager
async def held_up(options):
    """An append that waits, in the middle of its transaction, for a name that another one holds uncommitted."""
    async with connected(options) as blocker, connected(options) as observer:
        transaction = blocker.transaction()
        await transaction.start()
        await blocker.execute("insert into herder.claim (kind, value, shard, machine) values ('name', 'orders', 1, 9)")
        yield lambda: backend_that(observer, "wait_event_type = 'Lock'"), observer
        await transaction.rollback()


async def test_a_commit_whose_backend_was_killed_is_unknown_and_reading_tells(postgres_store, database):
    wanted = batch(None, claims=(NAME,), units=(unit(1),), history=(move(1),))
    async with held_up(database) as (waiting, observer):
        commit = asyncio.create_task(postgres_store.append(wanted))
        await observer.execute("select pg_terminate_backend($1)", await waiting())
        with pytest.raises(CommitUnknown):
            await commit
    assert await postgres_store.read(SHARD, 1) is None
    await postgres_store.append(wanted)
    assert await postgres_store.read(SHARD, 1) == wanted.record


async def test_a_commit_that_the_server_gave_up_is_not_written(database):
    store = PostgresStore(**database, timeout_s=1.0)
    await store.migrate()
    wanted = batch(None, claims=(NAME,))
    async with held_up(database):
        with pytest.raises(Unreachable):
            await store.append(wanted)
    assert await store.read(SHARD, 1) is None
    await store.append(wanted)
    await store.close()


async def test_a_commit_that_a_frozen_server_holds_is_unknown_until_it_is_appended_again(database):
    store = PostgresStore(**database, timeout_s=1.0, connect_timeout_s=WAIT_S)
    await store.migrate()
    wanted = batch(None)
    async with connected(database) as observer:
        frozen = await backend_that(observer, "state = 'idle'")
        os.kill(frozen, signal.SIGSTOP)
        try:
            with pytest.raises(CommitUnknown):
                await store.append(wanted)
            assert await store.read(SHARD, 1) is None, "a new connection answers, nobody waits for the frozen one"
        finally:
            os.kill(frozen, signal.SIGCONT)
        with suppress(Collision):  # with itself, when the thawed server was the quicker one
            await store.append(wanted)
        assert await store.read(SHARD, 1) == wanted.record
    await store.close()


async def test_a_commit_whose_answer_was_lost_is_unknown_and_reading_tells(postgres_store, database, short_directory):
    first = batch(None)
    wanted = batch(first.record)
    async with losing_answers(database["host"], short_directory) as lose:
        store = PostgresStore(**database | {"host": str(short_directory)})
        await store.append(first)  # which prepares the statement: from now on an append is one question and one answer
        lose.set()
        with pytest.raises(CommitUnknown):
            await store.append(wanted)
        lose.clear()
        assert await store.read(SHARD, 2) == wanted.record
        await store.close()


@asynccontextmanager
async def losing_answers(behind, directory):
    """A socket before the server's. While the event is set, what the server answers is not passed on: the line is cut."""
    lose = asyncio.Event()
    tasks = set()

    async def carry(reader, writer, *, answers):
        while data := await reader.read(65536):
            if answers and lose.is_set():
                break
            writer.write(data)
        writer.close()

    async def meet(reader, writer):
        server_reader, server_writer = await asyncio.open_unix_connection(f"{behind}/.s.PGSQL.5432")
        for task in (carry(reader, server_writer, answers=False), carry(server_reader, writer, answers=True)):
            tasks.add(asyncio.create_task(task))

    front = await asyncio.start_unix_server(meet, f"{directory}/.s.PGSQL.5432")
    try:
        yield lose
    finally:
        front.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_store_that_was_killed_and_came_back_is_used_on(own_postgres, postgres_store):
    first = batch(None)
    await postgres_store.append(first)
    descriptor = os.pidfd_open(own_postgres.pid())
    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    os.close(descriptor)
    with pytest.raises(Unreachable):
        await until_it_fails(lambda: postgres_store.read(SHARD, 1))
    await own_postgres.start()
    assert await postgres_store.read(SHARD, 1) == first.record
    await postgres_store.append(batch(first.record))


async def until_it_fails(ask):
    """A backend outlives its postmaster by a moment, and may answer in it."""
    async with asyncio.timeout(WAIT_S):
        while True:
            await ask()


async def test_nothing_there_is_unreachable_and_says_where_to_look(short_directory):
    store = PostgresStore(host=str(short_directory), user="herder", database="postgres")
    for call in (
        store.read(0, 1),
        store.append(batch(None)),
        store.take_over(0, "one", 1.0, takeover),
        store.migrate(),
    ):
        with pytest.raises(Unreachable) as caught:
            await call
        assert "HERDER_DATABASE_URL" in caught.value.hint


async def test_a_url_that_is_none_is_invalid_input():
    with pytest.raises(InvalidInput):
        await PostgresStore("mysql://elsewhere").read(0, 1)


async def test_a_takeover_that_meets_the_old_owners_last_append_builds_again(postgres_store, database):
    old = await postgres_store.take_over(SHARD, "one", 0.0, takeover)
    built = []

    def build(epoch, last):
        built.append(last)
        return takeover(epoch, last)

    async with connected(database) as blocker, connected(database) as observer:
        transaction = blocker.transaction()
        await transaction.start()
        late = batch(old).record
        values = (late.shard, late.seq, late.epoch, late.at_ms, late.body, late.prev_hash, late.hash)
        await blocker.execute(QUERIES["append_record"], *values)
        taking = asyncio.create_task(postgres_store.take_over(SHARD, "two", 60.0, build))
        await backend_that(observer, "wait_event_type = 'Lock'")
        await transaction.commit()
        new = await taking
    assert built == [old, late]
    assert (new.seq, new.epoch) == (3, 2)


async def test_a_server_that_would_lose_commits_is_told_not_to(postgres_store, database):
    async with connected(database) as connection:
        await connection.execute(f"alter database {database['database']} set synchronous_commit = off")
    store = PostgresStore(**database)
    async with store._pool.connection() as connection:
        assert await connection.fetchval("show synchronous_commit") == "on"
    await store.close()


async def catalogue(options):
    """Everything that migrations make, in words."""
    text = """
        select table_name, column_name, data_type, is_nullable, column_default from information_schema.columns
            where table_schema = 'herder' order by 1, 2;
        select conrelid::regclass::text, conname, pg_get_constraintdef(oid) from pg_constraint
            where connamespace = 'herder'::regnamespace order by 1, 2;
        select viewname, definition from pg_views where schemaname = 'herder' order by 1;
        select indexdef from pg_indexes where schemaname = 'herder' order by 1;
        select pg_get_functiondef(oid) from pg_proc where pronamespace = 'herder'::regnamespace order by 1;
        select relname, reloptions from pg_class where relnamespace = 'herder'::regnamespace order by 1;
        select attrelid::regclass::text, attname, attstorage from pg_attribute join pg_class on attrelid = pg_class.oid
            where relnamespace = 'herder'::regnamespace and attnum > 0 order by 1, 2;
        select version, name, checksum from herder.schema_version order by 1
    """
    async with connected(options) as connection:
        return [[tuple(row) for row in await connection.fetch(query)] for query in text.split(";")]


async def test_migrations_replayed_make_the_same_schema_however_they_are_started(database):
    stores = [PostgresStore(**database) for _ in range(4)]
    versions = await asyncio.gather(*(store.migrate() for store in stores))
    together = await catalogue(database)
    async with connected(database) as connection:
        await connection.execute("drop schema herder cascade")
        for count in range(1, len(schema.known()) + 1):
            assert await schema.migrate(connection, schema.known()[:count]) == count
    assert await catalogue(database) == together
    assert await stores[0].migrate() == versions[0] == len(schema.known())
    assert await catalogue(database) == together
    assert len(together[-1]) == len(schema.known())
    for store in stores:
        await store.close()


async def test_a_migration_that_fails_leaves_the_version_before(database):
    broken = (
        *schema.known(),
        schema.Migration(len(schema.known()) + 1, "broken", "create table herder.x (); nonsense"),
    )
    async with connected(database) as connection:
        with pytest.raises(asyncpg.PostgresSyntaxError):
            await schema.migrate(connection, broken)
        assert await connection.fetchval("select max(version) from herder.schema_version") == len(schema.known())
        assert await connection.fetchval("select to_regclass('herder.x')") is None


async def test_a_schema_newer_than_known_is_refused_and_left_alone(postgres_store, database):
    async with connected(database) as connection:
        await connection.execute("insert into herder.schema_version values (99, 'later', 'sum')")
    before = await catalogue(database)
    with pytest.raises(NewerData):
        await postgres_store.migrate()
    assert await catalogue(database) == before


async def test_a_migration_that_was_applied_with_another_text_is_refused(postgres_store, database):
    async with connected(database) as connection:
        await connection.execute("update herder.schema_version set checksum = 'other' where version = 1")
    with pytest.raises(Environment):
        await postgres_store.migrate()


async def test_a_unit_that_moves_is_updated_in_its_page(postgres_store, database):
    last = None
    for version in range(1, 50):
        one = batch(last, units=(unit(1, version=version, state=f"state {version}", deadline_ms=version),))
        await postgres_store.append(one)
        last = one.record
    async with postgres_store._pool.connection() as connection:
        await connection.execute("select pg_stat_force_next_flush()")
    query = "select n_tup_upd, n_tup_hot_upd from pg_stat_user_tables where relname = 'unit'"
    async with connected(database) as connection:
        assert tuple(await connection.fetchrow(query)) == (48, 48)


async def test_a_record_is_not_compressed(postgres_store, database):
    await postgres_store.append(batch(None, body=bytes(100_000)))
    async with connected(database) as connection:
        assert await connection.fetchval("select pg_column_size(body) from herder.log") == 100_000


async def test_every_named_query_is_one_that_the_server_understands(postgres_store, database):
    async with connected(database) as connection:
        await connection.execute(QUERIES["make_stages"])
        for query in QUERIES.values():
            if query.count(";") == 1:
                await connection.prepare(query)


def test_every_named_query_is_used_and_every_name_is_known():
    from pathlib import Path

    folder = Path(schema.__file__).parent
    words = set(re.findall(r'"(\w+)"', " ".join(path.read_text() for path in folder.glob("*.py"))))
    assert set(QUERIES) <= words


def test_two_queries_of_one_name_are_a_bug():
    with pytest.raises(ValueError):
        parse("-- name: one\nselect 1;\n-- name: one\nselect 2;")


@pytest.mark.parametrize(
    "harm",
    [
        "update herder.snapshot_part set body = 'other' where seq = 30",
        "delete from herder.snapshot_part where seq = 30",
        "delete from herder.snapshot_part where seq = 30 and part = 0",
    ],
)
async def test_a_torn_snapshot_is_named_and_the_one_before_is_used(postgres_store, database, caplog, harm):
    await postgres_store.save_snapshot(SHARD, 20, b"state at 20")
    await postgres_store.save_snapshot(SHARD, 30, b"state at 30")
    async with connected(database) as connection:
        await connection.execute(harm)
    found = await postgres_store.load_snapshot(SHARD)
    assert (found.seq, found.body, found.torn) == (20, b"state at 20", (30,))
    assert await postgres_store.latest_snapshot(SHARD) == (20, b"state at 20")
    assert "at record 30 is torn" in caplog.text


async def test_a_snapshot_whose_writer_died_is_not_seen_and_its_parts_go(postgres_store, database):
    await postgres_store.save_snapshot(SHARD, 20, b"state at 20")
    async with connected(database) as connection:
        await connection.execute(QUERIES["save_part"], SHARD, 30, 0, b"half of it")
    assert await postgres_store.latest_snapshot(SHARD) == (20, b"state at 20")
    await postgres_store.save_snapshot(SHARD, 40, b"state at 40")
    async with connected(database) as connection:
        assert await connection.fetchval("select count(*) from herder.snapshot_part where seq = 30") == 0


async def test_rows_of_the_schema_before_are_kept_when_it_is_brought_up_to_date(database):
    async with connected(database) as connection:
        await schema.migrate(connection, schema.known()[:2])
        await connection.execute("""
            insert into herder.log values (7, 3, 2, 3000, '', repeat('h', 32)::bytea, repeat('h', 32)::bytea);
            insert into herder.snapshot (shard, seq, body) values (7, 2, 'state at 2');
            insert into herder.unit values (7, 1, 'service', 'orders', 'orders', 'available', 4, 1000, 0, '{"port": 1}');
            insert into herder.unit values (7, 2, 'member', 'member-2', '', 'retired', 1, 1000, 5, '{}')
        """)
    store = PostgresStore(**database)
    await store.migrate()
    assert await store.units() == [
        unit(1, kind="service", name="orders", version=4, data={"port": 1}),
        unit(2, name="member-2", service="", state="retired", deadline_ms=5, data={}),
    ]
    assert await store.latest_snapshot(SHARD) == (2, b"state at 2")
    mark = await store.watermark(SHARD)
    assert (mark.seq, mark.history_seq, mark.epoch) == (3, 3, 2)
    await store.close()
