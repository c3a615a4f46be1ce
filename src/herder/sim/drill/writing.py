"""A scenario as TOML that a person can read and change; `reading.parse` gives the same scenario back."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import Any

from herder.sim.drill.scenario import PER, RULES, Event, Scenario


def to_toml(scenario: Scenario) -> str:
    """The whole file."""
    head = [("title", scenario.title), ("story", scenario.story), ("source", scenario.source), ("seed", scenario.seed)]
    blocks = [
        _pairs([(name, value) for name, value in head if value != ""]),
        _table("[clock]", [("start", _at(scenario.start_ms)), ("end", _at(scenario.end_ms)),
                           ("measured_from", _at(scenario.measured_ms))]),
        _table("[fleet]", [("services", scenario.fleet.services), ("pulse_s", scenario.fleet.pulse_s)]),
        *(_table("[[fleet.plan]]", list(asdict(plan).items())) for plan in scenario.fleet.plans),
        *(_table("[[fleet.zone]]", list(asdict(zone).items())) for zone in scenario.fleet.zones),
        _table("[fleet.provider]", list(asdict(scenario.fleet.provider).items())),
        _table("[fleet.archive]", list(asdict(scenario.fleet.archive).items())),
        *(_table(f"[rates.{rate.name}]", [("value", rate.value), ("per", PER[rate.name][0]), ("source", rate.source)])
          for rate in scenario.rates),
        *(_table("[[event]]", _event(event)) for event in scenario.events),
        *(_table("[[wanted]]", [(name, value) for name, value in asdict(each).items() if value is not None])
          for each in scenario.wanted),
    ]  # fmt: skip
    return "\n\n".join(blocks) + "\n"


def _event(event: Event) -> list[tuple[str, Any]]:
    """What differs from what is meant when nothing is said."""
    rule = RULES[event.what]
    pairs: list[tuple[str, Any]] = [("at", _at(event.at_ms))]
    if event.until_ms is not None:
        pairs.append(("until", _at(event.until_ms)))
    pairs += [("what", event.what), ("scope", str(event.scope))]
    for each in fields(event):
        value = getattr(event, each.name)
        told = each.name == "note" or each.name in (*rule.needs, *rule.may)
        if told and (value != each.default or each.name in rule.needs):
            pairs.append((each.name, value))
    return pairs


def _table(header: str, pairs: list[tuple[str, Any]]) -> str:
    return f"{header}\n{_pairs(pairs)}"


def _pairs(pairs: list[tuple[str, Any]]) -> str:
    return "\n".join(f"{name} = {_value(value)}" for name, value in pairs)


def _value(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds" if value.microsecond else "seconds").replace("+00:00", "Z")
    if isinstance(value, str):
        # A JSON string is a TOML basic string, but for DEL, which no sentence of ours has.
        return json.dumps(value, ensure_ascii=False)
    return repr(value)


def _at(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)
