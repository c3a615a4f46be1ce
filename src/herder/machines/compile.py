"""A table as arrays, so that a million machines step with one gather.

A cell is (event, state). Where its first row always fires and needs no document of the machine, the whole answer is in the
arrays; where guards read facts that arrays can hold (`columnar`), they are computed for all at once; a machine whose row
writes a document or concerns others is stepped by itself, by the same row.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import cache

import numpy as np
from numpy.typing import NDArray

from herder.machines.registry import BY_KIND
from herder.machines.table import Row, Table


class Cell(IntEnum):
    """What the arrays know of (event, state)."""

    NOTHING = 0  # no row: the event means nothing there
    PLAIN = 1  # one row, always
    GUARDED = 2  # rows whose guards are columnar: `rows` has them
    SINGLE = 3  # its rows read or write documents, or concern other machines


@dataclass(frozen=True, slots=True)
class Compiled:
    """One table. cell, target, keep: shape (events, states); wait_ms: shape (states,), 0 = no deadline."""

    cell: NDArray[np.uint8]
    target: NDArray[np.uint8]
    keep: NDArray[np.uint8]
    wait_ms: NDArray[np.int64]
    rows: dict[tuple[int, int], tuple[Row, ...]]


@cache
def compiled(kind: str) -> Compiled:
    """The arrays of a table; made once."""
    return compile_table(BY_KIND[kind])


def compile_table(table: Table) -> Compiled:
    """Every cell of one table."""
    shape = (len(table.events), len(table.states) + 1)
    cell, target, keep = (np.zeros(shape, np.uint8) for _ in range(3))
    rows: dict[tuple[int, int], tuple[Row, ...]] = {}
    for (state, event), found in table.lookup.items():
        at = table.event_codes[event], table.state_codes[state]
        sort = _sort(found)
        cell[at] = sort
        if sort is Cell.PLAIN:
            target[at], keep[at] = table.state_codes[found[0].target], found[0].keep
        elif sort is Cell.GUARDED:
            rows[at] = found
    wait_ms = np.zeros(shape[1], np.int64)
    for each in table.states:
        if each.deadline is not None:
            wait_ms[table.state_codes[each.name]] = int(each.deadline.after_s * 1000)
    return Compiled(cell, target, keep, wait_ms, rows)


def _sort(rows: tuple[Row, ...]) -> Cell:
    if rows[0].guard is None:
        return Cell.PLAIN if is_light(rows[0]) else Cell.SINGLE
    known = all(row.guard is None or hasattr(row.guard, "reads") for row in rows)
    return Cell.GUARDED if known and any(map(is_light, rows)) else Cell.SINGLE


def is_light(row: Row) -> bool:
    """It changes the state and nothing else."""
    return row.update is None and row.page is None and not row.emits and not row.releases
