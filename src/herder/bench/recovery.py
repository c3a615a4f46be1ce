"""`herder bench recovery`: how long a lost zone and a drained backlog take, beside what the provider's rates alone would need.

The fleet, its hosts and its provider are simulated, the time is virtual; the engine, the governor and the remedies are the
production code. So seconds are the fleet's, and only `moves_per_s` is this machine's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from herder.bench.metrics import Anchor, Metric, metric, not_possible
from herder.sim.drill import manual, reading
from herder.sim.drill.result import DrillResult
from herder.sim.drill.run import IN_MEMORY, run_drill
from herder.sim.drill.scenario import Event, What
from herder.sim.drill.stores import STORES
from herder.sim.drill.types import Drill

Say = Callable[[str], None]
ZONE, BACKLOG = "thundering-return", "s3-2017"


@dataclass(frozen=True, slots=True)
class Found:
    """One day. seconds: from the moment that counts until the last service was well, None = it never was."""

    result: DrillResult
    seconds: float | None


def measure(services: int, seed: int, say: Say) -> list[Metric]:
    """A zone's hosts stop and are started again; then the archives' backlog after four hours without a store."""
    zone = _day(ZONE, services, seed, What.HALT, at_end=False)
    say(
        f"a zone of {services:,} services was well {zone.seconds} s after it was lost ({zone.result.wall_s:.0f} s of wall time)"
    )
    store = _day(BACKLOG, services, seed, What.DOWN, at_end=True)
    say(
        f"the archives of {services:,} services were well {store.seconds} s after the store ({store.result.wall_s:.0f} s of wall time)"
    )
    return [*_figures("zone", zone, _boots_s(zone.result)), *_figures("backlog", store, _drain_s(store.result))]


def _day(name: str, services: int, seed: int, what: What, *, at_end: bool) -> Found:
    """A scenario without the usual failures: they would be measured with it. at_end: what counts is the last event's end."""
    scenario = replace(reading.read(name).with_services(services), rates=())
    scenario = replace(scenario, events=tuple(map(_startable, scenario.events)))
    times = [
        event.until_ms or event.at_ms if at_end else event.at_ms for event in scenario.events if event.what is what
    ]
    drill = Drill(
        scenario=scenario, services=services, seed=seed, store=STORES[IN_MEMORY], store_name=IN_MEMORY, manual=manual.read()
    )  # fmt: skip
    result = run_drill(drill, lambda progress: None)
    counted_ms = max(times) if at_end else min(times)
    return Found(result, (result.well_ms - counted_ms) / 1000 if result.well_ms is not None else None)


def _startable(event: Event) -> Event:
    """Hosts without power come back by themselves, and that would be measured: here they wait for herder."""
    return replace(event, what=What.HALT, until_ms=None, return_s=0.0) if event.what is What.POWER_OFF else event


def _boots_s(result: DrillResult) -> Anchor:
    """What it takes to start the zone's hosts at the provider's rate."""
    limits = result.scenario.fleet.provider
    hosts = _begun(result, "server.boot")
    return Anchor(
        round(hosts / limits.starts_per_s + limits.boot_s, 2),
        f"{hosts:,} boots at {limits.starts_per_s:g}/s, and {limits.boot_s:g} s for the last",
    )


def _drain_s(result: DrillResult) -> Anchor:
    """What it takes to upload what was buffered while the store took no writes, at the rates that the fleet is held to."""
    scenario, archive = result.scenario, result.scenario.fleet.archive
    down_s = max((_down_s(event) for event in scenario.events if _stops_writes(event)), default=0.0)
    size = min(down_s * archive.wal_bytes_per_s, archive.buffer_bytes) * result.services
    seconds = max(size / archive.drain_bytes_per_s, result.services / archive.drains_per_s)
    return Anchor(
        round(seconds, 2),
        f"{size / 1e9:.0f} GB at {archive.drain_bytes_per_s / 1e9:g} GB/s, {archive.drains_per_s:g} services begun a second",
    )


def _stops_writes(event: Event) -> bool:
    return event.what is What.DOWN and str(event.scope) in ("object_store", "object_store:writes")


def _down_s(event: Event) -> float:
    return ((event.until_ms or event.at_ms) - event.at_ms) / 1000


def _begun(result: DrillResult, what: str) -> int:
    return int(result.counts.get(what, 0))


def _figures(kind: str, found: Found, limit: Anchor) -> list[Metric]:
    result, seconds = found.result, found.seconds
    remedies = sum(each.begun for each in result.remedies)
    if seconds is None:
        first = not_possible(
            f"{kind}.until_well_s", "s", f"{result.not_well} services were not well when the day ended"
        )
    else:
        first = metric(f"{kind}.until_well_s", "s", [seconds], anchor=limit, notes=["virtual time"])
    return [
        first,
        metric(f"{kind}.remedies_per_s", "1/s", [remedies / seconds if seconds else None], notes=[f"{remedies:,}, virtual time"]),
        metric(f"{kind}.pages", "pages", [float(len(result.pages))], notes=["goal: one an incident"]),
        metric(f"{kind}.amplification", "", [result.effects_done / max(result.effects_needed, 1)], anchor=Anchor(goal=1.1)),
        metric(f"{kind}.lost_premium", "services", [float(result.lost_premium)], anchor=Anchor(goal=0)),
        metric(f"{kind}.moves_per_s", "1/s", [result.transitions / max(result.wall_s, 1e-9)],
               notes=[f"{result.transitions:,} moves in {result.wall_s:.1f} s of wall time, the simulated fleet included"]),
    ]  # fmt: skip
