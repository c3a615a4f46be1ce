"""Mass recovery in waves: who has a turn, how many at once, when it will be over.

All that it knows stands in the incident's facts in the log, so that the next controller goes on where this one died:
`upto` (whose turn it has been), `window` (how many at once), `samples` (how fast it went). Best plans first, within a plan
those whose primary is lost before those that lack a standby, and nobody before a server of theirs runs.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from herder.engine.bulk import Bulk
from herder.engine.decide import Input
from herder.engine.world import Machine, World
from herder.governor.gate import LANES, STAGES, WAVED
from herder.governor.pace import FAILED_SHARE, kept, next_window
from herder.governor.scopes import in_scope
from herder.machines.registry import BY_KIND
from herder.remedies.hands import Hands

log = logging.getLogger("herder.recovery")

LOOK_S = 1.0
FIRST_WINDOW = 16
"""Where a recovery begins; seven full rounds later 2,000 are under way at once."""

AT_ONCE = 2000
"""The most that may be under way at once: a provider's launches a second times the seconds that a remedy holds one.
A provider that manages fewer says so by failing, which halves the window; effects wait for its bucket besides."""

ORDINARY_SHARE = 0.001
"""When no more than one service in a thousand of the scope is ill, ordinary remedies and budgets do: something always is."""

SAMPLE_MS = 10_000
REFRESH_MS = 60_000
"""Services made, or scopes added, in the last minute wait for so long: reading all facts anew takes a second or two."""

Ids = NDArray[np.uint32]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Terrain:
    """Who stands where, made once an incident: what is asked each second then costs as much as is ill, not as there is.

    scope: by machine id, is this service in it? services: ascending, shape (n,); members: their members' ids, shape
    (n, most), 0 = none; service, server: by machine id, those of a member. count: services in scope.
    known: how many services and members there were when it was made, at_ms.
    """

    scopes: tuple[str, ...]
    scope: Flags
    services: Ids
    members: Ids
    service: Ids
    server: Ids
    count: int
    known: int
    at_ms: int


def terrain(world: World, scopes: Sequence[str], now_ms: int) -> Terrain:
    """Reads facts of all members once: two seconds for a million services."""
    members = world.ids("member")
    service_of, server_of = world.fact(members, "service", 0, np.uint32), world.fact(members, "server", 0, np.uint32)
    inside = np.zeros(world.size, bool)
    inside[in_scope(world, scopes)] = True
    scope = np.zeros(world.size, bool)
    scope[service_of[inside[server_of]]] = True
    service, server = np.zeros(world.size, np.uint32), np.zeros(world.size, np.uint32)
    service[members], server[members] = service_of, server_of
    services = world.ids("service").copy()
    count = int(scope[services].sum())
    rows = _rows(services, members, service_of)
    return Terrain(tuple(scopes), scope, services, rows, service, server, count, len(services) + len(members), now_ms)


def _rows(services: Ids, members: Ids, service_of: Ids) -> Ids:
    """Members by service, a row each."""
    order = np.argsort(service_of, kind="stable")
    row = np.searchsorted(services, service_of[order])
    known = (row < len(services)) & (services[np.minimum(row, len(services) - 1)] == service_of[order])
    row, sorted_members = row[known], members[order][known]
    starts = np.searchsorted(row, np.arange(len(services)))
    place = np.arange(len(row)) - starts[row]
    found = np.zeros((len(services), int(place.max(initial=0)) + 1), np.uint32)
    found[row, place] = sorted_members
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Ill:
    """Services of the scope that are not well, shape (n,). lane: the order of turns (plan, then stage); ready: something
    of it runs, so that a remedy can begin; else it waits for its servers.
    """

    services: Ids
    lane: NDArray[np.uint8]
    ready: Flags

    def turned(self, upto: Sequence[int]) -> Flags:
        """Whose turn it has been."""
        limits = np.zeros(LANES, np.int64)
        limits[: len(upto)] = upto
        return self.services <= limits[self.lane]


def find_ill(world: World, ground: Terrain) -> Ill:
    """Pure. Services whose primary is lost, then those that only lack a standby. With flags by id, since sorting and
    hashing hundreds of thousands of ids each second (np.unique, np.isin) takes seconds.
    """
    size, states = len(ground.scope), world.columns.state
    lost = world.ids_in("service", "uncertain", "unavailable", "restart")
    lost = lost[lost < size]
    lost = lost[ground.scope[lost]]
    fallen = world.ids_in("member", "uncertain", "unavailable", "installing")
    fallen = fallen[fallen < size]
    up = states[ground.server[fallen]] == _AVAILABLE_SERVER
    lacks, curable = np.zeros(size, bool), np.zeros(size, bool)
    lacks[ground.service[fallen]] = True
    curable[ground.service[fallen[up]]] = True
    lacking = np.flatnonzero(lacks & ground.scope).astype(np.uint32)
    lacking = lacking[states[lacking] == _AVAILABLE_SERVICE]
    services = np.concatenate([lost, lacking])
    stage = np.repeat(np.array([0, 1], np.uint8), [len(lost), len(lacking)])
    rank = np.minimum(world.columns.priority[services], LANES // STAGES - 1)
    ready = np.concatenate([_has_way(world, ground, lost), curable[lacking]])
    return Ill(services, (rank * STAGES + stage).astype(np.uint8), ready)


_AVAILABLE_SERVER = BY_KIND["server"].state_codes["available"]
_AVAILABLE_SERVICE = BY_KIND["service"].state_codes["available"]
_AVAILABLE_MEMBER = BY_KIND["member"].state_codes["available"]


def _has_way(world: World, ground: Terrain, services: Ids) -> Flags:
    """A member of it serves, or its server runs."""
    members = ground.members[np.searchsorted(ground.services, services)]
    states = world.columns.state
    runs = (states[members] == _AVAILABLE_MEMBER) | (states[ground.server[members]] == _AVAILABLE_SERVER)
    return np.asarray((runs & (members > 0)).any(axis=1))


def next_turns(ill: Ill, upto: Sequence[int], room: int) -> tuple[list[int], Ids]:
    """Pure: whose turn comes now, at most `room`, and the new `upto`. A lane begins when all who can of the lanes before
    it have had theirs; those that wait for a server hold nobody up.
    """
    limits = [*upto, *[0] * (LANES - len(upto))]
    chosen: list[Ids] = []
    turned = ill.turned(limits)
    for lane in range(LANES):
        if room <= 0:
            break
        waiting = np.sort(ill.services[(ill.lane == lane) & ill.ready & ~turned])[:room]
        if len(waiting):
            limits[lane] = int(waiting[-1])
            room -= len(waiting)
            chosen.append(waiting)
    return limits, np.concatenate(chosen) if chosen else np.empty(0, np.uint32)


@dataclass(slots=True)
class Round:
    """What ended since the window last changed: the only thing that a successor begins anew. seen: the log's last record at
    the last look; again_ms: when to look even if nothing was written since.
    """

    under_way: Ids = field(default_factory=lambda: np.empty(0, np.uint32))
    failures: int = -1
    well: int = 0
    failed: int = 0
    seen: int = -1
    again_ms: int = 0

    def take(self, ill: Ids, failures: int) -> None:
        """Whoever was under way and is no longer ill came well; failures: playbooks that ever failed."""
        self.well += int(np.count_nonzero(~np.isin(self.under_way, ill)))
        self.failed += max(failures - self.failures, 0) if self.failures >= 0 else 0
        self.failures = failures

    def window(self, window: int, at_once: int) -> int:
        """The next one, once a whole window has ended or too many failed."""
        if not window:
            return min(FIRST_WINDOW, at_once)
        ended = self.well + self.failed
        if ended < window and self.failed < max(3, window * FAILED_SHARE):
            return min(window, at_once)
        well, failed, self.well, self.failed = self.well, self.failed, 0, 0
        return next_window(window, well, failed, at_once)


class Recovery:
    """Gives turns, incident by incident, and says how far it is. The catalogue begins what has its turn."""

    def __init__(self, hands: Hands, at_once: int = AT_ONCE) -> None:
        self._hands = hands
        self._at_once = at_once
        self._rounds: dict[int, Round] = {}
        self._terrains: dict[int, Terrain] = {}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self.look()
            await self._hands.clock.sleep(LOOK_S)

    def look(self) -> None:
        """One round over all incidents in recovery."""
        world = self._hands.world()
        going = {int(ident) for ident in world.ids_in("incident", "recovering")}
        now_ms = self._hands.clock.now_ms()
        for ident in going:
            known = self._rounds.get(ident)
            if known is None or known.seen != world.seq or now_ms >= known.again_ms:
                self._go_on(world, world.get(ident), now_ms)
        for over in {*self._rounds} - going:
            del self._rounds[over], self._terrains[over]

    def _go_on(self, world: World, incident: Machine, now_ms: int) -> None:
        ground = self._ground(world, incident, now_ms)
        ill = find_ill(world, ground)
        if len(ill.services) <= int(ground.count * ORDINARY_SHARE):
            why = f"{len(ill.services)} of {ground.count} services are ill: few enough for ordinary remedies"
            facts = {"left": len(ill.services), "done": int(incident.data.get("total", 0)) - len(ill.services)}
            self._hands.submit(
                Input(incident.id, "recovered", facts, why=why, actor="recovery", entered=incident.entered)
            )
            return
        known = incident.data
        this = self._rounds.setdefault(incident.id, Round())
        this.seen, this.again_ms = world.seq, now_ms + SAMPLE_MS
        this.take(ill.services, _failures(world))
        window = this.window(int(known.get("window", 0)), self._at_once)
        under_way = ill.services[ill.turned(known.get("upto", ())) & ill.ready]
        upto, chosen = next_turns(ill, known.get("upto", ()), window - len(under_way))
        this.under_way = np.union1d(under_way, chosen)
        progress = _progress(known, ill, upto, window, len(chosen), now_ms)
        if progress is not None:
            why = f"{progress['left']} ill, {len(this.under_way)} under way, {progress['waiting']} wait for a server"
            self._hands.submit(
                Input(incident.id, "progress", progress, why=why, actor="recovery", entered=incident.entered)
            )
        if len(chosen):
            why = f"its turn in {incident.name}"
            self._hands.submit(Bulk("service", "admitted", chosen, why=why, actor="recovery"))

    def _ground(self, world: World, incident: Machine, now_ms: int) -> Terrain:
        """Made again when there are more services, or more scopes; at most once a minute."""
        known = self._terrains.get(incident.id)
        there = len(world.ids("service")) + len(world.ids("member"))
        stale = known is None or known.known != there or known.scopes != tuple(incident.data["scopes"])
        if known is None or (stale and now_ms - known.at_ms >= REFRESH_MS):
            known = self._terrains[incident.id] = terrain(world, incident.data["scopes"], now_ms)
        return known


def _failures(world: World) -> int:
    """Remedies that ever ended without success."""
    return sum(world.count(kind, *states) for kind, states in _FAILED.items())


_FAILED = {
    kind: tuple(state.name for state in BY_KIND[kind].states if state.final and state.name != "done")
    for kind in sorted(WAVED)
    if kind in BY_KIND
}


def _progress(
    known: dict[str, Any], ill: Ill, upto: list[int], window: int, chosen: int, now_ms: int
) -> dict[str, Any] | None:
    """The incident's new facts; None when there is nothing to say: whose turn it is has not changed, and the last sample
    is fresh.
    """
    left = len(ill.services)
    samples = known.get("samples", [])
    sampled = not samples or now_ms - samples[-1][0] >= SAMPLE_MS
    if not sampled and not chosen and window == known.get("window"):
        return None
    total = max(int(known.get("total", 0)), left)
    return {
        "window": window, "upto": upto, "admitted": int(known.get("admitted", 0)) + chosen, "total": total,
        "done": total - left, "left": left, "waiting": int(np.count_nonzero(~ill.ready)),
        "parked": int(np.count_nonzero(ill.ready & ~ill.turned(upto))),
        "samples": kept(samples, now_ms, left) if sampled else samples,
    }  # fmt: skip
