"""Looking after engines with real processes: leftovers of a dead engine are ended, and only then is its end told."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from herder.agent import supervise
from herder.agent.ledger import Ledger
from herder.drivers import processes
from herder.ports.driver import Role
from herder.ports.wire import JobStatus, MemberPulse
from tests.unit.agent.test_jobs import Bench
from tests.unit.agent.toy import kill_first, spec_of
from tests.unit.agent.wait import until


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path)
    bench.spec = spec_of("m1", tmp_path / "data", free_port())
    assert (await bench.ask("create_primary", 1, args={"sync": {}}, wait_s=20)).status is JobStatus.DONE
    await until(lambda: frame(bench).reading.alive, "the first reading")
    yield bench
    await bench.close()
    await processes.kill_within(tmp_path / "data")


def frame(bench: Bench) -> MemberPulse:
    return bench.supervisor.frames()[0]


async def test_leftovers_are_ended_before_the_end_is_told(bench: Bench) -> None:
    assert len(processes.within(bench.home / "data")) == 2
    kill_first(bench.spec)
    await until(lambda: frame(bench).exited, "the end is told")
    assert processes.within(bench.home / "data") == []
    seen = frame(bench)
    assert not seen.reading.alive
    assert (seen.reading.role, seen.exit_line) == (Role.NONE, "toy engine ready")


async def test_an_end_during_a_restart_does_not_end_what_was_started(bench: Bench) -> None:
    old = frame(bench).reading.pid
    assert (await bench.ask("restart", 1, 2, wait_s=20)).status is JobStatus.DONE
    await until(lambda: frame(bench).reading.pid not in (0, old), "the new process is seen")
    await until(lambda: bench.supervisor.lane("m1").free, "the lane is free")
    assert frame(bench).reading.alive
    assert not frame(bench).exited
    assert len(processes.within(bench.home / "data")) == 2


async def test_a_stop_is_told_as_an_end(bench: Bench) -> None:
    assert (await bench.ask("stop", 1, 2)).status is JobStatus.DONE
    await until(lambda: frame(bench).exited, "the end is told")


async def test_the_next_agent_adopts_what_runs(bench: Bench) -> None:
    pid = frame(bench).reading.pid
    again = Bench(bench.home)
    again.supervisor.adopt()
    await again.supervisor.look_all(5)
    assert (frame(again).reading.pid, frame(again).term) == (pid, 1)
    assert "start" not in again.driver.calls
    kill_first(bench.spec)
    await until(lambda: frame(again).exited, "the adopter tells the end")
    await again.close()


async def test_the_next_agent_ends_leftovers_of_an_engine_that_died_meanwhile(bench: Bench) -> None:
    bench.supervisor.close()
    kill_first(bench.spec)
    again = Bench(bench.home)
    again.supervisor.adopt()

    async def told() -> bool:
        await again.supervisor.look_all(1)  # as every beat does
        return frame(again).exited

    await until(told, "the end is told")
    assert processes.within(bench.home / "data") == []
    await again.close()


async def test_a_look_that_hangs_ends_nothing_and_delays_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "READ_TIMEOUT_S", 0.05)
    bench.driver.hang_reads = True
    await bench.supervisor.look_all(0.01)
    assert frame(bench).reading.alive  # the last reading, sent on time
    await until(lambda: not frame(bench).reading.alive, "the hanging is told")
    assert "did not answer" in frame(bench).reading.detail
    assert not frame(bench).exited
    assert len(processes.within(bench.home / "data")) == 2


async def test_a_hanging_look_of_a_new_agent_ends_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "READ_TIMEOUT_S", 0.05)
    again = Bench(bench.home)
    again.driver.hang_reads = True
    again.supervisor.adopt()
    await again.supervisor.look_all(1)
    assert "did not answer" in frame(again).reading.detail
    assert again.supervisor.lane("m1").free
    assert len(processes.within(bench.home / "data")) == 2
    await again.close()


async def test_a_forgotten_member_must_not_run(bench: Bench) -> None:
    assert (await bench.ask("forget", 1, 2)).status is JobStatus.FAILED
    await bench.ask("stop", 1, 3)
    assert (await bench.ask("forget", 1, 4)).status is JobStatus.DONE
    assert bench.supervisor.frames() == ()
    entry = Ledger(bench.home / "ledger.json").entry("m1")
    assert entry is not None
    assert (entry.mark, entry.spec) == ((1, 4), None)
