"""Valkey members: made, copied, pledged, promoted, moved, wiped and thawed, on real engines."""

import asyncio
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from herder.drivers.binaries import valkey_server
from herder.drivers.processes import Account, spawn
from herder.drivers.valkey import probe as probes
from herder.drivers.valkey.client import connection_to
from herder.drivers.valkey.config import ADMIN_USER
from herder.drivers.valkey.driver import ValkeyDriver
from herder.drivers.valkey.marker import aof_reach
from herder.model.errors import Conflict, NoData, Refused, TimedOut, Unreachable
from herder.ports.driver import MemberSpec, Role, SyncSet
from tests.conformance.driver_suite import ALONE, Bench, DriverSuite, source, until

GUARDED = SyncSet(1)


async def ask(spec: MemberSpec, *words: str, admin: bool = False):
    user, password = (ADMIN_USER, spec.admin_password) if admin else (spec.user, spec.password)
    connection = connection_to(spec.address, spec.port, user, password, 2.0)
    try:
        await connection.send_command(*words)
        return await connection.read_response()
    finally:
        await connection.disconnect(nowait=True)


class Farm:
    """Three member slots on addresses of their own; everything of theirs ends with the test."""

    def __init__(self) -> None:
        self.base = Path(tempfile.mkdtemp(prefix="herder-valkey-"))
        self.base.chmod(0o711)
        self.driver = ValkeyDriver(Account.named("nobody"))
        draw = random.SystemRandom()
        net = f"127.{draw.randint(64, 250)}.{draw.randint(1, 250)}"
        self.members = [
            MemberSpec(
                service="cache", member=f"cache-{slot}", slot=slot, engine="valkey", major=0, address=f"{net}.{slot + 2}",
                port=6379, data_dir=str(self.base / f"m{slot}" / "data"), memory_mb=256, database="", user="app",
                password='pass "word" \\ é', admin_password="admin 1", replication_password='repl "2"',
            )
            for slot in range(3)
        ]  # fmt: skip

    async def service(self, members: int, sync: SyncSet = ALONE) -> list[MemberSpec]:
        made = self.members[:members]
        await self.driver.create_primary(made[0], ALONE)
        for member in made[1:]:
            await self.driver.create_standby(member, source(made[0]))
        await self.driver.set_sync(made[0], sync)
        return made

    async def signal(self, spec: MemberSpec, number: int) -> None:
        for pid in await self.driver.leftovers(spec):
            os.kill(pid, number)

    async def close(self) -> None:
        for member in self.members:
            await self.driver.stop(member, fast=False)
        await self.driver.close()
        shutil.rmtree(self.base)


@pytest.fixture
async def farm():
    made = Farm()
    yield made
    await made.close()


@pytest.fixture
async def bench(farm):
    async def write(spec, key):
        await ask(spec, "SET", key, "v")

    async def has(spec, key):
        return await ask(spec, "GET", key) == "v"

    def spoil(spec):
        shutil.rmtree(Path(spec.data_dir) / "appendonlydir")

    fresh = lambda: ValkeyDriver(Account.named("nobody"))  # noqa: E731  one line says it
    return Bench(farm.driver, fresh, farm.members, write, has, probes.probe, False, spoil)


class TestValkey(DriverSuite):
    async def test_a_promoted_standby_takes_writes(self, bench):
        """As in the suite, but a promotion begins a new history, and positions compare by offset within one only."""
        first, second = await bench.pair()
        await bench.write(first, "a")
        await bench.arrives(second, "a")
        await bench.driver.stop(first, fast=False)
        pledged = await bench.driver.pledge(second)
        promoted = await bench.driver.promote(second, ALONE)
        await bench.write(second, "b")
        assert promoted.lsn >= pledged.lsn
        assert promoted.history != pledged.history
        again = await bench.driver.promote(second, ALONE)
        assert (again.history, again.lsn >= promoted.lsn) == (promoted.history, True)
        assert await bench.has(second, "a")


SLOW_FSYNC = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <unistd.h>
static int slowly(const char *name, int fd) { usleep(400000); return ((int (*)(int)) dlsym(RTLD_NEXT, name))(fd); }
int fsync(int fd) { return slowly("fsync", fd); }
int fdatasync(int fd) { return slowly("fdatasync", fd); }
"""


def slow_server(base: Path) -> Path:
    """A valkey-server whose every fsync takes 0.4 s."""
    code, library, program = (base / name for name in ("slow.c", "slow.so", "valkey-server"))
    code.write_text(SLOW_FSYNC)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, code, "-ldl"], check=True)
    program.write_text(f'#!/bin/sh\nLD_PRELOAD={library} exec {valkey_server("")} "$@"\n')
    program.chmod(0o755)
    return program


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler, to make an fsync slow")
async def test_a_killed_engine_has_all_it_acknowledged_though_its_disk_is_slow(farm):
    await farm.driver.close()
    farm.driver = ValkeyDriver(Account.named("nobody"), str(slow_server(farm.base)))
    spec = farm.members[0]
    await farm.driver.create_primary(spec, ALONE)
    acked = 0

    async def caught_in_an_fsync() -> bool:
        nonlocal acked
        await farm.driver.read(spec)
        told = await ask(spec, "INFO", "persistence", admin=True)
        for _ in range(20):
            await ask(spec, "RPUSH", "all", str(acked))
            acked += 1
        return "aof_pending_bio_fsync:1" in told

    await until(caught_in_an_fsync)
    await farm.driver.stop(spec, fast=False)
    await farm.driver.start(spec)
    assert int(await ask(spec, "LLEN", "all")) == acked


async def test_what_was_acknowledged_reaches_the_disk_by_the_agents_looks_and_a_client_may_wait_for_it(farm):
    spec = farm.members[0]
    await farm.driver.create_primary(spec, ALONE)
    await ask(spec, "SET", "k", "v")

    async def on_disk() -> bool:
        await farm.driver.read(spec)
        return (await ask(spec, "WAITAOF", "0", "0", "0"))[0] == 1

    await until(on_disk)
    assert (await ask(spec, "CONFIG", "GET", "appendfsync", admin=True))[1] == "no"


async def test_a_primary_is_ready_for_its_first_write_and_making_it_again_changes_nothing(farm):
    spec = farm.members[0]
    first = await farm.driver.create_primary(spec, ALONE)
    assert await ask(spec, "SET", "k", "v") == "OK"
    again = await farm.driver.create_primary(spec, ALONE)
    assert (again.pid, first.started, again.started) == (first.pid, True, False)
    assert await ask(spec, "GET", "k") == "v"


async def test_an_application_may_not_undo_a_fence_nor_see_the_replication_password(farm):
    (spec,) = await farm.service(1)
    for words in (("CONFIG", "GET", "primaryauth"), ("REPLICAOF", "NO", "ONE"), ("SHUTDOWN",), ("CLIENT", "PAUSE", "9"),
                  ("ACL", "LIST"), ("DEBUG", "SLEEP", "1"), ("FAILOVER",)):  # fmt: skip
        with pytest.raises(Exception, match=r"permission|not allowed"):
            await ask(spec, *words)


async def test_a_standby_has_the_data_and_both_ends_say_so(farm):
    primary = farm.members[0]
    await farm.driver.create_primary(primary, ALONE)
    await ask(primary, "SET", "k", "v")
    standby = farm.members[1]
    await farm.driver.create_standby(standby, source(primary))
    await farm.driver.create_standby(standby, source(primary))
    assert await ask(standby, "GET", "k") == "v"
    mine, its = await farm.driver.read(primary), await farm.driver.read(standby)
    assert (mine.role, its.role, its.upstream) == (Role.PRIMARY, Role.STANDBY, True)
    assert list(mine.streaming) == [standby.member]
    assert its.position.history == mine.position.history
    assert its.upstream_age_s <= 2
    with pytest.raises(Exception, match="read only replica"):
        await ask(standby, "SET", "k", "w")


async def test_an_engine_started_by_hand_from_its_file_never_leads(farm):
    (primary,) = await farm.service(1)
    await ask(primary, "SET", "k", "v")
    program = await asyncio.to_thread(os.readlink, f"/proc/{(await farm.driver.leftovers(primary))[0]}/exe")
    await farm.driver.stop(primary, fast=True)
    by_hand = spawn(
        [program, f"{primary.data_dir}/valkey.conf"],
        account=Account.named("nobody"),
        cwd=Path(primary.data_dir),
        log=farm.base / "by-hand.log",
    )

    async def answers():
        with contextlib.suppress(Exception):
            return await ask(primary, "ROLE")

    assert (await until(answers))[0] == "slave"
    assert (await farm.driver.start(primary)).pid == by_hand
    assert await ask(primary, "SET", "k", "w") == "OK"


async def test_a_pledge_holds_over_a_restart_and_keeps_its_position(farm):
    primary, standby = await farm.service(2)
    await ask(primary, "SET", "k", "v")
    end = (await farm.driver.read(primary)).position

    async def caught_up():
        return (await farm.driver.read(standby)).received >= end.lsn

    await until(caught_up)
    promised = await farm.driver.pledge(standby)
    assert promised.reach >= end.reach
    assert promised.history == end.history
    await farm.driver.stop(standby, fast=False)
    await farm.driver.start(standby)
    reading = await farm.driver.read(standby)
    assert (reading.role, reading.upstream, reading.position) == (Role.STANDBY, False, promised)
    assert await farm.driver.pledge(standby) == promised
    assert await ask(standby, "GET", "k") == "v"
    assert (await farm.driver.read(primary)).streaming == {}


async def test_after_a_promotion_the_other_standby_follows_without_a_new_copy(farm):
    primary, *standbys = await farm.service(3, GUARDED)
    await ask(primary, "SET", "k", "v")
    await farm.driver.stop(primary, fast=False)
    pledges = {member.member: await farm.driver.pledge(member) for member in standbys}
    assert len({pledge.history for pledge in pledges.values()}) == 1
    # as an election does: who is behind another could only be copied from, and would have it copied anew
    other, candidate = sorted(standbys, key=lambda member: pledges[member.member].lsn)
    await farm.driver.promote(candidate, GUARDED)
    with pytest.raises(Exception, match="NOREPLICAS"):
        await ask(candidate, "SET", "k", "w")
    await farm.driver.follow(other, source(candidate))

    async def writable():
        with contextlib.suppress(Exception):
            return await ask(candidate, "SET", "k", "w")

    assert await until(writable) == "OK"
    stats = await ask(candidate, "INFO", "stats", admin=True)
    assert "sync_full:0" in stats
    assert "sync_partial_ok:1" in stats
    assert (await farm.driver.promote(candidate, GUARDED)).history == (
        await farm.driver.read(candidate)
    ).position.history


async def test_a_move_that_its_target_cannot_follow_is_given_up_and_the_primary_still_leads(farm):
    primary, target = await farm.service(2)
    await farm.signal(target, signal.SIGSTOP)
    await ask(primary, "SET", "k", "v")
    with pytest.raises(TimedOut):
        await farm.driver.failover_to(primary, source(target), timeout_ms=200)
    assert await ask(primary, "SET", "k", "w") == "OK"
    await farm.driver.stop(primary, fast=False)
    await farm.driver.start(primary)
    assert (await farm.driver.read(primary)).role is Role.PRIMARY
    with pytest.raises(Refused):
        await farm.driver.failover_to(primary, source(farm.members[2]))


async def test_a_primary_that_is_told_to_go_on_gives_a_hand_over_up_and_leads_after_a_restart_too(farm):
    primary, target = await farm.service(2)
    await farm.signal(target, signal.SIGSTOP)
    await ask(primary, "SET", "k", "v")
    moving = asyncio.create_task(farm.driver.failover_to(primary, source(target), timeout_ms=60_000))

    async def waits():
        return "waiting-for-sync" in await ask(primary, "INFO", "replication", admin=True)

    await until(waits)
    moving.cancel()  # as a newer job pushes it out: the engine goes on waiting, and the marker says standby
    await asyncio.wait([moving])
    await farm.driver.set_sync(primary, ALONE)
    assert "no-failover" in await ask(primary, "INFO", "replication", admin=True)
    assert await ask(primary, "SET", "k", "w") == "OK"
    await farm.driver.stop(primary, fast=False)
    await farm.driver.start(primary)
    assert (await farm.driver.read(primary)).role is Role.PRIMARY


async def test_a_primary_that_lost_its_log_refuses_to_lead_until_it_rejoins(farm):
    primary, standby = await farm.service(2)
    await ask(primary, "SET", "k", "v")
    await farm.driver.stop(primary, fast=True)
    shutil.rmtree(Path(primary.data_dir) / "appendonlydir")
    for _ in range(2):  # also when asked again, with the engine running
        with pytest.raises(NoData, match="came back empty"):
            await farm.driver.start(primary)
    with pytest.raises(Refused, match="came back empty"):
        await farm.driver.promote(primary, ALONE)
    assert (await farm.driver.read(primary)).role is Role.STANDBY
    assert await ask(standby, "GET", "k") == "v"
    await farm.driver.pledge(standby)
    await farm.driver.promote(standby, ALONE)
    await farm.driver.rejoin(primary, source(standby))
    assert await ask(primary, "GET", "k") == "v"
    await farm.driver.pledge(primary)
    await farm.driver.promote(primary, ALONE)


async def test_an_owner_may_flush_and_the_member_restarts(farm):
    (primary,) = await farm.service(1)
    await ask(primary, "SET", "k", "v")
    await farm.driver.stop(primary, fast=True)  # notes one key
    await farm.driver.start(primary)
    await ask(primary, "FLUSHALL")
    await farm.driver.stop(primary, fast=False)  # no time to note that there is none
    await farm.driver.start(primary)
    assert await ask(primary, "SET", "k", "v") == "OK"


async def test_a_standby_that_never_had_a_whole_copy_is_not_promoted(farm):
    (primary,) = await farm.service(1)
    standby = farm.members[1]
    await farm.signal(primary, signal.SIGSTOP)
    making = asyncio.create_task(farm.driver.create_standby(standby, source(primary)))

    async def answers():
        return (await farm.driver.read(standby)).alive

    await until(answers)
    making.cancel()
    await asyncio.gather(making, return_exceptions=True)
    with pytest.raises(Refused, match="whole copy"):
        await farm.driver.promote(standby, ALONE)
    await farm.signal(primary, signal.SIGCONT)
    await farm.driver.create_standby(standby, source(primary))
    await farm.driver.promote(standby, ALONE)


async def test_a_standby_wiped_by_an_empty_primary_of_another_history_is_not_promoted(farm):
    primary, standby = await farm.service(2)
    await ask(primary, "SET", "k", "v")

    async def arrived():
        await farm.driver.read(standby)
        return await ask(standby, "GET", "k")

    assert await until(arrived) == "v"
    await farm.driver.stop(standby, fast=True)
    await farm.driver.start(standby)
    empty = farm.members[2]
    await farm.driver.create_primary(empty, ALONE)
    await farm.driver.follow(standby, source(empty))

    async def wiped():
        return not int(await ask(standby, "DBSIZE")) and (await farm.driver.read(standby)).upstream

    await until(wiped)
    with pytest.raises(Refused, match="another history"):
        await farm.driver.promote(standby, ALONE)


async def test_a_former_primary_rejoins_and_its_divergent_data_is_kept(farm):
    primary, standby = await farm.service(2)
    await farm.driver.pledge(standby)
    await ask(primary, "SET", "only-here", "v")
    with pytest.raises(Refused):
        await farm.driver.rejoin(primary, source(standby))
    await farm.driver.stop(primary, fast=True)
    await farm.driver.promote(standby, ALONE)
    assert await farm.driver.rejoin(primary, source(standby)) == "copied"
    assert await farm.driver.rejoin(primary, source(standby)) == "followed"
    assert await ask(primary, "GET", "only-here") is None
    kept = Path(primary.data_dir + ".diverged-1")
    assert b"only-here" in b"".join(path.read_bytes() for path in (kept / "appendonlydir").iterdir())
    assert aof_reach(kept).size


async def test_stopping_leaves_no_process_even_of_a_frozen_engine(farm):
    primary, _ = await farm.service(2)
    await farm.signal(primary, signal.SIGSTOP)
    assert "killed" in await farm.driver.stop(primary, fast=False)
    assert await farm.driver.leftovers(primary) == []
    reading = await farm.driver.read(primary)
    assert (reading.alive, reading.role) == (False, Role.NONE)
    assert "no valkey-server runs" in reading.detail
    assert "no process" in await farm.driver.stop(primary, fast=True)
    with pytest.raises(Unreachable):
        await farm.driver.pledge(primary)


async def test_wrong_roles_are_refused(farm):
    primary, standby = await farm.service(2)
    with pytest.raises(Refused):
        await farm.driver.pledge(primary)
    with pytest.raises(Refused):
        await farm.driver.follow(primary, source(standby))
    with pytest.raises(Refused):
        await farm.driver.set_sync(standby, GUARDED)
    with pytest.raises(Conflict):
        await farm.driver.create_primary(standby, ALONE)
    with pytest.raises(Conflict):
        await farm.driver.create_standby(primary, source(standby))


async def test_a_probe_tells_serving_refused_and_silent_apart(farm):
    (primary,) = await farm.service(1)
    look = lambda: probes.probe(primary.address, primary.port, 0.6)  # noqa: E731  three looks at one address
    assert await look() == "serving"
    await farm.signal(primary, signal.SIGSTOP)
    assert await look() == "silent"
    await farm.driver.stop(primary, fast=False)
    assert await look() == "refused"


def test_an_agent_without_valkey_never_loads_its_library():
    code = "import sys, herder.drivers.valkey.driver, herder.drivers.valkey.probe; sys.exit('valkey' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
