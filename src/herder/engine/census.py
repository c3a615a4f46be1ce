"""How many machines of each kind are in each state, kept with every move: asked for each time one would begin something."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

CODES = 256
"""A kind's and a state's code are a byte each."""


class Census:
    """Counts by the codes of kind and state. Code 0 of a state, absent, is not counted."""

    def __init__(self) -> None:
        self._counts: NDArray[np.int64] = np.zeros((CODES, CODES), np.int64)

    @classmethod
    def of(cls, kinds: NDArray[np.uint8], states: NDArray[np.uint8]) -> Census:
        """All at once, from the columns of the machines there are; shape (n,)."""
        census = cls()
        both = np.bincount(kinds.astype(np.uint16) * CODES + states, minlength=CODES * CODES)
        census._counts[:] = both.reshape(CODES, CODES)
        return census

    def move(self, kind: int, source: int, target: int, count: int = 1) -> None:
        """So many of a kind went from one state to another; source 0: they were made."""
        self._counts[kind, source] -= count
        self._counts[kind, target] += count

    def count(self, kind: int, states: list[int]) -> int:
        """How many are in one of these states."""
        return int(self._counts[kind, states].sum())

    def as_array(self) -> NDArray[Any]:
        """By codes of kind and state, shape (256, 255): for comparing two."""
        return self._counts[:, 1:].copy()
