"""The observer over a real control plane in virtual time: what it counts is what the log has, what it judges is the truth."""

import asyncio
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from herder.engine.bulk import Bulk
from herder.engine.decide import Input
from herder.engine.record import open_record
from herder.fleet.dependencies import declare
from herder.machines.registry import BY_CODE
from herder.sim import actions, hosts
from herder.sim.clock import pass_time, run
from herder.sim.cohorts import cohorts, kinds
from herder.sim.drill import losses, manual, reading
from herder.sim.drill.observer import Ended, Observer
from herder.sim.drill.pager import Pager
from herder.sim.drill.scenario import Event, Scope, What
from herder.sim.drill.stores import memory
from herder.sim.drill.types import Drill
from herder.sim.engine import Data
from herder.sim.fleet import FleetWorld

SERVICES = 40
STARTS_S = 30.0
"""Virtual time before the day: the fleet is made and heard."""

WELL = replace(reading.read("s3-2017").with_services(SERVICES), events=(), rates=())
ENDED = Ended(wall_s=2.0, lag_moves=3, lag_s=0.5)


class Rig:
    """A small fleet of cohorts under one controller, watched from the moment at which all of it has been heard."""

    def __init__(self, scenario=WELL, seed=5):
        self.told = []
        self.drill = Drill(scenario, SERVICES, seed, memory, "memory", manual.read())
        self.scenario = scenario

    async def open(self):
        self.world = FleetWorld(self.drill.seed, start_ms=self.scenario.start_ms - round(STARTS_S * 1000))
        controller = await self.world.controller()
        await self.propose(lambda world: declare(world, "object_store", ""))
        store = self.committed.named("dependency", "object-store:all")
        fleet = self.scenario.fleet
        mix = [(str(each.engine), each.plan, each.share) for each in fleet.plans]
        zones = [(zone.name, zone.share) for zone in fleet.zones]
        for cohort in cohorts(kinds(mix, zones, SERVICES), store.id):
            await self.propose(lambda _, cohort=cohort: [cohort])
        await pass_time(0.3)  # the board expects the servers before the first frame of their relays comes
        self.world.settle_in()
        self.tasks = [asyncio.create_task(self.world.beat()), asyncio.create_task(self.listen())]
        await self.until_ms(self.scenario.start_ms)
        self.observer = Observer(self.drill, self.world, self.told.append)
        self.observer.begin(controller.plane)
        self.tasks.append(asyncio.create_task(self.observer.run()))
        return self

    async def listen(self):
        while True:
            await pass_time(1)
            self.world.awake_the_ill()

    @property
    def plane(self):
        return self.world.active.plane

    @property
    def committed(self):
        return self.plane.shard.world

    async def propose(self, items):
        return await self.plane.loop.propose(items)

    async def until_ms(self, at_ms):
        await pass_time(max(0.0, (at_ms - self.world.start_ms) / 1000 - self.world.now))

    async def until(self, ready, within_s=300):
        async with asyncio.timeout(within_s):
            while not ready():
                await pass_time(0.1)

    def of_plan(self, plan, engine="postgres"):
        """A service of that plan, with agents of its own."""
        found = next(
            s for s in self.committed.of_kind("service") if (s.data["plan"], s.data["engine"]) == (plan, engine)
        )
        self.world.awake_service(found.id)
        return found

    def host(self, service, slot=0):
        return self.world.hosts.touch(self.world.slots_of(service.id)[slot])

    async def restarted(self, down_s=2.0):
        """The controller is killed and comes back with another plane."""
        self.world.crash_controller("controller-a", down_s)
        await self.until(lambda: self.world.active is None)
        await self.until(lambda: self.world.active is not None)

    async def close(self):
        for task in self.tasks:
            task.cancel()
        await self.world.close()


def day(play, scenario=WELL, seed=5):
    """Let `play(rig)` go on; returns (rig, what the observer made of it)."""

    async def main():
        rig = await Rig(scenario, seed).open()
        await play(rig)
        result = rig.observer.result(ENDED)
        rig.log = await whole_log(rig)
        rig.states = Counter((machine.kind, machine.state) for machine in rig.committed.machines.values())
        await rig.close()
        return rig, result

    return run(main)


async def whole_log(rig):
    """Every move of the day, read back from the store."""
    found, prev = [], None
    while records := await rig.world.store.tail(0, prev.seq if prev else 0):
        for stored in records:
            record = open_record(stored, prev)
            prev = stored
            if record.at_ms >= rig.scenario.start_ms:
                found.extend(record.columns.tolist())
    return found


async def a_dead_engine(rig):
    service = rig.of_plan("premium")
    await pass_time(2)
    primary = rig.committed.get(service.data["primary"])
    rig.world.crash_engine(service.name, primary.name)
    await rig.until(lambda: rig.committed.get(service.id).state != "available")
    await rig.until(lambda: rig.committed.get(service.id).state == "available")
    await pass_time(40)


def test_a_day_on_which_nothing_happens_is_well_from_its_first_moment():
    short = replace(WELL, measured_ms=WELL.start_ms + 60_000)

    async def nothing(rig):
        await rig.until_ms(short.measured_ms + 40_000)

    rig, result = day(nothing, short)
    assert (result.transitions, result.units_touched, result.counts["drill.services_touched"]) == (0, 0, 0)
    assert result.well_ms == short.start_ms
    assert result.well_after_s == 0.0
    assert (result.not_well, result.lost_premium, result.two_primaries, result.wrong_promotions) == (0, 0, 0, 0)
    assert (
        result.machines == len(rig.committed_machines) if hasattr(rig, "committed_machines") else result.machines > 100
    )
    assert "counted as machines, not as transitions" in result.notes[0]


def test_every_move_of_the_log_is_counted_once_by_its_kind_and_event():
    rig, result = day(a_dead_engine)
    told = Counter(f"{BY_CODE[kind].kind}.{BY_CODE[kind].events[event]}" for _, _, _, kind, _, event, *_ in rig.log)
    assert {name: count for name, count in result.counts.items() if not name.startswith("drill.")} == told
    assert result.transitions == len(rig.log) > 0
    units = {machine for machine, _, _, kind, *_ in rig.log if BY_CODE[kind].unit}
    assert result.units_touched == len(units)


def test_states_of_the_timeline_are_those_of_the_world():
    rig, result = day(a_dead_engine)
    last = {
        (kind, state): values[-1] for kind, states in result.timeline.states.items() for state, values in states.items() if values[-1]
    }  # fmt: skip
    units = {where: count for where, count in rig.states.items() if where[0] in result.timeline.states}
    assert last == units
    assert set(result.timeline.states) == {"server", "member", "service", "archive", "dependency"}


def test_a_service_that_takes_no_writes_is_found_under_its_engine_and_plan():
    most = Counter()

    async def watched(rig):
        service = rig.of_plan("premium")
        await pass_time(2)
        rig.world.power_off(rig.host(service), "a test")
        async with asyncio.timeout(60):
            while not most["postgres premium"]:
                await pass_time(0.05)
                most.update({k: v for k, v in rig.observer.wellness.by_plan.items() if v > most[k]})
        await rig.until(lambda: rig.committed.get(service.id).state == "available")

    _, result = day(watched)
    assert most["postgres premium"] == 1
    assert sum(most.values()) == 1
    assert result.counts["drill.services_unavailable"] == 1
    assert set(result.timeline.unavailable) == {
        "postgres dev",
        "postgres standard",
        "postgres premium",
        "valkey standard",
    }
    assert all(values[-1] == 0 for values in result.timeline.unavailable.values())


def test_a_failover_that_was_needed_is_no_wrong_promotion_and_loses_nothing():
    async def a_dead_host(rig):
        service = rig.of_plan("premium")
        await pass_time(2)
        rig.world.power_off(rig.host(service), "a test")
        await rig.until(lambda: rig.observer.moves.counts().get("failover.promoted"))
        await rig.until(lambda: rig.committed.get(service.id).state == "available")

    _, result = day(a_dead_host)
    failover = next(each for each in result.remedies if each.kind == "failover")
    assert (failover.begun, failover.ended_well, failover.needed_a_person) == (1, 1, 0)
    assert (result.wrong_promotions, result.lost_premium, result.lost_beyond_bound, result.two_primaries) == (
        0,
        0,
        0,
        0,
    )
    assert result.effects_done >= result.effects_needed > 0


def test_a_primary_that_serves_and_is_replaced_all_the_same_is_a_wrong_promotion():
    async def a_false_word(rig):
        service = rig.of_plan("premium")
        await pass_time(5)
        primary = rig.committed.get(service.data["primary"])
        assert losses.serves(rig.world, rig.committed, primary.id)
        rig.plane.loop.submit(Input(primary.id, "silent", {}))
        rig.plane.loop.submit(Input(primary.id, "seen_dead", {}))
        await rig.until(lambda: rig.observer.moves.counts().get("failover.promoted"))

    _, result = day(a_false_word)
    assert result.wrong_promotions == 1


def test_a_bulk_of_archives_is_counted_waits_and_drains():
    async def stalled(rig):
        archives = rig.committed.ids("archive").copy()
        half = archives[: len(archives) // 2]
        await rig.propose(lambda _: [Bulk("archive", "stalled", archives)])
        await pass_time(60)
        rig.waits = rig.observer.archives.bytes_waiting(rig.observer._clock_ms(), 2000.0)
        await rig.propose(lambda _: [Bulk("archive", "drained", half)])
        await pass_time(30)
        for archive in archives[len(half) :].tolist():
            await rig.propose(lambda _, archive=archive: [Input(archive, "drained")])
        await pass_time(31)

    rig, result = day(stalled)
    assert result.counts["archive.stalled"] == result.counts["archive.drained"] == SERVICES
    assert result.counts["drill.services_touched"] == SERVICES
    assert result.units_touched == SERVICES + 1  # and the store, since they stalled together
    parked = next(each for each in result.parked if each.what == "archives")
    assert parked.count == SERVICES
    assert parked.longest_s == pytest.approx(90, abs=3)
    assert parked.drained_ms is not None
    assert rig.waits == pytest.approx(SERVICES * 60 * 2000, rel=0.05)
    assert max(result.timeline.backlog["archives that wait"]) == SERVICES
    assert max(result.timeline.to_recover) == result.timeline.recovered[-1] == SERVICES
    assert result.timeline.bytes_waiting[-1] == 0


def test_well_again_is_the_very_commit_at_which_the_last_one_came_well():
    event = Event(WELL.start_ms, What.FREEZE, Scope("fleet"), until_ms=WELL.start_ms + 10_000)
    scenario = replace(WELL, events=(event,), measured_ms=WELL.start_ms + 5_000)
    back = []

    async def stalled(rig):
        archives = rig.committed.ids("archive").copy()
        await rig.propose(lambda _: [Bulk("archive", "stalled", archives)])
        await rig.until_ms(scenario.start_ms + 70_000)
        await rig.propose(lambda _: [Bulk("archive", "drained", archives[1:])])
        await pass_time(7.25)
        await rig.propose(lambda _: [Input(int(archives[0]), "drained")])
        back.append(rig.observer._clock_ms())
        await pass_time(30)
        await rig.propose(
            lambda _: [Bulk("archive", "stalled", archives[:1])]
        )  # something always is: it is another story
        await pass_time(30)

    _, result = day(stalled, scenario)
    assert abs(result.well_ms - back[0]) <= 5
    assert result.well_ms - scenario.start_ms == pytest.approx(77_250, abs=100)


def test_what_only_a_restore_brings_back_keeps_nobody_from_being_well():
    event = Event(WELL.start_ms + 1000, What.DIE, Scope("fleet"), share=0.01)
    scenario = replace(WELL, events=(event,), measured_ms=WELL.start_ms + 1000)

    async def disks_die(rig):
        service = rig.of_plan("dev")
        other = next(s for s in rig.committed.of_kind("service") if s.data["plan"] == "dev" and s.id != service.id)
        await pass_time(1)
        host = rig.host(service)
        for engine in rig.world.cluster(service.name).engines.values():
            actions.crash(rig.world.cluster(service.name), engine.member, rig.world.now, "its disk is gone")
            engine.data, engine.branch = Data.NONE, None
        rig.world.power_off(host, "a test")
        slot = rig.world.slots_of(other.id)[0]  # an untouched one: only its row says that it is gone
        rig.world.hosts.power[slot] = hosts.GONE
        rig.world.hosts.agent[slot] = False
        assert losses.without_data(rig.world, rig.committed).tolist() == [other.id]
        await rig.until(lambda: rig.committed.get(service.id).state == "unavailable")
        await pass_time(120)

    _, result = day(disks_die, scenario)
    assert result.without_data == 2
    assert (result.not_well, result.lost_beyond_bound) == (0, 0)
    assert result.well_ms is not None


def test_a_service_that_nobody_heals_is_not_well_though_a_page_says_for_how_long():
    async def main():
        rig = await Rig().open()
        service = rig.of_plan("dev")
        await pass_time(2)
        rig.world.mood.down = True
        rig.world.power_off(rig.host(service), "a test")
        await rig.until(
            lambda: any(
                page.data["reason"] == "primary_uncertain_long" for page in rig.committed.open_pages(service.id)
            )
        )
        found = losses.not_well(rig.committed, np.empty(0, np.uint32))
        excused = losses.not_well(rig.committed, np.array([service.id], np.uint32))
        await rig.propose(lambda _: [Input(service.id, "blocked")])
        told = losses.not_well(rig.committed, np.empty(0, np.uint32))
        await rig.close()
        return found, excused, told, service.name

    found, excused, told, name = run(main)
    assert (found.left, found.paged, found.names) == (1, 0, (f"{name} is uncertain",))
    assert (excused.left, told.left, told.paged) == (0, 0, 1)


def test_pages_are_told_with_their_reason_and_how_many_they_speak_for():
    async def paged(rig):
        service = rig.of_plan("dev")
        await rig.propose(lambda _: [Input(service.id, "blocked")])
        await rig.propose(lambda _: [Input(service.id, "blocked")])
        rig.name = service.name
        await pass_time(1)

    rig, result = day(paged)
    page = next(page for page in result.pages if page.reason == "failover_blocked")
    assert (page.scope, page.units, page.delivered_ms) == (rig.name, 1, page.at_ms)
    assert result.counts["drill.pages"] == len(result.pages)
    assert len(result.pages) == result.counts["page.create"]


def test_a_pager_is_late_for_its_share_and_holds_pages_until_it_returns():
    start = WELL.start_ms
    late = Event(start, What.DELAY, Scope("pager"), share=0.333, until_ms=start + 3_600_000, delay_s=720)
    down = Event(start + 7_200_000, What.DOWN, Scope("pager"), until_ms=start + 9_000_000)
    gone = Event(start + 10_000_000, What.DOWN, Scope("pager"))
    scenario = replace(WELL, events=(late, down, gone))
    pager = Pager(scenario, seed=1)
    delays = Counter(pager.passes_on(start + i) - start - i for i in range(1000))
    assert set(delays) == {0, 720_000}
    assert 280 < delays[720_000] < 390
    assert pager.passes_on(start + 4_000_000) == start + 4_000_000
    assert pager.passes_on(down.at_ms) == pager.passes_on(down.until_ms - 1) == down.until_ms
    assert pager.passes_on(gone.at_ms) is None
    again = Pager(scenario, seed=1)
    assert delays == Counter(again.passes_on(start + i) - start - i for i in range(1000))


def test_remedies_that_wait_for_a_dependency_are_told_with_how_long_and_when_they_could_begin():
    async def parked(rig):
        service, store = rig.of_plan("standard"), rig.committed.named("dependency", "object-store:all")
        facts = {"parked": 2, "parked_by": store.id, "parked_kind": "rebuild", "parked_ms": rig.observer._clock_ms()}
        await rig.propose(lambda _: [Input(service.id, "parked", facts)])
        assert rig.observer.remedies.waiting == 1
        await pass_time(60)
        if rig.observer.remedies.waiting:
            await rig.propose(lambda _: [Input(service.id, "unparked", {"parked": 0, "parked_by": 0})])
        rig.freed_ms = rig.observer._clock_ms()

    rig, result = day(parked)
    row = next(each for each in result.parked if each.what == "rebuilds")
    assert (row.why, row.count) == ("object-store:all", 1)
    assert row.drained_ms is not None
    assert row.drained_ms <= rig.freed_ms


def test_a_host_that_was_not_booted_anew_within_the_window_is_told():
    start = WELL.start_ms
    order = Event(start + 10_000, What.REBOOT, Scope("fleet"), until_ms=start + 90_000, image="new")

    async def all_but_two(rig):
        await rig.until_ms(order.at_ms + 5_000)
        world = rig.world
        size = len(world.hosts.ids)
        world.hosts.incarnation[: size - 2] += 1
        await rig.until_ms(order.until_ms + 5_000)
        world.hosts.incarnation[:size] += 1  # too late

    _, result = day(all_but_two, replace(WELL, events=(order,)))
    assert result.not_rebooted == 2


def test_what_is_destroyed_while_the_archive_is_down_is_told():
    outage = Event(WELL.start_ms, What.DOWN, Scope("object_store", "reads"), until_ms=WELL.start_ms + 60_000)

    async def destroyed(rig):
        await rig.plane.control.create_service(engine="postgres", name="short-lived", plan="dev")
        await rig.plane.control.wait("short-lived", "available", 60)
        await rig.plane.control.destroy_service("short-lived", "short-lived")
        await rig.until(lambda: rig.observer.moves.counts().get("member.trashed"))

    _, result = day(destroyed, replace(WELL, events=(outage,)))
    assert result.destroyed_while_blind >= 1
    _, quiet = day(destroyed)
    assert quiet.destroyed_while_blind == 0


def test_a_controller_that_is_killed_and_started_again_is_watched_on():
    async def killed(rig):
        first = rig.plane
        await rig.restarted()
        assert rig.plane is not first
        rig.observer.begin(rig.plane)
        await pass_time(20)
        await a_dead_engine(rig)

    rig, result = day(killed)
    assert result.transitions == len(rig.log)
    assert result.effects_done >= result.effects_needed > 0
    units = {where: count for where, count in rig.states.items() if where[0] in result.timeline.states}
    last = {(k, s): v[-1] for k, states in result.timeline.states.items() for s, v in states.items() if v[-1]}
    assert last == units


def test_the_same_seed_gives_the_same_result_but_for_the_walls_clock():
    def simulated(result):
        return replace(result, wall_s=0.0, peak_rss_mb=0.0)

    assert simulated(day(a_dead_engine)[1]) == simulated(day(a_dead_engine)[1])


def test_progress_is_told_in_words_and_figures_and_what_is_measured_is_measured():
    rig, result = day(a_dead_engine)
    last = rig.told[-1]
    assert (last.services, last.moves, last.pages) == (SERVICES, result.transitions, len(result.pages))
    assert last.states["service"]["available"] == SERVICES
    assert result.log_bytes > 24 * result.transitions
    assert 34 <= result.machine_bytes / result.machines < 200
    assert (result.projection_lag_moves, result.projection_lag_s, result.wall_s) == (3, 0.5, 2.0)
    assert len(result.trace_sha256) == 64
    assert result.hand.hours >= 0
