"""The state of all hosts as arrays, by slot: what a million of them are is held here, and an object only where one is touched.

A host that nothing happens to costs its row and no Python object. `touch` makes the object from the row when something is
asked of it; from then on the object and the row are kept alike by the object's own methods.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from herder.sim.host import Host

ABSENT, RUNNING, OFF, GONE = 0, 1, 2, 3
"""power: not made, runs (perhaps frozen), stopped or dead with its disk kept, removed for good."""

_COLUMNS: dict[str, Any] = {
    "power": np.uint8, "agent": np.bool_, "frozen_until": np.float64, "zone": np.uint16, "rack": np.uint32,
    "incarnation": np.uint32, "fenced": np.uint32, "disk_full": np.bool_, "clock_offset": np.float64,
    "clock_rate": np.float64,
}  # fmt: skip


class Hosts:
    """Columns of shape (capacity,), indexed by slot. make: builds the object of a slot from its row.

    power u1 as above; agent bool: its process runs; frozen_until f8: virtual seconds, 0 = not frozen; zone u2, rack u4;
    incarnation, fenced u4; disk_full bool; clock_offset f8 seconds, clock_rate f8.
    """

    def __init__(self, make: Callable[[str, int], Host], capacity: int = 64) -> None:
        self._make = make
        self.size = 0
        self.power: NDArray[np.uint8]
        self.agent: NDArray[np.bool_]
        self.frozen_until: NDArray[np.float64]
        self.zone: NDArray[np.uint16]
        self.rack: NDArray[np.uint32]
        self.incarnation: NDArray[np.uint32]
        self.fenced: NDArray[np.uint32]
        self.disk_full: NDArray[np.bool_]
        self.clock_offset: NDArray[np.float64]
        self.clock_rate: NDArray[np.float64]
        for name, kind in _COLUMNS.items():
            setattr(self, name, np.zeros(capacity, kind))
        self._slots: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self.touched: dict[int, Host] = {}
        self._found: dict[str, Host] = {}

    def add(self, name: str, zone: int = 0, rack: int = 0) -> int:
        """A slot of its own for a host of that name; the one it has when it is known."""
        if name in self._slots:
            return self._slots[name]
        slot = self.add_many(1, zone, rack)[0]
        self.name(int(slot), name)
        return int(slot)

    def add_many(self, count: int, zone: int | NDArray[np.uint16], rack: int | NDArray[np.uint32]) -> NDArray[np.int64]:
        """`count` slots in a row, without names and objects; zone and rack: one value or one for each."""
        first, self.size = self.size, self.size + count
        self._grow(self.size)
        slots = np.arange(first, self.size)
        self.zone[slots], self.rack[slots], self.clock_rate[slots] = zone, rack, 1.0
        return slots

    def name(self, slot: int, name: str) -> None:
        """Give a slot its server's name."""
        self._slots[name], self._names[slot] = slot, name

    def slot_of(self, name: str) -> int | None:
        """The slot of a server, None when there is none."""
        return self._slots.get(name)

    def find(self, name: str) -> Host | None:
        """The host of that name, made from its row if it has not been touched; None when there is none."""
        found = self._found.get(name)
        if found is not None:
            return found
        slot = self._slots.get(name)
        if slot is None:
            return None
        found = self._found[name] = self.touch(slot)
        return found

    def touch(self, slot: int) -> Host:
        """The object of a slot."""
        host = self.touched.get(slot)
        if host is None:
            host = self.touched[slot] = self._make(self._names.get(slot, f"host-{slot}"), slot)
        return host

    def awake(self, now: float) -> NDArray[np.bool_]:
        """Which slots run and are not frozen; shape (size,)."""
        size = self.size
        awake: NDArray[np.bool_] = (self.power[:size] == RUNNING) & (self.frozen_until[:size] <= now)
        return awake

    def _grow(self, wanted: int) -> None:
        have = len(self.power)
        if wanted <= have:
            return
        for name, kind in _COLUMNS.items():
            column = np.zeros(max(wanted, 2 * have), kind)
            column[:have] = getattr(self, name)
            setattr(self, name, column)
