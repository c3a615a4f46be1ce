"""The user's own fleet: its shape in numbers, from a file or from what a running control plane answered."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from herder.model.errors import InvalidInput, NotFound
from herder.model.plans import PLANS, Engine
from herder.sim.drill.reading import provider_limits
from herder.sim.drill.scenario import Event, Fleet, PlanShare, ProviderLimits, Scenario, Scope, ZoneShare
from herder.sim.drill.toml import Section, document

GONE = ("retiring", "retired", "archived", "terminated")
ONE_ZONE = "local"
"""What a server's zone is called when its provider tells none."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """plans: (engine, plan) -> services. zones: name -> servers. provider: None = the scenario's. source: whence."""

    plans: Mapping[tuple[Engine, str], int]
    zones: Mapping[str, int]
    provider: ProviderLimits | None = None
    source: str = ""

    @property
    def services(self) -> int:
        """All of them."""
        return sum(self.plans.values())


def read(path: str) -> Inventory:
    """A file of TOML, or of JSON with the same keys. NotFound, InvalidInput."""
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, ValueError, RuntimeError) as problem:  # the last two: not UTF-8, a path or a home that cannot be
        raise NotFound(
            f"{path} cannot be read: {problem}", "docs/guides/drill.md shows what such a file holds"
        ) from None
    if not path.endswith(".json"):
        return parse(document(text, path), path)
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise InvalidInput(f"{path} is not JSON: {problem}", "mend it, or write TOML") from None
    if not isinstance(facts, dict):
        raise InvalidInput(f"{path} is not a JSON object", "docs/guides/drill.md shows what such a file holds")
    return parse(Section(facts, (), path, {}), path)


def parse(root: Section, source: str) -> Inventory:
    """[[plan]] engine, plan, services; [[zone]] name, servers; [provider] as in a scenario."""
    plans: Counter[tuple[Engine, str]] = Counter()
    for each in root.each("plan", least=1):
        engine = Engine(each.choice("engine", tuple(Engine), Engine.POSTGRES))
        plans[engine, each.choice("plan", tuple(PLANS))] += each.whole("services")
        each.end()
    zones: Counter[str] = Counter()
    for each in root.each("zone"):
        zones[each.text("name")] += each.whole("servers")
        each.end()
    provider = provider_limits(root.section("provider")) if root.has("provider") else None
    if not plans.total():
        root.wrong("plan", "counts no service", "write services = N for at least one plan")
    if zones and not zones.total():
        root.wrong("zone", "counts no server", "write servers = N for at least one zone")
    root.end()
    return Inventory(dict(plans), dict(zones) or {ONE_ZONE: 1}, provider, source)


def from_answers(services: Sequence[Mapping[str, Any]], servers: Sequence[Mapping[str, Any]], source: str) -> Inventory:
    """From what a control plane says of its services and servers (`GET /v1/services`, `/v1/servers`)."""
    plans = Counter((Engine(each["engine"]), str(each["plan"])) for each in services if each["state"] not in GONE)
    zones = Counter(str(each.get("zone") or ONE_ZONE) for each in servers if each["state"] not in GONE)
    if not plans:
        raise InvalidInput("there are no services to take the shape of", "name a file with --inventory FILE instead")
    return Inventory(dict(plans), dict(zones) or {ONE_ZONE: 1}, None, source)


def applied(scenario: Scenario, inventory: Inventory) -> tuple[Scenario, list[str]]:
    """The same day over this fleet, and what had to be understood on the way, as sentences.

    Zones of the scenario stand for the user's own in the order of their size, so that `zone:a` strikes the largest.
    """
    notes = [f"the fleet is that of {inventory.source or 'the inventory'}: {inventory.services:,} services"]
    named = _zones(scenario.fleet, inventory)
    notes += [f"the scenario's zone {theirs} is your zone {ours}" for theirs, ours in named.items() if theirs != ours]
    if len(set(named.values())) < len(named):
        notes.append(
            "you have fewer zones than the scenario: what strikes one of its zones strikes a larger part of you"
        )
    if inventory.provider is None:
        notes.append("no limits of your provider were given: the scenario's are used, and the answer depends on them")
    total, servers = inventory.services, sum(inventory.zones.values())
    fleet = replace(
        scenario.fleet,
        services=total,
        plans=tuple(
            PlanShare(engine, plan, count / total) for (engine, plan), count in inventory.plans.items() if count
        ),
        zones=tuple(ZoneShare(name, count / servers) for name, count in inventory.zones.items() if count),
        provider=inventory.provider or scenario.fleet.provider,
    )
    events = tuple(_renamed(event, named) for event in scenario.events)
    return replace(scenario, fleet=fleet, events=events), notes


def _zones(fleet: Fleet, inventory: Inventory) -> dict[str, str]:
    ours = [name for name, _ in sorted(inventory.zones.items(), key=lambda each: (-each[1], each[0]))]
    theirs = [zone.name for zone in sorted(fleet.zones, key=lambda zone: (-zone.share, zone.name))]
    return {name: name if name in ours else ours[number % len(ours)] for number, name in enumerate(theirs)}


def _renamed(event: Event, named: Mapping[str, str]) -> Event:
    if event.scope.kind != "zone":
        return event
    return replace(event, scope=Scope("zone", named[event.scope.name]))
