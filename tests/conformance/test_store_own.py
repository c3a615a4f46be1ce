"""herder's own PostgreSQL: made once, adopted, repaired after a kill at any moment, and clear about what is in its way."""

import asyncio
import multiprocessing
import os
import select
import shutil
import signal
import subprocess
from pathlib import Path

import asyncpg
import pytest

from herder.model.errors import Environment, NewerData
from herder.stores.postgres import processes
from herder.stores.postgres.own import OwnPostgres, socket_directory
from tests.conformance.store_fixtures import (  # noqa: F401  fixtures are found by name
    WAIT_S,
    own_postgres_fixture,
    own_postgres_in,
    short_directory_fixture,
    wheel_programs,
)


async def answer(server):
    connection = await asyncpg.connect(**server.connect_options)
    try:
        return await connection.fetchval("select 42")
    finally:
        await connection.close()


def kill(pid):
    """Kill it and wait until it is dead."""
    descriptor = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        assert processes._signal_and_wait(pid, signal.SIGKILL, WAIT_S)
    finally:
        os.close(descriptor)


def programs_in(directory: Path, **scripts: str) -> Path:
    """The wheel's programs with some replaced by a shell script."""
    folder = directory / "bin"
    folder.mkdir()
    for name in ("initdb", "postgres"):
        path = folder / name
        path.write_text("#!/bin/sh\n" + scripts.get(name, f'exec {wheel_programs() / name} "$@"') + "\n")
        path.chmod(0o755)
    return folder


async def test_a_controller_that_starts_again_adopts_the_running_server(own_postgres):
    await own_postgres.start()
    pid = own_postgres.pid()
    again = own_postgres_in(own_postgres.data_directory.parent.parent)
    await asyncio.gather(again.start(), own_postgres.start())
    assert again.pid() == pid
    assert await answer(again) == 42


async def test_the_server_is_in_a_session_of_its_own_and_not_root(own_postgres):
    await own_postgres.start()
    assert os.getsid(own_postgres.pid()) == own_postgres.pid()
    assert Path(f"/proc/{own_postgres.pid()}").stat().st_uid != 0


async def test_a_killed_server_is_started_again_without_its_leftovers(own_postgres):
    await own_postgres.start()
    old = own_postgres.pid()
    connection = await asyncpg.connect(**own_postgres.connect_options)
    backend = await connection.fetchval("select pg_backend_pid()")
    os.kill(backend, signal.SIGSTOP)  # so that it does not notice the loss by itself
    try:
        kill(old)
        await own_postgres.start()
        assert own_postgres.pid() not in {None, old}
        assert not processes._stands_in(backend, own_postgres.data_directory)
        assert await answer(own_postgres) == 42
    finally:
        connection.terminate()


async def test_a_stopped_server_leaves_no_process_and_starts_again(own_postgres):
    await own_postgres.start()
    await own_postgres.stop()
    assert own_postgres.pid() is None
    assert list(processes._standing_in(own_postgres.data_directory.parent)) == []
    await own_postgres.stop()
    await own_postgres.start()
    assert await answer(own_postgres) == 42


async def test_the_number_of_a_dead_server_that_somebody_else_has_now_is_not_believed(own_postgres):
    await own_postgres.start()
    await own_postgres.stop()
    (own_postgres.data_directory / "postmaster.pid").write_text(f"{os.getpid()}\n" + "x\n" * 6 + "ready\n")
    assert own_postgres.pid() is None
    await own_postgres.start()
    assert await answer(own_postgres) == 42


@pytest.mark.needs_root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
async def test_the_user_that_engines_run_as_cannot_log_in_to_the_store(own_postgres):
    await own_postgres.start()
    command = [wheel_programs() / "psql", "-h", own_postgres.connect_options["host"], "-U", "herder", "postgres"]
    done = await asyncio.to_thread(subprocess.run, command, user="nobody", cwd="/", capture_output=True, input=b"")
    assert done.returncode != 0
    assert b"Peer authentication failed" in done.stderr


def start_in_child(directory, programs):
    asyncio.run(own_postgres_in(directory, programs).start())


def written_to(signpost: Path) -> bool:
    """Wait until somebody writes to it; False when nobody does in time (a blocking open would wait for ever)."""
    descriptor = os.open(signpost, os.O_RDONLY | os.O_NONBLOCK)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(WAIT_S * 1000))
    finally:
        os.close(descriptor)


async def test_an_initdb_that_was_killed_half_way_is_done_again(short_directory):
    signpost = short_directory / "half way"
    os.mkfifo(signpost)
    signpost.chmod(0o666)
    half = f'mkdir "$2/base" && echo 18 > "$2/PG_VERSION" && echo > "{signpost}" && read never < "{signpost}"'
    child = multiprocessing.get_context("spawn").Process(
        target=start_in_child, args=(short_directory, programs_in(short_directory, initdb=half))
    )
    child.start()
    assert await asyncio.to_thread(written_to, signpost)
    child.kill()
    await asyncio.to_thread(child.join, WAIT_S)
    assert list(processes._standing_in(short_directory / "store")), "initdb goes on without us"
    assert (short_directory / "store/data.new/base").is_dir()
    assert not (short_directory / "store/data").exists()
    server = own_postgres_in(short_directory)
    try:
        await server.start()
        assert await answer(server) == 42
        assert not (short_directory / "store/data.new").exists()
    finally:
        await server.stop()


def test_a_socket_path_that_is_too_long_is_made_short():
    assert socket_directory(Path("/var/lib/herder/store")) == Path("/var/lib/herder/store/run")
    long = Path("/" + "x" * 90)
    assert str(socket_directory(long)).startswith("/tmp/herder-")
    assert socket_directory(long) == socket_directory(long) != socket_directory(Path("/" + "y" * 90))


async def test_a_server_in_a_deep_directory_answers(short_directory):
    deep = short_directory / ("d" * 90)
    deep.mkdir(mode=0o755)
    server = own_postgres_in(deep)
    try:
        await server.start()
        assert await answer(server) == 42
    finally:
        await server.stop()
        shutil.rmtree(server.connect_options["host"])


async def test_somebody_elses_socket_directory_is_not_used(short_directory):
    deep = short_directory / ("d" * 90)
    deep.mkdir(mode=0o755)
    trap = Path(own_postgres_in(deep).connect_options["host"])
    trap.symlink_to(short_directory)
    try:
        with pytest.raises(Environment, match="belongs to somebody else"):
            await own_postgres_in(deep).start()
    finally:
        trap.unlink()


@pytest.mark.needs_root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
async def test_a_directory_that_blocks_the_servers_user_is_named(short_directory):
    closed = short_directory / "closed"
    (closed / "below").mkdir(parents=True)
    closed.chmod(0o700)
    with pytest.raises(Environment) as caught:
        await own_postgres_in(closed / "below").start()
    assert f"may not enter {closed}," in caught.value.message
    assert f"chmod o+x {closed}" in caught.value.hint


@pytest.mark.needs_root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
async def test_root_is_told_to_choose_a_user(short_directory):
    with pytest.raises(Environment):
        OwnPostgres(short_directory, wheel_programs())


@pytest.mark.parametrize(
    ("says", "expected"),
    [
        ("could not write to file: No space left on device", "the disk is full"),
        ("could not resize shared memory segment: No space left on device", "/dev/shm is full"),
        ("initdb: error: something new", "initdb: error: something new"),
    ],
)
async def test_an_initdb_that_fails_says_what_to_do(short_directory, says, expected):
    programs = programs_in(short_directory, initdb=f"echo '{says}' >&2; exit 1")
    with pytest.raises(Environment) as caught:
        await own_postgres_in(short_directory, programs).start()
    assert expected in caught.value.message
    assert caught.value.hint


async def test_a_server_that_does_not_start_says_why(short_directory):
    programs = programs_in(
        short_directory,
        initdb='echo 18 > "$2/PG_VERSION"; touch "$2/postgresql.conf"',
        postgres='case "$1" in --version) echo "postgres (PostgreSQL) 18.6";; *) echo "FATAL:  no luck"; exit 1;; esac',
    )
    with pytest.raises(Environment, match="FATAL:  no luck"):
        await own_postgres_in(short_directory, programs).start()


@pytest.mark.parametrize(("programs_major", "expected"), [(17, NewerData), (19, Environment)])
async def test_programs_of_another_version_are_refused(short_directory, programs_major, expected):
    programs = programs_in(
        short_directory,
        initdb='echo 18 > "$2/PG_VERSION"; touch "$2/postgresql.conf"',
        postgres=f'echo "postgres (PostgreSQL) {programs_major}.1"',
    )
    with pytest.raises(expected) as caught:
        await own_postgres_in(short_directory, programs).start()
    assert "PostgreSQL 18" in caught.value.message


async def test_programs_that_are_not_there_are_told(short_directory):
    with pytest.raises(Environment, match="there is no"):
        await own_postgres_in(short_directory, short_directory / "nowhere").start()


async def test_a_kept_server_that_is_killed_runs_again(own_postgres):
    await own_postgres.start()
    old = own_postgres.pid()
    keeper = asyncio.create_task(own_postgres.keep())
    try:
        kill(old)
        async with asyncio.timeout(WAIT_S):
            assert await answer_at_last(own_postgres) == 42
    finally:
        keeper.cancel()
    assert own_postgres.pid() not in {None, old}


async def answer_at_last(server):
    while True:
        try:
            return await answer(server)
        except (OSError, asyncpg.PostgresError):
            await asyncio.sleep(0)
