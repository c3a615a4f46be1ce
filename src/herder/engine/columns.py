"""What every machine has, as arrays by its id: 34 bytes a machine, so that a million step with one gather."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

FIELDS: tuple[tuple[str, str], ...] = (
    ("kind", "u1"),  # the table's code; 0 = no machine of that id
    ("state", "u1"),  # the state's code in its table; 0 = absent
    ("priority", "u1"),  # 0 goes first: the plan's
    ("own", "u1"),  # 1 = it has a document of its own
    ("shape", "<u2"),  # what it knows in common with others; 0 = nothing
    ("version", "<u4"),  # moves so far
    ("entered", "<u4"),  # the version at which its present state was entered
    ("order", "<u4"),  # the log's seq of that moment
    ("since_ms", "<i8"),  # since when it is in its state
    ("deadline_ms", "<i8"),  # 0 = none
)

FIRST_CAPACITY = 1024


class Columns:
    """Arrays of one length, indexed by machine id; they grow by doubling, so ids should be dense."""

    def __init__(self, capacity: int = FIRST_CAPACITY) -> None:
        self.kind: NDArray[np.uint8] = np.zeros(capacity, "u1")
        self.state: NDArray[np.uint8] = np.zeros(capacity, "u1")
        self.priority: NDArray[np.uint8] = np.zeros(capacity, "u1")
        self.own: NDArray[np.uint8] = np.zeros(capacity, "u1")
        self.shape: NDArray[np.uint16] = np.zeros(capacity, "<u2")
        self.version: NDArray[np.uint32] = np.zeros(capacity, "<u4")
        self.entered: NDArray[np.uint32] = np.zeros(capacity, "<u4")
        self.order: NDArray[np.uint32] = np.zeros(capacity, "<u4")
        self.since_ms: NDArray[np.int64] = np.zeros(capacity, "<i8")
        self.deadline_ms: NDArray[np.int64] = np.zeros(capacity, "<i8")

    @property
    def capacity(self) -> int:
        """Ids below this have room."""
        return len(self.kind)

    def reserve(self, size: int) -> None:
        """Room for ids below `size`. A large jump is met exactly, not doubled: a cohort says how many it brings."""
        if size <= self.capacity:
            return
        capacity = max(size, min(2 * self.capacity, self.capacity + (1 << 20)))
        for name, _ in FIELDS:
            old = getattr(self, name)
            grown = np.zeros(capacity, old.dtype)
            grown[: len(old)] = old
            setattr(self, name, grown)

    def pack(self, size: int) -> dict[str, bytes]:
        """The first `size` of each, as bytes."""
        return {name: getattr(self, name)[:size].tobytes() for name, _ in FIELDS}

    @classmethod
    def unpack(cls, size: int, packed: dict[str, bytes]) -> Columns:
        """Read what `pack` wrote. Raises ValueError when a column is missing or of another length."""
        read: dict[str, NDArray[Any]] = {name: np.frombuffer(packed.get(name, b""), kind) for name, kind in FIELDS}
        for name, column in read.items():  # before room is made: a size that is wrong may be any number
            if len(column) != size:
                raise ValueError(f"column '{name}' has {len(column)} entries, not {size}")
        columns = cls(max(size, FIRST_CAPACITY))
        for name, column in read.items():
            getattr(columns, name)[:size] = column
        return columns
