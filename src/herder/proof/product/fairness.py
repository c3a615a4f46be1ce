"""Liveness over the graph that a search has left: does everything come to rest once the world no longer does its worst?

Rest is: well with nothing under way, or over (destroyed as asked), or a page is open, so that a person has the word. Edges are
fair when they are no fault and no bad luck: faults end, pulses come, effects that are asked again get the answer that fits the
world, pauses and deadlines pass where nothing else could happen in time.

A run under strong fairness ends in a set of states that it cannot leave and that it sees all of: a bottom component of the
fair graph. So 'no fair cycle avoids rest' is 'every bottom component has a state at rest', which is the same as 'rest can be
reached from every state over fair edges': one walk backwards answers both.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]


class Graph(NamedTuple):
    """Edges of the states that were expanded. sources, targets: shape (edges,); fair: which of them; states: how many."""

    sources: Numbers
    targets: Numbers
    fair: NDArray[np.bool_]
    states: int


def stuck(graph: Graph, rests: NDArray[np.bool_], *, fair_only: bool) -> NDArray[np.bool_]:
    """States from which no state at rest can be reached: a mask, shape (states,)."""
    kept = graph.fair if fair_only else np.ones(len(graph.sources), bool)
    sources, targets = graph.sources[kept], graph.targets[kept]
    order = np.argsort(targets, kind="stable")
    sources, targets = sources[order], targets[order]
    begins = np.searchsorted(targets, np.arange(graph.states + 1))
    reached = rests.copy()
    front = np.flatnonzero(rests)
    while len(front):
        found = _before(front, begins, sources)
        found = found[~reached[found]]
        if len(found):
            fresh = np.zeros(graph.states, bool)
            fresh[found] = True
            reached |= fresh
            found = np.flatnonzero(fresh)
        front = found
    return ~reached


def _before(front: Numbers, begins: Numbers, sources: Numbers) -> Numbers:
    """Sources of all edges into `front`."""
    first, count = begins[front], begins[front + 1] - begins[front]
    if not count.sum():
        return np.empty(0, np.int64)
    starts = np.repeat(first - np.concatenate(([0], np.cumsum(count)[:-1])), count)
    found: Numbers = sources[starts + np.arange(count.sum())]
    return found
