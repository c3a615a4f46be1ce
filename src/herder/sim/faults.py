"""What can be done to a world, and a seeded schedule of it: each kind at a rate a host-hour (or an hour), then it heals."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields

from herder.sim.clock import SimRandom
from herder.sim.host import Host
from herder.sim.network import ANY, FAIR, Weather
from herder.sim.wire import NATS
from herder.sim.world import World


@dataclass(frozen=True, slots=True)
class Rates:
    """Events an hour: of each host for the first group, of the whole world for the second."""

    kill_engine: float = 0.5
    kill_agent: float = 0.3
    kill_host: float = 0.3
    reboot_host: float = 0.3
    freeze_host: float = 0.5
    cut_host: float = 0.3
    cut_pair: float = 0.3
    fill_disk: float = 0.1
    clock_drift: float = 0.1
    clock_jump: float = 0.2
    provider_down: float = 0.5
    provider_moody: float = 0.5
    nats_down: float = 0.3
    bad_weather: float = 0.5
    crash_controller: float = 0.5
    freeze_controller: float = 0.3
    cut_controller: float = 0.3
    store_down: float = 0.3

    def times(self, factor: float) -> Rates:
        """The same mix, more or less often."""
        return Rates(**{field.name: getattr(self, field.name) * factor for field in fields(self)})


PER_HOST = (
    "kill_engine", "kill_agent", "kill_host", "reboot_host", "freeze_host", "cut_host", "cut_pair", "fill_disk",
    "clock_drift",
)  # fmt: skip


class Faults:
    """Does things to a world. Each method says what it did; what ends by itself ends by a timer."""

    def __init__(self, world: World, chance: SimRandom) -> None:
        self.world = world
        self._draw = chance.draw
        self.done: Counter[str] = Counter()
        self.trace: list[tuple[float, str]] = []

    def _say(self, kind: str, words: str) -> None:
        self.done[kind] += 1
        self.trace.append((self.world.now, f"{kind}: {words}"))

    def _later(self, seconds: float, act: Callable[..., object], *args: object) -> None:
        asyncio.get_running_loop().call_later(seconds, act, *args)

    def lasts(self, least_s: float, most_s: float) -> float:
        """A duration; short ones are as likely as long ones on a scale of powers."""
        return float(least_s * (most_s / least_s) ** self._draw.random())

    def pick(self) -> Host:
        """Some host that is there."""
        return self._draw.choice(list(self.world.hosts.touched.values()))

    # --- hosts and engines

    def kill_engine(self, host: Host | None = None) -> None:
        """Every engine process on a host is killed (signal 9)."""
        host = host or self.pick()
        for service in self.world.services_on(host):
            for engine in list(self.world.cluster(service).engines.values()):
                if engine.host == host.name and host.awake and self.world.crash_engine(service, engine.member):
                    self._say("kill_engine", engine.member)

    def kill_agent(self, host: Host | None = None, back_s: float | None = None) -> None:
        """The agent's process is gone and its connection closes; a supervisor or the controller starts another."""
        host = host or self.pick()
        if host.agent is None or not host.awake:
            return
        agent, host.agent = host.agent, None
        agent.die()
        self._say("kill_agent", host.name)
        for controller in self.world.controllers.values():
            self.world.network.send((host.name, NATS, controller.name), controller.wire.gone, host.name)
        incarnation = host.incarnation
        self._later(back_s if back_s is not None else self.lasts(0.5, 60), self._agent_back, host, incarnation)

    def _agent_back(self, host: Host, incarnation: int) -> None:
        if host.alive and host.incarnation == incarnation and host.agent is None:
            self.world.power_on(host)

    def kill_host(self, host: Host | None = None) -> None:
        """Power off; only its provider brings it back."""
        host = host or self.pick()
        if host.alive:
            self.world.power_off(host, "its host lost power")
            self._say("kill_host", host.name)

    def reboot_host(self, host: Host | None = None, down_s: float | None = None) -> None:
        """It goes down and comes back by itself as the same incarnation, unless it was fenced meanwhile."""
        host = host or self.pick()
        if not host.alive:
            return
        self.world.power_off(host, "its host was rebooted")
        down_s = down_s if down_s is not None else self.lasts(5, 90)
        self._say("reboot_host", f"{host.name} for {down_s:.1f} s")
        self._later(down_s, self._host_back, host, host.incarnation)

    def _host_back(self, host: Host, incarnation: int) -> None:
        gone = self.world.hosts.power[host.slot] == 3
        if not host.alive and host.incarnation == incarnation and host.fenced < incarnation and not gone:
            self.world.power_on(host)

    def freeze_host(self, host: Host | None = None, seconds: float | None = None) -> None:
        """Nothing of it runs for a while; then everything does."""
        host = host or self.pick()
        if not host.awake:
            return
        seconds = seconds if seconds is not None else self.lasts(0.3, 90)
        self._say("freeze_host", f"{host.name} for {seconds:.1f} s")
        self.world.reckon()
        host.freeze()
        self.world.hosts.frozen_until[host.slot] = self.world.now + seconds
        self._settle(host)
        self._later(seconds, self.thaw_host, host, host.incarnation)

    def thaw_host(self, host: Host, incarnation: int | None = None) -> None:
        """It goes on."""
        if not host.frozen or (incarnation is not None and host.incarnation != incarnation):
            return
        self.world.reckon()
        self.world.hosts.frozen_until[host.slot] = 0.0
        host.thaw()
        self._settle(host)

    def _settle(self, host: Host) -> None:
        for service in self.world.services_on(host):
            self.world.settle(service)

    def fill_disk(self, host: Host | None = None, seconds: float | None = None) -> None:
        """No byte can be written: engines end, promises are refused."""
        host = host or self.pick()
        if not host.awake or host.disk.full:
            return
        seconds = seconds if seconds is not None else self.lasts(10, 300)
        self._say("fill_disk", f"{host.name} for {seconds:.1f} s")
        host.disk.full = True
        self.world.hosts.disk_full[host.slot] = True
        for service in self.world.services_on(host):
            for engine in list(self.world.cluster(service).engines.values()):
                if engine.host == host.name:
                    self.world.crash_engine(service, engine.member, "PANIC: could not write to file: No space left")
        self._later(seconds, self.empty_disk, host)

    def empty_disk(self, host: Host) -> None:
        """Room again."""
        host.disk.full = False
        self.world.hosts.disk_full[host.slot] = False

    def clock_jump(self, seconds: float | None = None) -> None:
        """Somebody set the wall clock of the controller's machine (hosts' leases count by a clock that nobody can set)."""
        active = self.world.active
        if active is not None:
            seconds = seconds if seconds is not None else self._draw.choice((-1, 1)) * self.lasts(0.5, 120)
            self._say("clock_jump", f"{active.name} by {seconds:.1f} s")
            active.clock.jump(seconds)

    def clock_drift(self, host: Host | None = None) -> None:
        """It runs fast or slow by up to 5 %, inside what skew allows for over a lease."""
        host = host or self.pick()
        host.clock.drift(1.0 + (self._draw.random() - 0.5) * 0.1, self.world.now)
        self._say("clock_drift", f"{host.name} runs at {host.clock.rate:.3f}")

    # --- network

    def cut(self, source: str, target: str, seconds: float | None = None, *, both: bool = True) -> None:
        """A partition between two nodes, in one direction or both."""
        seconds = seconds if seconds is not None else self.lasts(0.5, 180)
        arrow = "<->" if both else "->"
        self._say("cut", f"{source} {arrow} {target} for {seconds:.1f} s")
        network = self.world.network
        for one, other in ((source, target), (target, source)) if both else ((source, target),):
            network.cut(one, other)
            self._later(seconds, network.heal, one, other)

    def cut_host(self) -> None:
        """A host is cut off from all, in one direction or both."""
        host = self.pick().name
        source, target = self._draw.choice(((host, ANY), (ANY, host)))
        self.cut(source, target, both=self._draw.random() < 0.5)

    def cut_pair(self) -> None:
        """Two nodes do not hear each other (or one of them does not)."""
        names = [host.name for host in self.world.hosts.touched.values()]
        one = self._draw.choice(names)
        other = self._draw.choice([*names, NATS])
        if one != other:
            self.cut(one, other, both=self._draw.random() < 0.5)

    def bad_weather(self) -> None:
        """Loss, duplicates, messages that overtake each other."""
        draw = self._draw.random
        self.world.network.weather = Weather(
            0.001 + 0.05 * draw() ** 2, 0.05 * draw(), 0.2 * draw() ** 2, 0.1 * draw(), 0.1 * draw()
        )
        seconds = self.lasts(5, 300)
        self._say("bad_weather", f"{self.world.network.weather} for {seconds:.1f} s")
        self._later(seconds, self.fair_weather)

    def fair_weather(self) -> None:
        """As it was."""
        self.world.network.weather = FAIR

    # --- what herder stands on

    def nats_down(self, seconds: float | None = None) -> None:
        """Nothing passes the wire."""
        self.done["nats_down"] += 1
        self.cut(ANY, NATS, seconds if seconds is not None else self.lasts(0.5, 120))

    def provider_down(self, seconds: float | None = None) -> None:
        """Its API answers nobody, or has no capacity."""
        mood = self.world.mood
        seconds = seconds if seconds is not None else self.lasts(5, 600)
        self._say("provider_down", f"for {seconds:.1f} s")
        if self._draw.random() < 0.5:
            mood.down = True
        else:
            mood.no_launch = True
        self._later(seconds, self.provider_well)

    def provider_moody(self) -> None:
        """Calls that time out and happened, looks that see nothing or the opposite, a limit of calls."""
        mood, draw = self.world.mood, self._draw.random
        mood.happened, mood.blind, mood.calls_per_s = 0.5 * draw(), 0.5 * draw(), 2.0 + 10.0 * draw()
        mood.lies = 0.1 * draw()
        seconds = self.lasts(10, 600)
        self._say("provider_moody", f"{mood} for {seconds:.1f} s")
        self._later(seconds, self.provider_well)

    def provider_well(self) -> None:
        """It does as it is told."""
        mood = self.world.mood
        mood.down = mood.no_launch = False
        mood.happened = mood.blind = mood.lies = mood.calls_per_s = 0.0

    def store_down(self, seconds: float | None = None) -> None:
        """No controller reaches the store."""
        self.done["store_down"] += 1
        self.cut(ANY, "store", seconds if seconds is not None else self.lasts(0.5, 60))

    def crash_controller(self, down_s: float | None = None) -> None:
        """The one that acts is killed and started again."""
        active = self.world.active
        if active is not None:
            down_s = down_s if down_s is not None else self.lasts(0.1, 60)
            self._say("crash_controller", f"{active.name} for {down_s:.1f} s")
            self.world.crash_controller(active.name, down_s)

    def freeze_controller(self, seconds: float | None = None) -> None:
        """SIGSTOP for a while."""
        active = self.world.active
        if active is not None:
            seconds = seconds if seconds is not None else self.lasts(0.3, 60)
            self._say("freeze_controller", f"{active.name} for {seconds:.1f} s")
            active.freeze()
            self._later(seconds, active.thaw)

    def cut_controller(self) -> None:
        """It hears nobody, or nobody hears it."""
        active = self.world.active
        if active is not None:
            source, target = self._draw.choice(((active.name, ANY), (ANY, active.name)))
            self.cut(source, target, both=self._draw.random() < 0.5)

    # --- the schedule

    async def storm(self, rates: Rates, seconds: float) -> None:
        """Faults at these rates for a while."""
        kinds = [field.name for field in fields(rates)]
        end = self.world.now + seconds
        while True:
            hosts = max(len(self.world.hosts.touched), 1)
            weights = [getattr(rates, kind) * (hosts if kind in PER_HOST else 1) for kind in kinds]
            total = sum(weights)
            pause_s = self._draw.expovariate(total / 3600.0) if total > 0 else seconds
            if self.world.now + pause_s >= end:
                await asyncio.sleep(max(0.0, end - self.world.now))
                return
            await asyncio.sleep(pause_s)
            getattr(self, self._draw.choices(kinds, weights)[0])()

    def heal(self) -> None:
        """Everything that was done is undone; what died stays dead until somebody brings it back."""
        self.world.network.heal_all()
        self.provider_well()
        for host in self.world.hosts.touched.values():
            self.thaw_host(host)
            self.empty_disk(host)
        for controller in self.world.controllers.values():
            controller.thaw()
