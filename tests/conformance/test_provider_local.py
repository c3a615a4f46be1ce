"""Servers on this machine: made, adopted, fenced and cleared away, with and without namespaces."""

import asyncio
import contextlib
import json
import os
import shutil
import stat
import sys
import tempfile
from functools import partial
from pathlib import Path

import msgspec
import pytest

from herder.lab import faults
from herder.model.errors import Conflict, Environment, InvalidInput, NotFound, Refused
from herder.ports.provider import Launch
from herder.providers import cgroups, netns, procs
from herder.providers.local import LocalProvider
from tests.conformance.yard import WAIT_S, Yard, address, as_json, launch, make, needs_netns

HOPPER = """
import os, socket, sys
ready = socket.socket(socket.AF_UNIX)
ready.connect(sys.argv[1])
ready.sendall(b'["hopper", %d]\\n' % os.getpid())
while not os.fork():
    pass
os._exit(0)
"""
"""It forks and ends, for ever: by the time a reader of /proc comes by, it has another pid."""


@pytest.fixture(params=[pytest.param(True, marks=needs_netns, id="namespaces"), pytest.param(False, id="loopback")])
async def yard(request):
    made = await Yard(namespaces=request.param).open()
    try:
        yield made
    finally:
        await made.close()


# --- making and finding -------------------------------------------------------------------------------------------


async def test_create_starts_the_agent_with_its_launch_and_a_clean_environment(yard, monkeypatch):
    monkeypatch.setenv("HERDER_DATABASE_URL", "postgresql://root:secret@x/y")
    provider = yard.provider()
    handle, (word, pid, child, environment, cwd) = await make(yard, provider)
    assert (word, pid, cwd) == ("srv-1 1", handle.pid, handle.directory)
    assert "HERDER_DATABASE_URL" not in environment
    home = Path(handle.directory)
    assert msgspec.json.decode((home / "agent/launch.json").read_bytes(), type=Launch) == launch()
    modes = [stat.S_IMODE((home / name).stat().st_mode) for name in (".", "agent", "agent/launch.json", "data")]
    assert modes == [0o711, 0o700, 0o600, 0o700]
    assert await provider.alive("srv-1") is True
    assert await provider.alive("srv-9") is None
    assert os.getsid(pid) == pid
    assert procs.start_ticks(child)


async def test_create_again_adopts_what_runs(yard):
    provider = yard.provider()
    handle, _ = await make(yard, provider)
    assert await provider.create(launch(), handle.address) == handle
    assert await provider.boot(launch()) == handle


async def test_the_agent_outlives_its_controller_and_the_next_one_adopts_it(yard):
    first = yard.provider()
    handle, _ = await make(yard, first)
    await first.close()
    second = yard.provider()
    assert await second.recover() == [handle]
    assert await second.create(launch(), handle.address) == handle
    assert (await second.ground()).subnet == (await first.ground()).subnet


async def test_an_agent_whose_pid_was_never_written_down_is_found(yard):
    handle, _ = await make(yard, yard.provider())
    file = Path(handle.directory) / "server.json"
    state = json.loads(file.read_text())
    file.write_text(json.dumps({**state, "pid": 0, "ticks": 0}))
    assert await yard.provider().create(launch(), handle.address) == handle


async def test_creating_what_exists_otherwise_is_a_conflict(yard):
    provider = yard.provider()
    handle, _ = await make(yard, provider)
    with pytest.raises(Conflict, match="incarnation 1"):
        await provider.create(launch(incarnation=2), handle.address)
    with pytest.raises(Conflict):
        await provider.create(launch(), await address(provider, 11))


async def test_addresses_and_names_that_cannot_be_are_refused(yard):
    provider = yard.provider()
    for wrong in ("8.8.8.8", "nonsense", await address(provider, 1), await address(provider, 255)):
        with pytest.raises(InvalidInput):
            await provider.create(launch(), wrong)
    with pytest.raises(InvalidInput):
        await provider.create(launch("../etc"), await address(provider, 10))
    with pytest.raises(NotFound):
        await provider.attach_address("srv-9", await address(provider, 100))
    with pytest.raises(NotFound):
        await provider.boot(launch("srv-9"))


async def test_a_subnet_that_servers_cannot_have_is_refused(yard):
    for wrong in ("10.1.0.0/16", "8.8.8.0/24", "x", "127.1.1.0/24" if yard.namespaces else "10.1.1.0/24"):
        with pytest.raises(InvalidInput):
            await yard.provider(subnet=wrong).ground()


async def test_the_subnet_stays_while_there_are_servers(yard):
    handle, _ = await make(yard, yard.provider())
    with pytest.raises(InvalidInput, match="already"):
        await yard.provider(subnet="10.9.8.0/24" if yard.namespaces else "127.99.98.0/24").ground()
    assert handle.address.startswith((await yard.provider().ground()).subnet.rpartition(".")[0])


async def test_two_herders_do_not_touch_each_other(yard):
    other = await Yard(namespaces=yard.namespaces).open()
    yard.others.append(other)
    mine, theirs = yard.provider(), other.provider()
    handle, _ = await make(yard, mine)
    await make(other, theirs)
    assert (await mine.ground()).subnet != (await theirs.ground()).subnet
    assert await theirs.tear_down() == 2
    assert await mine.alive("srv-1") is True
    assert await mine.create(launch(), handle.address) == handle


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_who_is_not_root_gets_loopback_servers_and_the_reason():
    base = Path(tempfile.mkdtemp())
    os.chown(base, 65534, 65534)

    async def live() -> str:
        provider = LocalProvider(base, command=("sh", "-c", "sleep 600; true"))
        ground = await provider.ground()
        handle = await provider.create(launch(), ground.subnet.replace(".0/24", ".10"))
        words = await provider.fence("srv-1", 1)
        await provider.tear_down()
        await provider.close()
        return f"{ground.namespaces} {ground.why_not} {handle.address.partition('.')[0]} {words}"

    reading, writing = os.pipe()
    if not (pid := os.fork()):
        os.setgid(65534)
        os.setuid(65534)
        with contextlib.suppress(BaseException):
            os.write(writing, asyncio.run(live()).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as told:
        said = told.read()
    os.waitpid(pid, 0)
    shutil.rmtree(base)
    assert said.startswith("False herder does not run as root 127 all 2 processes of srv-1 incarnation 1 gone")


async def test_namespaces_that_are_insisted_on_are_not_silently_left_out(monkeypatch, yard):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(Environment, match="namespaces are wanted"):
        await yard.provider(namespaces=True).ground()


# --- fencing ------------------------------------------------------------------------------------------------------


async def test_a_fence_ends_every_process_and_says_so(yard):
    provider = yard.provider()
    handle, (_, pid, child, *_) = await make(yard, provider)
    words = await provider.fence("srv-1", 1)
    await yard.ended(pid)
    assert words.startswith("all 2 processes of srv-1 incarnation 1 gone")
    assert "link down" not in words, "a dead server refuses at once; a cut one keeps its clients waiting"
    assert procs.start_ticks(pid) is procs.start_ticks(child) is None
    assert await provider.alive("srv-1") is False
    assert (await provider.fence("srv-1", 1)).startswith("no process of srv-1 incarnation 1 was left")
    assert Path(handle.directory, "data").is_dir()


async def test_a_fenced_incarnation_never_rejoins_even_under_a_new_controller(yard):
    provider = yard.provider()
    handle, _ = await make(yard, provider)
    await provider.fence("srv-1", 1)
    second = yard.provider()
    for again in (second.boot(launch()), second.create(launch(), handle.address)):
        with pytest.raises(Refused, match="never rejoins"):
            await again
    booted = await second.boot(launch(incarnation=2))
    assert (booted.incarnation, booted.address, booted.directory) == (2, handle.address, handle.directory)
    assert (await yard.ready())[0] == "srv-1 2"


async def test_a_delayed_fence_does_not_kill_the_successor(yard):
    provider = yard.provider()
    await make(yard, provider)
    await provider.fence("srv-1", 1)
    successor = await provider.boot(launch(incarnation=2))
    with pytest.raises(Refused, match="incarnation 2"):
        await provider.fence("srv-1", 1)
    with pytest.raises(Refused):
        await provider.boot(launch(incarnation=1))
    assert await provider.boot(launch(incarnation=2)) == successor


async def test_a_fence_that_overtakes_the_boot_it_names_prevents_it(yard):
    provider = yard.provider()
    await make(yard, provider)
    await provider.fence("srv-1", 2)
    assert await provider.alive("srv-1") is False
    with pytest.raises(Refused, match="never rejoins"):
        await provider.boot(launch(incarnation=2))


async def test_a_new_incarnation_does_not_begin_beside_the_old_one(yard):
    provider = yard.provider()
    handle, _ = await make(yard, provider)
    faults.kill_process(handle.pid)  # the agent is dead, its engine is not
    with pytest.raises(Conflict, match="1 processes of srv-1 incarnation 1 still run"):
        await provider.boot(launch(incarnation=2))
    assert (await provider.boot(launch())).pid != handle.pid
    assert (await yard.ready())[0] == "srv-1 1"


async def test_without_permission_nothing_is_fenced(yard):
    provider = yard.provider(fencing=False)
    await make(yard, provider)
    assert not (await provider.ground()).can_fence
    with pytest.raises(Refused, match="may not fence"):
        await provider.fence("srv-1", 1)
    assert await provider.alive("srv-1") is True


async def test_a_server_that_was_never_here_is_not_confirmed_as_fenced(yard):
    with pytest.raises(NotFound):
        await yard.provider().fence("srv-1", 1)


async def test_a_frozen_server_counts_as_alive_and_can_be_fenced(yard):
    provider = yard.provider()
    handle, (_, pid, child, *_) = await make(yard, provider)
    faults.freeze(as_json(handle))
    assert procs.is_stopped(pid)
    assert procs.is_stopped(child)
    assert await provider.alive("srv-1") is True
    assert (await provider.fence("srv-1", 1)).startswith("all 2 processes")
    assert await provider.alive("srv-1") is False


async def test_a_process_that_hops_from_pid_to_pid_does_not_escape_a_fence(yard):
    provider = yard.provider(HOPPER)
    _, (_, pid) = await make(yard, provider)
    assert await provider.fence("srv-1", 1)
    await yard.ended(pid)  # the hopper and all that came of it held this connection
    assert await provider.alive("srv-1") is False


@pytest.mark.needs_root
async def test_without_a_cgroup_a_hopping_process_is_caught_by_looks_that_nobody_forked_in(tmp_path):
    group = cgroups.top_of(netns.tag_of(tmp_path))
    if group is None:
        pytest.skip("needs a cgroup to catch it with, should the test fail")
    hop = "import os\nwhile not os.fork(): pass\nos._exit(0)"
    started = await asyncio.create_subprocess_exec(*cgroups.entering(group, [sys.executable, "-c", hop]), cwd=tmp_path)
    try:
        await started.wait()  # the first one ended: it hops
        with contextlib.suppress(procs.StillThere):  # all of the machine forks: caught, and said to be unproven
            procs.kill_until_gone(partial(procs.working_under, tmp_path), WAIT_S)
        assert not cgroups.populated(group)
    finally:
        cgroups.kill(group)
        procs.kill_until_gone(lambda among=None: [], WAIT_S, group)
        cgroups.remove(group)


async def test_destroy_moves_the_disk_to_the_trash_and_a_late_create_does_not_bring_it_back(yard):
    provider = yard.provider()
    handle, (_, pid, *_) = await make(yard, provider)
    Path(handle.directory, "data/kept").write_text("x")
    await provider.attach_address("srv-1", await address(provider, 100))
    await provider.destroy("srv-1")
    await provider.destroy("srv-1")
    await yard.ended(pid)
    assert (yard.directory / "trash/servers/srv-1-1/data/kept").read_text() == "x"
    assert json.loads((yard.directory / "servers/addresses.json").read_text()) == {}
    with pytest.raises(Refused, match="destroyed"):
        await provider.create(launch(), handle.address)
    assert "destroyed" in await provider.fence("srv-1", 1)
    assert netns.names_of(netns.tag_of(yard.directory)) == []
