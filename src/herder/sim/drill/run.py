"""Running a day: the production engine over a simulated fleet. What goes in, what is told on the way, what comes out."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

from herder.engine.follower import Lag
from herder.ports.store import Store
from herder.sim import clock
from herder.sim.crashes import Crashes
from herder.sim.drill.day import FLOOR_BEATS, Day
from herder.sim.drill.observer import Ended, Observer
from herder.sim.drill.result import DrillResult
from herder.sim.drill.scenario import Event, What
from herder.sim.drill.types import Drill, OnProgress
from herder.sim.fleet import FleetWorld
from herder.sim.pace import Pace
from herder.sim.store import PacedStore

IN_MEMORY = "memory"
SERVICES_A_BEAT = 33_000
"""Services a second that the fleet's pulse may tell of. A larger fleet beats more slowly, and each drill of one says so."""

STEP_S = 5.0
SWITCH_S = 0.0005
"""How long the store's thread may keep the simulation waiting for the interpreter; Python's 5 ms add up."""

CALM_S = 120.0
"""The day ends early when everything has been well for so long after its last event."""


def run_drill(drill: Drill, on_progress: OnProgress) -> DrillResult:
    """Run the day to its end, or until everything is well and nothing more is to happen. Same seed, same trace."""
    store = _Opened(drill)
    turns_s = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    try:
        with Crashes() as crashes, clock.seldom_collected():
            result = clock.run(lambda: _live(drill, store, on_progress))
        told = tuple(f"Herder's own code failed: {words}" for words in dict.fromkeys(crashes.told))
        return replace(result, crashed=len(crashes.told), notes=told + result.notes)
    finally:
        sys.setswitchinterval(turns_s)
        store.close()


def _last_ms(event: Event) -> int:
    """When it is over. An order is over when it is done, and then everything is well."""
    return event.at_ms if event.what is What.REBOOT or event.until_ms is None else event.until_ms


class _Opened:
    """The day's store. One that really waits (a server) lives in a thread of its own, at a virtual pace."""

    def __init__(self, drill: Drill) -> None:
        self._stack = AsyncExitStack()
        self._paced: PacedStore | None = None
        self._store: Any = None
        self._drill = drill
        if drill.store_name != IN_MEMORY:
            self._paced = PacedStore(self._enter)

    async def _enter(self) -> Store:
        self._store = await self._stack.enter_async_context(
            self._drill.store(clock.SimClock(self._drill.scenario.start_ms))
        )
        return _Kept(self._store, self._stack)

    async def store(self) -> Any:
        """What the controllers commit to."""
        return self._paced if self._paced is not None else await self._enter()

    def close(self) -> None:
        """Whatever happened: nothing of it is left running."""
        if self._paced is not None:
            self._paced.end()


class _Kept:
    """A store whose end is that of everything that was opened for it."""

    def __init__(self, store: Store, stack: AsyncExitStack) -> None:
        self._store = store
        self._stack = stack

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def close(self) -> None:
        """Close all of it."""
        await self._stack.aclose()


def stretched(asked_s: float, services: int) -> tuple[float, str]:
    """Seconds between two frames of a host, and why that is longer than the scenario asks for; '' when it is not."""
    pulse_s = max(asked_s, services / SERVICES_A_BEAT)
    if pulse_s <= asked_s:
        return pulse_s, ""
    return pulse_s, (
        f"The pulse is stretched: a host is heard every {pulse_s:.3g} s and not every {asked_s:g} s, since this one process plays "
        f"the hosts as well and tells of {SERVICES_A_BEAT:,} services a second. Patience with silence is in beats, so what "
        f"falls is noticed after {FLOOR_BEATS * pulse_s:.3g} s instead of {FLOOR_BEATS * asked_s:.3g} s, and everything that "
        "follows from silence comes that much later than in a real fleet of this size."
    )


async def _live(drill: Drill, opened: _Opened, on_progress: OnProgress) -> DrillResult:
    began = time.perf_counter()
    scenario = drill.scenario
    pulse_s, why = stretched(scenario.fleet.pulse_s, drill.services)
    scenario = replace(scenario, fleet=replace(scenario.fleet, pulse_s=pulse_s))
    limits = scenario.fleet.provider
    world = FleetWorld(
        drill.seed, store=await opened.store(), start_ms=scenario.start_ms, pulse_interval_s=pulse_s,
        pace=Pace(launch=limits.launch_s, boot=limits.boot_s),
    )  # fmt: skip
    day = Day(scenario, drill.seed, world)
    controller = await world.controller("controller-a", **day.tuned())
    assert controller.plane is not None
    await day.make(controller.plane)
    observer = Observer(replace(drill, scenario=scenario), world, on_progress)
    day.say = observer.say
    going = day.begin()
    observer.begin(controller.plane)
    going.append(asyncio.create_task(observer.run()))
    end = world.now + scenario.seconds
    last_s = max(((_last_ms(event) - scenario.start_ms) / 1000 for event in scenario.events), default=0.0)
    while world.now < end:
        await asyncio.sleep(STEP_S)
        well = observer.well_ms is not None and observer.well_ms + CALM_S * 1000 < scenario.start_ms + world.now * 1000
        if well and world.now > last_s + CALM_S:
            break
    active = world.active
    lag = active.plane.shard.follower.lag() if active is not None and active.plane is not None else Lag(0, 0.0, 0)
    ended = Ended(
        wall_s=time.perf_counter() - began, lag_moves=lag.machines, lag_s=lag.seconds, notes=(why,) if why else ()
    )
    result = observer.result(ended)
    for task in going:
        task.cancel()
    await world.close()
    return result
