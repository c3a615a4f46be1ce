"""What a search comes to: states counted, rows covered, rules broken with the shortest way there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from herder.machines.table import Table

Tables = Sequence[Table]

QUICK_STATES = 2500
"""Of an aspect: about a second of a processor."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How far a search goes. states: the most distinct states of one aspect; seconds: of one aspect, of a processor; aspects: by name,
    () = all; first: stop at the first violation; quick: a few thousand states of each aspect, without liveness.
    """

    states: int = 2_000_000
    seconds: float = 240.0
    aspects: tuple[str, ...] = ()
    first: bool = True
    quick: bool = False

    @property
    def most(self) -> int:
        """States of one aspect."""
        return min(self.states, QUICK_STATES) if self.quick else self.states


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a trace. who: what acts ('the world', 'failover', 'member a' ...); whom: on what; what: in words."""

    who: str
    whom: str
    what: str

    def __str__(self) -> str:
        return f"{self.who} -> {self.whom}: {self.what}" if self.whom != self.who else f"{self.who}: {self.what}"


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that does not hold. rule: its number (S2) or word; trace: the shortest way there, one step a line."""

    rule: str
    aspect: str
    what: str
    trace: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Searched:
    """One aspect. seconds: of a processor; depth: steps of the longest shortest way; whole: every reachable state was seen; resting: states that rest;
    by_person: states from which, without a further fault, only a person who was paged can make it well;
    rows: (kind, number of the row in its table) that fired; steps: the bound of its ways, 0 = none. decided: states from which
    rest was seen to be reached without a further fault (S9), all of them where an aspect was seen whole.
    """

    name: str
    states: int
    transitions: int
    seconds: float
    depth: int
    whole: bool
    resting: int
    by_person: int
    abstracts: str
    rows: frozenset[tuple[str, int]] = frozenset()
    violations: tuple[Violation, ...] = ()
    steps: int = 0
    decided: int = 0


@dataclass(frozen=True, slots=True)
class Product:
    """All aspects together. covered: rows that fired in any of them."""

    aspects: tuple[Searched, ...]
    covered: frozenset[tuple[str, int]]
    violations: tuple[Violation, ...]

    @property
    def states(self) -> int:
        """Distinct states of all aspects."""
        return sum(aspect.states for aspect in self.aspects)
