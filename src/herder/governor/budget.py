"""Budgets: how many remedies may be under way, and begin within an hour (S8). Pure.

Three layers. A service: one automatic failover an hour (`failovers_per_hour`, orchestrator's number), whatever the cause
(docs/decisions/0013); restarts and rebuilds by their own counts. A zone and the fleet:
- Under way at once: 1 % of the services, at least 20 in a zone and 40 in the fleet. Hosts fail about once in thirty
  days and a remedy lasts seconds, so a million services have fewer than ten under way: 1 % is a thousand times that. It is
  no pace for a mass recovery, whose waves have their own window; remedies in its scope are not counted here.
- Begun within an hour: 5 % of the services, at least 360 in a zone and 720 in the fleet. Kubernetes evicts 0.1 nodes/s
  while a zone is well, which is 360 an hour. When more is wanted, something is wrong that remedies do not mend: the
  scope is frozen, a person is paged, and after an hour it goes on by itself if nobody has looked.
A full slot is a queue and nobody's page: the remedy begins when one ends. An empty hour freezes and pages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from herder.engine.decide import Draft
from herder.engine.world import Ids, Machine, World
from herder.governor.freezes import among
from herder.governor.scopes import LIVE, WHERE, scopes_of_service, stand_in, touches
from herder.machines.registry import BY_KIND
from herder.pulse.storm import FLEET

HOUR_MS = 3_600_000
COUNTED = tuple(kind for kind in ("failover", "rebuild", "strike", "restart") if kind in BY_KIND)
"""Remedies that the catalogue begins by itself. Provisioning and destroying are somebody's wish."""

NEWEST = 65_536
"""Remedies of a kind that may be live: a thousand a second for a minute."""

LOOK_BACK = 4
"""Playbooks looked at for the hour, in multiples of its budget: ids are given in order, older ones lie before."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Shares are of the services of a scope; the least holds for small fleets."""

    in_flight_share: float = 0.01
    in_flight_zone: int = 20
    in_flight_fleet: int = 40
    hour_share: float = 0.05
    hour_zone: int = 360
    hour_fleet: int = 720

    def in_flight(self, scope: str, services: int) -> int:
        """How many may be under way at once."""
        return max(
            self.in_flight_fleet if scope == FLEET else self.in_flight_zone, int(services * self.in_flight_share)
        )

    def hour(self, scope: str, services: int) -> int:
        """How many may begin within an hour."""
        return max(self.hour_fleet if scope == FLEET else self.hour_zone, int(services * self.hour_share))


LIMITS = Limits()


def limits_for(failovers_per_hour: int) -> Limits:
    """Whoever allows each service more failovers an hour means it for the fleet too."""
    times = max(failovers_per_hour, 1)
    return Limits(hour_share=min(0.05 * times, 1e6), hour_zone=360 * times, hour_fleet=720 * times)


def failovers_left(began_ms: Sequence[int], now_ms: int, per_hour: int) -> int:
    """How many automatic failovers of a service may begin now. began_ms: of those that counted, in any order (its `failovers`)."""
    return max(per_hour - sum(at_ms > now_ms - HOUR_MS for at_ms in began_ms), 0)


class Budgets:
    """What is under way in one draft, counted once. An answer of '' takes a slot."""

    def __init__(self, draft: Draft, limits: Limits = LIMITS) -> None:
        self._draft = draft
        self._limits = limits
        self._waved: set[str] = {
            str(scope) for incident in among(draft, "incident", ("recovering",)) for scope in incident.data["scopes"]
        }
        self._used: Counter[str] | None = None
        self._services: Counter[str] | None = None

    def reason(self, service: Machine, playbook: str) -> str:
        """Why it has to wait, '' when there is a slot."""
        if playbook not in COUNTED or (self._waved and touches(scopes_of_service(self._draft, service), self._waved)):
            return ""
        if self._used is None:
            self._count()
        assert self._used is not None
        assert self._services is not None
        scopes = (zone_of(self._draft, service), FLEET)
        for scope in scopes:
            most = self._limits.in_flight(scope, self._services[scope])
            if self._used[scope] >= most:
                return f"{self._used[scope]} remedies are under way in {scope}, of {most}"
        self._used.update(scopes)
        return ""

    def _count(self) -> None:
        world = self._draft.world
        self._services = services_by_scope(world)
        self._used = by_scope(world, _outside(world, under_way(world), self._waved))
        for machine in self._draft.changed.values():  # begun in this batch, and not yet in the world
            if machine.kind in COUNTED and machine.live and world.find(machine.id) is None:
                service = self._draft.find(machine.service)
                if service is not None and not touches(scopes_of_service(self._draft, service), self._waved):
                    self._used.update((zone_of(self._draft, service), FLEET))


def zone_of(draft: Draft, service: Machine) -> str:
    """The scope of the zone that its primary's server stands in: a remedy takes a slot there."""
    primary = draft.find(service.data.get("primary", 0))
    server = draft.find(primary.data.get("server", 0)) if primary is not None else None
    return f"zone:{server.data.get('zone', WHERE['zone']) if server is not None else WHERE['zone']}"


def under_way(world: World) -> Ids:
    """Remedies that are live. Each lasts a minute or two at most, so only the newest of each kind are looked at."""
    columns, parts = world.columns, []
    for kind in COUNTED:
        newest = world.ids(kind)[-NEWEST:]
        live = np.zeros(256, bool)
        live[[BY_KIND[kind].state_codes[state.name] for state in BY_KIND[kind].states if not state.final]] = True
        parts.append(newest[live[columns.state[newest]]])
    return np.concatenate(parts)


def zones(world: World, playbooks: Ids) -> NDArray[Any]:
    """The zone that each works in, by name, shape (n,)."""
    return world.fact(_servers(world, playbooks), "zone", WHERE["zone"], object)


def _servers(world: World, playbooks: Ids) -> Ids:
    """The server of the primary of each one's service; 0 where there is none."""
    services = world.fact(playbooks, "service", 0, np.uint32)
    primaries = world.fact(services, "primary", 0, np.uint32)
    servers: Ids = world.fact(primaries, "server", 0, np.uint32)
    return servers


def by_scope(world: World, playbooks: Ids) -> Counter[str]:
    """How many of them work in each zone, and in all."""
    found = Counter({f"zone:{zone}": count for zone, count in Counter(zones(world, playbooks).tolist()).items()})
    found[FLEET] = len(playbooks)
    return found


def services_by_scope(world: World) -> Counter[str]:
    """Services of each zone, and in all; by what their servers say, since a zone's size moves slowly."""
    known = _sizes.get(world)
    if known is None or known[0] != len(world.ids("server")):
        servers = world.ids_in("server", *LIVE)
        zones_of = world.fact(servers, "zone", WHERE["zone"], object).tolist()
        found = Counter({f"zone:{zone}": count for zone, count in Counter(zones_of).items()})
        found[FLEET] = world.count("service", "available", "uncertain", "unavailable", "restart", "upgrading")
        known = _sizes[world] = (len(world.ids("server")), found)
    return known[1]


_sizes: WeakKeyDictionary[World, tuple[int, Counter[str]]] = WeakKeyDictionary()
"""Counting a million servers takes a tenth of a second: done when servers were made, not for each remedy."""


def _outside(world: World, playbooks: Ids, waved: set[str]) -> Ids:
    """Without those that work in a scope that recovers in waves."""
    if not waved or not len(playbooks):
        return playbooks
    return playbooks[~stand_in(world, _servers(world, playbooks), sorted(waved))]


def begun_within_hour(world: World, now_ms: int, most: int) -> Ids:
    """Remedies that are under way or ended within the hour, without those of a mass recovery (by the time they ended)."""
    since = now_ms - HOUR_MS
    parts = [world.ids(kind)[-LOOK_BACK * most :] for kind in COUNTED]
    found = np.concatenate(parts)
    ended = world.columns.since_ms[found]
    kept = ended >= since
    recovered = world.ids("incident") if "incident" in BY_KIND else found[:0]
    for ident in recovered[world.columns.since_ms[recovered] >= since].tolist():
        incident = world.get(ident)
        if began_ms := int(incident.data.get("began_ms", 0)):
            until_ms = now_ms if incident.live else incident.since_ms
            kept &= ~((ended >= began_ms) & (ended <= until_ms))
    return found[kept & ~_of_rollouts(world, found, since)]


def _of_rollouts(world: World, found: Ids, since: int) -> NDArray[np.bool_]:
    """Rebuilds while a rollout runs: each primary that it moves leaves one behind, as planned. It has a pace and an end of
    its own (it pauses when one reboot in twenty fails), so they use up nobody's hour.
    """
    planned, ended = np.zeros(len(found), bool), world.columns.since_ms[found]
    rollouts = world.ids("rollout")
    for ident in (
        rollouts[world.columns.since_ms[rollouts] >= since].tolist() + world.ids_in("rollout", "running").tolist()
    ):
        rollout = world.get(ident)
        began_ms = int(rollout.data.get("began_ms", 0))
        planned |= (ended >= began_ms) & ((ended <= rollout.since_ms) | rollout.live)
    rebuild: NDArray[np.bool_] = world.columns.kind[found] == BY_KIND["rebuild"].code
    return planned & rebuild


@dataclass(frozen=True, slots=True)
class Left:
    """A scope's budget: what is used of what."""

    scope: str
    in_flight: int
    in_flight_most: int
    hour: int
    hour_most: int

    @property
    def empty(self) -> bool:
        """Nothing is left of the hour."""
        return self.hour >= self.hour_most


def budgets(world: World, now_ms: int, limits: Limits = LIMITS) -> list[Left]:
    """Of the fleet and of each zone."""
    services = services_by_scope(world)
    most = limits.hour(FLEET, services[FLEET])
    busy, begun = by_scope(world, under_way(world)), by_scope(world, begun_within_hour(world, now_ms, most))
    return [
        Left(scope, busy[scope], limits.in_flight(scope, count), begun[scope], limits.hour(scope, count))
        for scope, count in sorted(services.items(), key=lambda item: (item[0] != FLEET, item[0]))
    ]


def spent(world: World, now_ms: int, limits: Limits = LIMITS) -> list[Left]:
    """Scopes whose hour is used up. While few remedies began, this costs a comparison of their number."""
    services = services_by_scope(world)
    most = {scope: limits.hour(scope, count) for scope, count in services.items()}
    begun = begun_within_hour(world, now_ms, most[FLEET])
    if len(begun) < min(most.values()):
        return []
    return [left for left in budgets(world, now_ms, limits) if left.empty]
