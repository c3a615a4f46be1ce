"""Handlers of a dependency's life: asked while it is uncertain, watched while it is down, drained to when it is back.

Nothing is kept here that a successor would need: what waits, what is under way and what is through stand in the log.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from math import inf

import numpy as np
from numpy.typing import NDArray

from herder.engine.buckets import Rate
from herder.engine.bulk import Bulk
from herder.engine.decide import Input
from herder.engine.effects import Outcome
from herder.engine.world import Machine, World
from herder.governor.pace import next_rate
from herder.machines.dependency import What
from herder.machines.registry import BY_KIND
from herder.model.errors import HerderError
from herder.remedies.hands import Hands
from herder.remedies.tally import Calls, are_failing

log = logging.getLogger("herder.dependencies")

IN_A_ROW = 3
"""As many answers, or failures, in a row are believed."""

ASK_PAUSE_S = 2.0
WATCH_PAUSE_S = 5.0
STEP_S = 1.0

FIRST_PER_S = 50.0
"""Where a drain begins; it doubles each second in which half of that came through."""

UNDER_WAY_S = 30.0
"""Seconds of work that may be under way at once: a store that takes nothing is not given more and more."""

REFUSED_MAX = 3
"""Seconds in a row in which more stall again than come through: then it does not answer after all."""

STALLED_MIN = 3
STALLED_SHARE = 0.2
"""Archives that stall together are their store's fault (failures.md 35); one alone is its own (29)."""

STALLED = ("uncertain", "unavailable")
LIVE = ("available", "uncertain", "unavailable", "restart")
_ARCHIVE = BY_KIND["archive"].state_codes
_WAITS = np.isin(np.arange(256), [_ARCHIVE[state] for state in STALLED])
"""By an archive's state: does it wait for its store? A look-up costs a tenth of a search for each second's thousands."""
Ids = NDArray[np.uint32]
Probe = Callable[[], Awaitable[bool]]


class Asked(StrEnum):
    """Outcomes of `probe_dependency`."""

    ANSWERED = "answered"
    DOWN = "down"


class Answering(StrEnum):
    """Outcome of `watch_dependency`. Silence is none: we look on."""

    ANSWERING = "answering"


class Drained(StrEnum):
    """Outcome of `drain_backlog`."""

    DRAINED = "drained"


@dataclass(frozen=True, slots=True)
class Symptom:
    """What is seen of a dependency without asking it. failing None: nothing can be seen. why: for people."""

    failing: bool | None
    why: str = ""


async def probe_dependency(hands: Hands, work: Machine) -> Outcome:
    """Three answers, or three failures, in a row. What cannot be asked is judged by its symptoms; the state's deadline
    takes it for down when even those say nothing.
    """
    well, failed = 0, 0
    while max(well, failed) < IN_A_ROW:
        answers = await _answers(hands, work)
        well = well + 1 if answers else 0
        failed = failed + 1 if answers is False else 0
        await hands.clock.sleep(ASK_PAUSE_S)
    if well:
        return Outcome(Asked.ANSWERED, why=f"{work.name} answered {well} times in a row")
    return Outcome(Asked.DOWN, why=f"{work.name} did not answer {failed} times in a row")


async def watch_dependency(hands: Hands, work: Machine) -> Outcome:
    """Until it answers three times in a row. One that can neither be asked nor seen waits for a person's word."""
    well = 0
    with _closed(hands, _buckets(work)):
        while well < IN_A_ROW:
            await hands.clock.sleep(WATCH_PAUSE_S)
            well = well + 1 if await _answers(hands, work) else 0
    return Outcome(Answering.ANSWERING, why=f"{work.name} answered {well} times in a row")


def _buckets(work: Machine) -> tuple[str, ...]:
    """What is called through it draws from these: its own, and that of servers that do not say where they stand."""
    if work.data["what"] not in (What.PROVIDER, What.ZONE):
        return ()
    return tuple({f"{work.data['what']}:{work.data.get('scope', '')}", f"{work.data['what']}:"})


@contextmanager
def _closed(hands: Hands, names: tuple[str, ...]) -> Iterator[None]:
    """While it is down nothing is called through it: what is due waits for a token, and is not tried in vain."""
    if hands.buckets is None:
        yield
        return
    before = {name: hands.buckets.rate(name) for name in names}
    for name in names:
        hands.buckets.set(name, Rate(0.0))
    try:
        yield
    finally:
        for name, rate in before.items():
            if rate is None:
                hands.buckets.lift(name)
            else:
                hands.buckets.set(name, rate)


async def _answers(hands: Hands, work: Machine) -> bool | None:
    """True, False, or None where there is no way to know."""
    probe = _probe_of(hands, work)
    if probe is None:
        failing = symptom(hands, work).failing
        return None if failing is None else not failing
    try:
        return await probe()
    except HerderError as error:
        log.info("%s: %s", work.name, error.message)
        return False


def _probe_of(hands: Hands, work: Machine) -> Probe | None:
    """The one that was passed in under its name; a provider can always be asked for one of its servers."""
    given = hands.dependency_probes.get(work.name)
    if given is not None or work.data["what"] != What.PROVIDER:
        return given
    servers = hands.world().ids_in("server", "available", "uncertain", "unavailable")
    if not len(servers):
        return None
    name = hands.get(int(servers[0])).name

    async def asked() -> bool:
        await hands.provider.alive(name)  # what it says of the server does not matter: it answers
        return True

    return asked


def symptom(hands: Hands, work: Machine) -> Symptom:
    """Of a store: how many archives stall. Of anything else: how its calls ended lately."""
    if work.data["what"] == What.OBJECT_STORE:
        return stalled_together(*_stalled_of(hands.world(), work.id))
    # what failed before it answered says nothing new
    since_s = (hands.clock.now_ms() - work.since_ms) / 1000 if work.state == "available" else inf
    calls = hands.tally.within(work.name, hands.clock.monotonic(), since_s)
    return calls_symptom(calls)


def calls_symptom(calls: Calls) -> Symptom:
    """Pure."""
    if not calls.well + calls.failed:
        return Symptom(None)
    return Symptom(are_failing(calls), f"{calls.failed} of {calls.well + calls.failed} calls failed")


def stalled_together(stalled: int, archives: int) -> Symptom:
    """Pure. stalled of `archives` do not archive."""
    if not archives:
        return Symptom(None)
    together = stalled >= STALLED_MIN and stalled >= archives * STALLED_SHARE
    return Symptom(together, f"{stalled} of {archives} archives stall")


def _stalled_of(world: World, store: int) -> tuple[int, int]:
    return count_of(world, store, *STALLED), count_of(world, store, *LIVE)


def count_of(world: World, store: int, *states: str) -> int:
    """How many archives in a store are in one of these states."""
    return world.count("archive", *states) if _is_only_store(world, store) else len(archives_of(world, store, *states))


def archives_of(world: World, store: int, *states: str) -> Ids:
    """The archives in a store and in one of these states, ascending. With one store only no fact has to be read."""
    archives = world.ids_in("archive", *states)
    if _is_only_store(world, store):
        return archives
    held: Ids = archives[world.fact(archives, "store", 0, np.uint32) == store]
    return held


def _is_only_store(world: World, store: int) -> bool:
    return [found.id for found in world.of_kind("dependency") if found.data["what"] == What.OBJECT_STORE] == [store]


# ---- when it is back


async def drain_backlog(hands: Hands, work: Machine) -> Outcome:
    """Let what waited begin, slowly at first: archives of a store by their plan, calls of a provider by its bucket."""
    began = hands.clock.monotonic()
    if work.data["what"] == What.OBJECT_STORE:
        count = await _drain_archives(hands, work)
        why = f"{count} archives drained in {hands.clock.monotonic() - began:.0f} s"
    else:
        await asyncio.gather(*(_open_bucket(hands, bucket, work.name) for bucket in _buckets(work)))
        why = "it has taken its full rate"
    return Outcome(Drained.DRAINED, why=why)


async def _drain_archives(hands: Hands, work: Machine) -> int:
    """Until none of the store's archives stalls; returns how many came through."""
    rate, through, refused = min(FIRST_PER_S, hands.drain_per_s), 0, 0
    line = Line(work.id)
    before = UnderWay.of(hands.world(), archives_of(hands.world(), work.id, "restart"))
    while True:
        world = hands.world()
        draining = count_of(world, work.id, "restart")
        sent, failed, left = before.ended(world)
        through += sent
        if not draining and not count_of(world, work.id, *STALLED):
            return through
        refused = refused + 1 if failed > sent else 0
        if refused == REFUSED_MAX:
            why = f"{failed} archives stalled again in a second, {sent} came through"
            hands.submit(
                Input(
                    work.id, "failing", {"evidence": {"why": why}}, why=why, actor="drain_backlog", entered=work.entered
                )
            )
        rate = next_rate(rate, sent / STEP_S, failed / STEP_S, hands.drain_per_s)
        chosen = line.next(world, min(int(rate * STEP_S), int(rate * UNDER_WAY_S) - draining))
        before = UnderWay.of(world, np.concatenate([left, chosen]))
        if len(chosen):
            why = "its store takes the log again, and it is its turn"
            seen = world.columns.entered[chosen]
            hands.submit(Bulk("archive", "drain", chosen, why=why, actor="drain_backlog", entered=seen))
        await hands.clock.sleep(STEP_S)


@dataclass(frozen=True, slots=True, eq=False)
class UnderWay:
    """Archives that were draining or told to, and the version at which each was seen to be so, shape (n,)."""

    machines: Ids
    entered: Ids

    @classmethod
    def of(cls, world: World, machines: Ids) -> UnderWay:
        """As they are now."""
        return cls(machines, world.columns.entered[machines])

    def ended(self, world: World) -> tuple[int, int, Ids]:
        """How many of them came through since, how many wait again, and which are neither: one that only was not begun yet
        is still under way.
        """
        states = world.columns.state[self.machines]
        waits = _WAITS[states]
        again = waits & (world.columns.entered[self.machines] != self.entered)
        through = ~waits & (states != _ARCHIVE["restart"])
        return int(np.count_nonzero(through)), int(np.count_nonzero(again)), self.machines[~through & ~again]


class Line:
    """A store's stalled archives in the order in which they are let in: put in order when the line is at its end, not each
    time somebody asks for the next few of a million.
    """

    def __init__(self, store: int) -> None:
        self._store = store
        self._left: Ids = np.empty(0, np.uint32)

    def next(self, world: World, room: int) -> Ids:
        """The next ones that still wait, at most `room`."""
        while room > 0:
            again = not len(self._left)
            if again:
                self._left = by_plan(world, archives_of(world, self._store, *STALLED))
            chosen, self._left = self._left[:room], self._left[room:]
            waits = _WAITS[world.columns.state[chosen]]
            if again or waits.any():
                return chosen[waits]
        return self._left[:0]


def by_plan(world: World, archives: Ids) -> Ids:
    """Those of the best plan first, then in order of their making. Pure."""
    return archives[np.argsort(world.columns.priority[archives], kind="stable")]


async def _open_bucket(hands: Hands, bucket: str, name: str) -> None:
    """From a small share of its rate back to all of it; halved when calls fail. Without a rate nothing is to be opened."""
    full = hands.buckets.rate(bucket) if hands.buckets is not None else None
    if full is None or hands.buckets is None:
        return
    per_s = max(full.per_s / 32, min(1.0, full.per_s))
    try:
        while per_s < full.per_s:
            hands.buckets.set(bucket, Rate(per_s, min(full.burst, max(per_s, 1.0))))
            await hands.clock.sleep(STEP_S)
            failing = are_failing(hands.tally.within(name, hands.clock.monotonic()))
            per_s = max(per_s / 2, full.per_s / 64) if failing else per_s * 2
    finally:
        hands.buckets.set(bucket, full)
