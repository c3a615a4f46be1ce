"""A service in which something is not well, and what the catalogue proposes then."""

from __future__ import annotations

from typing import Any

from herder.engine.decide import Decision, Draft, Input, decide
from herder.engine.world import World
from herder.remedies.catalogue import Catalogue
from tests.machines import sample

NOW = sample.NOW_MS
SERVICE, PRIMARY, VOTER, OTHER = sample.SERVICE, *sample.MEMBERS
CATALOGUE = Catalogue(failovers_per_hour=1)


def proposed(world: World, now_ms: int = NOW) -> list[Input]:
    """What a tick proposes."""
    world.attention.rouse()
    return CATALOGUE.review(Draft(world, now_ms))


def begun(world: World, now_ms: int = NOW) -> list[str]:
    """Kinds of playbooks, or events, that a tick proposes."""
    return [item.create or item.event for item in proposed(world, now_ms)]


def with_states(world: World | None = None, **states: str) -> World:
    """Members by slot (m0), servers by slot (s0), the service (service)."""
    world = world or sample.well()
    for name, state in states.items():
        slots = sample.MEMBERS if name[0] == "m" else sample.SERVERS
        sample.change(world, SERVICE if name == "service" else slots[int(name[1])], state=state)
    return world


def dead_primary(world: World | None = None, **service: Any) -> World:
    world = with_states(world, m0="unavailable", service="unavailable")
    world.get(SERVICE).data.update(service)
    return world


def settled(world: World, *inputs: Input, now_ms: int = NOW) -> Decision:
    """What comes of these, or of a tick."""
    world.attention.rouse()
    decision = decide(world, list(inputs), now_ms, CATALOGUE.review)
    assert decision.unsettled == ""
    return decision


def kinds(decision: Decision) -> list[str]:
    """What was made."""
    return [machine.kind for machine in decision.after.values() if machine.version == 1 or machine.id >= 8]
