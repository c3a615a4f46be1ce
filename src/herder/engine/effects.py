"""Effects: the work that a state declares. At-least-once and idempotent; the outcome is the next event.

A handler is found by the effect's name. Loading fails unless every effect of every table has exactly one handler and the
handler's outcome type is the declared set, so that an outcome nobody handles is a crash at load, not a string at run time.

What is due waits in arrays, by priority and then by age. It begins when a slot and a token of each of its buckets are
free, and is dropped when its machine has entered another state meanwhile. This is the only layer that tries again: a
handler that raises an operating error is asked once more after a pause drawn with full jitter (AWS, "Exponential
Backoff And Jitter", 2015), and each try takes its tokens.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from heapq import heappop, heappush
from math import inf

import numpy as np
from numpy.typing import NDArray

from herder.engine.buckets import Buckets
from herder.engine.bulk import Bulk
from herder.engine.decide import Input
from herder.engine.due import DECLARED, NONE, Ids, Waiting, due_effects, waiting_for
from herder.engine.lanes import GATHER_S, Lane, Lanes, Tally
from herder.engine.registered import AnyRegistered, Many, Outcome, Registered, RegisteredMany, check_handlers
from herder.engine.world import Machine, World
from herder.machines.registry import BY_CODE, BY_KIND
from herder.model.errors import HerderError
from herder.ports.clock import Clock, Random

__all__ = ["EffectRunner", "Many", "Outcome", "Registered", "RegisteredMany", "check_handlers", "due_effects"]

log = logging.getLogger("herder.effects")

BACKOFF_FIRST_S = 0.1
BACKOFF_LAST_S = 3.0
CRASHED = 8
"""Tries that a bug counts for: the longest pause at once."""


FEW = 8
"""Machines that are followed one by one: arrays cost more than they save for so few."""

TICK_S = 0.001
"""The shortest wait: rounding must not make the alarm ring again and again before its time."""


class EffectRunner:
    """Runs what is due, each keyed by the version at which its machine entered its state."""

    def __init__(
        self,
        handlers: Mapping[str, AnyRegistered],
        clock: Clock,
        chance: Random,
        submit: Callable[[Input | Bulk], None],
        buckets: Buckets | None = None,
    ) -> None:
        self.buckets = buckets if buckets is not None else Buckets()
        self.buckets.watch(self._soon)
        self.tallies: dict[str, Tally] = {effect: Tally() for effect in handlers}
        self.failures: dict[str, int] = {}
        self._clock = clock
        self._chance = chance
        self._submit = submit
        self._lanes = Lanes(handlers)
        self._world: World | None = None
        self._seen: Ids = np.zeros(0, np.uint32)  # by machine: the version for which its effect was queued
        self._singles: dict[int, tuple[int, asyncio.Task[None], str]] = {}  # by machine: entered, task, effect
        self._batches: dict[asyncio.Task[None], int] = {}
        self._rests: list[tuple[float, int, Lane, Waiting]] = []  # a heap by the time of the next try
        self._rested = 0
        self._turn: asyncio.Handle | None = None
        self._alarm: asyncio.Task[None] | None = None
        self._alarm_at = inf

    # what the loop tells

    def start(self, world: World) -> None:
        """Begin with everything that is due by the states as they are: at the start of a controller."""
        self._world = world
        for due in due_effects(world):
            self._queue(world, due.machines)
        self._pump()

    def follow(self, world: World, moved: Iterable[int]) -> None:
        """Start what the new states declare; cancel what belonged to states that were left."""
        ids = [*dict.fromkeys(moved)]
        if len(ids) <= FEW:  # most records move a machine or three, and most of those come to nothing here
            self._world = world
            self._cancel_left_of(world, ids)
            ids = [ident for ident in ids if DECLARED.one(world, ident) != NONE]
            if ids:
                self._queue(world, np.array(ids, np.uint32))
            self._pump()
        else:
            self._follow(world, np.array(ids, np.uint32))

    def follow_many(self, world: World, kind: str, target: str, machines: Ids) -> None:
        """The same for many machines of a kind that entered one state together, whole arrays at a time."""
        if BY_KIND[kind].by_name[target].effect is not None:
            self._follow(world, machines)
        else:
            self._cancel_left(world, machines)

    def _follow(self, world: World, ids: Ids) -> None:
        self._world = world
        self._cancel_left(world, ids)
        self._queue(world, ids)
        self._pump()

    def _cancel_left(self, world: World, ids: Ids) -> None:
        """Of single work under way; a batch goes on for the others, and its outcome leaves those out who have moved."""
        if not self._singles:
            return
        self._cancel_left_of(world, ids.tolist() if len(ids) <= len(self._singles) else list(self._singles))

    def _cancel_left_of(self, world: World, ids: Iterable[int]) -> None:
        entered = world.columns.entered
        for ident in ids:
            running = self._singles.get(ident)
            if running is not None and running[0] != int(entered[ident]):
                del self._singles[ident]
                if running[1].cancel():
                    self.tallies[running[2]].moot += 1

    def _queue(self, world: World, ids: Ids) -> None:
        """Those whose state declares an effect, once for each time that they enter it."""
        places = DECLARED.of(world, ids)
        declares = places != NONE
        if not declares.any():
            return
        ids, places = ids[declares], places[declares]
        if len(self._seen) < world.size:
            self._seen = np.concatenate([self._seen, np.zeros(world.size + (world.size >> 2) - len(self._seen), "<u4")])
        entered = world.columns.entered[ids]
        new = self._seen[ids] != entered
        self._seen[ids] = entered
        ids, entered, places = ids[new], entered[new], places[new]
        for place in sorted(set(places.tolist())):
            which, effect = places == place, DECLARED.names[place]
            self._lanes.push(world, effect, waiting_for(ids[which], entered[which]))
            self.tallies[effect].asked += int(np.count_nonzero(which))

    # who goes when

    def _soon(self) -> None:
        """Look again after what runs now: many endings in a row make one look."""
        if self._turn is None and self._world is not None:
            self._turn = asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        """Begin what may begin, and set the alarm for what may begin later."""
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        world = self._world
        if world is None:
            return
        now = self._clock.monotonic()
        self._wake_rested(now)
        wake = self._rests[0][0] if self._rests else inf
        for lane in self._lanes.waiting(world):
            wake = min(wake, self._serve(world, lane, now))
        self._arm(wake, now)

    def _serve(self, world: World, lane: Lane, now: float) -> float:
        """Begin what this lane may; returns when its tokens are there, inf when it waits for something else."""
        while len(lane) and lane.room > 0:
            queue, waiting = lane.take()
            due = self._without_moot(world, lane, waiting)
            if not len(due):
                continue
            wanted = 1
            if isinstance(lane.registered, RegisteredMany):
                wanted = min(len(due), self.buckets.gathered(lane.buckets, GATHER_S))
            at = self.buckets.next_at(lane.buckets, now, wanted)
            allowed = self.buckets.take(lane.buckets, len(due), now) if at <= now else 0
            queue.put_back(due.pick(slice(allowed, None)))
            if not allowed:
                return at
            self._begin(world, lane, due.pick(slice(0, allowed)))
        return inf

    def _without_moot(self, world: World, lane: Lane, waiting: Waiting) -> Waiting:
        still = world.columns.entered[waiting.ids] == waiting.entered
        if still.all():
            return waiting
        self.tallies[lane.registered.effect].moot += len(still) - int(np.count_nonzero(still))
        return waiting.pick(still)

    def _begin(self, world: World, lane: Lane, due: Waiting) -> None:
        handler = lane.registered
        self.tallies[handler.effect].started += len(due)
        if isinstance(handler, RegisteredMany):
            task = asyncio.create_task(
                self._run_many(world, lane, handler, due), name=f"{handler.effect} of {len(due)}"
            )
            self._batches[task] = len(due)
            self._count(lane, task)
            return
        for place, (ident, entered) in enumerate(zip(due.ids.tolist(), due.entered.tolist(), strict=True)):
            machine = world.get(ident).copy()
            one = due.pick(slice(place, place + 1))
            task = asyncio.create_task(
                self._run_one(lane, handler, machine, one), name=f"{handler.effect} {machine.name}"
            )
            self._singles[ident] = entered, task, handler.effect
            self._count(lane, task)

    def _count(self, lane: Lane, task: asyncio.Task[None]) -> None:
        lane.running += 1
        task.add_done_callback(partial(self._ended, lane))

    def _ended(self, lane: Lane, task: asyncio.Task[None]) -> None:
        """The slot is free, however it ended. A task that was cancelled before its first step ends here only."""
        lane.running -= 1
        self._batches.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s could not be ended", task.get_name(), exc_info=error)
        if len(lane):
            self._soon()

    # one call

    async def _run_one(self, lane: Lane, handler: Registered, machine: Machine, one: Waiting) -> None:
        try:
            outcome = await handler.run(machine)
        except HerderError as error:
            log.warning("%s of %s: %s", handler.effect, machine.name, error.message)
            self._rest(lane, one)
        except Exception:
            log.exception("%s of %s crashed", handler.effect, machine.name)
            self._rest(lane, one, crashed=True)
        else:
            self._answer(handler.effect, machine, outcome)
        if self._singles.get(machine.id, (0, None, ""))[1] is asyncio.current_task():
            del self._singles[machine.id]

    def _answer(self, effect: str, machine: Machine, outcome: Outcome) -> None:
        tally = self.tallies[effect]
        if self._world is not None and int(self._world.columns.entered[machine.id]) != machine.entered:
            tally.moot += 1
            return
        tally.ended += 1
        self._submit(
            Input(
                machine.id, str(outcome.event), outcome.facts, why=outcome.why, entered=machine.entered, actor=effect
            )
        )  # fmt: skip

    async def _run_many(self, world: World, lane: Lane, handler: RegisteredMany, due: Waiting) -> None:
        try:
            answers = await handler.run(world, due.ids)
            left = self._answer_many(handler.effect, due, answers)
        except HerderError as error:
            log.warning("%s of %d: %s", handler.effect, len(due), error.message)
            self._rest(lane, due)
        except Exception:
            log.exception("%s of %d crashed", handler.effect, len(due))
            self._rest(lane, due, crashed=True)
        else:
            if left.any():
                self._rest(lane, due.pick(left))

    def _answer_many(self, effect: str, due: Waiting, answers: Sequence[Many]) -> NDArray[np.bool_]:
        """Hand the outcomes in; returns which machines of the batch had none. One that was not asked for is a bug."""
        world, tally = self._world, self.tallies[effect]
        assert world is not None
        sort = np.argsort(due.ids, kind="stable")
        ids, entered = due.ids[sort], due.entered[sort]
        left = np.ones(len(due), bool)
        for answer in answers:
            machines = np.asarray(answer.machines, np.uint32)
            places = np.minimum(np.searchsorted(ids, machines), len(ids) - 1)
            if not np.array_equal(ids[places], machines):
                raise ValueError(f"the handler of '{effect}' answers for machines that it was not asked about")
            left[sort[places]] = False
            still = world.columns.entered[machines] == entered[places]
            tally.moot += len(machines) - int(np.count_nonzero(still))
            tally.ended += int(np.count_nonzero(still))
            for kind in np.unique(world.columns.kind[machines[still]]).tolist():
                those = still & (world.columns.kind[machines] == kind)
                self._submit(
                    Bulk(BY_CODE[kind].kind, str(answer.event), machines[those], answer.why, effect, answer.facts, entered[places][those])
                )  # fmt: skip
        return left

    # another try

    def _rest(self, lane: Lane, due: Waiting, *, crashed: bool = False) -> None:
        """Until its next try: a pause drawn from [0, ceiling), the ceiling doubled with each try."""
        effect = lane.registered.effect
        self.failures[effect] = self.failures.get(effect, 0) + 1
        self.tallies[effect].retried += len(due)
        tries = np.maximum(due.tries, CRASHED) if crashed else due.tries
        ceiling = min(BACKOFF_FIRST_S * 2.0 ** int(tries.max()), BACKOFF_LAST_S)
        again = Waiting(due.ids, due.entered, np.minimum(tries + 1, CRASHED).astype(np.uint8))
        self._rested += 1
        lane.resting += 1
        heappush(self._rests, (self._clock.monotonic() + self._chance.jitter(ceiling), self._rested, lane, again))
        self._soon()

    def _wake_rested(self, now: float) -> None:
        while self._rests and self._rests[0][0] <= now:
            _, _, lane, due = heappop(self._rests)
            lane.resting -= 1
            lane.again.push(due)

    def _arm(self, at: float, now: float) -> None:
        """One alarm, for the next try or the next token, whichever comes first."""
        if self._alarm is not None and self._alarm_at <= at:
            return
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm, self._alarm_at = None, inf
        if at < inf:
            self._alarm_at = at
            self._alarm = asyncio.create_task(self._ring(at - now), name="effects wait")

    async def _ring(self, seconds: float) -> None:
        await self._clock.sleep(max(seconds, TICK_S))
        self._alarm, self._alarm_at = None, inf
        self._pump()

    # what is told

    def busy(self) -> list[str]:
        """Names of the effects under way or resting before another try, and how many wait for their turn."""
        names = [task.get_name() for _, task, _ in self._singles.values() if not task.done()]
        names += [task.get_name() for task in self._batches if not task.done()]
        for _, _, lane, due in self._rests:
            names.append(f"{lane.registered.effect} {self._called(due)}")
        names += [f"{lane.registered.effect}: {len(lane)} waiting" for lane in self._lanes if len(lane)]
        return sorted(names)

    def _called(self, due: Waiting) -> str:
        machine = self._world.find(int(due.ids[0])) if self._world is not None and len(due) == 1 else None
        return machine.name if machine is not None else f"of {len(due)}"

    def metrics(self) -> dict[str, dict[str, int]]:
        """Counts by effect, of machines: see Tally; running (calls), waiting, resting (calls) are of this moment."""
        found = {
            effect: {"asked": tally.asked, "started": tally.started, "ended": tally.ended, "retried": tally.retried,
                     "moot": tally.moot, "running": 0, "waiting": 0, "resting": 0}
            for effect, tally in self.tallies.items()
        }  # fmt: skip
        for lane in self._lanes:
            told = found[lane.registered.effect]
            told["running"] += lane.running
            told["waiting"] += len(lane)
            told["resting"] += lane.resting
        return found

    async def close(self) -> None:
        """Cancel everything; whatever it was doing is due again at the next start."""
        self._world = None
        tasks = [task for _, task, _ in self._singles.values()] + list(self._batches)
        if self._alarm is not None:
            tasks.append(self._alarm)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._singles.clear()
        self._batches.clear()
        self._rests.clear()
