"""Lanes: what waits for one handler at one priority behind one set of buckets, and who may go next. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from string import Formatter

import numpy as np
from numpy.typing import NDArray

from herder.engine.due import Ids, Queue, Waiting
from herder.engine.registered import AnyRegistered, Registered, RegisteredMany
from herder.engine.world import World

GATHER_S = 0.05
"""Where tokens are scarce, batches wait for this many seconds' worth of them, so that they stay batches."""

RESTING_PER_SLOT = 4
"""Single effects that rest between two tries, for each slot: beyond that nothing new begins in this lane."""


@dataclass(slots=True)
class Tally:
    """Counts of machines for one effect. asked: states entered that declare it. started: calls made, tries included.
    ended: outcomes handed in. retried: tries that came to nothing. moot: dropped before or after, the machine had moved.
    """

    asked: int = 0
    started: int = 0
    ended: int = 0
    retried: int = 0
    moot: int = 0

    @property
    def amplification(self) -> float:
        """Effects done / effects needed: 1.0 when nothing was done twice or in vain."""
        return self.started / self.ended if self.ended else float(self.started > 0)


class Lane:
    """Machines that wait, those that failed before in front of the others."""

    def __init__(self, registered: AnyRegistered, priority: int, buckets: tuple[str, ...]) -> None:
        self.registered = registered
        self.priority = priority
        self.buckets = buckets
        self.fresh = Queue()
        self.again = Queue()
        self.running = 0  # calls
        self.resting = 0  # calls that failed and wait for their next try

    def __len__(self) -> int:
        return len(self.fresh) + len(self.again)

    @property
    def oldest(self) -> int:
        """The machine in front. The lane must not be empty."""
        return (self.again if len(self.again) else self.fresh).oldest

    @property
    def room(self) -> int:
        """Calls that may begin now."""
        free = self.registered.at_once - self.running
        if isinstance(self.registered, Registered):
            return min(free, RESTING_PER_SLOT * self.registered.at_once - self.resting)
        return free

    @property
    def reach(self) -> int:
        """Machines that may go in one turn."""
        return self.registered.batch if isinstance(self.registered, RegisteredMany) else self.room

    def take(self) -> tuple[Queue, Waiting]:
        """The next ones, and the queue that they came from."""
        queue = self.again if len(self.again) else self.fresh
        return queue, queue.take(self.reach)


class Lanes:
    """All lanes, made as they are needed."""

    def __init__(self, handlers: Mapping[str, AnyRegistered]) -> None:
        self._handlers = handlers
        self._lanes: dict[tuple[str, int, tuple[str, ...]], Lane] = {}

    def __iter__(self) -> Iterator[Lane]:
        return iter(self._lanes.values())

    def waiting(self, world: World) -> list[Lane]:
        """Lanes in which somebody waits: premium first, then whose first machine entered its state first."""
        order = world.columns.order
        lanes = [lane for lane in self._lanes.values() if len(lane)]
        return sorted(lanes, key=lambda lane: (lane.priority, int(order[lane.oldest])))

    def push(self, world: World, effect: str, more: Waiting) -> None:
        """Each into the lane of its priority and its buckets. A missing handler is a bug: KeyError."""
        registered = self._handlers[effect]
        fields = _fields_of(registered.bucket)
        ranks = world.columns.priority[more.ids]
        if len(more) == 1 and not fields:
            self._lane(registered, int(ranks[0]), tuple(registered.bucket.split())).fresh.push(more)
            return
        for rank in sorted(set(ranks.tolist())):
            those = more.pick(ranks == rank)
            for buckets, which in _by_buckets(world, registered.bucket, those.ids):
                self._lane(registered, rank, buckets).fresh.push(those if which is None else those.pick(which))

    def _lane(self, registered: AnyRegistered, rank: int, buckets: tuple[str, ...]) -> Lane:
        key = registered.effect, rank, buckets
        if key not in self._lanes:
            self._lanes[key] = Lane(registered, rank, buckets)
        return self._lanes[key]


@cache
def _fields_of(pattern: str) -> tuple[str, ...]:
    """The facts that a pattern of buckets names."""
    return tuple(dict.fromkeys(name for _, name, _, _ in Formatter().parse(pattern) if name))


def _by_buckets(world: World, pattern: str, ids: Ids) -> list[tuple[tuple[str, ...], NDArray[np.bool_] | None]]:
    """The names of the buckets, and which of the machines draw from them (None: all of them)."""
    fields = _fields_of(pattern)
    if not fields:
        return [(tuple(pattern.split()), None)]
    values = [world.fact(ids, name, "", object).astype(str) for name in fields]
    codes = np.zeros(len(ids), np.int64)
    for column in values:
        known, places = np.unique(column, return_inverse=True)
        codes = codes * len(known) + places
    found: list[tuple[tuple[str, ...], NDArray[np.bool_] | None]] = []
    for code in np.unique(codes).tolist():
        which = codes == code
        first = int(np.argmax(which))
        facts = {name: str(column[first]) for name, column in zip(fields, values, strict=True)}
        found.append((tuple(word.format_map(facts) for word in pattern.split()), which))
    return found
