"""The task that exercises: keeps a calendar of who takes part, begins what is due, and records how each ended."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

from herder.engine.decide import Input
from herder.engine.world import Machine, World
from herder.fleet import exercise
from herder.fleet.exercise import Policy, Readings, Standing
from herder.machines.registry import BY_KIND
from herder.model.errors import HerderError
from herder.ports.clock import Clock

log = logging.getLogger("herder.exercise")

TICK_S = 5.0
"""Windows are counted in minutes; an exercise that has ended is recorded within this."""

LATER_MS = 60_000
"""One that is due and must wait (a budget, a standby behind) is looked at again after this."""

CHUNK = 2000
"""Services looked at in one go when the calendar is made: about 10 ms, then others have their turn."""


class Exercises:
    """Holds no truth: the calendar is made of the services' facts, and made anew by the next controller.

    may: '' while this control plane may act, else why not (it is deaf, it is frozen).
    """

    def __init__(
        self, world: Callable[[], World], readings: Readings, clock: Clock,
        propose: Callable[[Callable[[World], Sequence[Input]]], Awaitable[Any]], may: Callable[[], str], rules: Policy,
    ) -> None:  # fmt: skip
        self._world = world
        self.readings = readings
        self._clock = clock
        self._propose = propose
        self._may = may
        self.rules = rules
        self._calendar: list[
            tuple[int, int]
        ] = []  # (due_ms, service), a heap; an entry that _due does not know is stale
        self._due: dict[int, int] = {}
        self._taking_part: set[int] = set()
        self._running: set[int] = set()
        self._failed: set[int] = set()
        self._surveyed = 0  # services with lower ids were looked at
        self.waits: dict[int, str] = {}

    # the calendar

    def moved(self, idents: Sequence[int]) -> None:
        """After a commit: services whose facts may have changed."""
        world = self._world()
        kinds, service = world.columns.kind, BY_KIND["service"].code
        for ident in idents:
            if kinds[ident] == service:
                self.place(world.get(ident))

    def place(self, service: Machine) -> None:
        """Put one service where it belongs by its facts of now."""
        ident, now_ms = service.id, self._clock.now_ms()
        running = bool(service.data.get("exercise_run")) and service.state in exercise.LIVE
        part = exercise.part_of(service, self.rules.plans) if service.live else None
        _keep(self._running, ident, among=running)
        _keep(self._failed, ident, among=exercise.failed(service))
        _keep(self._taking_part, ident, among=part is not None)
        if part is None or running:
            self._due.pop(ident, None)
            self.waits.pop(ident, None)
            return
        due_ms, known = exercise.next_due(service, part, now_ms), self._due.get(ident)
        waiting = (
            known is not None and due_ms <= now_ms and known <= now_ms + LATER_MS
        )  # its turn is not news at each look
        if due_ms != known and not waiting:
            self._enter(ident, due_ms)

    def _enter(self, ident: int, due_ms: int) -> None:
        self._due[ident] = due_ms
        heapq.heappush(self._calendar, (due_ms, ident))

    def _take_due(self, now_ms: int) -> Iterator[int]:
        while self._calendar and self._calendar[0][0] <= now_ms:
            due_ms, ident = heapq.heappop(self._calendar)
            if self._due.get(ident) == due_ms:
                yield ident

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._survey()
            await self._clock.sleep(TICK_S)
            await self.turn()

    async def _survey(self) -> None:
        """Every service that may take part and was not looked at yet (all at the start, later those that came by the
        thousand), in chunks: a million of them must not hold the loop up.
        """
        world = self._world()
        for number, ident in enumerate(self._candidates(world)):
            self.place(world.get(ident))
            if number % CHUNK == CHUNK - 1:
                await self._clock.sleep(0)

    def _candidates(self, world: World) -> list[int]:
        """Whoever was told something has a document; of the others only a plan's word makes them take part."""
        ids = world.ids("service")
        ids = ids[ids >= self._surveyed]
        self._surveyed = world.size
        if not self.rules.plans:
            ids = ids[world.columns.own[ids] == 1]
        found: list[int] = ids.tolist()
        return found

    # a turn

    async def turn(self) -> None:
        """Record what ended, then begin what is due."""
        if self._may():
            return
        for ident in sorted(self._running):
            await self._finish(ident)
        now_ms = self._clock.now_ms()
        due = list(self._take_due(now_ms))
        if not due:
            return
        world = self._world()
        services = [world.get(ident) for ident in due]
        chosen = exercise.choose(world, services, now_ms, self.standing(), self.rules, self.readings)
        for ident in chosen.begin:
            await self._begin(ident, now_ms)
        for ident in due:
            if ident not in self._running:
                self._later(ident, now_ms, chosen.waits.get(ident, self.waits.get(ident, "")))

    def _later(self, ident: int, now_ms: int, why: str) -> None:
        """Looked at again in a minute, while its window is open; else in its next one."""
        service = self._world().get(ident)
        part = exercise.part_of(service, self.rules.plans)
        self._due.pop(ident, None)
        if part is None or not service.live:
            self.waits.pop(ident, None)
            return
        self.waits[ident] = why
        self._enter(ident, exercise.next_due(service, part, now_ms + LATER_MS))

    async def _begin(self, ident: int, now_ms: int) -> None:
        service = self._world().get(ident)
        part = exercise.part_of(service, self.rules.plans)
        if part is None:
            return
        how, name = part.how, service.name
        try:
            await self._propose(
                lambda world: exercise.begin(world, name, how, "due in its window", now_ms, self.readings)
            )
        except HerderError as error:
            self.waits[ident] = error.message
            return
        self.waits.pop(ident, None)
        self.place(self._world().get(ident))
        log.info("exercise of %s by %s", name, how)

    async def _finish(self, ident: int) -> None:
        """Record how one ended, once everything is well or the time for that is over."""
        service = self._world().get(ident)
        if not service.data.get("exercise_run"):
            self._running.discard(ident)
            return
        items = exercise.ended(self._world(), service, self._clock.now_ms())
        if not items:
            return
        try:
            await self._propose(lambda _: items)
        except HerderError as error:
            log.warning("how the exercise of %s ended is not recorded yet: %s", service.name, error.message)
            return
        self.place(self._world().get(ident))

    # views

    def standing(self) -> Standing:
        """What goes on, as the choice needs it."""
        world = self._world()
        running = {ident: exercise.zones_of(world, world.get(ident)) for ident in self._running}
        failed = {str(world.get(ident).data["plan"]): world.get(ident).name for ident in sorted(self._failed)}
        return Standing(running, failed)

    def view_of(self, service: Machine) -> dict[str, Any]:
        """One service's line."""
        part = exercise.part_of(service, self.rules.plans)
        return exercise.view(service, part, self._clock.now_ms(), self.waits.get(service.id, ""))

    def view(self, limit: int) -> dict[str, Any]:
        """`herder exercise --json`. services: who runs, then by when they are due; at most `limit` of `taking_part`."""
        world = self._world()
        shown = heapq.nsmallest(limit, self._due, key=lambda ident: (self._due[ident], ident))
        idents = dict.fromkeys([*sorted(self._running), *sorted(self._failed), *shown])
        rows = [self.view_of(world.get(ident)) for ident in idents]
        stopped = self.standing().failed
        return {
            "taking_part": len(self._taking_part), "running": len(self._running), "at_once": self.rules.at_once,
            "held": self._may() or exercise.trouble(world),
            "plans": [exercise.plan_view(plan, takes_part=plan in self.rules.plans, stopped_by=stopped.get(plan, "")) for plan in exercise.PLAN_PARTS],
            "services": exercise.sorted_by_due(rows)[:limit],
        }  # fmt: skip


def _keep(found: set[int], ident: int, *, among: bool) -> None:
    if among:
        found.add(ident)
    else:
        found.discard(ident)
