"""What can be done to a world. Each kind draws what it is not told: whom, for how long, how badly."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from herder.sim.clock import SimRandom
from herder.sim.controller import Controller
from herder.sim.host import Host
from herder.sim.hosts import GONE
from herder.sim.network import ANY, FAIR, Weather
from herder.sim.wire import NATS
from herder.sim.world import World

FILLED = ("full", "full", "nearly", "stuck")
"""How disks are filled: see `fill_disk`."""


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

    def draw_from(self, chance: SimRandom) -> None:
        """From now on all that is not told is drawn from here."""
        self._draw = chance.draw

    def there(self) -> list[Host]:
        """Hosts that are not gone for good."""
        power = self.world.hosts.power
        return [host for host in self.world.hosts.touched.values() if power[host.slot] != GONE]

    def pick(self) -> Host:
        """Some host that is there."""
        return self._draw.choice(self.there())

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
        if host.alive or host.incarnation != incarnation or self.world.hosts.power[host.slot] == GONE:
            return
        if host.fenced < incarnation:
            self.world.power_on(host)
        else:
            self.world.saw("a fenced host was kept from coming back by itself")

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
        if self._was_led_past(host):
            self.world.saw("a primary thawed after another had been promoted")
        host.thaw()
        self._settle(host)

    def _was_led_past(self, host: Host) -> bool:
        """It runs a primary, and a member elsewhere has begun to write a later branch."""
        for service in self.world.services_on(host):
            leading = [e for e in self.world.cluster(service).engines.values() if e.leads(self.world.now) and e.branch]
            here = [e for e in leading if e.host == host.name]
            if any(e.branch and o.branch and o.branch.number > e.branch.number for e in here for o in leading):
                return True
        return False

    def _settle(self, host: Host) -> None:
        for service in self.world.services_on(host):
            self.world.settle(service)

    def fill_disk(self, host: Host | None = None, seconds: float | None = None, *, how: str = "") -> None:
        """full: no byte can be written, engines end, promises are refused. nearly: all goes on, but nobody there can begin to
        lead. stuck: engines live on and take no writes, promises are kept (on another disk).
        """
        host = host or self.pick()
        if not host.awake or host.disk.full or host.disk.cramped:
            return
        seconds = seconds if seconds is not None else self.lasts(10, 300)
        how = how or self._draw.choice(FILLED)
        self._say("fill_disk", f"{host.name} ({how}) for {seconds:.1f} s")
        self._later(seconds, self.empty_disk, host)
        if how != "full":
            host.disk.cramped, host.disk.stuck = True, how == "stuck"
            self._stick(host)
            return
        host.disk.full = True
        self.world.hosts.disk_full[host.slot] = True
        for service in self.world.services_on(host):
            for engine in list(self.world.cluster(service).engines.values()):
                if engine.host == host.name:
                    self.world.crash_engine(service, engine.member, "PANIC: could not write to file: No space left")

    def _stick(self, host: Host) -> None:
        """Its engines, as its disk is now."""
        for service in self.world.services_on(host):
            cluster = self.world.cluster(service)
            cluster.advance(self.world.now)
            for engine in cluster.engines.values():
                if engine.host == host.name:
                    engine.stuck = host.disk.stuck

    def empty_disk(self, host: Host) -> None:
        """Room again."""
        host.disk.full = host.disk.cramped = host.disk.stuck = False
        self._stick(host)
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

    def lie_host(self, host: Host | None = None, seconds: float | None = None) -> None:
        """Asked about others' engines it says the opposite of what it saw: one vantage point's word (rule S6)."""
        host = host or self.pick()
        seconds = seconds if seconds is not None else self.lasts(5, 300)
        self._say("lie_host", f"{host.name} for {seconds:.1f} s")
        host.lies = True
        self._later(seconds, self.honest, host)

    @staticmethod
    def honest(host: Host) -> None:
        """It says what it saw."""
        host.lies = False

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
        names = [host.name for host in self.there()]
        one = self.pick().name
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

    def store_stalls(self, seconds: float | None = None) -> None:
        """Commits take as long as a slow disk makes them."""
        mood = self.world.pace_of_store
        seconds = seconds if seconds is not None else self.lasts(2, 120)
        mood.stall_s = self.lasts(0.02, 3.0)
        self._say("store_stalls", f"{mood.stall_s:.2f} s a commit for {seconds:.1f} s")
        self._later(seconds, self.store_well)

    def store_moody(self, seconds: float | None = None) -> None:
        """Connections break around commits: nobody can know at once how they ended."""
        mood = self.world.pace_of_store
        seconds = seconds if seconds is not None else self.lasts(2, 120)
        mood.unknown = 0.7 * self._draw.random()
        self._say("store_moody", f"{mood.unknown:.0%} of commits are lost sight of for {seconds:.1f} s")
        self._later(seconds, self.store_well)

    def store_well(self) -> None:
        """It commits at once and says so."""
        self.world.pace_of_store.stall_s = self.world.pace_of_store.unknown = 0.0

    def object_store_down(self, seconds: float | None = None) -> None:
        """It answers nobody."""
        self._outage("object_store", seconds if seconds is not None else self.lasts(20, 900))

    def pager_down(self, seconds: float | None = None) -> None:
        """Nobody can be told."""
        self._outage("pager", seconds if seconds is not None else self.lasts(20, 900))

    def _outage(self, what: str, seconds: float) -> None:
        self._say(f"{what}_down", f"for {seconds:.1f} s")
        self.world.outages.add(what)
        self._later(seconds, self.world.outages.discard, what)

    def crash_controller(self, down_s: float | None = None) -> None:
        """The one that acts is killed and started again."""
        active = self.world.active
        if active is not None:
            down_s = down_s if down_s is not None else self.lasts(0.1, 60)
            self._say("crash_controller", f"{active.name} for {down_s:.1f} s")
            self.world.crash_controller(active.name, down_s)

    def crash_standby(self, down_s: float | None = None) -> None:
        """One that waits for the shard is killed and started again."""
        waiting = self._waiting()
        if waiting is not None:
            down_s = down_s if down_s is not None else self.lasts(1, 300)
            self._say("crash_standby", f"{waiting.name} for {down_s:.1f} s")
            self.world.crash_controller(waiting.name, down_s)

    def _waiting(self) -> Controller | None:
        others = [each for each in self.world.controllers.values() if each is not self.world.active and not each.dead]
        return self._draw.choice(others) if others else None

    def freeze_controller(self, seconds: float | None = None) -> None:
        """SIGSTOP for a while."""
        active = self.world.active
        if active is not None:
            seconds = seconds if seconds is not None else self.lasts(0.3, 90)
            self._say("freeze_controller", f"{active.name} for {seconds:.1f} s")
            active.freeze()
            self._later(seconds, active.thaw)

    def cut_controller(self) -> None:
        """It hears nobody, or nobody hears it."""
        active = self.world.active
        if active is not None:
            source, target = self._draw.choice(((active.name, ANY), (ANY, active.name)))
            self.cut(source, target, both=self._draw.random() < 0.5)

    def heal(self) -> None:
        """Everything that was done is undone; what died stays dead until somebody brings it back."""
        self.world.network.heal_all()
        self.provider_well()
        self.store_well()
        self.world.outages.clear()
        for host in self.there():
            self.thaw_host(host)
            self.empty_disk(host)
            self.honest(host)
        for controller in self.world.controllers.values():
            controller.thaw()
