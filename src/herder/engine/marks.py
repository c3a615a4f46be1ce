"""Which machines wait for something: a bit each, and beside the bits who was marked, so that a few are not looked for among
millions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.uint32]

DENSE = 16
"""Where a sixteenth of all were marked, looking through the bits is quicker than sorting who they were."""


def distinct(ids: Ids) -> Ids:
    """Each of them once, ascending. np.unique hashes: ten times slower where there are many."""
    found = np.sort(ids)
    return found[np.append(True, found[1:] != found[:-1])] if len(found) else found


class Marks:
    """A set of machine ids. size: ids below it have room at once."""

    def __init__(self, size: int = 0) -> None:
        self._bits: NDArray[np.bool_] = np.zeros(max(size, 1024), np.bool_)
        self._marked: (
            list[Ids] | None
        ) = []  # whoever was marked, in parts, some cleared since; None: only the bits know
        self._noted = 0

    def set(self, machines: Ids, size: int) -> None:
        """Mark these (any order); all ids lie below `size`."""
        if size > len(self._bits):
            grown = np.zeros(max(size, min(2 * len(self._bits), len(self._bits) + (1 << 20))), np.bool_)
            grown[: len(self._bits)] = self._bits
            self._bits = grown
        self._bits[machines] = True
        self._noted += len(machines)
        if self._noted > len(self._bits) // DENSE:
            self._marked = None  # the bits are looked through anyway, and parts that nobody takes would grow for ever
        if self._marked is not None:
            self._marked.append(
                machines.astype(np.uint32)
            )  # its own copy: a record's column would keep the whole record

    def clear(self, machines: Ids) -> None:
        """These wait no more."""
        self._bits[machines] = False

    def among(self, machines: Ids) -> Ids:
        """Those of them that are marked."""
        return machines[self._bits[machines]]

    def all(self) -> Ids:
        """Everyone that is marked, ascending."""
        if self._marked is None:
            found = np.flatnonzero(self._bits).astype(np.uint32)
        elif self._marked:
            found = distinct(self.among(np.concatenate(self._marked)))
        else:
            return np.empty(0, np.uint32)
        self._marked, self._noted = [found], len(found)
        return found

    def more_than(self, count: int) -> bool:
        """Are more than that marked?"""
        return self._noted > count and len(self) > count

    def __len__(self) -> int:
        return int(np.count_nonzero(self._bits)) if self._marked is None else len(self.all())

    def __contains__(self, machine: int) -> bool:
        return machine < len(self._bits) and bool(self._bits[machine])
