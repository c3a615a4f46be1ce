"""What waits in a day: archives for their store, remedies for a dependency or their turn, effects for a limit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from herder.engine.effects import EffectRunner
from herder.engine.record import Move, Span
from herder.engine.world import World
from herder.governor.gate import Reason
from herder.governor.pace import forecast
from herder.machines.registry import BY_KIND
from herder.sim.drill.result import Forecast, Limit, Parked
from herder.sim.drill.wellness import ILL, grown

_ARCHIVE = BY_KIND["archive"]
_ILL = tuple(state in ILL["archive"] for state in _ARCHIVE.state_names)
_STALLED = ("uncertain", "unavailable")
FORECAST_EVERY_MS = 60_000


class Archives:
    """Archives whose log waits: since when each does (four bytes a machine, once the first stalls), how much of it there is.

    begun, ended: how often one began to wait, and came through.
    """

    def __init__(self) -> None:
        self.waiting = 0
        self.begun = self.ended = 0
        self.longest_s = 0
        self.drained_ms: int | None = None
        self._sum_s = 0  # of the moments at which those that wait began to
        self._since_s: NDArray[np.uint32] = np.zeros(0, np.uint32)  # seconds of the day + 1, 0 = does not wait
        self._start_ms = 0

    def rebase(self, world: World, start_ms: int) -> None:
        """Those that wait by the columns; one that was known to wait before keeps its moment. start_ms: no later than now."""
        self._start_ms = start_ms
        ill = world.ids_in("archive", *ILL["archive"])
        if not len(ill) and not len(self._since_s):
            return
        self._room(world.size)
        told = np.maximum(world.columns.since_ms[ill] - start_ms, 0) // 1000 + 1
        known = self._since_s[ill]
        self._since_s = np.zeros_like(self._since_s)
        self._since_s[ill] = np.where(known > 0, known, told)
        self.waiting = len(ill)
        self._sum_s = int(self._since_s[ill].sum(dtype=np.int64))

    def _room(self, size: int) -> None:
        self._since_s = grown(self._since_s, size).view(np.uint32)

    def single(self, move: Move, world: World, now_ms: int) -> None:
        """One archive moved by itself."""
        if _ILL[move.source] == _ILL[move.target]:
            return
        now_s = self._room_at(world, now_ms)
        if _ILL[move.target]:
            self._since_s[move.machine] = now_s
            self._began(1, now_s)
        else:
            since = int(self._since_s[move.machine])
            self._since_s[move.machine] = 0
            self._ended(1, since, now_s - since, now_ms)

    def span(self, span: Span, world: World, now_ms: int) -> None:
        """Many moved alike."""
        if _ILL[span.source] == _ILL[span.target]:
            return
        ids, now_s = span.machines, self._room_at(world, now_ms)
        if _ILL[span.target]:
            self._since_s[ids] = now_s
            self._began(len(ids), now_s)
        else:
            since = self._since_s[ids]
            self._since_s[ids] = 0
            self._ended(len(ids), int(since.sum(dtype=np.int64)), now_s - int(since.min()), now_ms)

    def _room_at(self, world: World, now_ms: int) -> int:
        """Room for all machines; returns the second of the day, from 1."""
        if world.size > len(self._since_s):
            self._room(world.size)
        return (now_ms - self._start_ms) // 1000 + 1

    def _began(self, count: int, now_s: int) -> None:
        self.waiting += count
        self._sum_s += now_s * count
        self.begun += count
        self.drained_ms = None

    def _ended(self, count: int, sum_s: int, longest_s: int, now_ms: int) -> None:
        self.longest_s = max(self.longest_s, longest_s)
        self.waiting -= count
        self._sum_s -= sum_s
        self.ended += count
        if not self.waiting:
            self.drained_ms = now_ms

    def bytes_waiting(self, now_ms: int, bytes_per_s: float) -> int:
        """Log that is not archived, when a service makes so much a second."""
        now_s = (now_ms - self._start_ms) // 1000 + 1
        return round((self.waiting * now_s - self._sum_s) * bytes_per_s)

    def parked(self, now_ms: int, why: str) -> Iterator[Parked]:
        """As the report tells it."""
        if not self.begun and not self.waiting:
            return
        longest = self.longest_s
        if self.waiting:
            waits = self._since_s[self._since_s > 0]
            longest = max(longest, (now_ms - self._start_ms) // 1000 + 1 - int(waits.min()))
        yield Parked(
            "archives", why, max(self.begun, self.waiting), float(longest), None if self.waiting else self.drained_ms
        )


@dataclass(slots=True)
class _Heap:
    """Remedies of one kind that waited for one thing. longest_ms: of those that wait no more."""

    count: int = 0
    waiting: int = 0
    longest_ms: int = 0
    drained_ms: int | None = None


class Remedies:
    """Remedies that each service noted as parked. A service has one entry while its remedy waits."""

    def __init__(self) -> None:
        self._heaps: dict[tuple[str, str], _Heap] = {}
        self._of: dict[int, tuple[tuple[str, str], int]] = {}

    @property
    def waiting(self) -> int:
        """Remedies that wait now."""
        return len(self._of)

    def parked(self, move: Move, world: World, now_ms: int) -> None:
        """It waits, or waits for something else from now on."""
        reason, by = int(move.patch.get("parked", 0)), int(move.patch.get("parked_by", 0))
        held = world.find(by) if by else None
        key = f"{move.patch.get('parked_kind', 'remedy')}s", held.name if held is not None else _word(reason)
        self.unparked(move.machine, now_ms)
        heap = self._heaps.setdefault(key, _Heap())
        heap.count += 1
        heap.waiting += 1
        heap.drained_ms = None
        self._of[move.machine] = key, now_ms

    def unparked(self, service: int, now_ms: int) -> None:
        """It waits no more."""
        key, since_ms = self._of.pop(service, (None, 0))
        if key is None:
            return
        heap = self._heaps[key]
        heap.waiting -= 1
        heap.longest_ms = max(heap.longest_ms, now_ms - since_ms)
        if not heap.waiting:
            heap.drained_ms = now_ms

    def rows(self, now_ms: int) -> Iterator[Parked]:
        """As the report tells them."""
        longest = {key: heap.longest_ms for key, heap in self._heaps.items()}
        for key, since_ms in self._of.values():
            longest[key] = max(longest[key], now_ms - since_ms)
        for (what, why), heap in sorted(self._heaps.items()):
            yield Parked(what, why, heap.count, longest[what, why] / 1000, heap.drained_ms)


def _word(reason: int) -> str:
    return {Reason.BUDGET: "the budget of its hour", Reason.FROZEN: "a freeze", Reason.WAVE: "its turn"}.get(
        Reason(reason) if reason else Reason.BUDGET, "a dependency"
    )


@dataclass(slots=True)
class _Turns:
    """Remedies of one incident whose turn had not come."""

    scope: str
    most: int = 0
    parked: int = 0
    since_ms: int = 0
    drained_ms: int | None = None
    told_ms: int = 0


@dataclass(slots=True)
class Incidents:
    """How far recoveries are, from what they say of themselves in the log."""

    forecasts: list[Forecast] = field(default_factory=list)
    _turns: dict[int, _Turns] = field(default_factory=dict)

    @property
    def turns(self) -> int:
        """Remedies whose turn has not come."""
        return sum(each.parked for each in self._turns.values())

    def progress(self, move: Move, world: World, now_ms: int) -> None:
        """An incident said how far it is, or ended."""
        facts = world.facts_of(move.machine)
        turns = self._turns.setdefault(move.machine, _Turns(str(facts.get("scope", ""))))
        going_on = not BY_KIND["incident"].states[move.target - 1].final
        parked = int(facts.get("parked", 0)) if going_on else 0
        if parked and not turns.parked:
            turns.since_ms = turns.since_ms or now_ms
        if turns.parked and not parked:
            turns.drained_ms = now_ms
        turns.parked, turns.most = parked, max(turns.most, parked)
        if going_on and "samples" in move.patch and now_ms - turns.told_ms >= FORECAST_EVERY_MS:
            seen = forecast(facts["samples"], int(facts.get("left", 0)), now_ms)
            if seen is not None:
                turns.told_ms = now_ms
                self.forecasts.append(Forecast(now_ms, seen.end_ms, seen.late_ms))

    def rows(self, now_ms: int) -> Iterator[Parked]:
        """As the report tells them. longest_s: from the first that waited for a turn to the last."""
        for turns in self._turns.values():
            if turns.most:
                end_ms = now_ms if turns.parked or turns.drained_ms is None else turns.drained_ms
                drained_ms = None if turns.parked else turns.drained_ms
                yield Parked(
                    "remedies", f"their turn in {turns.scope}", turns.most, (end_ms - turns.since_ms) / 1000, drained_ms
                )


def recovered(world: World) -> tuple[int, int]:
    """(units to recover, units recovered) of all incidents so far."""
    total = done = 0
    for incident in world.of_kind("incident"):
        units = int(incident.data.get("total", 0))
        total += units
        done += units if incident.state == "over" else int(incident.data.get("done", 0))
    return total, done


SETTINGS = {
    "archive:drain": "fleet.archive.drains_per_s", "provider": "the smaller of fleet.provider.launches_per_s and boots_per_s",
    "archives drained": "fleet.archive.drains_per_s", "recovery window": "recovery_at_once",
}  # fmt: skip
"""Limit (or what its name begins with before the colon) -> where it is set."""


class Limits:
    """Seconds in which somebody waited for a limit that was used up, by a look each tick."""

    def __init__(self) -> None:
        self._busy_s: dict[str, float] = {}
        self._allowed: dict[str, str] = {}

    def busy(self, name: str, seconds: float, allowed: str) -> None:
        """It was used up for so long."""
        self._busy_s[name] = self._busy_s.get(name, 0.0) + seconds
        self._allowed[name] = allowed

    def look(self, effects: EffectRunner, now: float, seconds: float) -> None:
        """Lanes in which somebody waits: for a token of a bucket, or for a slot."""
        found: dict[str, str] = {}
        for lane in effects._lanes:  # noqa: SLF001  the runner tells how many wait, not for what
            if not len(lane):
                continue
            if lane.room <= 0:
                found[f"slots for {lane.registered.effect}"] = f"{lane.registered.at_once:,} at once"
                continue
            for name in lane.buckets:
                rate = effects.buckets.rate(name)
                if rate is not None and effects.buckets.next_at((name,), now) > now:
                    found[name] = f"{rate.per_s:,g} a second"
        for name, allowed in found.items():
            self.busy(name, seconds, allowed)

    def look_at_recovery(self, world: World, drain_per_s: float, seconds: float) -> None:
        """Windows of recoveries that are full, and archives that wait while their store takes the log at the set rate."""
        for ident in world.ids_in("incident", "recovering").tolist():
            facts = world.facts_of(ident)
            if int(facts.get("parked", 0)):
                self.busy("recovery window", seconds, f"{int(facts.get('window', 0)):,} at once")
        stores = [store for store in world.of_kind("dependency") if store.state == "restart"]
        if any(store.data.get("what") == "object_store" for store in stores) and world.count("archive", *_STALLED):
            self.busy("archives drained", seconds, f"{drain_per_s:,g} services a second")

    def rows(self, settings: Mapping[str, str] | None = None) -> Iterator[Limit]:
        """All that ever were used up."""
        known = {**SETTINGS, **(settings or {})}
        for name, busy_s in sorted(self._busy_s.items()):
            yield Limit(
                name, round(busy_s, 3), self._allowed[name], known.get(name, known.get(name.partition(":")[0], ""))
            )
