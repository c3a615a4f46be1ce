"""The small language in which every lifecycle is written: states, effects, deadlines and the rows between them.

A table is data. The engine steps it, `verify` searches it, `render` draws it, the docs list it. Functions appear in two
places only, both pure: a guard (may this row fire?) and an update (what does the machine know afterwards?).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

Facts = Mapping[str, Any]
"""What a machine knows: plain values that msgpack can carry."""

Guard = Callable[[Facts, Facts], bool]
"""(the machine's facts, the event's facts) -> may this row fire."""

Update = Callable[[Facts, Facts, int], dict[str, Any]]
"""(the machine's facts, the event's facts, now in ms) -> the facts to change; written to the log, so replay needs no code."""

_Guarding = TypeVar("_Guarding", bound=Guard)


def columnar(**reads: tuple[Any, str]) -> Callable[[_Guarding], _Guarding]:
    """A guard that gives the same answer for arrays of facts as for one machine's. reads: fact -> (default, dtype).

    It may read these facts of the machine only, by `facts[name]`, with operators that work elementwise.
    """

    def marked(guard: _Guarding) -> _Guarding:
        guard.reads = reads  # type: ignore[attr-defined]
        return guard

    return marked


ABSENT = "absent"
"""State 0 of every machine: it has not been made yet."""

CREATE = "create"
"""The event that makes a machine."""

ADOPT = "adopt"
"""The event that takes a machine over as it runs already."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """`event` happens by itself when the state has lasted `after_s` seconds."""

    after_s: float
    event: str


@dataclass(frozen=True, slots=True)
class Effect:
    """Work that is due as long as the state lasts. Each outcome is the next event; none else can come of it."""

    name: str
    outcomes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class State:
    """One state. final: nothing leads out of it and nothing is due in it."""

    name: str
    doc: str
    effect: Effect | None = None
    deadline: Deadline | None = None
    final: bool = False


@dataclass(frozen=True, slots=True)
class Emit:
    """An event for other machines in the same record. to: the fact that holds their id (or list of ids).

    carry: facts of the sender (after its update) that travel with it.
    """

    to: str
    event: str
    carry: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Spawn:
    """A page made in the same record. One page a (service, reason): a second one only counts up."""

    reason: str


@dataclass(frozen=True, slots=True)
class Row:
    """In `source`, on `event`, when `guard` allows: go to `target`. The first row that fits fires.

    keep: the state is not entered anew (its deadline and its effect go on); source and target are the same then.
    releases: facts whose claims are let go (a destroyed service's name may be taken again).
    why: the sentence of the event log when the event brings none of its own.
    proves: words that the checker reasons with ('fence', 'quorum', 'consent', 'caught_up', 'drained').
    """

    source: str
    event: str
    target: str
    guard: Guard | None = None
    update: Update | None = None
    emits: tuple[Emit, ...] = ()
    page: Spawn | None = None
    keep: bool = False
    releases: tuple[str, ...] = ()
    why: str = ""
    proves: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """A kind of machine. code, and the order of states and events, are what the log stores: only ever append."""

    kind: str
    code: int
    doc: str
    states: tuple[State, ...]
    rows: tuple[Row, ...]
    unit: bool = False  # a unit's states are among the ten; a playbook's are its own
    event_order: tuple[str, ...] = field(default=())

    @cached_property
    def state_codes(self) -> dict[str, int]:
        """State name -> code, `absent` first."""
        return {ABSENT: 0} | {state.name: code for code, state in enumerate(self.states, 1)}

    @cached_property
    def state_names(self) -> tuple[str, ...]:
        """Code -> state name."""
        return (ABSENT, *(state.name for state in self.states))

    @cached_property
    def events(self) -> tuple[str, ...]:
        """Every event that a row mentions, `event_order` first so that stored codes stay what they were."""
        seen = dict.fromkeys((CREATE, *self.event_order))
        seen.update(dict.fromkeys(row.event for row in self.rows))
        return tuple(seen)

    @cached_property
    def event_codes(self) -> dict[str, int]:
        """Event name -> code."""
        return {event: code for code, event in enumerate(self.events)}

    @cached_property
    def by_name(self) -> dict[str, State]:
        """State name -> State; `absent` is one too."""
        return {ABSENT: State(ABSENT, "not made yet")} | {state.name: state for state in self.states}

    @cached_property
    def lookup(self) -> dict[tuple[str, str], tuple[Row, ...]]:
        """(state, event) -> the rows to try in order."""
        found: dict[tuple[str, str], tuple[Row, ...]] = {}
        for row in self.rows:
            found[row.source, row.event] = (*found.get((row.source, row.event), ()), row)
        return found

    def row(self, state: str, event: str, facts: Facts, brought: Facts) -> Row | None:
        """The row that fires, or None: the event means nothing in this state."""
        for row in self.lookup.get((state, event), ()):
            if row.guard is None or row.guard(facts, brought):
                return row
        return None


def from_each(sources: tuple[str, ...], event: str, target: str, **rest: Any) -> tuple[Row, ...]:
    """The same row from several states; written out one by one in diagrams and checks."""
    return tuple(Row(source, event, target, **rest) for source in sources)


def noted_in(sources: tuple[str, ...], event: str, **rest: Any) -> tuple[Row, ...]:
    """A row in several states that changes what is known and leaves the state as it is."""
    return tuple(Row(source, event, source, keep=True, **rest) for source in sources)
