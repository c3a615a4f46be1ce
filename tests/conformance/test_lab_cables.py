"""Cables that chaos makes slow, and what is swept up after a herder whose faults nobody undid."""

import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from herder.lab import faults
from herder.lab.delay import Delay
from herder.providers import netns
from tests.conformance.yard import Yard, as_json, ask, launch, make, needs_netns

pytestmark = needs_netns
needs_nft = pytest.mark.skipif(shutil.which("nft") is None, reason="needs nftables")

LATE_MS = 300


@asynccontextmanager
async def wired() -> AsyncIterator[Yard]:
    """A yard with namespaces."""
    made = await Yard(namespaces=True).open()
    try:
        yield made
    finally:
        await made.close()


async def took_s(address: str) -> float:
    """Seconds until the agent there has answered: two round trips."""
    began = time.monotonic()
    await ask(address, timeout_s=5.0)
    return time.monotonic() - began


def rules_of(server: dict) -> str:
    """What nftables has for that server, outside and inside its namespace."""
    inside = ["ip", "netns", "exec", server["namespace"], "nft", "list", "ruleset"]
    told = [subprocess.run(words, capture_output=True, text=True, check=True).stdout for words in (inside, inside[4:])]
    link = netns.link_name(server["namespace"]).replace("-", "_")
    return told[0] + "".join(line for line in told[1].splitlines() if link in line)


@needs_nft
async def test_everything_a_slow_server_sends_comes_later_and_then_no_more():
    async with wired() as yard:
        handle, _ = await make(yard, yard.provider())
        server = as_json(handle)
        await took_s(handle.address)
        late = Delay(server, LATE_MS).start()
        slow = await took_s(handle.address)
        late.stop()
        assert slow >= 2 * LATE_MS / 1000, "SYN and answer, each late once"
        assert await took_s(handle.address) < LATE_MS / 1000
        assert not rules_of(server)


@needs_nft
async def test_a_slow_server_is_fenced_and_booted_as_any_other():
    async with wired() as yard:
        provider = yard.provider()
        handle, (_, pid, *_) = await make(yard, provider)
        late = Delay(as_json(handle), LATE_MS).start()
        await provider.fence("srv-1", 1)
        await yard.ended(pid)
        await provider.boot(launch(incarnation=2))
        await yard.ready()
        assert await ask(handle.address, timeout_s=5.0) == "srv-1 2"
        late.stop()


@needs_nft
async def test_what_one_herders_faults_left_is_swept_and_anothers_stays():
    async with wired() as mine, wired() as theirs:
        servers = [as_json((await make(yard, yard.provider()))[0]) for yard in (mine, theirs)]
        for server in servers:
            faults.lose(server, 20)
        data = mine.directory / "servers/srv-1/data"
        faults.small_disk(data, 2)
        try:
            faults.sweep(mine.directory)
            assert [bool(rules_of(server)) for server in servers] == [False, True]
            assert not Path(data).is_mount()
        finally:
            faults.heal(servers[1])


async def test_without_a_namespace_there_is_no_cable_to_slow_down():
    with pytest.raises(faults.NotPossible):
        Delay({"id": "srv-1", "namespace": ""}, LATE_MS).start()
