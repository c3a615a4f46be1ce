"""What an asynchronous Valkey primary may still acknowledge: moves, pledges, freezes and thaws under load."""

import asyncio
import signal
import time

import pytest

from herder.drivers.valkey.config import MAX_LAG_S
from herder.ports.driver import MemberSpec, Role
from tests.conformance.driver_suite import ALONE, WAIT_S, source
from tests.conformance.test_driver_valkey import GUARDED, ask, farm

__all__ = ["farm"]  # the fixture


@pytest.fixture
def measured(request):
    """Keep a figure with the test's report (a plugin or `--junit-xml` shows it); the assertion judges only the bound."""
    return lambda name, value: request.node.user_properties.append((name, value))


class Writer:
    """A client that sets one key after the other on one connection and remembers when each was acknowledged."""

    def __init__(self, spec: MemberSpec, name: str) -> None:
        self.spec, self.name = spec, name
        self.acks: list[float] = []
        self.refused_at: list[float] = []
        self.task = asyncio.create_task(self.run())

    async def run(self) -> None:
        reader, writer = await asyncio.open_connection(self.spec.address, self.spec.port)
        try:
            for number in range(10**9):
                words = (
                    ("SET", f"{self.name}:{number}", "v") if number else ("AUTH", self.spec.user, self.spec.password)
                )
                writer.write(resp(*words))
                answer = await reader.readline()
                if not answer:
                    return
                if number:
                    (self.acks if answer.startswith(b"+OK") else self.refused_at).append(time.monotonic())
        except OSError:
            return
        finally:
            writer.transport.abort()

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


def resp(*words: str) -> bytes:
    encoded = [word.encode() for word in words]
    return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)


async def until_acks(writers: list[Writer], count: int) -> None:
    async with asyncio.timeout(WAIT_S):
        while sum(len(writer.acks) for writer in writers) < count:
            await ask(writers[0].spec, "PING")


async def test_a_planned_move_loses_nothing_and_pauses_writes_briefly(farm):
    primary, target = await farm.service(2)
    writers = [Writer(primary, f"w{n}") for n in range(4)]
    await until_acks(writers, 500)
    began = time.monotonic()
    await farm.driver.failover_to(primary, source(target))
    took = time.monotonic() - began
    await farm.driver.promote(target, GUARDED)
    for writer in writers:
        await writer.stop()
    assert took < 0.9, "without the nudge the target tells its offset once a second"
    assert int(await ask(target, "DBSIZE")) >= sum(len(writer.acks) for writer in writers)
    assert (await farm.driver.read(primary)).role is Role.STANDBY
    assert await farm.driver.failover_to(primary, source(target))  # asked again: done


# How long a primary acknowledges what nobody will have: the stated bound of asynchronous plans.

BOUND_S = MAX_LAG_S + 2.0
"""max-lag in whole seconds, one second between acknowledgements, one between counts."""


async def refusing(writers: list[Writer], since: float) -> None:
    """Until every writer was refused and nothing was acknowledged for a second; the writers themselves are the clock."""
    async with asyncio.timeout(WAIT_S):
        while not all(writer.refused_at for writer in writers) or quiet_s(writers, since) < 1.0:
            await asyncio.wait([writer.task for writer in writers], timeout=0.05)


def quiet_s(writers: list[Writer], since: float) -> float:
    return time.monotonic() - max([since, *(ack for writer in writers for ack in writer.acks)])


def late(writers: list[Writer], since: float) -> tuple[int, float]:
    """(acknowledgements after `since`, seconds until the last of them)."""
    acks = [ack - since for writer in writers for ack in writer.acks if ack > since]
    return len(acks), max(acks, default=0.0)


async def test_once_its_replicas_pledged_a_primary_stops_acknowledging_within_the_bound(farm, measured):
    primary, one, two = await farm.service(3, GUARDED)
    writers = [Writer(primary, f"w{n}") for n in range(4)]
    await until_acks(writers, 500)
    await asyncio.gather(farm.driver.pledge(one), farm.driver.pledge(two))
    pledged = time.monotonic()
    await refusing(writers, pledged)
    count, last_s = late(writers, pledged)
    measured("acks_after_pledge", count)
    measured("last_ack_s", last_s)
    assert last_s <= BOUND_S


async def test_with_frozen_replicas_a_primary_stops_acknowledging_within_the_bound(farm, measured):
    primary, one, two = await farm.service(3, GUARDED)
    writers = [Writer(primary, f"w{n}") for n in range(4)]
    await until_acks(writers, 500)
    await farm.signal(one, signal.SIGSTOP)
    await farm.signal(two, signal.SIGSTOP)
    frozen = time.monotonic()
    await refusing(writers, frozen)
    count, last_s = late(writers, frozen)
    measured("acks_after_freeze", count)
    measured("last_ack_s", last_s)
    assert last_s <= BOUND_S


FREEZE_S = 10.0


async def thaw(farm, cut: str) -> tuple[int, float]:
    """Freeze a busy primary for 10 s; meanwhile its replicas are lost to it. Returns what it acknowledges afterwards."""
    primary, one, two = await farm.service(3, GUARDED)
    writers = [Writer(primary, f"w{n}") for n in range(16)]
    await until_acks(writers, 500)
    await farm.signal(primary, signal.SIGSTOP)
    if cut == "pledge":
        promises = await asyncio.gather(farm.driver.pledge(one), farm.driver.pledge(two))
        await farm.driver.promote(one if promises[0].reach >= promises[1].reach else two, ALONE)
    else:
        await farm.signal(one, signal.SIGSTOP)
        await farm.signal(two, signal.SIGSTOP)
    before = sum(len(writer.acks) for writer in writers)
    await asyncio.wait([writer.task for writer in writers], timeout=FREEZE_S)
    frozen_acks = sum(len(writer.acks) for writer in writers) - before
    assert frozen_acks <= len(writers), "answers that were on their way, no more"
    thawed = time.monotonic()
    await farm.signal(primary, signal.SIGCONT)
    await refusing(writers, thawed)
    for writer in writers:
        await writer.stop()
    return late(writers, thawed)


@pytest.mark.slow
async def test_a_thawed_primary_whose_replicas_pledged_stops_acknowledging_at_once(farm, measured):
    count, last_s = await thaw(farm, "pledge")
    measured("acks_after_thaw", count)
    measured("last_ack_s", last_s)
    assert last_s <= 0.5, "the closed streams are seen in its first turns"


@pytest.mark.slow
async def test_a_thawed_primary_cut_off_from_its_replicas_stops_acknowledging_within_the_bound(farm, measured):
    count, last_s = await thaw(farm, "silence")
    measured("acks_after_thaw", count)
    measured("last_ack_s", last_s)
    assert last_s <= BOUND_S
