"""What is due: which machines stand in states that declare an effect, found and kept as arrays.

A million due effects are thirteen million bytes and no Python object each.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from herder.engine.world import World
from herder.machines.registry import TABLES
from herder.machines.table import Table

Ids = NDArray[np.uint32]

NONE = -1
FIRST_CAPACITY = 16


@dataclass(frozen=True, slots=True, eq=False)
class Due:
    """Machines for which one effect is due, those that entered their state first in front."""

    effect: str
    machines: Ids


class Declared:
    """Effects by their place in a list, and an array that says which one a (kind, state) declares."""

    def __init__(self, tables: Iterable[Table] = TABLES) -> None:
        self.names: list[str] = []
        self._of: NDArray[np.int16] = np.full(1 << 16, NONE, np.int16)
        for table in tables:
            for state in table.states:
                if state.effect is None:
                    continue
                if state.effect.name not in self.names:
                    self.names.append(state.effect.name)
                self._of[table.code << 8 | table.state_codes[state.name]] = self.names.index(state.effect.name)

    def of(self, world: World, ids: Ids) -> NDArray[np.int16]:
        """The place of the effect that each machine's state declares; NONE where it declares none."""
        columns = world.columns
        places: NDArray[np.int16] = self._of[columns.kind[ids].astype(np.uint16) << 8 | columns.state[ids]]
        return places

    def one(self, world: World, machine: int) -> int:
        """The same for one machine, without arrays."""
        columns = world.columns
        return int(self._of[int(columns.kind[machine]) << 8 | int(columns.state[machine])])


DECLARED = Declared()


def due_effects(world: World, declared: Declared = DECLARED) -> list[Due]:
    """Everything that is due by the states as they are: a scan of columns, not a walk over machines."""
    ids = np.arange(world.size, dtype=np.uint32)
    places = declared.of(world, ids)
    waiting = np.flatnonzero(places != NONE)
    order = world.columns.order[waiting]
    waiting = waiting[np.argsort(order, kind="stable")]
    found = places[waiting]
    return [
        Due(declared.names[place], waiting[found == place].astype(np.uint32)) for place in np.unique(found).tolist()
    ]


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """Machines in the order in which they wait. entered: the version at which each entered its state (u4). tries: failed
    ones so far (u1). All of one length.
    """

    ids: Ids
    entered: Ids
    tries: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.ids)

    def pick(self, which: NDArray[np.bool_] | slice) -> Waiting:
        """Some of them, in the same order."""
        return Waiting(self.ids[which], self.entered[which], self.tries[which])


def waiting_for(ids: Ids, entered: Ids) -> Waiting:
    """Ones that nobody has tried yet."""
    return Waiting(ids, entered, np.zeros(len(ids), np.uint8))


class Queue:
    """First in, first out, in three arrays that grow by doubling and shrink when they are empty."""

    def __init__(self) -> None:
        self._head = self._tail = 0
        self._rows: tuple[NDArray[Any], ...] = _room(FIRST_CAPACITY)

    def __len__(self) -> int:
        return self._tail - self._head

    @property
    def nbytes(self) -> int:
        """What it holds of memory."""
        return sum(column.nbytes for column in self._rows)

    @property
    def oldest(self) -> int:
        """The machine that waits in front. The queue must not be empty."""
        return int(self._rows[0][self._head])

    def push(self, more: Waiting) -> None:
        """Behind all others."""
        end = self._tail + len(more)
        if end > len(self._rows[0]):
            self._make_room(len(self) + len(more))
            end = self._tail + len(more)
        for column, values in zip(self._rows, (more.ids, more.entered, more.tries), strict=True):
            column[self._tail : end] = values
        self._tail = end

    def take(self, count: int) -> Waiting:
        """The first `count`, or all there are; they are copies."""
        end = min(self._head + count, self._tail)
        ids, entered, tries = (column[self._head : end].copy() for column in self._rows)
        self._head = end
        if self._head == self._tail:
            self._head = self._tail = 0
            if len(self._rows[0]) > 1 << 16:
                self._rows = _room(FIRST_CAPACITY)
        return Waiting(ids, entered, tries)

    def put_back(self, front: Waiting) -> None:
        """In front of all others: what was taken and could not go."""
        if not len(front):
            return
        if self._head < len(front):
            rest = self.take(len(self))
            self.push(front)
            self.push(rest)
            return
        begin = self._head - len(front)
        for column, values in zip(self._rows, (front.ids, front.entered, front.tries), strict=True):
            column[begin : self._head] = values
        self._head = begin

    def _make_room(self, count: int) -> None:
        """Move what waits to the beginning of arrays that hold `count`, and half as much again."""
        old, begin, end = self._rows, self._head, self._tail
        self._rows = _room(count + count // 2 + FIRST_CAPACITY)
        for column, before in zip(self._rows, old, strict=True):
            column[: end - begin] = before[begin:end]
        self._head, self._tail = 0, end - begin


def _room(capacity: int) -> tuple[NDArray[Any], ...]:
    return np.empty(capacity, np.uint32), np.empty(capacity, np.uint32), np.empty(capacity, np.uint8)
