"""Committed moves of a day, counted by edge: states of units, ends of playbooks and counts of events all follow from them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from herder.engine.shard import Committed
from herder.engine.world import World
from herder.machines.registry import BY_CODE, BY_KIND, PLAYBOOKS, TABLES
from herder.sim.drill.result import Remedies

Edge = tuple[int, int, int, int]
"""(kind, source, event, target), by code."""

UNITS = tuple(table.kind for table in TABLES if table.unit)
NEEDS_A_PERSON = {
    "failover": ("paged",), "restart": ("paged",), "provision": ("failed",), "destroy": ("failed",),
}  # fmt: skip
"""Ends with a person, by kind of playbook. A rebuild or a strike that failed is tried again by itself."""


class Moves:
    """Counts by edge since the day began. Single moves cost a look-up each, spans one a span, states one walk over edges."""

    def __init__(self) -> None:
        self.edges: dict[Edge, int] = {}
        self.total = 0
        self._base: dict[tuple[int, int], int] = {}
        self._mark: dict[Edge, int] = {}

    def rebase(self, world: World) -> None:
        """Read the states anew from the columns: at the beginning, and where moves were committed that nobody told."""
        columns, size = world.columns, world.size
        codes = columns.kind[:size].astype(np.uint16) << 8 | columns.state[:size]
        counts = np.bincount(codes)
        self._base = {
            (code >> 8, code & 255): int(counts[code]) for code in np.flatnonzero(counts).tolist() if code >> 8
        }
        self._mark = dict(self.edges)

    def take(self, committed: Committed) -> None:
        """One commit."""
        edges = self.edges
        for move in committed.moves:
            edge = (move.kind, move.source, move.event, move.target)
            edges[edge] = edges.get(edge, 0) + 1
        for span in committed.spans:
            edge = (span.kind, span.source, span.event, span.target)
            edges[edge] = edges.get(edge, 0) + span.count
            self.total += span.count
        self.total += len(committed.moves)

    def states(self) -> dict[tuple[int, int], int]:
        """(kind, state) by code -> machines that are in it now."""
        found = dict(self._base)
        for (kind, source, event, target), count in self.edges.items():
            new = count - self._mark.get((kind, source, event, target), 0)
            if new and source != target:
                found[kind, target] = found.get((kind, target), 0) + new
                found[kind, source] = found.get((kind, source), 0) - new
        return found

    def counts(self) -> dict[str, int]:
        """Committed moves by "kind.event", in the order of their names."""
        found: dict[str, int] = {}
        for (kind, _, event, _), count in self.edges.items():
            name = f"{BY_CODE[kind].kind}.{BY_CODE[kind].events[event]}"
            found[name] = found.get(name, 0) + count
        return dict(sorted(found.items()))

    def entered(self, kind: str, *states: str) -> int:
        """How often machines of a kind came into one of these states from another."""
        table = BY_KIND[kind]
        codes = {table.state_codes[state] for state in states}
        return sum(
            count for (code, source, _, target), count in self.edges.items()
            if code == table.code and target in codes and source != target
        )  # fmt: skip

    def begun(self, kind: str) -> int:
        """Machines of a kind that were made one by one."""
        return sum(
            count for (code, source, _, _), count in self.edges.items() if code == BY_KIND[kind].code and not source
        )

    def remedies(self) -> Iterator[Remedies]:
        """Kinds of playbooks that were begun or ended in the day. What is neither well nor a person's gave way, or goes on."""
        for kind in PLAYBOOKS:
            begun, well = self.begun(kind), self.entered(kind, "done")
            person = self.entered(kind, *NEEDS_A_PERSON.get(kind, ()))
            if begun or well or person:
                yield Remedies(kind, begun, well, person)


def by_words(states: dict[tuple[int, int], int], *kinds: str) -> dict[str, dict[str, int]]:
    """How many by kind and state, of those kinds that there are any of."""
    found: dict[str, dict[str, int]] = {}
    for kind in kinds:
        table = BY_KIND[kind]
        here = {
            table.state_names[state]: count
            for (code, state), count in states.items()
            if code == table.code and state and count
        }
        if here:
            found[kind] = here
    return found


def under_way(states: dict[tuple[int, int], int]) -> dict[str, int]:
    """Playbooks that go on, by kind."""
    found: dict[str, int] = {}
    for (code, state), count in states.items():
        table = BY_CODE[code]
        if table.kind in PLAYBOOKS and state and not table.states[state - 1].final and count:
            found[table.kind] = found.get(table.kind, 0) + count
    return found
