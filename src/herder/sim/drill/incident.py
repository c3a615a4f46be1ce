"""A scenario out of a real log: an incident (or a page) with what fell, when, for how long, and what was down meanwhile.

The log tells states, not causes: a server that was silent and came back was frozen or cut off, one whose provider said that
nothing ran had lost power, one that never came back had died. What was read is written into the scenario's notes.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from herder.model.errors import InvalidInput, NotFound
from herder.sim.drill import inventory, reading
from herder.sim.drill.scenario import PARTS, RULES, Event, Measure, Scenario, Scope, Wanted, What
from herder.sim.drill.words import clock, counted, day, lasted

Facts = Mapping[str, Any]

KINDS = ("incident", "page")
BEFORE_MS = 2 * 60_000
"""What a page or an incident tells of began before it was told."""

AFTER_MS = 10 * 60_000
ENDED = ("over", "aborted", "resolved")
FELL = frozenset({"silent", "silent_long", "gone", "fenced"})
BACK = frozenset({"heard", "up"})
LEAST_SPREAD_S = 1.0


@dataclass(slots=True)
class Fall:
    """One server's trouble. back_ms: None = not within the log. known_dead: its provider or a fence said so. started: herder
    started it again, it did not come back by itself.
    """

    server: str
    at_ms: int
    back_ms: int | None = None
    known_dead: bool = False
    started: bool = False


def scenario_from(
    events: Sequence[Facts], incident: str, services: Sequence[Facts] = (), servers: Sequence[Facts] = ()
) -> Scenario:
    """Pure. events: as `GET /v1/events`, oldest first; services, servers: as the API lists them, for the fleet's shape.

    The seed is made from the rows, so that the same incident is the same drill. NotFound, InvalidInput.
    """
    first, last = _window(events, incident)
    within = [row for row in events if first - BEFORE_MS <= row["at_ms"] <= last]
    zones = {str(each["id"]): str(each.get("zone") or inventory.ONE_ZONE) for each in servers}
    happened = [*_servers(within, zones), *_dependencies(within, last)]
    if not happened:
        raise InvalidInput(
            f"nothing fell around {incident} that a drill could repeat",
            "choose an incident in which servers or dependencies went down",
        )
    start = min(event.at_ms for event in happened) - BEFORE_MS
    ends = max([last, *(event.until_ms or event.at_ms for event in happened)])
    made = replace(
        reading.read("zone-loss"), name=incident, title=f"{incident} of {day(first)}, again", story=_story(incident, happened, within),
        source="the event log", seed=_seed(within), start_ms=start, end_ms=ends + 3 * 3_600_000, measured_ms=ends,
        events=tuple(sorted(happened, key=lambda event: event.at_ms)), wanted=_wanted(),
    )  # fmt: skip
    if services:
        shape = inventory.from_answers(services, servers, "the control plane that had it")
        fleet = inventory.applied(replace(made, events=()), shape)[0].fleet
        made = replace(made, fleet=fleet)
    else:
        zoned = {event.scope.name for event in happened if event.scope.kind == "zone"}
        made = replace(made, events=tuple(_anywhere(event) for event in made.events)) if zoned else made
    return made


def _window(events: Sequence[Facts], incident: str) -> tuple[int, int]:
    """From its first row to its last; AFTER_MS more where the log ends while it is open."""
    rows = [row for row in events if row["kind"] in KINDS and row["name"] == incident]
    if not rows:
        known = list(dict.fromkeys(str(row["name"]) for row in events if row["kind"] in KINDS))[-5:]
        raise NotFound(
            f"the log has no incident '{incident}'",
            f"the last ones are: {', '.join(known)}" if known else "there was none yet",
        )
    last = int(rows[-1]["at_ms"])
    return int(rows[0]["at_ms"]), last if rows[-1]["target"] in ENDED else last + AFTER_MS


def _servers(rows: Sequence[Facts], zones: Mapping[str, str]) -> list[Event]:
    """Falls of one zone and sort become one event with a share; the order within it is a spread."""
    groups: dict[tuple[str, What], list[Fall]] = {}
    for fall in _falls(rows):
        zone = zones.get(fall.server, inventory.ONE_ZONE)
        groups.setdefault((zone, _sort(fall)), []).append(fall)
    sizes = Counter(zones.values())
    return [_struck(zone, what, falls, sizes.get(zone, 0)) for (zone, what), falls in groups.items()]


def _falls(rows: Sequence[Facts]) -> list[Fall]:
    open_now: dict[str, Fall] = {}
    found: list[Fall] = []
    for row in rows:
        if row["kind"] != "server":
            continue
        name, event = str(row["name"]), str(row["event"])
        if event in FELL:
            fall = open_now.get(name)
            if fall is None:
                fall = open_now[name] = Fall(name, int(row["at_ms"]))
                found.append(fall)
            fall.known_dead = fall.known_dead or event in {"gone", "fenced"}
        elif event in BACK and name in open_now:
            fall = open_now.pop(name)
            fall.back_ms, fall.started = int(row["at_ms"]), event == "up"
    return found


def _sort(fall: Fall) -> What:
    if fall.back_ms is None:
        return What.DIE
    return What.POWER_OFF if fall.known_dead else What.FREEZE


def _struck(zone: str, what: What, falls: Sequence[Fall], servers: int) -> Event:
    first = min(fall.at_ms for fall in falls)
    spread = (max(fall.at_ms for fall in falls) - first) / 1000
    backs = [fall.back_ms for fall in falls if fall.back_ms is not None]
    until = max(backs, default=None)
    if what is What.POWER_OFF and all(fall.started for fall in falls):
        what = What.HALT  # none came back by itself: there was power, and they only had to be started
    share = min(1.0, len(falls) / servers) if servers else 1.0
    scope = Scope("fleet") if zone == inventory.ONE_ZONE and not servers else Scope("zone", zone)
    came = f", back within {lasted((max(backs) - min(backs)) / 1000)}" if len(backs) > 1 else ""
    return Event(
        at_ms=first, what=what, scope=scope, share=round(share, 6), until_ms=until if "until" in RULES[what].needs else None,
        spread_s=spread if spread >= LEAST_SPREAD_S else 0.0,
        return_s=(max(backs) - min(backs)) / 1000 if what is What.POWER_OFF and backs else 0.0,
        note=f"{counted(len(falls), 'server')} in the log{came}",
    )  # fmt: skip


def _dependencies(rows: Sequence[Facts], last: int) -> list[Event]:
    """From the first failing call to the first answer; one that did not come back is down to the end."""
    down: dict[str, int] = {}
    found: list[Event] = []
    for row in rows:
        if row["kind"] != "dependency":
            continue
        name, target = str(row["name"]), row["target"]
        if target in {"uncertain", "unavailable"}:
            down.setdefault(name, int(row["at_ms"]))
        elif name in down:
            found += _down(name, down.pop(name), int(row["at_ms"]))
    for name, since in down.items():
        found += _down(name, since, last)
    return found


def _down(name: str, since: int, until: int) -> list[Event]:
    """A dependency is named for its sort (`provider:local` is a provider); a zone that is one is told by its servers."""
    kind = name.partition(":")[0].replace("-", "_")
    if kind not in PARTS or kind in {"zone", "fleet", "controller"} or until <= since:
        return []
    return [Event(at_ms=since, what=What.DOWN, scope=Scope(kind), until_ms=until, note=f"{name} in the log")]


def _anywhere(event: Event) -> Event:
    """Without the fleet's shape no zone is known."""
    return replace(event, scope=Scope("fleet")) if event.scope.kind == "zone" else event


def _seed(rows: Sequence[Facts]) -> int:
    told = "\n".join(f"{row['seq']} {row['kind']} {row['name']} {row['event']}" for row in rows)
    return int.from_bytes(hashlib.sha256(told.encode()).digest()[:4], "big")


def _wanted() -> tuple[Wanted, ...]:
    none = (
        Measure.LOST_PREMIUM,
        Measure.LOST_BEYOND_BOUND,
        Measure.TWO_PRIMARIES,
        Measure.WRONG_PROMOTIONS,
        Measure.NOT_WELL,
    )
    return (*(Wanted(measure, at_most=0) for measure in none), Wanted(Measure.WELL_AFTER_S, at_most=3600))


def _story(incident: str, happened: Sequence[Event], rows: Sequence[Facts]) -> str:
    moved = Counter(str(row["kind"]) for row in rows)
    parts = [
        f"from {clock(event.at_ms)} {event.what.replace('_', ' ')} of {event.scope} ({event.note})"
        for event in happened
    ]
    touched = ", ".join(f"{count:,} of {kind}" for kind, count in sorted(moved.items()))
    return f"Made from {incident} of a real log: {'; '.join(parts)}. The log has these moves of that time: {touched}."
