"""What waits to be decided, by who goes first: a premium service's step never stands behind a million others."""

from __future__ import annotations

from collections import deque

import numpy as np

from herder.engine.attention import RANKS
from herder.engine.bulk import CHUNK, Bulk, Cohort, chunks
from herder.engine.decide import Input
from herder.engine.world import World

BATCH = 4_096
"""Single inputs of one record: at about 20 us each they take less than 0.1 s."""


def _ranked(item: Bulk | Cohort, world: World) -> Bulk | Cohort:
    """The best priority first, so that its part of a large bulk is the first record."""
    if isinstance(item, Cohort) or len(item.machines) <= CHUNK:
        return item
    known = np.minimum(item.machines, world.size - 1)
    return item.part(np.argsort(world.columns.priority[known], kind="stable"))


class Queue:
    """Single inputs in lanes by priority; bulks behind them, a chunk at a time."""

    def __init__(self) -> None:
        self._lanes: list[deque[Input]] = [deque() for _ in range(RANKS)]
        self._bulks: deque[Bulk | Cohort] = deque()

    def __len__(self) -> int:
        return self.waiting + self.bulks

    @property
    def waiting(self) -> int:
        """Single inputs."""
        return sum(map(len, self._lanes))

    @property
    def bulks(self) -> int:
        """Parts of bulks."""
        return len(self._bulks)

    def put(self, item: Input | Bulk | Cohort, world: World) -> None:
        """At the end of its lane. What has no machine yet (a page, a playbook) goes first."""
        if isinstance(item, Input):
            known = 0 < item.machine < world.size
            self._lanes[min(int(world.columns.priority[item.machine]), RANKS - 1) if known else 0].append(item)
        else:
            self._bulks.extend(chunks(_ranked(item, world)))

    def singles(self) -> list[Input]:
        """The next batch, best priority first, in the order of their coming within one."""
        taken: list[Input] = []
        for lane in self._lanes:
            while lane and len(taken) < BATCH:
                taken.append(lane.popleft())
        return taken

    def bulk(self) -> Bulk | Cohort | None:
        """The next part of a bulk, small enough for a record."""
        return self._bulks.popleft() if self._bulks else None
