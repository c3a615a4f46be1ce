"""Pages of a day, and when the pager passed each on: at once, late, or when it was back."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from herder.engine.record import Move
from herder.engine.world import World
from herder.machines.registry import BY_KIND
from herder.sim.clock import SimRandom
from herder.sim.drill.result import PageSent
from herder.sim.drill.scenario import Scenario, What

_ARCHIVES_ILL = ("uncertain", "unavailable", "restart")


class Pager:
    """What the scenario says of it: DOWN holds everything until it returns, DELAY a share of it. Which share, the seed says."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self._events = [event for event in scenario.events if event.scope.kind == "pager"]
        self._end_ms = scenario.end_ms
        self._draw = SimRandom(seed, "pager").draw

    def passes_on(self, at_ms: int) -> int | None:
        """When a page that was sent then is delivered; None: not within the day."""
        due: int | None = at_ms
        for event in self._events:
            if (
                event.what is What.DOWN
                and due is not None
                and event.at_ms <= due
                and (event.until_ms is None or due < event.until_ms)
            ):
                due = event.until_ms
        for event in self._events:
            within = due is not None and event.at_ms <= due < (event.until_ms or self._end_ms)
            if event.what is What.DELAY and within and due is not None and self._draw.random() < event.share:
                due += round(event.delay_s * 1000)
        return due if due is not None and due <= self._end_ms else None


class Pages:
    """All that were sent: five numbers each, since a bad day may have a hundred thousand. Scopes are named at the end."""

    def __init__(self, pager: Pager) -> None:
        self._pager = pager
        self._at_ms = array("q")
        self._delivered_ms = array("q")  # -1 = never
        self._subjects = array("I")
        self._units = array("I")
        self._reasons = array("H")
        self._words: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._at_ms)

    def take(self, move: Move, world: World, now_ms: int) -> str:
        """A page was made; returns its reason."""
        page = world.facts_of(move.machine)
        reason, subject = str(page.get("reason", "")), int(page.get("subject", 0))
        delivered = self._pager.passes_on(now_ms)
        self._at_ms.append(now_ms)
        self._delivered_ms.append(-1 if delivered is None else delivered)
        self._subjects.append(subject)
        self._units.append(_speaks_for(world, subject))
        self._reasons.append(self._words.setdefault(reason, len(self._words)))
        return reason

    def sent(self, world: World) -> Iterator[PageSent]:
        """In the order in which they were sent."""
        words = list(self._words)
        rows = zip(self._at_ms, self._delivered_ms, self._reasons, self._subjects, self._units, strict=True)
        for at_ms, delivered_ms, reason, subject, units in rows:
            yield PageSent(
                at_ms, None if delivered_ms < 0 else delivered_ms, words[reason], scope(world, subject), units
            )


def scope(world: World, subject: int) -> str:
    """What a page is about, as people call it: an incident's and a freeze's own scope, else a name."""
    machine = world.find(subject)
    if machine is None:
        return ""
    return str(machine.data["scope"]) if machine.kind in ("incident", "freeze") else machine.name


def _speaks_for(world: World, subject: int) -> int:
    """Units that a page is about: an incident's, the archives that an object store keeps waiting, or one."""
    kind = world.find(subject)
    if kind is None:
        return 1
    if kind.kind == "incident":
        return max(1, int(kind.data.get("total", 0)))
    if kind.kind == BY_KIND["dependency"].kind and kind.data.get("what") == "object_store":
        return max(1, world.count("archive", *_ARCHIVES_ILL))
    return 1
