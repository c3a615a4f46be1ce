"""The lease at its agent, with a real watchdog and real processes: what it stops, what it does not, who may extend it."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from herder.agent import watchdog
from herder.agent.lease import stamp
from herder.drivers import processes
from herder.ports.wire import JobReply, JobStatus
from tests.unit.agent.test_jobs import SOURCE, Bench
from tests.unit.agent.test_supervise import frame, free_port
from tests.unit.agent.toy import spec_of
from tests.unit.agent.wait import later, until

LEASE_S = 1.0
MANY_S = 60.0
RESIDENT_MAX_KB = 12_000


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path)
    bench.spec = spec_of("m1", tmp_path / "data", free_port())
    assert (await bench.ask("create_primary", 1, args={"sync": {}}, wait_s=20)).status is JobStatus.DONE
    await until(lambda: frame(bench).reading.alive, "the first reading")
    yield bench
    await bench.close()
    for told in (tmp_path / "leases").glob("m1"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(told.read_text()), signal.SIGKILL)
    await processes.kill_within(tmp_path / "data")


def engine(bench: Bench) -> list[int]:
    return processes.within(bench.home / "data")


async def lease(bench: Bench, lease_s: float, order: int = 1) -> JobReply:
    return await bench.ask("lease", 1, order, args={"lease_s": lease_s}, wait_s=20)


async def renew(bench: Bench, at: float, term: int = 1) -> JobReply:
    return await bench.ask("renew", term, args={"stamp": at})


def dog(bench: Bench) -> int:
    return bench.supervisor.leases.watchdog_pid("m1")


async def test_a_lease_that_is_not_renewed_stops_every_process_and_says_so(bench: Bench) -> None:
    began = time.monotonic()
    assert (await lease(bench, LEASE_S)).result == LEASE_S
    assert len(engine(bench)) == 2
    await until(lambda: not engine(bench), "the watchdog ends first process and backend")
    assert time.monotonic() - began >= LEASE_S
    await until(lambda: frame(bench).exited, "the end is told")
    assert frame(bench).exit_line.startswith("stopped by its lease: no renewal for 1.")


async def test_a_renewal_counts_from_the_stamp_and_not_from_its_arrival(bench: Bench) -> None:
    await lease(bench, MANY_S)
    first = (await renew(bench, 0.0)).result
    assert first["lease_s"] == MANY_S
    await later(0.05)
    second = (await renew(bench, first["stamp"])).result
    assert second["left_s"] == pytest.approx(MANY_S - (second["stamp"] - first["stamp"]), abs=0.01)
    await later(0.05)
    late = (await renew(bench, first["stamp"])).result
    assert late["left_s"] < second["left_s"], "a message that was under way for long gives nothing"


async def test_a_stamp_that_this_clock_never_made_extends_nothing(bench: Bench) -> None:
    await lease(bench, MANY_S)
    before = (await renew(bench, 0.0)).result["left_s"]
    assert (await renew(bench, stamp() + 1000)).result["left_s"] <= before


async def test_a_renewal_of_an_older_term_is_refused(bench: Bench) -> None:
    await lease(bench, MANY_S)
    await bench.ask("checkpoint", 4, 1)
    assert (await renew(bench, stamp(), term=3)).status is JobStatus.REFUSED
    assert (await renew(bench, stamp(), term=5)).status is JobStatus.DONE


async def test_a_renewal_writes_nothing_durably(bench: Bench) -> None:
    await lease(bench, MANY_S)
    before = (bench.home / "ledger.json").stat()
    await renew(bench, stamp())
    after = (bench.home / "ledger.json").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


async def test_a_lease_that_has_run_out_is_not_renewed_but_revived_by_a_fresh_start(bench: Bench) -> None:
    await lease(bench, LEASE_S)
    await until(lambda: not engine(bench), "the watchdog has ended it")
    assert (await renew(bench, stamp())).result["left_s"] < 0
    assert (await bench.ask("restart", 1, 2, args={})).status is JobStatus.FAILED
    assert (await bench.ask("restart", 1, 3, args={"stamp": stamp() - LEASE_S})).status is JobStatus.FAILED
    assert not engine(bench), "an order from before a freeze opens nothing"
    assert (await bench.ask("restart", 1, 4, args={"stamp": stamp()}, wait_s=20)).status is JobStatus.DONE
    assert (await renew(bench, stamp())).result["left_s"] > 0
    await until(lambda: not frame(bench).exited, "it is seen to run")
    assert not bench.supervisor.leases.words("m1")


async def test_a_stop_keeps_the_lease_for_what_is_started_later(bench: Bench) -> None:
    await lease(bench, MANY_S)
    assert (await bench.ask("stop", 1, 2, wait_s=20)).status is JobStatus.DONE
    assert (await bench.ask("start", 1, 3)).status is JobStatus.FAILED
    assert (await renew(bench, 0.0)).result["lease_s"] == MANY_S


async def test_who_becomes_a_standby_is_under_no_lease(bench: Bench) -> None:
    await lease(bench, MANY_S)
    running = await bench.ask("follow", 2, 1, args={"source": SOURCE})
    assert running.status is JobStatus.FAILED, "an engine that runs under its lease is not let off"
    await bench.ask("stop", 2, 2, wait_s=20)
    await bench.ask("follow", 2, 3, args={"source": SOURCE})
    assert (await renew(bench, 0.0, term=2)).result["lease_s"] == 0
    assert dog(bench) == 0


async def test_a_watchdog_that_is_killed_is_followed_by_another_at_once(bench: Bench) -> None:
    await lease(bench, LEASE_S)
    first = dog(bench)
    os.kill(first, signal.SIGKILL)
    await until(lambda: dog(bench) not in (0, first), "another watchdog lives")
    await until(lambda: not engine(bench), "it ends the engine when the lease runs out")


async def test_without_any_watchdog_the_engine_does_not_go_on(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await lease(bench, MANY_S)
    monkeypatch.setattr("herder.agent.lease._spawn", _cannot)
    os.kill(dog(bench), signal.SIGKILL)
    await until(lambda: not engine(bench), "the agent ends it")
    await until(lambda: frame(bench).exit_line == "stopped by its agent: its lease has no watchdog", "it says so")
    assert (await bench.ask("start", 1, 2, args={"stamp": stamp()})).status is JobStatus.FAILED


def _cannot(*_: object) -> None:
    raise OSError(11, "no more processes")


async def test_the_next_agent_goes_on_with_lease_and_watchdog(bench: Bench) -> None:
    await lease(bench, MANY_S)
    kept = dog(bench)
    bench.supervisor.close()
    again = Bench(bench.home)
    again.supervisor.adopt()
    await until(lambda: again.supervisor.leases.watchdog_pid("m1") == kept, "the same watchdog is watched")
    assert (await renew(again, stamp())).result["lease_s"] == MANY_S
    await again.close()


async def test_with_its_agent_dead_the_lease_still_ends(bench: Bench) -> None:
    await lease(bench, LEASE_S)
    bench.supervisor.close()
    await until(lambda: not engine(bench), "the watchdog needs no agent")


async def test_with_agent_and_watchdog_dead_the_lease_counts_as_run_out(bench: Bench) -> None:
    """As after a boot: the deadline was in their memory only."""
    await lease(bench, MANY_S)
    kept = dog(bench)
    bench.supervisor.close()
    os.kill(kept, signal.SIGKILL)
    await until(lambda: processes.started_at(kept) is None, "the watchdog is dead")
    again = Bench(bench.home)
    again.supervisor.adopt()
    await until(lambda: not engine(bench), "the next agent's watchdog ends the engine")
    await again.close()


async def test_a_watchdog_of_a_lease_that_was_never_promised_is_ended(bench: Bench) -> None:
    await lease(bench, MANY_S)
    kept = dog(bench)
    bench.supervisor.close()
    again = Bench(bench.home)
    await again.ledger.bind("m1", 0.0)
    again.supervisor.adopt()
    await until(lambda: processes.started_at(kept) is None, "it would end the engine for ever after")
    assert len(engine(bench)) == 2
    await again.close()


async def test_a_lease_given_back_stops_nothing(bench: Bench) -> None:
    await lease(bench, LEASE_S)
    first = dog(bench)
    assert (await lease(bench, 0.0, order=2)).status is JobStatus.DONE
    await until(lambda: processes.started_at(first) is None, "the watchdog ends")
    await later(LEASE_S + 0.2)
    assert len(engine(bench)) == 2


async def test_one_that_has_run_out_is_given_back_only_after_its_engine_has_ended(bench: Bench) -> None:
    await lease(bench, LEASE_S)
    frozen = dog(bench)
    os.kill(frozen, signal.SIGSTOP)  # the agent thaws before its watchdog
    await later(LEASE_S + 0.1)
    assert len(engine(bench)) == 2
    assert (await lease(bench, 0.0, order=2)).status is JobStatus.DONE
    assert not engine(bench)
    os.kill(frozen, signal.SIGCONT)


async def test_a_lease_that_cannot_be_kept_in_the_ledger_is_refused(bench: Bench) -> None:
    (bench.home / "ledger.json.tmp").mkdir()
    assert (await lease(bench, MANY_S)).status is JobStatus.REFUSED
    (bench.home / "ledger.json.tmp").rmdir()
    assert dog(bench) == 0


async def test_a_frozen_watchdog_acts_as_soon_as_it_runs_again(bench: Bench) -> None:
    await lease(bench, LEASE_S)
    every = [*engine(bench), dog(bench)]
    for pid in every:
        os.kill(pid, signal.SIGSTOP)
    await later(LEASE_S + 0.5)
    thawed = time.monotonic()
    for pid in every:
        os.kill(pid, signal.SIGCONT)
    await until(lambda: not engine(bench), "the thawed engine is ended")
    assert time.monotonic() - thawed < 0.25, "10 ms on an idle machine; two busy cores are shared here"


async def test_the_watchdog_is_small(bench: Bench) -> None:
    await lease(bench, MANY_S)
    lines = Path(f"/proc/{dog(bench)}/status").read_text().splitlines()
    resident_kb = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
    assert resident_kb < RESIDENT_MAX_KB
    assert os.getsid(dog(bench)) == dog(bench), "the agent's terminal or group must not end it"


def test_the_deadline_is_over_when_it_has_passed_and_never_once_given_back() -> None:
    handle = os.memfd_create("test")
    os.write(handle, watchdog.DEADLINE.pack(0))
    agent, dog_side = watchdog.Deadline(handle), watchdog.Deadline(handle)
    assert dog_side.over()
    agent.write(watchdog.boottime_ns() + watchdog.SECOND_NS)
    assert not dog_side.over()
    agent.write(watchdog.GIVEN_BACK)
    assert not dog_side.over()
    os.close(handle)
