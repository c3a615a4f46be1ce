"""A data directory with a local provider and stand-in agents, shared by its tests; everything is gone when it closes."""

import asyncio
import json
import os
import shutil
import socket
import sys
import tempfile
from pathlib import Path

import pytest

from herder.lab import faults
from herder.ports.provider import Launch
from herder.providers import cgroups, netns, procs
from herder.providers.local import LocalProvider

WAIT_S = 10.0
PORT = 7000
AGENT = """
import json, os, pathlib, socket, subprocess, sys
home = pathlib.Path(sys.argv[2])
child = subprocess.Popen(["sleep", "600"], cwd=home / "data", start_new_session=True)
server = socket.create_server(("0.0.0.0" if sys.argv[1].endswith("netns") else "127.0.0.1", 0 if sys.argv[1].endswith("loop") else 7000))
ready = socket.socket(socket.AF_UNIX)
ready.connect(sys.argv[1])
launch = json.loads((home / "agent/launch.json").read_text())
word = launch["server"] + " " + os.environ["HERDER_INCARNATION"]
ready.sendall(json.dumps([word, os.getpid(), child.pid, sorted(os.environ), os.getcwd()]).encode() + b"\\n")
while True:
    guest, _ = server.accept()
    try:
        guest.sendall(word.encode())
    except OSError:
        pass
    guest.close()
"""

needs_netns = [
    pytest.mark.needs_netns,
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("ip") is None, reason="needs root and iproute2"),
]


class Yard:
    """A data directory, its providers, and the stand-in agents that report to it when they run."""

    def __init__(self, *, namespaces: bool) -> None:
        self.base = Path(tempfile.mkdtemp(prefix="herder-yard-"))
        self.base.chmod(0o711)
        self.directory = self.base / "h"
        self.directory.mkdir(mode=0o711)
        self.namespaces = namespaces
        self.providers: list[LocalProvider] = []
        self.others: list[Yard] = []
        self.reports: asyncio.Queue = asyncio.Queue()
        self.ends: dict[int, asyncio.Event] = {}
        self.path = self.base / ("ready-netns" if namespaces else "ready-loop")

    async def open(self) -> "Yard":
        self.door = await asyncio.start_unix_server(self._reported, self.path)
        return self

    async def _reported(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        word, pid, *rest = json.loads(await reader.readline())
        end = self.ends.setdefault(pid, asyncio.Event())
        self.reports.put_nowait((word, pid, *rest))
        await reader.read()
        end.set()
        writer.close()

    def provider(self, program: str = AGENT, **options) -> LocalProvider:
        command = (sys.executable, "-c", program, str(self.path))
        made = LocalProvider(self.directory, command=command, **{"namespaces": self.namespaces, **options})
        self.providers.append(made)
        return made

    async def ready(self) -> tuple:
        return await asyncio.wait_for(self.reports.get(), WAIT_S)

    async def ended(self, pid: int) -> None:
        await asyncio.wait_for(self.ends[pid].wait(), WAIT_S)

    async def close(self) -> None:
        for other in self.others:
            await other.close()
        faults.remove_small_disk(self.directory / "servers" / "srv-1" / "data")
        last = self.provider()
        try:
            await last.tear_down()
        finally:
            for provider in self.providers:
                await provider.close()
            self.door.close()
            tag = netns.tag_of(self.directory)
            shutil.rmtree(self.base)
        assert netns.names_of(tag) == []
        assert netns.links_of(tag) == []
        assert not netns.link_exists(netns.bridge_name(tag))
        assert procs.working_under(self.base) == []
        assert cgroups.existing(tag, "srv-1") is cgroups.existing(tag, ".") is None


def launch(server: str = "srv-1", incarnation: int = 1) -> Launch:
    return Launch(
        server=server, incarnation=incarnation, nats_url="nats://x", join_token="secret", engine_user="nobody"
    )


async def address(provider: LocalProvider, last: int) -> str:
    ground = await provider.ground()
    return f"{ground.subnet.rpartition('.')[0]}.{last}"


async def make(yard: Yard, provider: LocalProvider, server: str = "srv-1", last: int = 10):
    handle = await provider.create(launch(server), await address(provider, last))
    return handle, await yard.ready()


async def ask(at: str, timeout_s: float = 2.0, source: str = "") -> str:
    """What the agent there answers; from inside the namespace `source`, else from the host."""

    def connect() -> str:
        with socket.create_connection((at, PORT), timeout_s) as made:
            return made.recv(100).decode()

    return await asyncio.to_thread(netns.inside, source, connect) if source else await asyncio.to_thread(connect)


def as_json(handle) -> dict:
    """A server as `herder servers --json` tells it."""
    return {"id": handle.server, "namespace": handle.namespace, "address": handle.address, "agent_pid": handle.pid}
