"""What came of a drill: frozen facts, and the JSON that `herder drill --json` prints. Fields are added, never renamed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from herder.sim.drill.manual import ByHand
from herder.sim.drill.scenario import Measure, Scenario, Wanted


@dataclass(frozen=True, slots=True)
class Remedies:
    """One kind of playbook. begun = ended_well + needed_a_person + others that gave way or were still open."""

    kind: str
    begun: int
    ended_well: int
    needed_a_person: int


@dataclass(frozen=True, slots=True)
class Parked:
    """Remedies that waited for a dependency. longest_s: the one that waited longest; drained_ms: when the last one could
    begin, None while some still wait.
    """

    what: str
    why: str
    count: int
    longest_s: float
    drained_ms: int | None


@dataclass(frozen=True, slots=True)
class PageSent:
    """One page. delivered_ms: when the pager had passed it on, None when it never did. units: how many it speaks for."""

    at_ms: int
    delivered_ms: int | None
    reason: str
    scope: str
    units: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """A promise made at made_ms that all would be well at end_ms; late_ms: at the latest, 0 = not known."""

    made_ms: int
    end_ms: int
    late_ms: int = 0


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit of the recovery. busy_s: virtual seconds that it was used up while somebody waited for it.

    setting: where it is set ('fleet.provider.launches_per_s'), '' where it cannot be.
    """

    name: str
    busy_s: float
    allowed: str
    setting: str = ""


@dataclass(frozen=True, slots=True)
class Timeline:
    """Samples of the day, all of the same length as at_ms (ms of the epoch, ascending, not necessarily even).

    states: kind of unit -> state -> how many. unavailable: 'engine plan' -> services that did not take writes.
    backlog: what waits -> how many. bytes_waiting: log that is not archived yet. to_recover, recovered: units of all
    incidents so far.
    """

    at_ms: tuple[int, ...]
    states: Mapping[str, Mapping[str, tuple[int, ...]]]
    unavailable: Mapping[str, tuple[int, ...]]
    backlog: Mapping[str, tuple[int, ...]]
    bytes_waiting: tuple[int, ...] = ()
    to_recover: tuple[int, ...] = ()
    recovered: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        series = [
            *self.unavailable.values(),
            *self.backlog.values(),
            *(s for kind in self.states.values() for s in kind.values()),
        ]
        series += [each for each in (self.bytes_waiting, self.to_recover, self.recovered) if each]
        assert all(len(each) == len(self.at_ms) for each in series), "a series has a sample for each moment"


@dataclass(frozen=True, slots=True)
class Verdict:
    """An assertion of the scenario and what came out."""

    wanted: Wanted
    value: float | None

    @property
    def ok(self) -> bool:
        """Does it hold?"""
        return self.wanted.holds(self.value)

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        return {"assertion": str(self.wanted), "measure": str(self.wanted.measure), "value": self.value, "ok": self.ok}


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillResult:
    """Everything that the run found out. *_s: seconds, virtual but for wall_s.

    amplification = effects_done / effects_needed. well_ms: when the last service was well, None = not within the day.
    counts: "kind.event" -> committed moves. ended_early: why the day was not run to its end, '' when it was.
    crashed: errors of herder's own code that nobody foresaw; the notes name them.
    """

    scenario: Scenario
    seed: int
    store: str
    services: int
    machines: int
    wall_s: float
    peak_rss_mb: float
    trace_sha256: str
    transitions: int
    units_touched: int
    effects_done: int
    effects_needed: int
    lost_premium: int
    lost_beyond_bound: int
    two_primaries: int
    wrong_promotions: int
    not_well: int
    destroyed_while_blind: int
    without_data: int
    not_rebooted: int
    lost_async_writes: int
    well_ms: int | None
    projection_lag_moves: int
    projection_lag_s: float
    log_bytes: int
    machine_bytes: int
    hand: ByHand
    timeline: Timeline
    remedies: tuple[Remedies, ...] = ()
    parked: tuple[Parked, ...] = ()
    pages: tuple[PageSent, ...] = ()
    forecasts: tuple[Forecast, ...] = ()
    limits: tuple[Limit, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    ended_early: str = ""
    crashed: int = 0

    @property
    def amplification(self) -> float | None:
        """Effects done for each that was needed; None when none was."""
        return round(self.effects_done / self.effects_needed, 4) if self.effects_needed else None

    @property
    def well_after_s(self) -> float | None:
        """From the scenario's measured moment; 0 when all were well before it."""
        if self.well_ms is None:
            return None
        return max(0.0, (self.well_ms - self.scenario.measured_ms) / 1000)

    @property
    def needed_a_person(self) -> int:
        """Remedies that automation could not end."""
        return sum(each.needed_a_person for each in self.remedies)

    @property
    def bottleneck(self) -> Limit | None:
        """The limit that was busy longest; None when nothing ever waited."""
        busiest = max(self.limits, key=lambda limit: limit.busy_s, default=None)
        return busiest if busiest is not None and busiest.busy_s > 0 else None

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """What the scenario wanted, held against what was measured."""
        return tuple(Verdict(wanted, self.value(wanted.measure)) for wanted in self.scenario.wanted)

    @property
    def passed(self) -> bool:
        """Everything that was wanted holds, the day was run to its end, and nothing of herder's own crashed."""
        return not self.ended_early and not self.crashed and all(verdict.ok for verdict in self.verdicts)

    def value(self, measure: Measure) -> float | None:
        """The number behind a measure; None when there is none."""
        found = len(self.pages) if measure is Measure.PAGES else getattr(self, str(measure))
        return None if found is None else float(found)

    def facts(self) -> dict[str, Any]:
        """As JSON: the flat figures first, then the tables, then the series."""
        bottleneck = self.bottleneck
        return {
            "scenario": self.scenario.name, "title": self.scenario.title, "seed": self.seed, "store": self.store,
            "services": self.services, "pulse_s": self.scenario.fleet.pulse_s, "machines": self.machines, "wall_s": round(self.wall_s, 2),
            "peak_rss_mb": round(self.peak_rss_mb, 1), "trace_sha256": self.trace_sha256,
            "transitions": self.transitions, "transitions_per_s": _per(self.transitions, self.wall_s),
            "units_touched": self.units_touched, "pages": len(self.pages),
            "lost_premium": self.lost_premium, "lost_beyond_bound": self.lost_beyond_bound,
            "lost_async_writes": self.lost_async_writes, "two_primaries": self.two_primaries,
            "wrong_promotions": self.wrong_promotions, "not_well": self.not_well, "without_data": self.without_data,
            "not_rebooted": self.not_rebooted, "destroyed_while_blind": self.destroyed_while_blind,
            "amplification": self.amplification, "effects_done": self.effects_done, "effects_needed": self.effects_needed,
            "well_after_s": self.well_after_s, "well_ms": self.well_ms, "needed_a_person": self.needed_a_person,
            "manual_person_years": round(self.hand.person_years, 2),
            "original_person_years": self.hand.original_person_years,
            "projection_lag_moves": self.projection_lag_moves, "projection_lag_s": round(self.projection_lag_s, 3),
            "log_bytes_per_move": _per(self.log_bytes, self.transitions),
            "bytes_per_machine": _per(self.machine_bytes, self.machines),
            "bottleneck": asdict(bottleneck) if bottleneck else None, "passed": self.passed,
            "ended_early": self.ended_early, "crashed": self.crashed, "wanted": [verdict.facts() for verdict in self.verdicts],
            "remedies": [asdict(each) for each in self.remedies], "parked": [asdict(each) for each in self.parked],
            "pages_sent": [asdict(each) for each in self.pages], "forecasts": [asdict(each) for each in self.forecasts],
            "limits": [asdict(each) for each in self.limits], "by_hand": _hand(self.hand), "counts": dict(self.counts),
            "notes": list(self.notes),
            "clock": {"start_ms": self.scenario.start_ms, "end_ms": self.scenario.end_ms,
                      "measured_ms": self.scenario.measured_ms},
            "timeline": asdict(self.timeline),
        }  # fmt: skip


def _hand(hand: ByHand) -> dict[str, Any]:
    return {
        "lines": [asdict(line) | {"hours": round(line.hours, 1)} for line in hand.lines], "hours": round(hand.hours, 1),
        "hours_per_person_year": hand.hours_per_person_year, "person_years": round(hand.person_years, 2),
        "original_person_years": hand.original_person_years,
    }  # fmt: skip


def _per(amount: float, each: float) -> float | None:
    return round(amount / each, 1) if each else None
