"""What an agent promises: older is refused, once per intent, newer pushes older out, nothing without a written promise."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from herder.agent.drivers import Drivers
from herder.agent.jobs import Jobs
from herder.agent.ledger import Ledger
from herder.agent.supervise import Supervisor
from herder.ports.wire import Job, JobReply, JobStatus
from tests.unit.agent.toy import ToyDriver, spec_of

_numbers = itertools.count(1)
SOURCE = {"member": "m0", "address": "127.0.0.1", "port": 1}


class Bench:
    """Jobs over a toy driver, without a wire."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.driver = ToyDriver()
        self.ledger = Ledger(home / "ledger.json")
        self.drivers = Drivers(home, "", {}, lambda engine: self.driver)
        self.supervisor = Supervisor(self.ledger, self.drivers, lambda: None)
        self.jobs = Jobs("s1", 3, self.ledger, self.drivers, self.supervisor)
        self.spec = spec_of("m1", home / "data", 1)

    def job(self, name: str, term: int, order: int = 0, **changes: Any) -> Job:
        plain: dict[str, Any] = {
            "intent": f"i{next(_numbers)}", "name": name, "server": "s1", "incarnation": 3, "member": "m1",
            "term": term, "order": order, "spec": self.spec,
        }  # fmt: skip
        return Job(**(plain | changes))

    async def ask(self, name: str, term: int, order: int = 0, **changes: Any) -> JobReply:
        return await self.jobs.handle(self.job(name, term, order, **changes))

    async def close(self) -> None:
        await self.jobs.close()
        self.supervisor.close()
        self.ledger.close()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    await bench.close()


async def test_a_job_is_done_and_told(bench: Bench) -> None:
    reply = await bench.ask("pledge", 1)
    assert reply.status is JobStatus.DONE
    assert reply.result == {"timeline": 1, "lsn": 4096, "history": ""}
    assert reply.term == 1


async def test_the_same_intent_runs_once(bench: Bench) -> None:
    job = bench.job("pledge", 1)
    first = await bench.jobs.handle(job)
    assert await bench.jobs.handle(job) == first
    assert bench.driver.calls == ["pledge"]


async def test_why_a_job_failed_is_told_in_a_stable_word_also_by_the_next_agent(bench: Bench) -> None:
    job = bench.job("set_sync", 1, args={"sync": {"k": 0, "members": []}})
    first = await bench.jobs.handle(job)
    assert (first.status, first.code) == (JobStatus.FAILED, "timed_out")
    assert await Bench(bench.home).jobs.handle(job) == first


async def test_the_result_outlives_the_agent(bench: Bench) -> None:
    job = bench.job("pledge", 1)
    first = await bench.jobs.handle(job)
    again = Bench(bench.home)
    assert await again.jobs.handle(job) == first
    assert again.driver.calls == []
    await again.close()


@pytest.mark.parametrize("older", [(1, 9), (2, 4)])
async def test_an_older_term_or_order_is_refused(bench: Bench, older: tuple[int, int]) -> None:
    await bench.ask("pledge", 2, 5)
    reply = await bench.ask("promote", *older, args={"sync": {}})
    assert reply.status is JobStatus.REFUSED
    assert reply.term == 2
    assert bench.driver.calls == ["pledge"]


async def test_an_older_term_is_refused_by_the_next_agent_too(bench: Bench) -> None:
    await bench.ask("pledge", 2)
    again = Bench(bench.home)
    assert (await again.ask("start", 1)).status is JobStatus.REFUSED
    await again.close()


@pytest.mark.parametrize("changes", [{"server": "s2"}, {"incarnation": 2}, {"incarnation": 4}, {"name": "dance"}])
async def test_what_is_for_somebody_else_or_unknown_is_refused(bench: Bench, changes: dict[str, Any]) -> None:
    reply = await bench.jobs.handle(msgspec.structs.replace(bench.job("pledge", 1), **changes))
    assert reply.status is JobStatus.REFUSED
    assert bench.ledger.entry("m1") is None


async def test_what_changes_something_needs_a_term(bench: Bench) -> None:
    assert (await bench.ask("stop", 0)).status is JobStatus.REFUSED
    assert (await bench.ask("read", 0)).status is JobStatus.DONE


async def test_a_slow_job_answers_running_and_is_joined(bench: Bench) -> None:
    slow = msgspec.structs.replace(bench.spec, database="slow")
    job = bench.job("create_standby", 1, spec=slow, wait_s=0, args={"source": SOURCE})
    assert (await bench.jobs.handle(job)).status is JobStatus.RUNNING
    await bench.driver.slow_began.wait()
    assert (await bench.jobs.handle(job)).status is JobStatus.RUNNING
    assert bench.driver.calls == ["create_standby"]


async def test_a_newer_job_pushes_a_slow_older_one_out(bench: Bench) -> None:
    slow = msgspec.structs.replace(bench.spec, database="slow")
    job = bench.job("create_standby", 1, 1, spec=slow, args={"source": SOURCE}, wait_s=30)
    waiting = asyncio.create_task(bench.jobs.handle(job))
    await bench.driver.slow_began.wait()
    reply = await bench.ask("stop", 1, 2)
    assert reply.status is JobStatus.DONE
    older = await waiting
    assert older.status is JobStatus.REFUSED
    assert "gave way" in older.error
    assert (await bench.jobs.handle(job)).status is JobStatus.REFUSED


async def test_a_drivers_error_is_told_with_its_hint(bench: Bench) -> None:
    reply = await bench.ask("set_sync", 1, args={"sync": {"k": 1, "members": ["m2"]}})
    assert (reply.status, reply.error) == (JobStatus.FAILED, "the toy has no replication")
    assert reply.hint == "use a grown-up engine"


async def test_a_drivers_bug_is_a_failed_job(bench: Bench) -> None:
    reply = await bench.ask("rejoin", 1, args={"source": SOURCE})
    assert (reply.status, reply.error) == (JobStatus.FAILED, "RuntimeError: a bug in the driver")


async def test_a_job_without_its_arguments_fails(bench: Bench) -> None:
    assert "lacks 'sync'" in (await bench.ask("promote", 1)).error
    assert "not usable" in (await bench.ask("promote", 1, args={"sync": 7})).error


async def test_nothing_is_done_when_the_promise_cannot_be_written(bench: Bench) -> None:
    await bench.ask("pledge", 1)
    (bench.home / "ledger.json.tmp").mkdir()  # also root cannot write there
    reply = await bench.ask("promote", 2, args={"sync": {}})
    assert reply.status is JobStatus.REFUSED
    assert "ledger cannot be written" in reply.error
    assert bench.driver.calls == ["pledge"]
    assert bench.supervisor.frames()[0].busy == bench.ledger.broken
    (bench.home / "ledger.json.tmp").rmdir()
    await bench.ledger.mend()
    assert bench.ledger.broken == ""
    assert (await bench.ask("checkpoint", 2)).status is JobStatus.DONE


async def test_a_damaged_ledger_refuses_everything(bench: Bench) -> None:
    await bench.ask("pledge", 5)
    path = bench.home / "ledger.json"
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.write_bytes(data)
    again = Bench(bench.home)
    assert (await again.ask("start", 1)).status is JobStatus.REFUSED
    assert (await again.ask("start", 9)).status is JobStatus.REFUSED
    assert path.read_bytes() == data
    await again.close()


async def test_destroy_moves_everything_aside_and_forgets(bench: Bench) -> None:
    (bench.home / "data").mkdir()
    (bench.home / "data" / "rows").write_text("precious")
    (bench.home / "data.diverged").mkdir()
    trash = bench.home / "trash"
    reply = await bench.ask("destroy", 1, 7, args={"trash": str(trash)})
    assert reply.status is JobStatus.DONE
    assert sorted(os.listdir(trash)) == ["data", "data.diverged"]
    assert (trash / "data" / "rows").read_text() == "precious"
    assert bench.supervisor.frames() == ()
    assert bench.ledger.specs() == []
    again = await bench.ask("destroy", 1, 8, args={"trash": str(trash)})
    assert (again.status, sorted(os.listdir(trash))) == (JobStatus.DONE, ["data", "data.diverged"])
    assert (await bench.ask("create_primary", 1, 6, args={"sync": {}})).status is JobStatus.REFUSED


async def test_results_are_bounded(bench: Bench) -> None:
    for order in range(300):
        await bench.ask("checkpoint", 1, order)
    assert len(msgspec.json.decode((bench.home / "ledger.json").read_bytes().partition(b"\n")[2])["outcomes"]) == 256
