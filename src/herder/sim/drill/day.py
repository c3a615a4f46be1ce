"""A day of a drill: the fleet is there, the scenario's events and the usual failures happen to it, herder does the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from herder.assembly import ControlPlane
from herder.engine.buckets import Rate
from herder.engine.decide import Input
from herder.engine.world import World as Committed
from herder.fleet.dependencies import declare, name_of
from herder.ports.archive import Drained
from herder.sim.clock import SimRandom
from herder.sim.cohorts import cohorts, kinds
from herder.sim.drill import scenario as scenarios
from herder.sim.drill.rollout import order_reboot
from herder.sim.drill.scenario import Event, Scenario, What
from herder.sim.faults import Faults
from herder.sim.fleet import FleetWorld
from herder.sim.network import ANY
from herder.sim.provider import NAME as PROVIDER_NAME

NOTICED_S = 300.0
"""Archiving fails at a service's next segment, and an idle one sends one every five minutes (archive_timeout)."""

SEEN_S = 1.0
"""By then the controller's watch expects the fleet's servers."""

STRIKE_STEP_S = 0.1
"""Hosts that an event strikes one after the other: those of a tenth of a second go together."""

REST_EVERY_S = 15.0
ILL_EVERY_S = 2.0

FLOOR_BEATS, CEILING_BEATS = 1.5, 8.0
"""Silence in beats before a verdict: what production's settings are to its pulse of a second."""


Slots = NDArray[np.intp]


class Archives:
    """ports.archive.ArchiveDriver: all services share one way to the object store."""

    def __init__(self, world: FleetWorld, limits: scenarios.ArchiveLimits) -> None:
        self._world = world
        self._limits = limits
        self._free_at = 0.0
        self.writes = True
        self.stalled_since: float | None = None
        self.sent_bytes = 0.0

    def backlog_bytes(self) -> float:
        """What one service has buffered in the mean."""
        since = self.stalled_since
        grown = (self._world.now - since) * self._limits.wal_bytes_per_s if since is not None else 0.0
        return min(grown, self._limits.buffer_bytes)

    async def drain(self, machines: memoryview) -> Drained:
        """See the port."""
        ids = np.frombuffer(machines, np.uint32)
        each = self.backlog_bytes()
        begin = max(self._world.now, self._free_at)
        self._free_at = begin + len(ids) * each / self._limits.drain_bytes_per_s
        await asyncio.sleep(self._free_at - self._world.now)
        nothing = memoryview(b"").cast("I")
        if not self.writes:
            return Drained(nothing, ids.data)
        self.sent_bytes += len(ids) * each
        committed = self._world.committed
        services = committed.fact(ids, "service", 0, np.uint32)
        self._world.archive_again(services)
        return Drained(ids.data, nothing)


@dataclass(slots=True)
class Down:
    """Parts of dependencies that do not answer now."""

    parts: set[str]

    def answers(self, *parts: str) -> bool:
        """None of these is down."""
        return not self.parts & set(parts)


class Day:
    """One day. `live` runs inside the virtual loop."""

    def __init__(self, scenario: Scenario, seed: int, world: FleetWorld) -> None:
        self.scenario = scenario
        self.world = world
        self.draw = np.random.Generator(np.random.PCG64([seed, 2017]))
        self.faults = Faults(world, SimRandom(seed, "faults"))
        self.archives = Archives(world, scenario.fleet.archive)
        self.down = Down(set())
        self.store = 0
        self._orders: list[asyncio.Task[None]] = []
        self._struck: list[tuple[Event, Slots]] = []  # hosts of events that are going on
        self.say: Callable[[str], None] = lambda sentence: None

    # --- before the day

    def tuned(self) -> dict[str, object]:
        """What the controller is told of this fleet: fields of Parts."""
        fleet, limits = self.scenario.fleet, self.scenario.fleet.provider
        return {
            "silence_floor_s": FLOOR_BEATS * fleet.pulse_s, "silence_ceiling_s": CEILING_BEATS * fleet.pulse_s,
            "rates": {f"provider:{PROVIDER_NAME}": Rate(limits.starts_per_s, limits.starts_per_s)},
            "archive_driver": self.archives, "drain_per_s": fleet.archive.drains_per_s,
            "dependency_probes": {
                name_of("object_store", ""): self._probe("object_store:writes", "object_store"),
                name_of("provider", PROVIDER_NAME): self._probe("provider:launches", "provider:boots", "provider"),
            },
            "recovery_at_once": limits.launches_at_once,
        }  # fmt: skip

    def _probe(self, *parts: str) -> Callable[[], asyncio.Future[bool]]:
        async def ask() -> bool:
            await asyncio.sleep(0.05)
            return self.down.answers(*parts)

        return ask  # type: ignore[return-value]

    async def make(self, plane: ControlPlane) -> None:
        """The fleet as cohorts, through the production loop."""
        for what, scope in (("object_store", ""), ("provider", PROVIDER_NAME), ("pager", "")):
            await plane.loop.propose(partial(_declared, what=what, scope=scope))
        found = plane.shard.world.named("dependency", name_of("object_store", ""))
        self.store = found.id if found is not None else 0
        fleet = self.scenario.fleet
        mix = [(str(share.engine), share.plan, share.share) for share in fleet.plans]
        zones = [(zone.name, zone.share) for zone in fleet.zones]
        for cohort in cohorts(kinds(mix, zones, fleet.services), self.store):
            await plane.loop.propose(lambda _, cohort=cohort: [cohort])  # type: ignore[misc]
        await asyncio.sleep(SEEN_S)
        self.world.settle_in()

    # --- during the day

    def begin(self) -> list[asyncio.Task[None]]:
        """Everything that goes on all day, and everything that is to happen."""
        loop = asyncio.get_running_loop()
        for event in self.scenario.events:
            at = loop.time() + (event.at_ms - self._now_ms) / 1000
            loop.call_at(max(at, loop.time()), self._happen, event)
            if event.until_ms is not None:
                loop.call_at(at + (event.until_ms - event.at_ms) / 1000, self._end, event)
        self._usual()
        return [asyncio.create_task(task) for task in (self.world.beat(), self._rest(), self._listen())]

    @property
    def _now_ms(self) -> int:
        return self.world.start_ms + round(self.world.now * 1000)

    async def _rest(self) -> None:
        while True:
            await asyncio.sleep(REST_EVERY_S)
            self.world.rest_those_at_rest()

    async def _listen(self) -> None:
        while True:
            await asyncio.sleep(ILL_EVERY_S)
            self.world.awake_the_ill()

    # --- the usual failures

    def _usual(self) -> None:
        """Drawn at once for the whole day: Poisson numbers, even times, any host. What is counted by tries is the provider's."""
        tries = {rate.name: rate.value for rate in self.scenario.rates}
        mood = self.world.mood
        mood.launch_fails, mood.boot_fails = tries.get("launch_fails", 0.0), tries.get("boot_fails", 0.0)
        loop, seconds, count = asyncio.get_running_loop(), self.scenario.seconds, len(self.world.hosts.ids)
        first = {int(relay.slots.start) for relay in self.world.relays.all}
        for rate in self.scenario.rates:
            act = {"host_dies": self._host_dies, "disk_dies": self._disk_dies, "host_freezes": self._host_freezes,
                   "process_crashes": self._process_crashes}.get(rate.name)  # fmt: skip
            if act is None:
                continue
            times = self.draw.random(self.draw.poisson(rate.per_s * count * seconds)) * seconds
            for at, slot in zip(times.tolist(), self.draw.integers(0, count, len(times)).tolist(), strict=True):
                if slot not in first:
                    loop.call_later(at, act, slot)

    def _woken(self, slot: int) -> None:
        self.world.awake_service(int(self.world.service_of[slot]))

    def _host_dies(self, slot: int) -> None:
        self._woken(slot)
        self.faults.kill_host(self.world.hosts.touch(slot))
        self.world.off_at[slot] = self.world.now

    def _disk_dies(self, slot: int) -> None:
        self._woken(slot)
        self.world.lose_disk(self.world.hosts.touch(slot))

    def _host_freezes(self, slot: int) -> None:
        self._woken(slot)
        self.faults.freeze_host(self.world.hosts.touch(slot), 8 + 22 * float(self.draw.random()))

    def _process_crashes(self, slot: int) -> None:
        self._woken(slot)
        self.faults.kill_engine(self.world.hosts.touch(slot))

    # --- the scenario's events

    def _happen(self, event: Event) -> None:
        self.say(f"{event.what} {event.scope} begins: {event.note}")
        if event.what is What.DOWN:
            self._set_down(event, down=True)
        elif event.what is What.DELAY:
            self._set_late(event, event.share)
        elif event.what is What.CUT:
            self._set_cut(event, cut=True)
        elif event.what is What.REBOOT:
            self._orders.append(order_reboot(self.world, event))
        elif event.what is What.CLOCK_JUMP:
            for controller in self.world.controllers.values():
                controller.clock.jump(event.step_s)
        else:
            self._strike(event)

    def _end(self, event: Event) -> None:
        self.say(f"{event.what} {event.scope} ends")
        if event.what is What.DOWN:
            self._set_down(event, down=False)
        elif event.what is What.DELAY:
            self._set_late(event, 0.0)
        elif event.what is What.CUT:
            self._set_cut(event, cut=False)
        elif event.what is What.POWER_OFF:
            self._return(event)

    def _strike(self, event: Event) -> None:
        """Hosts die, go off or stand still: at once, or one after the other within the event's spread."""
        slots = self._begun(event)
        act = self._freeze if event.what is What.FREEZE else self._switch_off
        if event.what is What.POWER_OFF:
            self._set_dark()
        if event.spread_s:
            self._in_steps(slots, event.spread_s, STRIKE_STEP_S, partial(act, event))
        else:
            act(event, slots)

    def _begun(self, event: Event) -> Slots:
        """The hosts that it strikes: the same ones when it ends."""
        slots = self._chosen(event)
        self._struck.append((event, slots))
        return slots

    def _over(self, event: Event) -> Slots:
        place = next(number for number, (struck, _) in enumerate(self._struck) if struck is event)
        return self._struck.pop(place)[1]

    def _switch_off(self, event: Event, slots: Slots) -> None:
        self.world.switch_off(slots.tolist(), for_good=event.what is What.DIE)

    def _freeze(self, event: Event, slots: Slots) -> None:
        assert event.until_ms is not None
        for slot in slots.tolist():
            self._woken(slot)
            self.faults.freeze_host(self.world.hosts.touch(slot), max((event.until_ms - self._now_ms) / 1000, 0.1))

    def _set_dark(self) -> None:
        """Where power is off now nothing can be started, whatever was the reason that it went off."""
        off = [slots for event, slots in self._struck if event.what is What.POWER_OFF]
        dark = np.zeros(len(self.world.hosts.ids), bool)
        for slots in off:
            dark[slots] = True
        self.world.mood.dark = dark if off else None

    def _in_steps(self, slots: Slots, within_s: float, step_s: float, act: Callable[[Slots], None]) -> None:
        """Each of them at a time of its own within so many seconds; those of one step together."""
        loop, steps = asyncio.get_running_loop(), max(int(within_s / step_s), 1)
        parts = self.draw.integers(0, steps, len(slots))
        order = np.argsort(parts, kind="stable")
        bounds = np.searchsorted(parts[order], np.arange(steps + 1))
        for step in range(steps):
            loop.call_later((step + 1) * step_s, act, np.sort(slots[order[bounds[step] : bounds[step + 1]]]))

    def _chosen(self, event: Event) -> Slots:
        """Host slots in the event's scope, its share of them, but for those that relays run on."""
        world, size = self.world, len(self.world.hosts.ids)
        inside = np.ones(size, bool)
        if event.scope.kind == "zone":
            inside = world.hosts.zone[:size] == world.zone_codes.get(event.scope.name, 0xFFFF)
        for relay in world.relays.all:
            inside[relay.slots.start] = False
        slots = np.flatnonzero(inside)
        if event.share < 1:
            slots = np.sort(self.draw.choice(slots, round(len(slots) * event.share), replace=False))
        return slots

    def _set_down(self, event: Event, *, down: bool) -> None:
        part = str(event.scope)
        (self.down.parts.add if down else self.down.parts.discard)(part)
        self.world.mood.no_launch = not self.down.answers("provider:launches", "provider:boots", "provider")
        self.world.mood.no_stop = not self.down.answers("provider:stops", "provider")
        self.world.mood.down = not self.down.answers("provider")
        writes = self.down.answers("object_store:writes", "object_store")
        if writes is self.archives.writes:
            return
        self.archives.writes = writes
        if not writes:
            self.archives.stalled_since = self.world.now
            self._stall()

    def _set_late(self, event: Event, share: float) -> None:
        """The pager's delays are the observer's, who delivers the pages."""
        if event.scope.kind == "provider":
            self.world.mood.late, self.world.mood.late_s = share, event.delay_s

    def _stall(self) -> None:
        """Every service finds out at its next segment."""
        primaries = np.flatnonzero(self.world.primary)
        self._in_steps(primaries, NOTICED_S, self.scenario.fleet.pulse_s, self._stall_those)

    def _stall_those(self, slots: Slots) -> None:
        if not self.archives.writes:
            self.world.set_stalled(slots, stalled=True)

    def _set_cut(self, event: Event, *, cut: bool) -> None:
        world = self.world
        act = world.network.cut if cut else world.network.heal
        if event.scope.kind == "controller":
            for name in world.controllers:
                if event.direction is not scenarios.Direction.FROM:
                    act(ANY, name)
                if event.direction is not scenarios.Direction.TO:
                    act(name, ANY)
            return
        way = event.direction
        slots = self._begun(event) if cut else self._over(event)
        world.cut_rows(slots, cut=cut, heard=way is scenarios.Direction.TO, reached=way is scenarios.Direction.FROM)

    def _return(self, event: Event) -> None:
        """Hosts that were off come back by themselves, one after the other."""
        off = self.world.rows_off(self._over(event))
        self._set_dark()
        loop = asyncio.get_running_loop()
        for slot, at in zip(
            off.tolist(), (self.draw.random(len(off)) * max(event.return_s, 1.0)).tolist(), strict=True
        ):
            loop.call_later(at, self._comes_back, slot)

    def _comes_back(self, slot: int) -> None:
        self._woken(slot)
        host = self.world.hosts.touch(slot)
        if not host.alive and host.fenced < host.incarnation:
            self.world.power_on(host)


def _declared(world: Committed, what: str, scope: str) -> list[Input]:
    return declare(world, what, scope, "drill")
