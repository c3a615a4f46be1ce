"""Scenario files: those that come with herder by name, and a user's own by path. Wrong ones name line and key."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from datetime import time as time_of_day
from importlib.resources import files
from pathlib import Path

from herder.model.errors import NotFound
from herder.model.plans import PLANS, Engine
from herder.sim.drill.scenario import (
    PARTS,
    PER,
    RULES,
    ArchiveLimits,
    Direction,
    Event,
    Fleet,
    Measure,
    PlanShare,
    ProviderLimits,
    Rate,
    Scenario,
    Scope,
    Wanted,
    What,
    ZoneShare,
)
from herder.sim.drill.toml import Section, document, said

SUFFIX = ".toml"
MOST_SERVICES = 20_000_000
"""Above this the arrays do not fit the memory that drills are promised to run in."""

LONGEST_S = 7 * 86_400.0
_CLOCK = re.compile(r"^(\d{1,2}):(\d{2})(?::(\d{2}))?$")
_AFTER = re.compile(r"^\+(?:(\d{1,3}):)?(\d{1,3}):(\d{2})$")
_TIMES = 'write "17:37" (the day of the start), "+1:05:00" or "+05:30" (after the start), or 2017-02-28T17:37:00Z'
_OPTIONAL = ("until", "share", "spread_s", "return_s", "delay_s", "step_s", "direction", "image")


def names() -> list[str]:
    """The scenarios that come with herder, sorted."""
    found = (files(__package__) / "scenarios").iterdir()
    return sorted(entry.name.removesuffix(SUFFIX) for entry in found if entry.name.endswith(SUFFIX))


def text_of(name: str) -> str:
    """The file of one that comes with herder. NotFound otherwise."""
    if name not in names():
        raise NotFound(
            f"there is no scenario '{name}'",
            f"choose one of: {', '.join(names())}; or name a file that ends with .toml",
        )
    return (files(__package__) / "scenarios" / f"{name}{SUFFIX}").read_text(encoding="utf-8")


def read(name_or_path: str) -> Scenario:
    """A scenario by its name, or from a file. InvalidInput, NotFound."""
    if not name_or_path.endswith(SUFFIX) and "/" not in name_or_path:
        return parse(text_of(name_or_path), name_or_path)
    try:
        path = Path(name_or_path).expanduser()
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError, RuntimeError) as problem:  # the last two: not UTF-8, a path or a home that cannot be
        raise NotFound(
            f"{name_or_path} cannot be read: {problem}", "`herder drill NAME --copy FILE` writes one"
        ) from None
    return parse(text, path.stem, str(path))


def parse(text: str, name: str, file: str = "") -> Scenario:
    """The scenario in this text. file: how errors call it."""
    root = document(text, file or f"{name}{SUFFIX}")
    clock = root.section("clock")
    start = _moment(clock, "start", None)
    end = _moment(clock, "end", start)
    if not start < end <= start + LONGEST_S * 1000:
        clock.wrong("end", "is not after the start and within a week of it", _TIMES)
    measured = _moment(clock, "measured_from", start) if clock.has("measured_from") else start
    if not start <= measured < end:
        clock.wrong("measured_from", "is not between start and end", _TIMES)
    clock.end()
    fleet = _fleet(root.section("fleet"))
    zones = [zone.name for zone in fleet.zones]
    events = tuple(_event(each, start, end, zones) for each in root.each("event"))
    made = Scenario(
        name=name, title=root.text("title"), story=root.text("story"), source=root.text("source", ""),
        seed=root.whole("seed", 1), start_ms=start, end_ms=end, measured_ms=measured, fleet=fleet,
        rates=_rates(root.section("rates", optional=True)), events=tuple(sorted(events, key=lambda event: event.at_ms)),
        wanted=tuple(_wanted(each) for each in root.each("wanted", least=1)),
    )  # fmt: skip
    root.end()
    return made


def _fleet(section: Section) -> Fleet:
    plans = tuple(_plan(each) for each in section.each("plan", least=1))
    zones = tuple(_zone(each) for each in section.each("zone", least=1))
    _whole_one(section, "plan", [plan.share for plan in plans])
    _whole_one(section, "zone", [zone.share for zone in zones])
    if len({zone.name for zone in zones}) < len(zones):
        section.wrong("zone", "has a name twice", "each zone needs a name of its own")
    services = section.whole("services", 100_000, least=1)
    if services > MOST_SERVICES:
        section.wrong("services", f"is {services:,}", f"at most {MOST_SERVICES:,} fit")
    fleet = Fleet(
        services=services, plans=plans, zones=zones, pulse_s=section.number("pulse_s", 1.0, least=0.1, most=60),
        provider=provider_limits(section.section("provider", optional=True)),
        archive=_archive(section.section("archive", optional=True)),
    )  # fmt: skip
    section.end()
    return fleet


def _plan(section: Section) -> PlanShare:
    made = PlanShare(
        Engine(section.choice("engine", tuple(Engine), Engine.POSTGRES)),
        section.choice("plan", tuple(PLANS)),
        section.number("share", most=1),
    )
    section.end()
    return made


def _zone(section: Section) -> ZoneShare:
    made = ZoneShare(section.text("name"), section.number("share", most=1))
    section.end()
    return made


def _whole_one(section: Section, key: str, shares: Sequence[float]) -> None:
    total = math.fsum(shares)
    if abs(total - 1) > 0.001:
        section.wrong(key, f"shares add up to {total:g}", "make them add up to 1")


def provider_limits(section: Section) -> ProviderLimits:
    """[fleet.provider]; what is left out has its default."""
    usual = ProviderLimits()
    made = ProviderLimits(
        launches_per_s=section.number("launches_per_s", usual.launches_per_s, least=0.001),
        launches_at_once=section.whole("launches_at_once", usual.launches_at_once, least=1),
        launch_s=section.number("launch_s", usual.launch_s), boots_per_s=section.number("boots_per_s", usual.boots_per_s, least=0.001),
        boot_s=section.number("boot_s", usual.boot_s),
    )  # fmt: skip
    section.end()
    return made


def _archive(section: Section) -> ArchiveLimits:
    usual = ArchiveLimits()
    made = ArchiveLimits(
        wal_bytes_per_s=section.number("wal_bytes_per_s", usual.wal_bytes_per_s),
        buffer_bytes=section.number("buffer_bytes", usual.buffer_bytes, least=1),
        drain_bytes_per_s=section.number("drain_bytes_per_s", usual.drain_bytes_per_s, least=1),
        drains_per_s=section.number("drains_per_s", usual.drains_per_s, least=0.001),
    )
    section.end()
    return made


def _rates(section: Section) -> tuple[Rate, ...]:
    made = []
    for name in PER:
        if not section.has(name):
            section.known.add(name)
            continue
        each = section.section(name)
        per = PER[name][0]
        most = 1.0 if PER[name][1] == 1.0 else None
        made.append(Rate(name, each.number("value", most=most), each.text("source")))
        each.choice("per", (per,), per)
        each.end()
    section.end()
    return tuple(made)


def _event(section: Section, start: int, end: int, zones: Sequence[str]) -> Event:
    what = What(section.choice("what", tuple(What)))
    rule = RULES[what]
    scope = _scope(section, rule.scopes, zones)
    at = _moment(section, "at", start)
    if not start <= at <= end:
        section.wrong("at", "is not between the clock's start and end", _TIMES)
    for key in _OPTIONAL:
        section.known.add(key)
        if key in rule.needs and not section.has(key):
            section.wrong(key, f"is missing: what = '{what}' needs it", f"{what}: {rule.doc}")
        if section.has(key) and key not in (*rule.needs, *rule.may):
            section.wrong(key, f"means nothing where what = '{what}'", "leave it out")
    until = _moment(section, "until", start) if section.has("until") else None
    if until is not None and until <= at:
        section.wrong("until", "is not after `at`", _TIMES)
    share = section.number("share", 1.0, most=1.0)
    if share == 0:
        section.wrong("share", "is 0: it would strike nobody", "write more than 0, at most 1")
    made = Event(
        at_ms=at, what=what, scope=scope, share=share, until_ms=until,
        spread_s=section.number("spread_s", 0.0), return_s=section.number("return_s", 0.0),
        delay_s=section.number("delay_s", 0.0), step_s=section.number("step_s", 0.0, least=-LONGEST_S, most=LONGEST_S),
        direction=Direction(section.choice("direction", tuple(Direction), Direction.BOTH)),
        image=section.text("image", ""), note=section.text("note", ""),
    )  # fmt: skip
    section.end()
    return made


def _scope(section: Section, kinds: Sequence[str], zones: Sequence[str]) -> Scope:
    text = section.text("scope")
    kind, _, name = text.partition(":")
    if kind not in kinds:
        section.wrong("scope", f"is '{text}'", f"for this write one of: {', '.join(_spelt(kinds, zones))}")
    allowed = zones if kind == "zone" else ("", *PARTS[kind])
    if name not in allowed:
        section.wrong("scope", f"is '{text}'", f"this file knows: {', '.join(_spelt([kind], zones))}")
    return Scope(kind, name)


def _spelt(kinds: Sequence[str], zones: Sequence[str]) -> list[str]:
    found: list[str] = []
    for kind in kinds:
        if kind == "zone":
            found += [f"zone:{zone}" for zone in zones]
        else:
            found += [kind, *(f"{kind}:{part}" for part in PARTS[kind])]
    return found


def _wanted(section: Section) -> Wanted:
    measure = Measure(section.choice("measure", tuple(Measure)))
    most = section.number("at_most") if section.has("at_most") else None
    least = section.number("at_least") if section.has("at_least") else None
    section.known.update({"at_most", "at_least"})
    if most is None and least is None:
        section.wrong("measure", "has no bound", "add at_most or at_least")
    section.end()
    return Wanted(measure, most, least)


def _moment(section: Section, key: str, start_ms: int | None) -> int:
    """Milliseconds of the epoch. start_ms: of the clock, None while that itself is read."""
    value = section.get(key)
    if isinstance(value, datetime):
        if value.tzinfo is None:
            section.wrong(key, "has no time zone", f"write {value.isoformat()}Z for UTC")
        if not 1970 <= value.year < 9000:  # a day later must still be a date
            section.wrong(key, f"is in the year {value.year}", "write one from 1970 on")
        return round(value.timestamp() * 1000)
    if start_ms is None:
        section.wrong(key, f"is {said(value)}", "write a date and a time: 2017-02-28T17:30:00Z")
    start = datetime.fromtimestamp(start_ms / 1000, UTC)
    if isinstance(value, time_of_day):
        return round(datetime.combine(start.date(), value, UTC).timestamp() * 1000)
    if isinstance(value, str) and (after := _AFTER.match(value)):
        hours, minutes, seconds = (int(part or 0) for part in after.groups())
        return round((start + timedelta(hours=hours, minutes=minutes, seconds=seconds)).timestamp() * 1000)
    if isinstance(value, str) and (clock := _CLOCK.match(value)):
        hour, minute, second = (int(part or 0) for part in clock.groups())
        if hour < 24 and minute < 60 and second < 60:
            at = time_of_day(hour, minute, second)
            return round(datetime.combine(start.date(), at, UTC).timestamp() * 1000)
    return section.wrong(key, f"is {said(value)}", _TIMES)
