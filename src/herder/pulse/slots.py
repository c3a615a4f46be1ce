"""What was heard, as arrays: one slot a server, one a member. They grow, are found by machine id, and are used again."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Slots = NDArray[np.intp]
Words = NDArray[np.uint32]
Where = slice | Slots
"""Slots as an index: a slice when they lie side by side (a view, no gather), else their numbers."""

NOBODY = -1
SEVERAL = -2

FIRST_ROOM = 64


class Finder:
    """Machine id -> slot, as a dense array: machine ids count up from 1. 4 bytes an id. changes: how often somebody who
    had a slot got another or none; while it stays, a slot that was found holds.
    """

    def __init__(self) -> None:
        self.changes = 0
        self._slots: NDArray[np.int32] = np.full(FIRST_ROOM, NOBODY, np.int32)  # the last one always says nobody

    def one(self, machine: int) -> int:
        """Its slot, NOBODY when there is none."""
        return int(self._slots[min(machine, len(self._slots) - 1)])

    def many(self, machines: NDArray[Any]) -> Slots:
        """Their slots, shape (n,)."""
        slots: Slots = self._slots[np.minimum(machines, len(self._slots) - 1)].astype(np.intp)
        return slots

    def put(self, machines: NDArray[Any], slots: NDArray[Any] | int) -> None:
        """From now on these are there."""
        highest = int(machines.max(initial=0))
        if highest >= len(self._slots) - 1:
            grown = np.full(max(highest + 2, min(2 * len(self._slots), len(self._slots) + (1 << 20))), NOBODY, np.int32)
            grown[: len(self._slots)] = self._slots
            self._slots = grown
        self.changes += bool((self._slots[machines] != NOBODY).any())
        self._slots[machines] = slots


class Columns:
    """Arrays of one length. count: slots ever used; free: those among them that may be used again."""

    FIELDS: tuple[tuple[str, str], ...] = ()

    def __init__(self) -> None:
        self.count = 0
        self.free: list[int] = []
        for name, kind in self.FIELDS:
            setattr(self, name, np.zeros(FIRST_ROOM, kind))

    def take(self, wanted: int) -> Slots:
        """That many slots, side by side when there are many; what stood in them before is zero."""
        if wanted <= len(self.free):
            slots = np.array([self.free.pop() for _ in range(wanted)], np.intp)
            for name, _ in self.FIELDS:
                getattr(self, name)[slots] = 0
            return slots
        begin, end = self.count, self.count + wanted
        self._reserve(end)
        self.count = end
        return np.arange(begin, end, dtype=np.intp)

    def _reserve(self, size: int) -> None:
        room = len(getattr(self, self.FIELDS[0][0]))
        if size <= room:
            return
        larger = max(size, min(2 * room, room + (1 << 20)))
        for name, kind in self.FIELDS:
            grown = np.zeros(larger, kind)
            grown[:room] = getattr(self, name)
            setattr(self, name, grown)


class Servers(Columns):
    """Times in the controller's monotonic seconds. 73 bytes a server.

    deadline: no silence before this is suspicious (a lower bound while frames come, exact once it has passed), so that
    looking for silence is one comparison; infinite where silence does not count. life: of its agent, as 32 bits. member: the one that the log has on it, 0 =
    whoever is heard first; only: the slot of the one member heard, NOBODY, or SEVERAL. relay: the only one that may
    tell of it, 0 = any. via: the stream of a relay that told of it last, 0 = none. known: see
    fleet.merged. block: of a relay's rows that it stands in.
    """

    FIELDS = (
        ("heard_at", "f8"), ("interval_s", "f8"), ("deviation_s", "f8"), ("deadline", "f8"),
        ("machine", "u4"), ("incarnation", "u4"), ("life", "u4"), ("seq", "u4"), ("frames", "u4"), ("member", "u4"),
        ("relay", "u4"), ("via", "u4"), ("known", "u4"), ("block", "u4"), ("only", "i4"),
        ("armed", "?"),
    )  # fmt: skip

    heard_at: NDArray[np.float64]
    interval_s: NDArray[np.float64]
    deviation_s: NDArray[np.float64]
    deadline: NDArray[np.float64]
    machine: Words
    incarnation: Words
    life: Words
    seq: Words
    frames: Words
    member: Words
    relay: Words
    via: Words
    known: Words
    block: Words
    only: NDArray[np.int32]
    armed: NDArray[np.bool_]


class Members(Columns):
    """What relays told of members; agents' own pulses are kept whole elsewhere. 66 bytes a member.

    alive_at, upstream_at: when it last was so, meaningful while its flags say that it is not (else that is heard_at).
    streamed: it was told of with its stream, once at least. lsn_before, before_at: the reading before, for how fast its log grows. home: the machine id of its server. judged: see fleet.merged.
    """

    FIELDS = (
        ("heard_at", "f8"), ("alive_at", "f8"), ("upstream_at", "f8"), ("before_at", "f8"), ("lsn", "u8"),
        ("lsn_before", "u8"), ("machine", "u4"), ("home", "u4"), ("timeline", "u4"), ("judged", "u4"), ("flags", "u1"),
        ("streamed", "?"),
    )  # fmt: skip

    heard_at: NDArray[np.float64]
    alive_at: NDArray[np.float64]
    upstream_at: NDArray[np.float64]
    before_at: NDArray[np.float64]
    lsn: NDArray[np.uint64]
    lsn_before: NDArray[np.uint64]
    machine: Words
    home: Words
    timeline: Words
    judged: Words
    flags: NDArray[np.uint8]
    streamed: NDArray[np.bool_]


def where(slots: Slots) -> Where:
    """The same slots, as a slice when they follow each other."""
    first = int(slots[0])
    if int(slots[-1]) - first == len(slots) - 1 and bool((np.diff(slots) == 1).all()):
        return slice(first, first + len(slots))
    return slots


def as_slots(at: Where) -> Slots:
    """An index as numbers."""
    return np.arange(at.start, at.stop, dtype=np.intp) if isinstance(at, slice) else at
