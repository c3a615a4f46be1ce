"""The rules that hold for each table by itself: outcomes, deadlines, ends, ways back, loops."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from herder.machines.table import ABSENT, Row, State, Table
from herder.model.states import NO_DEADLINE_NEEDED, UnitState

AT_REST = frozenset({("page", "open")})
"""States of neither units nor playbooks in which a person has the word: they need no deadline."""

COUNTED_MAX = 3
"""A loop that is bounded by more tries than this is not bounded."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that does not hold. rule: its word or number (S2); where: 'kind' or 'kind.state'; trace: the shortest way
    there, one step a line.
    """

    rule: str
    where: str
    what: str
    trace: tuple[str, ...] = ()


def names(tables: Sequence[Table]) -> Iterator[Finding | int]:
    """Kinds, codes and states are said once, fit the log's columns, and rows name only what there is."""
    for what in ("kind", "code"):
        told = [getattr(table, what) for table in tables]
        yield from (
            Finding("names", str(it), f"the {what} {it} is used twice")
            for it in dict.fromkeys(told)
            if told.count(it) > 1
        )
    for table in tables:
        known = [state.name for state in table.states]
        yield from (
            Finding("names", f"{table.kind}.{it}", "the state is told twice")
            for it in set(known)
            if known.count(it) > 1
        )
        if max(table.code, len(known), len(table.events)) > 255 or table.code < 1:
            yield Finding("names", table.kind, "a code does not fit one byte of the log")
        if ABSENT in known:
            yield Finding("names", f"{table.kind}.{ABSENT}", "every machine has this state by itself")
        if table.unit:
            yield from (
                Finding("states", f"{table.kind}.{it}", "is none of the ten states")
                for it in known
                if it not in set(UnitState)
            )
        for row in table.rows:
            yield 1
            for it in (row.source, row.target):
                if it not in known and it != ABSENT:
                    yield Finding("names", f"{table.kind}.{it}", f"{in_words(row)}: there is no such state")
            if row.target == ABSENT:
                yield Finding("names", f"{table.kind}.{row.source}", f"{in_words(row)}: nothing becomes absent again")
            if row.keep and row.source != row.target:
                yield Finding("names", f"{table.kind}.{row.source}", f"{in_words(row)}: keeps a state that it leaves")


def outcomes(tables: Sequence[Table]) -> Iterator[Finding | int]:
    """Whatever comes of an effect has a row in the state that declares it, whatever the guards say."""
    declared: dict[str, set[str]] = {}
    for table, state in every_state(tables):
        if state.effect is None:
            continue
        if not state.effect.outcomes:
            yield Finding("outcomes", f"{table.kind}.{state.name}", f"the effect '{state.effect.name}' has no outcome")
        if declared.setdefault(state.effect.name, set(state.effect.outcomes)) != set(state.effect.outcomes):
            yield Finding(
                "outcomes",
                f"{table.kind}.{state.name}",
                f"the effect '{state.effect.name}' has other outcomes elsewhere",
            )
        for outcome in state.effect.outcomes:
            yield 1
            yield from _answered(table, state, outcome, f"the outcome '{outcome}' of '{state.effect.name}'")


def deadlines(tables: Sequence[Table]) -> Iterator[Finding | int]:
    """Every wait ends by itself: a deadline with a row, or a state at rest."""
    for table, state in every_state(tables):
        where = f"{table.kind}.{state.name}"
        rests = state.final or (table.kind, state.name) in AT_REST or (table.unit and state.name in NO_DEADLINE_NEEDED)
        if state.deadline is None:
            if not rests:
                yield Finding("deadlines", where, "one may wait here for ever: it has no deadline")
            continue
        yield 1
        if state.deadline.after_s <= 0:
            yield Finding("deadlines", where, "its deadline is over before it begins")
        yield from _answered(table, state, state.deadline.event, f"the deadline '{state.deadline.event}'")
        for row in table.lookup.get((state.name, state.deadline.event), ()):
            if row.keep:
                yield Finding(
                    "deadlines", where, f"{in_words(row)}: keeps a deadline that has passed, so it passes again at once"
                )


def _answered(table: Table, state: State, event: str, what: str) -> Iterator[Finding]:
    rows = table.lookup.get((state.name, event), ())
    if not rows:
        yield Finding(
            "outcomes" if "outcome" in what else "deadlines", f"{table.kind}.{state.name}", f"{what} has no row here"
        )
    elif rows[-1].guard is not None:
        yield Finding("guards", f"{table.kind}.{state.name}", f"{what}: when no guard allows it, no row is left")


def guards(tables: Sequence[Table]) -> Iterator[Finding | int]:
    """No row stands behind one that always fires."""
    for table in tables:
        for (source, event), rows in table.lookup.items():
            yield 1
            if any(row.guard is None for row in rows[:-1]):
                yield Finding(
                    "guards", f"{table.kind}.{source}", f"on '{event}' a row stands behind one that always fires"
                )


def finals(tables: Sequence[Table]) -> Iterator[Finding | int]:
    """What is over is over (S11: `terminated` absorbs)."""
    for table, state in every_state(tables):
        yield 1
        where = f"{table.kind}.{state.name}"
        out = [row for row in table.rows if row.source == state.name]
        if state.name == UnitState.TERMINATED and (out or not state.final):
            yield Finding("S11", where, "terminated does not absorb")
        elif state.final and (out or state.effect or state.deadline):
            yield Finding("finals", where, "it is final, and something leads out of it or is due in it")
        elif not state.final and not out:
            yield Finding("finals", where, "nothing leads out of it, and it is not final")


def reachable(tables: Sequence[Table]) -> Iterator[Finding | int]:
    """Every state can be had, and from every state well, ended or paged stays reachable (S9)."""
    for table in tables:
        ways: dict[str, set[str]] = {}
        for row in table.rows:
            ways.setdefault(row.source, set()).add(row.target)
        there = _closure({ABSENT}, ways)
        good = {
            state.name for state in table.states if state.final or (table.unit and state.name in NO_DEADLINE_NEEDED)
        }
        good |= {state for kind, state in AT_REST if kind == table.kind} | {
            row.source for row in table.rows if row.page
        }
        for state in table.states:
            yield 1
            where = f"{table.kind}.{state.name}"
            if state.name not in there:
                yield Finding("S9", where, "nothing leads here from absent")
            elif not good & _closure({state.name}, ways):
                yield Finding("S9", where, "neither well nor ended nor paged can be reached from here")


def loops(tables: Sequence[Table]) -> Iterator[Finding | int]:
    """No loop without budget (S8): a machine that goes round by itself does so behind a guard that a count shuts.

    By itself: on outcomes and deadlines. A deadline that only renews itself is a wait, whose pace is the deadline's.
    """
    for table in tables:
        ways: dict[str, set[str]] = {}
        for row in table.rows:
            if not by_itself(table, row) or (_is_deadline(table, row) and row.source == row.target):
                continue
            yield 1
            if not counted(row):
                ways.setdefault(row.source, set()).add(row.target)
        for state in table.states:
            if state.name in _closure(ways.get(state.name, set()), ways):
                yield Finding(
                    "S8", f"{table.kind}.{state.name}", "it comes round again by itself, and nothing counts how often"
                )


def counted(row: Row) -> int:
    """How often the row may fire before its own count shuts its guard; 0: nothing does."""
    if row.guard is None or row.update is None:
        return 0
    facts: dict[str, Any] = _Zeros()
    for fired in range(COUNTED_MAX + 1):
        if not row.guard(facts, _Zeros()):
            return fired
        facts.update(row.update(facts, _Zeros(), 0))
    return 0


class _Zeros(dict[str, Any]):
    """Facts of a machine that has counted nothing yet."""

    def __missing__(self, key: str) -> int:
        return 0


def every_state(tables: Iterable[Table]) -> Iterator[tuple[Table, State]]:
    return ((table, state) for table in tables for state in table.states)


def by_itself(table: Table, row: Row) -> bool:
    state = table.by_name.get(row.source)
    if state is None:
        return False
    return _is_deadline(table, row) or (state.effect is not None and row.event in state.effect.outcomes)


def _is_deadline(table: Table, row: Row) -> bool:
    state = table.by_name.get(row.source)
    return state is not None and state.deadline is not None and state.deadline.event == row.event


def _closure(start: Iterable[str], ways: dict[str, set[str]]) -> set[str]:
    found, waiting = set(start), list(start)
    while waiting:
        for target in ways.get(waiting.pop(), set()) - found:
            found.add(target)
            waiting.append(target)
    return found


def in_words(row: Row) -> str:
    return f"{row.source} -{row.event}-> {row.target}"
