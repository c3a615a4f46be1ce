"""What every engine's driver must do, said without naming the engine.

A driver's own test module makes a fixture named `bench` and subclasses `DriverSuite`; what only one engine can do stays
in that module.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from herder.model.errors import HerderError, NoData, Refused
from herder.ports.driver import Driver, MemberSpec, Reading, Role, Source, SyncSet

WAIT_S = 20.0
"""Seconds any awaited thing may take on a busy machine; nothing here judges speed."""

ALONE = SyncSet()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def until(reached: Callable[[], Awaitable[Any]]) -> Any:
    """Ask again until it is so; each question is a round trip to an engine, so nothing spins."""
    async with asyncio.timeout(WAIT_S):
        while not (value := await reached()):  # noqa: ASYNC110  an engine in another process sets no Event
            await asyncio.sleep(0)  # a question that is answered at once must still let the deadline fire
        return value


def source(spec: MemberSpec) -> Source:
    return Source(spec.member, spec.address, spec.port)


@dataclass
class Bench:
    """One engine's driver and its clients. write/has: by a client, over TCP, as the service's user.

    fresh: another driver of the same machine, as after the agent was killed. sync: can the engine wait for k standbys?
    spoil: damage a stopped member's directory so that it cannot be brought back as it is.
    """

    driver: Driver
    fresh: Callable[[], Driver]
    members: list[MemberSpec]
    write: Callable[[MemberSpec, str], Awaitable[None]]
    has: Callable[[MemberSpec, str], Awaitable[bool]]
    probe: Callable[[str, int, float], Awaitable[str]]
    sync: bool
    spoil: Callable[[MemberSpec], None]

    async def streams_from(self, follower: MemberSpec) -> Reading:
        async def streaming() -> Reading | None:
            reading = await self.driver.read(follower)
            return reading if reading.upstream else None

        return await until(streaming)

    async def arrives(self, spec: MemberSpec, key: str) -> None:
        async def there() -> bool:
            return await self.has(spec, key)

        await until(there)

    async def pair(self) -> tuple[MemberSpec, MemberSpec]:
        first, second = self.members[:2]
        await self.driver.create_primary(first, ALONE)
        await self.driver.create_standby(second, source(first))
        await self.streams_from(second)
        return first, second

    async def signal_all(self, spec: MemberSpec, number: int) -> None:
        for pid in await self.driver.leftovers(spec):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    async def close(self) -> None:
        for member in self.members:
            await self.signal_all(member, signal.SIGCONT)
            await self.driver.stop(member, fast=False)
        await self.driver.close()


class DriverSuite:
    """The contract of ports/driver.Driver."""

    async def test_a_new_primary_takes_a_write_and_is_not_made_twice(self, bench: Bench):
        first = bench.members[0]
        made = await bench.driver.create_primary(first, ALONE)
        await bench.write(first, "a")
        again = await bench.driver.create_primary(first, ALONE)
        assert (made.started, again.started, again.pid) == (True, False, made.pid)
        assert await bench.has(first, "a")
        reading = await bench.driver.read(first)
        assert (reading.alive, reading.role, reading.pid) == (True, Role.PRIMARY, made.pid)

    async def test_two_new_primaries_are_different_systems(self, bench: Bench):
        first, second = bench.members[:2]
        await bench.driver.create_primary(first, ALONE)
        await bench.driver.create_primary(second, ALONE)
        ids = {(await bench.driver.read(spec)).system_id for spec in (first, second)}
        assert len(ids) == 2
        assert "" not in ids

    async def test_a_half_made_directory_is_made_again(self, bench: Bench):
        first = bench.members[0]
        for directory in (Path(first.data_dir), Path(first.data_dir + ".new")):
            directory.mkdir(parents=True)
            (directory / "half").write_text("made")
        await bench.driver.create_primary(first, ALONE)
        await bench.write(first, "a")
        assert not (Path(first.data_dir) / "half").exists()

    async def test_a_start_without_data_says_that_there_is_none(self, bench: Bench):
        """The word that ends all tries: never made here, and made and gone."""
        first, second = bench.members[:2]
        await bench.driver.create_primary(first, ALONE)
        await bench.driver.stop(first, fast=True)
        shutil.rmtree(first.data_dir)
        for spec in (first, second):
            with pytest.raises(NoData):
                await bench.driver.start(spec)
            assert not Path(spec.data_dir).exists()

    async def test_a_standby_catches_up_and_is_not_made_twice(self, bench: Bench):
        first, second = await bench.pair()
        await bench.write(first, "a")
        await bench.arrives(second, "a")
        assert not (await bench.driver.create_standby(second, source(first))).started
        reading = await bench.driver.read(second)
        assert (reading.role, reading.upstream) == (Role.STANDBY, True)
        assert second.member in (await bench.driver.read(first)).streaming

    async def test_a_pledge_ends_the_stream_also_over_a_restart(self, bench: Bench):
        first, second = await bench.pair()
        await bench.write(first, "before")
        await bench.arrives(second, "before")
        pledged = await bench.driver.pledge(second)
        await bench.write(first, "after")
        assert second.member not in (await bench.driver.read(first)).streaming
        assert await bench.driver.pledge(second) == pledged
        await bench.driver.stop(second, fast=True)
        await bench.driver.start(second)
        assert await bench.driver.pledge(second) == pledged
        assert not (await bench.driver.read(second)).upstream
        assert not await bench.has(second, "after")

    async def test_a_pledged_standby_follows_again_when_told(self, bench: Bench):
        first, second = await bench.pair()
        await bench.driver.pledge(second)
        await bench.write(first, "a")
        await bench.driver.follow(second, source(first))
        await bench.driver.follow(second, source(first))
        await bench.arrives(second, "a")

    async def test_a_promoted_standby_takes_writes(self, bench: Bench):
        first, second = await bench.pair()
        await bench.write(first, "a")
        await bench.arrives(second, "a")
        await bench.driver.stop(first, fast=False)
        pledged = await bench.driver.pledge(second)
        promoted = await bench.driver.promote(second, ALONE)
        await bench.write(second, "b")
        assert promoted.reach >= pledged.reach
        assert (await bench.driver.promote(second, ALONE)).reach >= promoted.reach
        assert (await bench.driver.read(second)).role is Role.PRIMARY
        assert await bench.has(second, "a")

    async def test_a_primary_that_crashed_rejoins_and_what_it_had_alone_is_kept(self, bench: Bench):
        first, second = await bench.pair()
        await bench.driver.pledge(second)
        await bench.write(first, "alone")
        await bench.driver.stop(first, fast=False)
        await bench.driver.promote(second, ALONE)
        await bench.write(second, "b")
        assert await bench.driver.rejoin(first, source(second)) in {"rewound", "copied"}
        await bench.arrives(first, "b")
        assert not await bench.has(first, "alone")
        kept = list(Path(first.data_dir).parent.glob(f"{Path(first.data_dir).name}.diverged-*"))
        assert len(kept) == 1
        assert await bench.driver.rejoin(first, source(second)) == "followed"

    async def test_a_directory_that_cannot_be_brought_back_is_copied_again(self, bench: Bench):
        first, second = await bench.pair()
        await bench.driver.stop(first, fast=False)
        await bench.driver.promote(second, ALONE)
        await bench.write(second, "b")
        bench.spoil(first)
        assert await bench.driver.rejoin(first, source(second)) == "copied"
        await bench.arrives(first, "b")

    async def test_a_running_primary_does_not_rejoin(self, bench: Bench):
        first, second = await bench.pair()
        with pytest.raises(HerderError):
            await bench.driver.rejoin(first, source(second))
        assert (await bench.driver.read(first)).role is Role.PRIMARY

    @pytest.mark.parametrize("fast", [True, False])
    async def test_stopped_means_no_process_left(self, bench: Bench, fast: bool):
        first = bench.members[0]
        await bench.driver.create_primary(first, ALONE)
        await bench.write(first, "a")
        assert await bench.driver.leftovers(first)
        assert await bench.driver.stop(first, fast=fast)
        assert await bench.driver.leftovers(first) == []
        assert await bench.driver.stop(first, fast=fast)
        reading = await bench.driver.read(first)
        assert (reading.alive, reading.role) == (False, Role.NONE)
        assert (await bench.driver.start(first)).started
        assert await bench.has(first, "a")

    async def test_a_killed_engine_starts_on_its_data(self, bench: Bench):
        first = bench.members[0]
        made = await bench.driver.create_primary(first, ALONE)
        await bench.write(first, "a")
        os.kill(made.pid, signal.SIGKILL)
        await bench.driver.stop(first, fast=False)
        again = await bench.driver.start(first)
        assert again.started
        assert await bench.has(first, "a")

    async def test_another_agent_finds_the_engine_running(self, bench: Bench):
        first = bench.members[0]
        made = await bench.driver.create_primary(first, ALONE)
        other = bench.fresh()
        try:
            adopted = await other.start(first)
            assert (adopted.pid, adopted.started) == (made.pid, False)
            assert (await other.read(first)).alive
        finally:
            await other.close()

    async def test_a_directory_of_another_member_is_left_alone(self, bench: Bench):
        first, second = bench.members[:2]
        await bench.driver.create_primary(first, ALONE)
        await bench.driver.stop(first, fast=True)
        thief = replace_spec(second, data_dir=first.data_dir)
        with pytest.raises(Refused):
            await bench.driver.create_primary(thief, ALONE)
        with pytest.raises(Refused):
            await bench.driver.create_standby(thief, source(first))

    async def test_a_probe_tells_serving_refused_and_silent_apart(self, bench: Bench):
        first = bench.members[0]
        assert await bench.probe(first.address, first.port, 2.0) == "refused"
        await bench.driver.create_primary(first, ALONE)
        assert await bench.probe(first.address, first.port, 10.0) == "serving"
        await bench.signal_all(first, signal.SIGSTOP)
        assert await bench.probe(first.address, first.port, 0.3) == "silent"
        assert not (await bench.driver.read(first)).alive
        await bench.signal_all(first, signal.SIGCONT)
        assert await bench.probe(first.address, first.port, 10.0) == "serving"

    async def test_a_frozen_engine_can_be_stopped(self, bench: Bench):
        first = bench.members[0]
        await bench.driver.create_primary(first, ALONE)
        await bench.signal_all(first, signal.SIGSTOP)
        await bench.driver.stop(first, fast=False)
        assert await bench.driver.leftovers(first) == []

    async def test_a_commit_waits_for_the_sync_set(self, bench: Bench):
        if not bench.sync:
            pytest.skip("the engine replicates asynchronously")
        first, second = await bench.pair()
        wanted = SyncSet(1, (second.member,))
        lsn = await bench.driver.set_sync(first, wanted)
        assert await bench.driver.set_sync(first, wanted) >= lsn
        assert (await bench.driver.read(first)).sync == wanted
        await bench.write(first, "a")
        await bench.driver.pledge(second)
        held = asyncio.create_task(bench.write(first, "b"))
        done, _ = await asyncio.wait({held}, timeout=0.5)
        assert not done, "nobody has confirmed it"
        await bench.driver.set_sync(first, ALONE)
        await held
        with pytest.raises(HerderError):
            await bench.driver.set_sync(first, SyncSet(1, ()))


def replace_spec(spec: MemberSpec, **changes: Any) -> MemberSpec:
    import msgspec

    return msgspec.structs.replace(spec, **changes)


def remove_beside(spec: MemberSpec) -> None:
    """Remove everything a driver made for a member."""
    home = Path(spec.data_dir)
    for path in home.parent.glob(f"{home.name}*"):
        shutil.rmtree(path, ignore_errors=True)


__all__ = ["ALONE", "Bench", "DriverSuite", "free_port", "remove_beside", "replace_spec", "source", "until"]
