"""What a scenario file says happens to the simulated fleet: when, to whom, for how long, and nothing besides."""

import asyncio
from dataclasses import replace

import numpy as np

from herder.sim import hosts
from herder.sim.clock import pass_time, run
from herder.sim.drill import reading
from herder.sim.drill.day import Day
from herder.sim.drill.scenario import Event, Rate, Scope, What
from herder.sim.fleet import FleetWorld
from herder.sim.pace import Pace

SERVICES = 40
SCENARIO = replace(reading.read("s3-2017").with_services(SERVICES), events=(), rates=())
START_MS = SCENARIO.start_ms
ZONE = Scope("zone", "a")


def at_ms(seconds):
    """Of the day's beginning; the fleet is made in the first two seconds."""
    return START_MS + round(seconds * 1000)


class Played:
    """A day under one controller, as `herder drill` runs it."""

    def __init__(self, *events, rates=(), seed=5, boots_per_s=400.0, **pace):
        self.scenario = replace(
            SCENARIO, events=events, rates=tuple(Rate(name, value, "here") for name, value in rates)
        )
        fleet = self.scenario.fleet
        limits = replace(fleet.provider, boots_per_s=boots_per_s)
        self.scenario = replace(self.scenario, fleet=replace(fleet, provider=limits))
        self.seed, self.pace = seed, Pace(**pace)

    async def open(self):
        self.world = FleetWorld(self.seed, start_ms=START_MS, pace=self.pace)
        self.day = Day(self.scenario, self.seed, self.world)
        self.controller = await self.world.controller(**self.day.tuned())
        await self.day.make(self.controller.plane)
        self.tasks = self.day.begin()
        return self

    async def close(self):
        for task in self.tasks:
            task.cancel()
        await self.world.close()

    async def until_s(self, seconds):
        await pass_time(at_ms(seconds) / 1000 - START_MS / 1000 - self.world.now)

    async def until(self, ready, within_s):
        async with asyncio.timeout(within_s):
            while not ready():
                await pass_time(0.05)

    def power(self, zone="a"):
        """Power of the zone's hosts that no relay runs on."""
        rows, size = self.world.hosts, len(self.world.hosts.ids)
        inside = rows.zone[:size] == self.world.zone_codes[zone]
        for relay in self.world.relays.all:
            inside[relay.slots.start] = False
        return rows.power[:size][inside]

    def off(self, zone="a"):
        return int(np.count_nonzero(self.power(zone) != hosts.RUNNING))


def played(play, *events, **rest):
    """Play it; returns what the play returns."""

    async def main():
        day = await Played(*events, **rest).open()
        try:
            return await play(day)
        finally:
            await day.close()

    return run(main)


def test_hosts_that_go_off_within_a_spread_go_one_after_the_other():
    async def play(day):
        counts = []
        for second in (9.9, 12.5, 15, 20.1):
            await day.until_s(second)
            counts.append(day.off())
        return counts, len(day.power())

    event = Event(at_ms(10), What.DIE, ZONE, spread_s=10)
    (before, quarter, half, after), hosts_in_zone = played(play, event, launch=60.0)
    assert before == 0
    assert 0 < quarter < half < after == hosts_in_zone


def test_nothing_is_started_where_there_is_no_power_and_all_come_back_with_it():
    async def play(day):
        await day.until_s(10.1)
        assert day.off() == len(day.power())
        tried = []
        for second in range(30, 610, 30):
            await day.until_s(second)
            tried.append(day.off())
        boots = day.world.provider_calls.get("boot", 0)
        await day.until_s(700)
        return set(tried), len(day.power()), boots, day.off(), day.world.mood.dark

    event = Event(at_ms(10), What.POWER_OFF, ZONE, until_ms=at_ms(610), return_s=20)
    while_dark, hosts_in_zone, boots, left, dark = played(play, event)
    assert while_dark == {hosts_in_zone}
    assert boots > 0
    assert (left, dark) == (0, None)


def test_a_boot_into_the_dark_is_answered_at_once_and_tried_after_growing_pauses():
    async def play(day):
        await day.until_s(900)
        tally = day.controller.plane.effects.tallies["boot_server"]
        return tally.started, tally.ended, day.world.provider_calls["boot"]

    started, ended, calls = played(play, Event(at_ms(10), What.POWER_OFF, ZONE, until_ms=at_ms(1200)))
    assert started == calls
    assert started - ended <= 5  # under way at that moment: none hangs
    hosts_in_zone = SERVICES * 0.34 * 1.6
    assert calls < 12 * hosts_in_zone  # 2, 4, 8 ... 300 s apart: ten tries in a quarter of an hour


def test_the_hosts_that_were_cut_off_are_the_ones_that_are_healed():
    async def play(day):
        await day.until_s(11)
        cut = day.world.cut.copy()
        await day.until_s(21)
        return int(cut.sum()), int(day.world.cut.sum())

    event = Event(at_ms(10), What.CUT, Scope("fleet"), share=0.5, until_ms=at_ms(20))
    cut, left = played(play, event)
    assert cut > 10
    assert left == 0


def test_frozen_hosts_go_on_together_at_the_end_whenever_they_stood_still():
    async def play(day):
        await day.until_s(14)
        frozen = sum(host.frozen for host in day.world.hosts.touched.values())
        await day.until_s(15.2)
        return frozen, sum(host.frozen for host in day.world.hosts.touched.values())

    event = Event(at_ms(10), What.FREEZE, ZONE, until_ms=at_ms(15), spread_s=3)
    frozen, after = played(play, event)
    assert frozen > 10
    assert after == 0


def test_a_boot_takes_as_long_as_the_provider_says():
    async def play(day):
        slot = next(number for number, power in enumerate(day.world.hosts.power) if number not in day.first)
        server = day.world.hosts.touch(slot)
        day.day._host_dies(slot)
        log = day.controller.plane.shard.world
        machine = log.named("server", server.name)
        await day.until(lambda: log.get(machine.id).state == "restart", 120)
        began = day.world.now
        await day.until(lambda: log.get(machine.id).state == "available", 120)
        return day.world.now - began

    class First(Played):
        @property
        def first(self):
            return {relay.slots.start for relay in self.world.relays.all}

    async def main(boot):
        day = await First(boot=boot).open()
        try:
            return await play(day)
        finally:
            await day.close()

    quick, slow = run(lambda: main(3.0)), run(lambda: main(20.0))
    assert 3 <= quick < 10
    assert 20 <= slow < 36


def test_starts_come_no_faster_than_the_provider_allows():
    async def play(day):
        await day.until_s(20)
        calls = [day.world.provider_calls.get("boot", 0)]
        for second in (30, 40):
            await day.until_s(second)
            calls.append(day.world.provider_calls["boot"])
        return calls

    first, *rest = played(play, Event(at_ms(10), What.HALT, Scope("fleet")), boots_per_s=0.5)
    assert first <= 5
    assert [after - before for before, after in zip([first, *rest], rest, strict=False)] == [5, 5]


def test_a_start_that_never_comes_up_is_tried_again_as_a_new_life():
    async def play(day):
        await day.until_s(90)
        return day.off(), len(day.power()), day.world.provider_calls["launch"]

    event = Event(at_ms(10), What.DIE, ZONE)
    off, hosts_in_zone, launches = played(play, event, rates=(("launch_fails", 1.0),), launch=5.0)
    assert off == hosts_in_zone
    assert launches >= hosts_in_zone
    off, *_ = played(play, event, rates=(("boot_fails", 1.0),), launch=5.0)
    assert off < hosts_in_zone  # on lost hardware a start is a launch, no boot


def test_a_provider_that_is_late_and_one_that_can_stop_nothing():
    async def play(day):
        seen = []
        for second in (5, 15, 25):
            await day.until_s(second)
            seen.append((day.world.mood.late, day.world.mood.late_s, day.world.mood.no_stop))
        return seen

    provider = Scope("provider")
    late = Event(at_ms(10), What.DELAY, provider, share=0.5, delay_s=3.0, until_ms=at_ms(20))
    stops = Event(at_ms(10), What.DOWN, Scope("provider", "stops"), until_ms=at_ms(20))
    assert played(play, late, stops) == [(0.0, 0.0, False), (0.5, 3.0, True), (0.0, 3.0, False)]


def test_the_controllers_wall_clock_jumps():
    async def play(day):
        clock = day.controller.clock
        before = clock.now_ms() - round(day.world.now * 1000)
        await day.until_s(11)
        return clock.now_ms() - round(day.world.now * 1000) - before

    jumped = played(play, Event(at_ms(10), What.CLOCK_JUMP, Scope("controller"), step_s=90.0))
    assert abs(jumped - 90_000) <= 2
