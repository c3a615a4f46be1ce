"""Servers on this machine, broken from outside: cables, moved addresses, processes, disks."""

import os
import shutil
import time
from pathlib import Path

import pytest

from herder.lab import faults
from herder.providers import netns, procs
from tests.conformance.yard import Yard, address, as_json, ask, launch, make, needs_netns


@pytest.fixture(params=[pytest.param(True, marks=needs_netns, id="namespaces"), pytest.param(False, id="loopback")])
async def yard(request):
    made = await Yard(namespaces=request.param).open()
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture
async def wired():
    """A yard with namespaces."""
    made = await Yard(namespaces=True).open()
    try:
        yield made
    finally:
        await made.close()


# --- the network --------------------------------------------------------------------------------------------------


class TestCables:
    """What only namespaces can show."""

    pytestmark = needs_netns

    async def test_peers_and_host_reach_a_moved_address_at_its_new_place_at_once(self, wired):
        provider = wired.provider()
        first, second, peer = [(await make(wired, provider, f"srv-{n}", 10 + n))[0] for n in (1, 2, 3)]
        slot = await address(provider, 100)
        await provider.attach_address("srv-1", slot)
        assert [await ask(slot), await ask(slot, source=peer.namespace)] == ["srv-1 1"] * 2
        began = time.monotonic()
        await provider.attach_address("srv-2", slot)
        assert [await ask(slot), await ask(slot, source=peer.namespace)] == ["srv-2 1"] * 2
        assert time.monotonic() - began < 1.0, "one second is the first retry of a SYN: nobody may have needed it"
        assert slot not in netns.ip_json("-n", first.namespace, "addr")
        assert await ask(slot, source=second.namespace) == "srv-2 1"

    async def test_a_slot_address_of_a_fenced_server_moves_and_does_not_come_back_with_it(self, wired):
        provider = wired.provider()
        await make(wired, provider, "srv-1", 11)
        await make(wired, provider, "srv-2", 12)
        slot = await address(provider, 100)
        await provider.attach_address("srv-1", slot)
        await provider.fence("srv-1", 1)
        await provider.attach_address("srv-2", slot)
        await provider.boot(launch(incarnation=2))
        await wired.ready()
        assert [await ask(slot), await ask(await address(provider, 11))] == ["srv-2 1", "srv-1 2"]

    async def test_after_a_reboot_bridge_namespaces_and_slot_addresses_come_back(self, wired):
        provider = wired.provider()
        handle, _ = await make(wired, provider)
        slot = await address(provider, 100)
        await provider.attach_address("srv-1", slot)
        await provider.tear_down()  # all that a reboot leaves is the directory
        next_one = wired.provider()
        assert [(found.server, found.pid) for found in await next_one.recover()] == [("srv-1", 0)]
        assert netns.inode_of(handle.namespace)
        await next_one.boot(launch(incarnation=2))
        await wired.ready()
        assert [await ask(slot), await ask(handle.address)] == ["srv-1 2"] * 2

    async def test_a_namespace_that_lost_its_name_is_fenced_all_the_same(self, wired):
        provider = wired.provider()
        handle, (_, pid, *_) = await make(wired, provider)
        netns.ip([f"netns del {handle.namespace}"])
        assert await provider.alive("srv-1") is True
        assert (await provider.fence("srv-1", 1)).startswith("all 2 processes")
        await wired.ended(pid)

    async def test_a_recovery_removes_namespaces_of_no_server(self, wired):
        provider = wired.provider()
        handle, _ = await make(wired, provider)
        tag = netns.tag_of(wired.directory)
        netns.make_namespace(netns.namespace_name(tag, "lost"), netns.bridge_name(tag), [], connect=True)
        await provider.recover()
        assert netns.names_of(tag) == [handle.namespace]

    async def test_a_silenced_server_runs_on_unheard_until_its_cable_is_back(self, wired):
        provider = wired.provider()
        handle, _ = await make(wired, provider)
        assert await ask(handle.address) == "srv-1 1"
        faults.silence(as_json(handle))
        with pytest.raises(OSError, match=r"timed out|No route"):
            await ask(handle.address, 0.2)
        assert await provider.alive("srv-1") is True
        faults.unsilence(as_json(handle))
        assert await ask(handle.address) == "srv-1 1"

    async def test_a_fenced_server_refuses_at_once_so_that_clients_go_on(self, wired):
        provider = wired.provider()
        handle, _ = await make(wired, provider)
        await provider.fence("srv-1", 1)
        with pytest.raises(ConnectionRefusedError):
            await ask(handle.address, 0.2)

    async def test_a_killed_host_refuses_and_a_power_cut_is_silent(self, wired):
        provider = wired.provider()
        one, _ = await make(wired, provider, "srv-1", 11)
        two, _ = await make(wired, provider, "srv-2", 12)
        began = time.monotonic()
        assert began < faults.kill_host(as_json(one)) < began + 1.0
        with pytest.raises(ConnectionRefusedError):
            await ask(one.address)
        faults.power_cut(as_json(two))
        with pytest.raises(OSError, match=r"timed out|No route"):
            await ask(two.address, 0.2)
        assert [await provider.alive("srv-1"), await provider.alive("srv-2")] == [False, False]
        await provider.boot(launch("srv-2", 2))
        await wired.ready()
        assert await ask(two.address) == "srv-2 2"

    @pytest.mark.skipif(shutil.which("nft") is None, reason="needs nftables")
    async def test_packets_are_dropped_one_way_or_lost_until_healed(self, wired):
        provider = wired.provider()
        one, _ = await make(wired, provider, "srv-1", 11)
        two, _ = await make(wired, provider, "srv-2", 12)
        for outgoing in (True, False):
            faults.drop_one_way(as_json(one), two.address, outgoing=outgoing)
            with pytest.raises(TimeoutError):
                await ask(one.address, 0.2, source=two.namespace)
            assert await ask(one.address) == "srv-1 1", "only the one peer is cut off"
            faults.heal(as_json(one))
            assert await ask(one.address, source=two.namespace) == "srv-1 1"
        faults.lose(as_json(one), 100)
        with pytest.raises(TimeoutError):
            await ask(one.address, 0.2)
        faults.heal(as_json(one))
        assert await ask(one.address) == "srv-1 1"


# --- other faults -------------------------------------------------------------------------------------------------


async def test_a_killed_host_is_gone_with_all_its_processes(yard):
    provider = yard.provider()
    handle, (_, pid, child, *_) = await make(yard, provider)
    server = as_json(handle)
    assert sorted(faults.processes(server)) == sorted([pid, child])
    assert faults.kill_host(server) <= time.monotonic()
    await yard.ended(pid)
    assert procs.start_ticks(child) is None
    assert await provider.alive("srv-1") is False


async def test_killing_the_engine_leaves_the_rest_of_the_server(yard):
    provider = yard.provider()
    _, (_, pid, child, *_) = await make(yard, provider)
    faults.kill_engine(child)
    assert procs.start_ticks(child) is None
    assert procs.start_ticks(pid)
    with pytest.raises(faults.NotPossible):
        faults.kill_process(0)


async def test_a_frozen_server_thaws(yard):
    handle, (_, pid, child, *_) = await make(yard, yard.provider())
    faults.freeze(as_json(handle))
    assert all(procs.is_stopped(each) for each in (pid, child))
    faults.thaw(as_json(handle))
    assert not any(procs.is_stopped(each) for each in (pid, child))


async def test_cables_cannot_be_pulled_where_there_are_none():
    server = {"id": "srv-1", "namespace": "", "agent_pid": os.getpid()}
    for fault in (faults.silence, faults.unsilence, faults.power_cut, faults.heal):
        with pytest.raises(faults.NotPossible):
            fault(server)
    with pytest.raises(faults.NotPossible, match="not a server's directory"):
        faults.kill_host(server)


@pytest.mark.needs_root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
async def test_a_full_disk_takes_nothing_more_until_it_is_freed(yard):
    handle, _ = await make(yard, yard.provider())
    data = Path(handle.directory) / "data"
    (data / "before").write_text("x")
    with pytest.raises(faults.NotPossible, match="host's own disk"):
        faults.full_disk(data)
    owner = data.stat().st_uid
    faults.small_disk(data, 2)
    assert ((data / "before").read_text(), data.stat().st_uid) == ("x", owner)
    faults.full_disk(data)
    with pytest.raises(OSError, match="No space left"):
        (data / "more").write_bytes(bytes(4096))
    faults.free_disk(data)
    (data / "more").write_bytes(bytes(4096))
    faults.remove_small_disk(data)
    assert sorted(path.name for path in data.iterdir()) == ["before"]
