"""A whole control plane in one process, with memory for a store and a wire: a zone dies, or only its network does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from herder.assembly import ControlPlane, Parts
from herder.engine.bulk import Cohort
from herder.engine.shapes import Shape
from herder.engine.world import Machine
from herder.model.errors import Unreachable
from herder.ports.driver import Reading, Role
from herder.ports.provider import Ground
from herder.ports.wire import FRAME_VERSION, Job, JobReply, JobStatus, MemberPulse, Pulse
from herder.stores.memory.store import MemoryStore
from herder.wire.memory import MemoryAgentWire, MemoryHub, MemoryWire
from tests.machines import sample
from tests.unit.engine.yard import NoChance, VirtualClock, settle

ZONES = ("a", "b", "c")
EACH = 8
STEP_S = 0.05


class Provider:
    """Servers that run, and those that do not; it starts none again."""

    def __init__(self) -> None:
        self.dead: set[str] = set()

    async def ground(self) -> Ground:
        return Ground(
            name="town", namespaces=False, can_fence=False, subnet="10.0.0.0/24", controller_address="10.0.0.1"
        )

    async def alive(self, server: str) -> bool:
        return server not in self.dead

    async def boot(self, launch: Any) -> Any:
        raise Unreachable(f"{launch.server} does not start")


class Town:
    """Three zones of small services, their agents, and one controller."""

    def __init__(self) -> None:
        self.clock = VirtualClock(sample.NOW_MS)
        self.hub = MemoryHub(self.clock)
        self.provider = Provider()
        self.stopped: set[str] = set()  # addresses whose engine is gone
        self.unseen: set[str] = set()  # addresses that the controller's own look does not reach
        self.seq = 0
        self.agents: dict[str, tuple[Machine, MemoryAgentWire]] = {}

    @asynccontextmanager
    async def open(self) -> AsyncIterator[ControlPlane]:
        parts = Parts(
            store=MemoryStore(self.clock), wire=MemoryWire(self.hub), provider=self.provider, clock=self.clock,  # type: ignore[arg-type]
            chance=NoChance(), probe=self.probe, mint_join=self.mint, nats_url="", engine_user="nobody",
            subnet_prefix="10.0.0.", agent_settings={}, settings=[],
        )  # fmt: skip
        plane = ControlPlane(parts, "town")
        await plane.open()
        task = asyncio.create_task(plane.run())
        try:
            asked = asyncio.create_task(plane.loop.propose(lambda world: [Cohort(EACH, block(zone)) for zone in ZONES]))
            await self.live(1)
            await asyncio.wait_for(asked, 5)
            for server in plane.loop.world.of_kind("server"):
                wire = MemoryAgentWire(self.hub, server.name)
                await wire.serve(self.answer)
                self.agents[server.name] = (server, wire)
            await self.live(3)
            assert not task.done()
            yield plane
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def mint(self, server: str, incarnation: int) -> str:
        return "join"

    async def probe(self, engine: str, address: str, port: int, timeout_s: float) -> str:
        return "silent" if address in self.unseen else self.seen(address)

    def seen(self, address: str) -> str:
        return "silent" if address in self.stopped else "serving"

    async def answer(self, job: Job) -> JobReply:
        """An agent's: it looks where it is told to, and does whatever else is asked."""
        result = self.seen(job.args["address"]) if job.name == "probe" else None
        return JobReply(intent=job.intent, status=JobStatus.DONE, result=result)

    async def live(self, seconds: float) -> None:
        """Time passes; agents that run say so every second."""
        for step in range(round(seconds / STEP_S)):
            if step % 20 == 0:
                self.seq += 1
                for server, wire in self.agents.values():
                    if server.name not in self.provider.dead:
                        await wire.publish_pulse(self.pulse(server))
            await self.clock.pass_time(STEP_S)
            await settle()

    def pulse(self, server: Machine) -> Pulse:
        member = MemberPulse(
            member=f"member-{server.data['member']}", service=f"service-{server.data['service']}", term=1,
            reading=Reading(alive=True, role=Role.PRIMARY),
        )  # fmt: skip
        return Pulse(version=FRAME_VERSION, server=server.name, incarnation=1, agent_pid=7, life="a", seq=self.seq, sent_ms=0,
                     paused_ms=0, rss_kb=1, disk_free=9, members=(member,))  # fmt: skip

    def of_zone(self, zone: str) -> list[Machine]:
        return [server for server, _ in self.agents.values() if server.data["zone"] == zone]

    def kill(self, zone: str) -> None:
        """Hosts and engines are gone."""
        for server in self.of_zone(zone):
            self.provider.dead.add(server.name)
            self.hub.gone(server.name)
            self.stopped.add(f"m{server.data['member']}")

    def cut(self, zone: str) -> None:
        """From us only: the engines serve, and everybody else reaches them."""
        for server in self.of_zone(zone):
            self.hub.cut(server.name)
            self.unseen.add(f"m{server.data['member']}")

    def heal(self, zone: str) -> None:
        for server in self.of_zone(zone):
            self.hub.heal(server.name)
        self.unseen.clear()


def block(zone: str) -> tuple[Shape, ...]:
    service = sample.service_facts(plan="dev", sync=False, voters=[])
    for own in ("name", "primary", "members", "servers"):
        del service[own]
    member = {"slot": 0, "role": "primary", "port": 5432}
    return (
        Shape("service", service, {"primary": 1, "members": (1,), "servers": (2,)}),
        Shape("member", member, {"service": -1, "server": 1}, {"address": "m{id}"}),
        Shape(
            "server",
            {"zone": zone, "incarnation": 1, "directory": "/srv"},
            {"member": -1, "service": -2},
            {"address": "s{id}"},
        ),
    )


def incidents(plane: ControlPlane) -> list[tuple[str, str]]:
    return [(machine.state, machine.data["scope"]) for machine in plane.loop.world.of_kind("incident")]


def remedies(plane: ControlPlane) -> list[str]:
    kinds = ("failover", "restart", "rebuild", "strike")
    return [machine.name for kind in kinds for machine in plane.loop.world.of_kind(kind)]


def pages(plane: ControlPlane) -> list[str]:
    return [machine.data["reason"] for machine in plane.loop.world.of_kind("page") if machine.state == "open"]


async def test_a_quiet_town_has_no_storm():
    town = Town()
    async with town.open() as plane:
        await town.live(5)
        assert incidents(plane) == []
        assert plane.loop.world.count("server", "available") == len(ZONES) * EACH
        assert (await plane.control.storm())["verdict"] == "calm"


async def test_one_host_that_dies_is_no_storm():
    town = Town()
    async with town.open() as plane:
        server = town.of_zone("b")[0]
        town.provider.dead.add(server.name)
        town.stopped.add(f"m{server.data['member']}")
        await town.live(6)
        assert incidents(plane) == []
        assert plane.loop.world.get(server.id).state != "available"


async def test_a_zone_that_is_cut_off_from_us_only_is_left_alone():
    town = Town()
    async with town.open() as plane:
        town.cut("b")
        await town.live(12)
        assert incidents(plane) == [("ours", "zone:b")]
        (incident,) = plane.loop.world.of_kind("incident")
        assert "serve: we do not hear them" in plane.storm.says
        assert incident.data["evidence"]["serve"] == incident.data["evidence"]["asked"]
        assert remedies(plane) == []
        assert pages(plane) == ["controller_cut_off"]
        assert (await plane.control.status())["us"] == plane.storm.says
        town.heal("b")
        await town.live(25)
        assert incidents(plane) == [("over", "zone:b")]
        assert pages(plane) == []
        assert plane.loop.world.count("server", "available") == len(ZONES) * EACH


async def test_a_zone_that_dies_is_one_incident_and_one_page():
    town = Town()
    async with town.open() as plane:
        town.kill("c")
        await town.live(8)
        assert incidents(plane) == [("recovering", "zone:c")]
        (incident,) = plane.loop.world.of_kind("incident")
        assert incident.data["verdict"] == "mass"
        assert incident.data["total"] == EACH
        assert [page for page in pages(plane) if page == "mass_outage"] == ["mass_outage"]


async def test_a_wire_that_is_gone_is_us_and_nobody_is_judged():
    town = Town()
    async with town.open() as plane:
        town.hub.down = True
        await town.live(20)
        assert incidents(plane) == [("ours", "fleet")], "said once"
        assert plane.loop.world.count("server", "available") == len(ZONES) * EACH
        assert pages(plane) == []
        town.hub.down = False
        await town.live(8)
        assert incidents(plane) == [("over", "fleet")]
        assert plane.loop.world.count("server", "available") == len(ZONES) * EACH
