"""PostgreSQL members: the common suite on each major that is here, and what only PostgreSQL can get wrong."""

import asyncio
import os
import shutil
import signal
import tempfile
import time
from pathlib import Path

import asyncpg
import pytest

from herder.drivers import processes
from herder.drivers.binaries import check_executable, postgres_dir, postgres_dirs
from herder.drivers.postgres import PostgresDriver, probe, segments
from herder.drivers.postgres import config as settings
from herder.drivers.postgres.control import FOREVER, crc32c, fork, parse_history
from herder.drivers.postgres.hearing import SHORTEST_S
from herder.drivers.postgres.layout import Layout
from herder.drivers.postgres.probe import verdict
from herder.drivers.postgres.session import connect_local
from herder.drivers.processes import Account
from herder.model.errors import Environment, InvalidInput, Refused
from herder.ports.driver import MemberSpec, Reading, Role, SyncSet
from tests.conformance.driver_suite import ALONE, Bench, DriverSuite, free_port, replace_spec, source, until

TEMPLATES = Path(tempfile.gettempdir()) / f"herder-test-templates-{os.geteuid()}"
"""Shared by the workers, as the agents of a machine share them."""


def maps_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/maps").read_text().splitlines()


def member(base: Path, slot: int, major: int) -> MemberSpec:
    return MemberSpec(
        service="orders", member=f"orders-{slot}", slot=slot, engine="postgres", major=major, address="127.0.0.1",
        port=free_port(), data_dir=str(base / f"m{slot}" / "data"), memory_mb=256, database="orders", user="app-user",
        password="it's \\ a \"word\"", admin_password="admin '1' \\", replication_password="repl '2' \\ x",
        peers=("127.0.0.1",),
    )  # fmt: skip


async def as_user(spec: MemberSpec):
    return await asyncpg.connect(
        host=spec.address, port=spec.port, user=spec.user, password=spec.password, database=spec.database
    )


async def write(spec: MemberSpec, key: str) -> None:
    connection = await as_user(spec)
    try:
        await connection.execute("CREATE TABLE IF NOT EXISTS kept (key text PRIMARY KEY)")
        await connection.execute("INSERT INTO kept VALUES ($1)", key)
    finally:
        connection.terminate()


async def has(spec: MemberSpec, key: str) -> bool:
    connection = await as_user(spec)
    try:
        return bool(await connection.fetchval("SELECT true FROM kept WHERE key = $1", key))
    except asyncpg.UndefinedTableError:
        return False
    finally:
        connection.terminate()


async def seen_anew(bench: Bench, spec: MemberSpec) -> tuple[str, ...] | None:
    """By another agent, which has not looked yet."""
    other = bench.fresh()
    try:
        return (await other.read(spec)).overrides
    finally:
        await other.close()


def cmdline(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


async def waldump(kept: Path, major: int) -> str:
    """All log of a kept directory on its newest timeline, as pg_waldump shows it; at the end of any log it ends with 1."""
    _, programs = postgres_dir(postgres_dirs(), major)
    names = sorted(path.name for path in kept.iterdir() if len(path.name) == 24)
    first = next(name for name in names if name[:8] == names[-1][:8])
    return await processes.run(
        [str(programs / "pg_waldump"), "--path", str(kept), first], account=Account(), cwd=Path("/"), timeout_s=20,
        done_codes=(0, 1),
    )  # fmt: skip


def spoil(spec: MemberSpec) -> None:
    (Path(spec.data_dir) / "global" / "pg_control").write_bytes(b"\x01" * 8192)


@pytest.fixture(params=[18, 17])
async def bench(request):
    base = Path(tempfile.mkdtemp(prefix="herder-pg-"))
    base.chmod(0o711)

    def fresh() -> PostgresDriver:
        return PostgresDriver(postgres_dirs(), TEMPLATES, Account.named("nobody"))

    members = [member(base, slot, request.param) for slot in range(3)]
    made = Bench(fresh(), fresh, members, write, has, probe, sync=True, spoil=spoil)
    yield made
    await made.close()
    shutil.rmtree(base)


class TestPostgres(DriverSuite):
    async def test_a_copy_of_the_template_is_accepted_by_the_engines_own_tool(self, bench: Bench):
        first = bench.members[0]
        await bench.driver.create_primary(first, ALONE)
        told = (await bench.driver.read(first)).system_id
        await bench.driver.stop(first, fast=True)
        _, programs = postgres_dir(postgres_dirs(), first.major)
        said = await processes.run(
            [str(programs / "pg_controldata"), first.data_dir], account=Account(), cwd=Path("/"), timeout_s=20
        )
        assert "warning" not in said.lower()
        assert told in said
        nonce = next(line.split()[-1] for line in said.splitlines() if line.startswith("Mock"))
        assert nonce not in {path.read_text() for path in TEMPLATES.glob("*/nonce")}

    async def test_engines_never_run_as_root(self, bench: Bench):
        first = bench.members[0]
        made = await bench.driver.create_primary(first, ALONE)
        assert Path(f"/proc/{made.pid}").stat().st_uid != 0
        assert {Path(f"/proc/{pid}").stat().st_uid for pid in await bench.driver.leftovers(first)} != {0}

    async def test_our_users_come_in_from_peers_only_and_with_a_password(self, bench: Bench):
        first = bench.members[0]
        await bench.driver.create_primary(first, ALONE)
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(
                host=first.address, port=first.port, user="herder", password="wrong", database="postgres"
            )
        rules = settings.render_hba(replace_spec(first, address="10.1.2.3", peers=("10.1.2.4",)))
        assert "host all herder 10.1.2.4/32 scram-sha-256" in rules
        assert rules.index("host all herder,herder_replication all reject") < rules.index("host all all all")

    async def test_a_busy_backend_of_a_dead_postmaster_is_ended_by_stop(self, bench: Bench):
        first = bench.members[0]
        made = await bench.driver.create_primary(first, ALONE)
        connection = await as_user(first)
        backend = connection.get_server_pid()
        busy = asyncio.create_task(connection.execute("DO $$ BEGIN LOOP PERFORM 1; END LOOP; END $$"))

        async def working() -> bool:
            return processes.cpu_ticks(backend) > 5

        await until(working)
        os.kill(made.pid, signal.SIGKILL)
        assert await processes.gone(made.pid, 10)
        assert backend in await bench.driver.leftovers(first), "it goes on without its postmaster"
        await bench.driver.stop(first, fast=False)
        assert await bench.driver.leftovers(first) == []
        assert processes.started_at(backend) is None
        await asyncio.gather(busy, return_exceptions=True)

    async def test_a_standby_pledges_with_its_primary_dead(self, bench: Bench):
        first, second = await bench.pair()
        await bench.write(first, "a")
        await bench.arrives(second, "a")
        await bench.driver.stop(first, fast=False)
        pledged = await bench.driver.pledge(second)
        await bench.driver.start(first)
        position = (await bench.driver.read(first)).position
        assert position is not None
        assert pledged.timeline == 1
        assert (await bench.driver.pledge(second)) == pledged
        assert second.member not in (await bench.driver.read(first)).streaming

    async def test_a_standby_remembers_where_its_primarys_log_ended_until_it_follows_another(self, bench: Bench):
        first, second = await bench.pair()
        await bench.write(first, "a")
        await bench.arrives(second, "a")
        began = time.monotonic()

        async def looked_at_for_a_while() -> bool:
            reading = await bench.driver.read(second)
            assert reading.heard is None, "its stream brings something"
            return time.monotonic() - began > 2 * SHORTEST_S

        await until(looked_at_for_a_while)
        received = (await bench.driver.read(second)).received
        await bench.driver.stop(first, fast=False)

        async def lost() -> Reading | None:
            reading = await bench.driver.read(second)
            return reading if reading.upstream is False and reading.heard is not None else None

        heard = (await until(lost)).heard
        assert heard.position.timeline == 1
        assert heard.position.lsn >= received
        await bench.driver.pledge(second)
        later = (await bench.driver.read(second)).heard
        assert (later.position, later.age_s > heard.age_s) == (heard.position, True)
        await bench.driver.follow(second, source(first))
        assert (await bench.driver.read(second)).heard is None

    async def test_what_a_standby_hears_is_the_end_of_its_primarys_log_and_not_what_it_received(self, bench: Bench):
        """The documentation of pg_stat_wal_receiver says of `latest_end_lsn` that it was reported *to* the sender."""
        first, second = await bench.pair()
        await bench.write(first, "a")
        await bench.arrives(second, "a")
        receiver = next(pid for pid in await bench.driver.leftovers(second) if b"walreceiver" in cmdline(pid))
        os.kill(receiver, signal.SIGSTOP)
        connection = await as_user(first)
        await connection.execute("CREATE TABLE much AS SELECT repeat('x', 900) FROM generate_series(1, 60000)")
        end = (await bench.driver.read(first)).position
        connection.terminate()
        looks = await connect_local(second)
        os.kill(receiver, signal.SIGCONT)

        ahead = [0]

        async def received_all() -> bool:
            told, has = await looks.fetchrow(
                "SELECT latest_end_lsn - '0/0'::pg_lsn, flushed_lsn - '0/0'::pg_lsn FROM pg_stat_wal_receiver"
            )
            ahead.append(int(told - has))
            return bool(has >= end.lsn)

        await until(received_all)
        looks.terminate()
        assert max(ahead) > 1_000_000, "while it catches up, it knows how much it lacks"

    async def test_a_stopped_standby_that_pledges_is_started_without_a_stream(self, bench: Bench):
        first, second = await bench.pair()
        await bench.driver.stop(second, fast=False)
        await bench.write(first, "a")
        await bench.driver.pledge(second)
        assert (await bench.driver.read(second)).alive
        assert not await bench.has(second, "a")

    async def test_a_killed_engine_that_is_stopped_leaves_no_shared_memory(self, bench: Bench):
        """It is not started there again when it is copied anew or goes to the trash; 4096 such segments and nobody starts."""
        first, _ = await bench.pair()
        named = segments.named_in(Layout.of(first).pid_file)
        assert named is not None
        posix = {line.split()[-1] for line in maps_of((await bench.driver.read(first)).pid) if "/PostgreSQL." in line}
        assert segments.give_back(named) == 0, "while it runs it is left alone"
        assert posix, "it has a control segment"
        os.kill((await bench.driver.read(first)).pid, signal.SIGKILL)
        await bench.driver.stop(first, fast=False)
        assert not [path for path in posix if Path(path).exists()]
        assert str(named.ident) not in [line.split()[1] for line in segments.SYSV.read_text().splitlines()]
        await bench.driver.start(first)

    async def test_a_standby_whose_promotion_is_under_way_does_not_pledge(self, bench: Bench):
        """An order to promote that gave way to a newer one has been given all the same: the engine will lead."""
        _, second = await bench.pair()
        admin = await connect_local(second)
        startup = await admin.fetchval("SELECT pid FROM pg_stat_activity WHERE backend_type = 'startup'")
        os.kill(startup, signal.SIGSTOP)
        try:
            await admin.execute("SELECT pg_promote(false)")
            with pytest.raises(Refused, match="is being promoted"):
                await bench.driver.pledge(second)
        finally:
            os.kill(startup, signal.SIGCONT)
            admin.terminate()

        async def leads() -> bool:
            return (await bench.driver.read(second)).role is Role.PRIMARY

        await until(leads)
        with pytest.raises(Refused):
            await bench.driver.pledge(second)

    async def test_a_failover_of_three_moves_the_other_standby_along(self, bench: Bench):
        first, second = await bench.pair()
        third = bench.members[2]
        await bench.driver.create_standby(third, source(first))
        await bench.driver.set_sync(first, SyncSet(1, (second.member, third.member)))
        await bench.write(first, "a")
        os.kill((await bench.driver.read(first)).pid, signal.SIGKILL)
        pledges = {spec.member: await bench.driver.pledge(spec) for spec in (second, third)}
        winner, other = (
            (second, third) if pledges[second.member].reach >= pledges[third.member].reach else (third, second)
        )
        promoted = await bench.driver.promote(winner, SyncSet(1, (other.member, first.member)))
        assert promoted.timeline == 2
        await bench.driver.follow(other, source(winner))
        await bench.write(winner, "b")
        await bench.arrives(other, "b")
        assert await bench.has(winner, "a")
        await bench.driver.stop(first, fast=False)
        assert await bench.driver.rejoin(first, source(winner)) in {"rewound", "followed"}
        await bench.arrives(first, "b")

    async def test_a_clean_switchover_needs_no_rewind(self, bench: Bench):
        first, second = await bench.pair()
        await bench.write(first, "a")
        await bench.driver.stop(first, fast=True)
        await bench.driver.pledge(second)
        await bench.driver.promote(second, ALONE)
        assert await bench.has(second, "a")
        assert await bench.driver.rejoin(first, source(second)) == "followed"

    @pytest.mark.parametrize("step", ["keeping", "rewinding", "copying"])
    async def test_a_rejoin_that_was_killed_is_taken_up_again(self, bench: Bench, step: str):
        first, second = await bench.pair()
        await bench.driver.stop(first, fast=False)
        await bench.driver.promote(second, ALONE)
        await bench.write(second, "b")
        Path(first.data_dir + ".rejoin.json").write_text(f'{{"step":"{step}"}}\n')
        Path(first.data_dir + ".new").mkdir()
        if step == "copying":  # between the two renames there is no data in place
            Path(first.data_dir).rename(first.data_dir + ".old")
        elif step == "rewinding":
            with pytest.raises(Refused):
                await bench.driver.start(first)
        assert await bench.driver.rejoin(first, source(second)) in {"rewound", "copied"}
        await bench.arrives(first, "b")
        left = {path.name for path in Path(first.data_dir).parent.iterdir()}
        assert not left & {"data.new", "data.old", "data.rejoin.json"}

    async def test_what_is_kept_of_one_failover_after_the_other_is_what_was_alone_and_no_longer_each_time(
        self, bench: Bench
    ):
        leads, follows = await bench.pair()
        sizes = []
        for turn in range(4):
            await bench.streams_from(follows)
            await bench.driver.pledge(follows)
            await bench.write(leads, f"alone-{turn}")
            await bench.driver.stop(leads, fast=False)
            await bench.driver.promote(follows, ALONE)
            await bench.write(follows, f"goes-on-{turn}")
            data = Path(leads.data_dir)
            before = set(data.parent.glob(f"{data.name}.diverged-*"))
            await bench.driver.rejoin(leads, source(follows))
            (kept,) = set(data.parent.glob(f"{data.name}.diverged-*")) - before
            log = [path for path in kept.iterdir() if len(path.name) == 24]
            assert any(f"alone-{turn}".encode() in path.read_bytes() for path in log)
            assert "COMMIT" in await waldump(kept, leads.major), "the engine's own program reads what was kept"
            sizes.append(sum(path.stat().st_blocks * 512 for path in kept.iterdir()))
            leads, follows = follows, leads
        assert max(sizes) < 4 * 1024**2, f"16 MB is one whole segment: {sizes}"

    async def test_a_primary_of_another_cluster_is_not_rejoined_to(self, bench: Bench):
        first, second = bench.members[:2]
        await bench.driver.create_primary(first, ALONE)
        await bench.driver.create_primary(second, ALONE)
        await bench.driver.stop(first, fast=True)
        with pytest.raises(Refused, match="another cluster"):
            await bench.driver.rejoin(first, source(second))

    async def test_k_may_change_and_commits_go_by_the_new_one(self, bench: Bench):
        first, second = await bench.pair()
        third = bench.members[2]
        await bench.driver.create_standby(third, source(first))
        both = (second.member, third.member)
        await bench.driver.set_sync(first, SyncSet(1, both))
        await bench.driver.set_sync(first, SyncSet(2, both))
        await bench.write(first, "a")
        await bench.driver.pledge(third)
        held = asyncio.create_task(bench.write(first, "b"))
        done, _ = await asyncio.wait({held}, timeout=0.5)
        assert not done
        await bench.driver.set_sync(first, SyncSet(1, (second.member,)))
        await held

    async def test_settings_by_which_commits_do_not_wait_are_told(self, bench: Bench):
        first, second, _ = bench.members
        await bench.driver.create_primary(first, ALONE)
        assert (await bench.driver.read(first)).overrides is None, "nobody waits there"
        connection = await as_user(first)
        try:
            await connection.execute('ALTER ROLE "app-user" SET synchronous_commit = LOCAL')
            await connection.execute("ALTER ROLE CURRENT_USER IN DATABASE orders SET synchronous_commit = off")
            await connection.execute("ALTER DATABASE orders SET synchronous_commit = remote_write")
            await connection.execute("ALTER ROLE CURRENT_USER SET work_mem = '8MB'")
        finally:
            connection.terminate()
        await bench.driver.set_sync(first, SyncSet(1, (second.member,)))
        assert (await bench.driver.read(first)).overrides == (
            "every role in database orders has synchronous_commit = remote_write",
            "role app-user has synchronous_commit = local",
            "role app-user in database orders has synchronous_commit = off",
        )

    async def test_what_makes_commits_wait_is_no_override_and_one_is_looked_for_now_and_then(self, bench: Bench):
        first, second, _ = bench.members
        await bench.driver.create_primary(first, SyncSet(1, (second.member,)))
        assert (await bench.driver.read(first)).overrides == ()
        connection = await connect_local(first)
        try:
            await connection.execute('ALTER ROLE "app-user" SET synchronous_commit = remote_apply')
            assert await seen_anew(bench, first) == ()
            await connection.execute("ALTER ROLE ALL SET synchronous_commit = 'no'")
        finally:
            connection.terminate()
        assert (await bench.driver.read(first)).overrides == (), "looked for every half minute"
        assert await seen_anew(bench, first) == ("every role has synchronous_commit = no",)

    async def test_a_start_that_fails_says_the_engines_own_reason(self, bench: Bench):
        first = bench.members[0]
        await bench.driver.create_primary(first, ALONE)
        await bench.driver.stop(first, fast=True)
        spoil(first)
        with pytest.raises(Environment, match=r"FATAL|PANIC"):
            await bench.driver.start(first)


def test_a_checksum_is_castagnolis():
    assert crc32c(b"123456789") == 0xE3069283  # the check value of RFC 3720's CRC32C


def test_two_histories_part_where_the_first_of_them_left_the_last_shared_timeline():
    ours = parse_history("", 1)
    theirs = parse_history("1\t0/3000148\tno recovery target specified\n", 2)
    assert fork(ours, theirs) == 0x3000148
    assert fork(theirs, parse_history("1\t0/3000100\tno reason\n", 3)) == 0x3000100
    assert fork(theirs, theirs) == FOREVER


@pytest.mark.parametrize("sync", [SyncSet(), SyncSet(1, ("orders-1", "orders-2")), SyncSet(2, ('a"b', "c'd"))])
def test_a_sync_set_reads_back_as_it_was_written(sync: SyncSet):
    value = settings.render_sync(sync).partition("= '")[2].partition("'  #")[0].replace("''", "'")
    assert settings.parse_sync(value) == sync


def test_a_sync_set_of_nobody_is_refused_rather_than_made_asynchronous():
    with pytest.raises(InvalidInput):
        settings.render_sync(SyncSet(1, ()))


def test_a_server_that_cannot_serve_now_is_told_from_one_that_refuses_us():
    assert verdict(b"E\0\0\0\x10SFATAL\0VFATAL\0C57P03\0Mstarting\0\0") == "starting"
    assert verdict(b"E\0\0\0\x10SFATAL\0VFATAL\0C28000\0Mno entry\0\0") == "serving"
    assert verdict(b"R\0\0\0\x17\0\0\0\nSCRAM-SHA-256\0\0") == "serving"


def test_a_directory_that_blocks_the_engine_user_is_named(tmp_path: Path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    program = closed / "postgres"
    program.write_text("")
    program.chmod(0o755)
    tmp_path.chmod(0o755)
    with pytest.raises(Environment, match=r"may not pass") as caught:
        check_executable(program, 54321, 54321)
    assert "chmod o+x" in caught.value.hint
