"""The simulated world: hosts, engines, network, provider, store, controllers, and everything that can be done to them.

It supplies adapters only. From the pulse board to the committed transition it is `herder.assembly.ControlPlane`, unchanged.
Hosts are rows of arrays until something touches them (`hosts`), clusters are made when they are first asked for.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

from herder.model.plans import Engine as Engines
from herder.ports.driver import MemberSpec, Reading
from herder.ports.provider import Launch
from herder.ports.wire import Job, Pulse
from herder.sim import actions, hosts
from herder.sim.act import Act
from herder.sim.agent import SimAgent
from herder.sim.clock import START_MS, HostClock, SimClock, SimRandom
from herder.sim.controller import Controller
from herder.sim.engine import NEVER, Cluster, Data
from herder.sim.host import Host
from herder.sim.hosts import Hosts
from herder.sim.network import ANY, Network, Weather
from herder.sim.pace import Pace
from herder.sim.provider import PROVIDER, Mood
from herder.sim.store import STORE, StoreMood
from herder.sim.wire import NATS, take_job
from herder.stores.memory.store import MemoryStore
from herder.wire.frame import encode

TRIES = 3
"""Connections that a look at an engine begins (`drivers/*/probe.py`)."""

WRITES_BYTES_S = 20_000.0
"""A service's clients: a hundred small commits a second."""


class World:
    """All that is not herder. Make it inside a running virtual loop; the same seed makes the same world."""

    def __init__(
        self, seed: int, *, store: Any = None, start_ms: int = START_MS, pulse_interval_s: float = 1.0,
        pace: Pace | None = None, weather: Weather | None = None,
    ) -> None:  # fmt: skip
        self._loop = asyncio.get_running_loop()
        self.seed = seed
        self.start_ms = start_ms
        self.pulse_interval_s = pulse_interval_s
        self.chance = SimRandom(seed, "world")
        self.draw = self.chance.draw
        self.pace = pace or Pace()
        self.network = Network(self.chance.stream("network"), weather or Weather())
        self.network.before.append(self.reckon)
        self.network.after.append(self.settle_all)
        self.hosts = Hosts(self._make_host)
        self.clusters: dict[str, Cluster] = {}
        self.rates: dict[str, float] = {}
        self.addresses: dict[str, str] = {}
        self.mood = Mood()
        self.provider_calls: dict[str, int] = {}
        self.store: Any = store if store is not None else MemoryStore(SimClock(start_ms))
        self.controllers: dict[str, Controller] = {}
        self.lives = 0
        self.notes: list[tuple[float, str]] = []
        self.bugs: list[str] = []
        self.sights: Counter[str] = Counter()  # rare things that happened, by name
        self.acts: list[Callable[[Act], None]] = []  # told of each job that was done
        self.steps: list[Callable[[Host, Job, str], None]] = []  # of each step of an agent's job
        self.buried: list[Callable[[str, str], None]] = []  # told of (service, member) whose data a removal destroys
        self.outages: set[str] = set()  # what herder stands on besides: 'object_store', 'pager'
        self.pace_of_store = StoreMood()
        self.written_at: dict[int, float] = {}  # when each record of the log was written, by its number
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._calls_left, self._calls_at = 0.0, 0.0

    @property
    def now(self) -> float:
        """Virtual seconds."""
        return self._loop.time()

    def note(self, what: str) -> None:
        """A line for whoever reads what happened."""
        self.notes.append((self.now, what))

    def saw(self, what: str) -> None:
        """Something rare happened."""
        self.sights[what] += 1

    def takes(self, what: str) -> float:
        """How long something takes this time, in seconds."""
        least: float = getattr(self.pace, what)
        return least * (1.0 + self.draw.random() * (self.pace.spread - 1.0))

    # --- Terrain

    def awake(self, host: str) -> bool:
        """See engine.Terrain."""
        found = self.hosts.find(host)
        return found is not None and found.alive and not found.frozen

    def flows(self, source: str, target: str) -> bool:
        """See engine.Terrain."""
        return self.network.flows(source, target)

    # --- engines

    def cluster(self, service: str) -> Cluster:
        """A service's engines."""
        found = self.clusters.get(service)
        if found is None:
            found = self.clusters[service] = self.make_cluster(service, self.rates.get(service, WRITES_BYTES_S))
            found.at = self.now
        return found

    def make_cluster(self, service: str, bytes_per_s: float) -> Cluster:
        """Engines of a service that nobody knows yet."""
        return Cluster(service, self, bytes_per_s)

    def read(self, spec: MemberSpec) -> Reading:
        """What an agent reads of its member."""
        return self.cluster(spec.service).read(spec.member, self.now, recalls=spec.engine == Engines.POSTGRES)

    def forget_heard(self, host: Host) -> None:
        """An agent begins: what the one before it remembered of its members' upstreams is gone."""
        for member, entry in host.disk.members.items():
            cluster = self.clusters.get(entry.spec.service) if entry.spec is not None else None
            if cluster is not None and member in cluster.engines:
                cluster.engines[member].heard = None

    def reckon(self) -> None:
        """Let every cluster's time pass up to now, before conditions change."""
        for cluster in self.clusters.values():
            cluster.advance(self.now)

    def settle_all(self) -> None:
        """Conditions have changed for anybody."""
        for service in self.clusters:
            self.settle(service)

    def settle(self, service: str) -> None:
        """Streams break and connect, and agents see what happened to their engines."""
        cluster = self.cluster(service)
        timer = self._timers.pop(service, None)
        if timer is not None:
            timer.cancel()
        due = cluster.settle(self.now)
        if due < NEVER:
            loop = asyncio.get_running_loop()
            self._timers[service] = loop.call_at(max(due, loop.time()) + 1e-6, self.settle, service)
        for member, engine in list(cluster.engines.items()):
            host = self.hosts.find(engine.host)
            entry = host.disk.members.get(member) if host is not None else None
            if host is not None and host.awake and host.agent is not None and entry is not None and entry.spec:
                host.agent.look_at(entry.spec)

    def crash_engine(self, service: str, member: str, line: str = "killed by signal 9") -> bool:
        """All processes of an engine are gone; False when it did not run."""
        if not actions.crash(self.cluster(service), member, self.now, line):
            return False
        if line.startswith("stopped by its watchdog"):
            self.saw("a lease ran out")
        self.settle(service)
        return True

    # --- hosts

    def _make_host(self, name: str, slot: int) -> Host:
        rows = self.hosts
        host = Host(name, slot, HostClock(float(rows.clock_offset[slot]), float(rows.clock_rate[slot])))
        host.alive = bool(rows.power[slot] == hosts.RUNNING)  # a numpy bool is not False
        host.incarnation, host.fenced = int(rows.incarnation[slot]), int(rows.fenced[slot])
        host.disk.full = bool(rows.disk_full[slot])
        return host

    def add_host(self, name: str, zone: int = 0, rack: int = 0) -> Host:
        """A new machine, switched off; its clock began at some time of its own and runs as true as they do."""
        slot = self.hosts.add(name, zone, rack)
        self.hosts.clock_offset[slot] = 1000.0 + self.draw.random() * 1e6
        self.hosts.clock_rate[slot] = 1.0 + (self.draw.random() - 0.5) * 2e-4
        return self.hosts.touch(slot)

    def host(self, name: str) -> Host:
        """The host of a server; KeyError when there is none."""
        found = self.hosts.find(name)
        if found is None:
            raise KeyError(name)
        return found

    def services_on(self, host: Host) -> list[str]:
        """Services with an engine on it."""
        return [s for s, cluster in self.clusters.items() if any(e.host == host.name for e in cluster.engines.values())]

    def _row(self, host: Host) -> None:
        """The arrays say what the object says."""
        rows, slot = self.hosts, host.slot
        rows.power[slot] = hosts.RUNNING if host.alive else hosts.OFF
        rows.agent[slot] = host.agent is not None
        rows.incarnation[slot], rows.fenced[slot] = host.incarnation, host.fenced
        rows.disk_full[slot] = host.disk.full
        if not host.frozen:
            rows.frozen_until[slot] = 0.0

    def power_on(self, host: Host, launch: Launch | None = None) -> None:
        """It boots, and its agent starts; one that runs is adopted (also frozen)."""
        host.alive = True
        if host.agent is None:
            interval_s = float(launch.settings.get("pulse_interval_s") or 1.0) if launch else self.pulse_interval_s
            host.agent = SimAgent(self, host, interval_s)
            host.agent.begin(self.takes("agent_start") + self.draw.random() * interval_s)
        self._row(host)

    def power_off(self, host: Host, why: str) -> None:
        """It is dead at once, with everything that ran on it."""
        if host.frozen:
            self.saw("a frozen host was powered off")
        services = self.services_on(host)
        for service in services:
            cluster = self.cluster(service)
            for engine in cluster.engines.values():
                if engine.host == host.name:
                    actions.crash(cluster, engine.member, self.now, why)
        host.power_off()
        self._row(host)
        for service in services:
            self.settle(service)

    def remove(self, host: Host) -> None:
        """Gone for good, its data and its addresses with it."""
        self.power_off(host, "its server was removed")
        self.lose_disk(host)
        self.hosts.power[host.slot] = hosts.GONE
        self.addresses = {address: server for address, server in self.addresses.items() if server != host.name}

    def lose_disk(self, host: Host) -> None:
        """Its engines' data is gone, and what ran on it ends; the host itself goes on."""
        for service in self.services_on(host):
            cluster = self.cluster(service)
            for engine in cluster.engines.values():
                if engine.host == host.name:
                    actions.crash(cluster, engine.member, self.now, "its disk is gone")
                    engine.data, engine.branch = Data.NONE, None
            self.settle(service)

    # --- messages

    def listens(self, server: str) -> bool:
        """Does NATS think that the server's agent is connected? It learns of a killed process at once, of a dead host late."""
        host = self.hosts.find(server)
        return host is not None and (host.agent is not None or not host.alive)

    def publish(self, host: Host, frame: Pulse) -> None:
        """An agent sends its pulse; every controller's subscription gets it."""
        data = encode(frame)
        for controller in self.controllers.values():
            if not controller.wire.subscribed:
                continue
            self.network.send((host.name, NATS, controller.name), self._hear, controller, host.name, data)

    @staticmethod
    def _hear(controller: Controller, server: str, data: bytes) -> None:
        controller.wire.take(server, data)

    def deliver(self, server: str, data: bytes, node: str, come: Callable[[bytes], None]) -> None:
        """A job has come to a host."""
        host = self.hosts.find(server)
        if host is not None:
            host.when_awake(lambda: self._answer(host, data, node, come))

    def _answer(self, host: Host, data: bytes, node: str, come: Callable[[bytes], None]) -> None:
        if host.agent is not None:
            take_job(self, host, host.agent, data, node, come)

    async def probe_from(self, node: str, address: str, port: int, timeout_s: float) -> str:
        """A look at an engine from outside, by its slot's address: see ports.driver.Probe. Its tries begin a third of the time
        apart, as the real ones do: whoever stands still for less than that is seen by a later one.
        """
        server = self.addresses.get(address, "")
        host, end = self.hosts.find(server), self.now + timeout_s
        for number in range(TRIES if host is not None else 0):
            begin = end - timeout_s * (1 - number / TRIES)
            if begin > self.now:
                await asyncio.sleep(begin - self.now)
            ways = self.network.fate(node, server, node)
            if host is None or not ways or not host.awake or self.now + ways[0] > end:
                continue
            await asyncio.sleep(ways[0])
            saw = self._answers_at(host, address, port)
            if (asker := self.hosts.find(node)) is not None and asker.lies:
                self.saw("a vantage point lied")
                saw = "refused" if saw == "serving" else "serving"
            if saw != "silent":
                return saw
        if end > self.now:
            await asyncio.sleep(end - self.now)
        return "silent"

    def _answers_at(self, host: Host, address: str, port: int) -> str:
        if not host.awake:
            return "silent"
        for entry in host.disk.members.values():
            if entry.spec is not None and (entry.spec.address, entry.spec.port) == (address, port):
                engine = self.cluster(entry.spec.service).engines.get(entry.spec.member)
                if engine is not None and engine.running:
                    return "serving" if engine.answers(self.now) else "starting"
        return "refused"

    def admit_call(self) -> bool:
        """The provider's limit of calls, as a token bucket of one second's worth."""
        rate = self.mood.calls_per_s
        if not rate:
            return True
        self._calls_left = min(rate, self._calls_left + (self.now - self._calls_at) * rate)
        self._calls_at = self.now
        if self._calls_left < 1.0:
            return False
        self._calls_left -= 1.0
        return True

    # --- controllers

    async def controller(self, name: str = "controller-a", **tuned: Any) -> Controller:
        """Start a controller (settings as in Parts) and wait until it has the shard."""
        controller = self.add_controller(name, **tuned)
        await controller.ready.wait()
        return controller

    def add_controller(self, name: str, **tuned: Any) -> Controller:
        """Start one that takes the shard as soon as it is free."""
        controller = self.controllers[name] = self.make_controller(name, **tuned)
        controller.begin()
        return controller

    def make_controller(self, name: str, **tuned: Any) -> Controller:
        """One that is not started yet."""
        return Controller(self, name, f"sim:{name}", **tuned)

    @property
    def active(self) -> Controller | None:
        """The controller that has the shard now."""
        return next((c for c in self.controllers.values() if c.plane is not None and not c.dead), None)

    def crash_controller(self, name: str, down_s: float) -> None:
        """As kill -9 does; started again after a while over the same store, under the same name."""
        old = self.controllers[name]
        old.kill()
        self.note(f"{name} killed for {down_s:.1f} s")
        asyncio.get_running_loop().call_later(down_s, self._revive_controller, name, old)

    def _revive_controller(self, name: str, old: Controller) -> None:
        if self.controllers[name] is old:
            self.add_controller(name, **old._tuned)  # noqa: SLF001  the same settings again

    async def close(self) -> None:
        """End all controllers."""
        for controller in self.controllers.values():
            controller.kill()
        await asyncio.sleep(0)


EDGES = (NATS, PROVIDER, STORE, ANY)
"""Nodes of the network that are not hosts."""
