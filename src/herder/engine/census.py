"""How many machines of each kind are in each state, kept with every move: asked for each time one would begin something."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

CODES = 256
"""A kind's and a state's code are a byte each."""


class Census:
    """Counts by the codes of kind and state. Code 0 of a state, absent, is not counted."""

    def __init__(self) -> None:
        # lists: one number of numpy's costs ten times as much
        self._counts: defaultdict[int, list[int]] = defaultdict(lambda: [0] * CODES)

    @classmethod
    def of(cls, kinds: NDArray[np.uint8], states: NDArray[np.uint8]) -> Census:
        """All at once, from the columns of the machines there are; shape (n,)."""
        census = cls()
        both = np.bincount(kinds.astype(np.uint16) * CODES + states, minlength=CODES * CODES)
        census._counts.update(enumerate(both.reshape(CODES, CODES).tolist()))
        return census

    def move(self, kind: int, source: int, target: int, count: int = 1) -> None:
        """So many of a kind went from one state to another; source 0: they were made."""
        counts = self._counts[kind]
        counts[source] -= count
        counts[target] += count

    def count(self, kind: int, states: Sequence[int]) -> int:
        """How many are in one of these states."""
        counts, found = self._counts[kind], 0
        for state in states:
            found += counts[state]
        return found

    def by_kind(self) -> list[list[int]]:
        """By codes of kind and state (from 1 on): for comparing two."""
        return [self._counts[kind][1:] for kind in range(CODES)]
