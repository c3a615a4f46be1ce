"""A fleet that runs already, as cohorts: blocks of a service, its members, their servers and its archive, by the thousand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from herder.engine.bulk import Cohort
from herder.engine.shapes import Shape
from herder.model.plans import PLANS
from herder.sim.provider import NAME

PORT = 5432


@dataclass(frozen=True, slots=True)
class Kind:
    """`count` services of one engine and plan. zones: of its servers in turn; their first is the primary's."""

    engine: str
    plan: str
    count: int
    zones: tuple[str, ...]


def kinds(mix: Sequence[tuple[str, str, float]], zones: Sequence[tuple[str, float]], services: int) -> list[Kind]:
    """The mix (engine, plan, share) spread over zones (name, share) by where the primary stands; exact in the sum."""
    parts = [
        (engine, plan, share * zone_share, _turned([name for name, _ in zones], place))
        for engine, plan, share in mix
        for place, (_, zone_share) in enumerate(zones)
    ]
    total = sum(share for _, _, share, _ in parts)
    found: list[Kind] = []
    given, reached = 0, 0.0
    for engine, plan, share, order in parts:
        reached += share
        upto = round(services * reached / total)
        found.append(Kind(engine, plan, upto - given, order))
        given = upto
    return [kind for kind in found if kind.count]


def _turned(zones: list[str], by: int) -> tuple[str, ...]:
    return (*zones[by:], *zones[:by])


def cohorts(wanted: Sequence[Kind], store: int) -> Iterator[Cohort]:
    """store: the dependency that the archives need, 0 = nothing is archived."""
    for kind in wanted:
        yield Cohort(kind.count, block(kind, store))


def block(kind: Kind, store: int) -> tuple[Shape, ...]:
    """One service: itself, its members, their servers, its archive."""
    plan = PLANS[kind.plan]
    members = plan.members
    sync = plan.sync and kind.engine == "postgres"
    own = {"plan": kind.plan}
    slots = range(members)
    service = Shape(
        "service",
        own | {
            "engine": kind.engine, "major": 18, "term": 1, "sync": sync, "port": PORT, "database": "app", "user": "app",
            "password": "-", "admin_password": "-", "replication_password": "-", "playbook": 0, "on_isolation": "serve",
            "key": "", "timeline": 1,
        },
        {"members": tuple(1 + slot for slot in slots), "servers": tuple(1 + members + slot for slot in slots),
         "voters": tuple(2 + slot for slot in range(members - 1)) if sync else (), "primary": 1,
         "archive": 1 + 2 * members},
    )  # fmt: skip
    found = [service]
    for slot in slots:
        role = "primary" if slot == 0 else "standby"
        found.append(
            Shape("member", own | {"role": role, "slot": slot, "port": PORT}, {"service": -1 - slot, "server": members},
                  {"address": "m{id}.fleet"})
        )  # fmt: skip
    found.extend(
        Shape("server", own | {"incarnation": 1, "zone": kind.zones[slot % len(kind.zones)], "directory": "/srv",
                               "namespace": "", "provider": NAME},
              {"service": -1 - members - slot, "member": -members}, {"address": "s{id}.fleet"})
        for slot in slots
    )  # fmt: skip
    if store:
        found.append(Shape("archive", own | {"store": store}, {"service": -1 - 2 * members}))
    return tuple(found)
