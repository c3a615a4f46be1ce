"""What a mutant is made of: the production tables and pure functions, and small changes to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import FunctionType
from typing import Any

from herder.machines.registry import TABLES
from herder.machines.table import Emit, Row, State, Table
from herder.model.errors import InvalidInput
from herder.proof.laws import PURE
from herder.proof.voters import Arithmetic


@dataclass(frozen=True)
class Parts:
    """Tables, and pure functions by name (`laws.PURE`)."""

    tables: tuple[Table, ...]
    pure: Mapping[str, Any]

    @property
    def arithmetic(self) -> Arithmetic:
        """What the search of voters decides by."""
        pure = self.pure
        return Arithmetic(
            pure["elect_sync"], pure["kept"], pure["waited_for"], pure["successors"], pure["enrols"], pure["overtaken"],
            pure["may_lead_drained"], pure["flushed"],
        )  # fmt: skip

    def differs(self, other: Parts) -> tuple[str, ...]:
        """Kinds of tables and names of pure functions that are different."""
        kinds = [mine.kind for mine, theirs in zip(self.tables, other.tables, strict=True) if mine != theirs]
        return (*kinds, *(name for name, function in self.pure.items() if function != other.pure[name]))


ORIGINAL = Parts(TABLES, PURE)

Change = Callable[[Parts], Parts]
"""The parts as they are -> the parts with one thing broken. Raises InvalidInput when there is no such thing to break."""


@dataclass(frozen=True)
class Mutant:
    """One way to break something. lives: why it may survive; one that survives without a reason fails the whole run."""

    name: str
    what: str
    change: Change
    lives: str = ""


Entry = tuple[str, str, Change, str]
"""A mutant as it is written down: name, what it breaks, the change, why it may survive ('': it must not)."""


def in_order(*changes: Change) -> Change:
    """Several changes that are one mistake."""

    def changed(parts: Parts) -> Parts:
        for change in changes:
            parts = change(parts)
        return parts

    return changed


def pure(**functions: Any) -> Change:
    """Other pure functions in the place of these."""

    def changed(parts: Parts) -> Parts:
        for name in functions:
            if name not in parts.pure:
                raise InvalidInput(f"there is no pure function '{name}'", f"known are: {', '.join(sorted(parts.pure))}")
        return Parts(parts.tables, {**parts.pure, **functions})

    return changed


def rewired(function: Callable[..., Any], **names: Any) -> Callable[..., Any]:
    """The same function of production with another one in the place of a name that it uses."""
    assert isinstance(function, FunctionType)
    made = FunctionType(
        function.__code__,
        {**function.__globals__, **names},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    made.__kwdefaults__ = function.__kwdefaults__
    return made


# ---- tables


def table(kind: str, change: Callable[[Table], Table]) -> Change:
    """One table changed."""

    def changed(parts: Parts) -> Parts:
        if not any(each.kind == kind for each in parts.tables):
            raise InvalidInput(f"there is no table '{kind}'", f"known are: {', '.join(t.kind for t in parts.tables)}")
        return replace(parts, tables=tuple(change(each) if each.kind == kind else each for each in parts.tables))

    return changed


def rows(
    kind: str, source: str, event: str, change: Callable[[Row], Row | None], *, which: int | None = None
) -> Change:
    """Rows of a state ('*': of any) and an event, changed or (None) taken out. which: only the n-th of them, from 0."""

    def changed(each: Table) -> Table:
        found, kept = 0, []
        for row in each.rows:
            if row.event == event and source in ("*", row.source):
                mine = which is None or found == which
                found += 1
                after = change(row) if mine else row
            else:
                after = row
            if after is not None:
                kept.append(after)
        if found <= (which or 0):
            states = sorted({row.source for row in each.rows if row.event == event})
            hint = f"'{event}' has rows in: {', '.join(states)}" if states else f"events are: {', '.join(each.events)}"
            raise InvalidInput(f"{kind} has no such row: {source} -{event}->", hint)
        return replace(each, rows=tuple(kept))

    return table(kind, changed)


def row(kind: str, source: str, event: str, *, which: int | None = None, **fields: Any) -> Change:
    """Fields of rows changed."""
    return rows(kind, source, event, lambda found: replace(found, **fields), which=which)


def without(kind: str, source: str, event: str, *, which: int | None = None) -> Change:
    """Rows taken out."""
    return rows(kind, source, event, lambda found: None, which=which)


def plus(kind: str, *more: Row) -> Change:
    """Rows added in front, so that they come first."""
    return table(kind, lambda each: replace(each, rows=(*more, *each.rows)))


def state(kind: str, name: str, **fields: Any) -> Change:
    """Fields of a state changed."""

    def changed(each: Table) -> Table:
        if name not in each.state_codes:
            raise InvalidInput(f"{kind} has no state '{name}'", f"states are: {', '.join(each.state_names)}")
        return replace(each, states=tuple(_changed(it, fields) if it.name == name else it for it in each.states))

    return table(kind, changed)


def _changed(found: State, fields: Mapping[str, Any]) -> State:
    return replace(found, **{key: value(found) if callable(value) else value for key, value in fields.items()})


def mute(kind: str, source: str, event: str, emitted: str, to: str = "") -> Change:
    """An event that rows no longer send."""
    return rows(kind, source, event, lambda found: replace(found, emits=tuple(
        emit for emit in found.emits if emit.event != emitted or to not in ("", emit.to)
    )))  # fmt: skip


def sends(kind: str, source: str, event: str, *emits: Emit) -> Change:
    """Events that rows send besides."""
    return rows(kind, source, event, lambda found: replace(found, emits=(*found.emits, *emits)))


def resends(kind: str, source: str, event: str, emitted: str, **fields: Any) -> Change:
    """Fields of an event that rows send, changed."""
    return rows(kind, source, event, lambda found: replace(found, emits=tuple(
        replace(emit, **fields) if emit.event == emitted else emit for emit in found.emits
    )))  # fmt: skip


def forgets(kind: str, source: str, event: str, carried: str) -> Change:
    """A fact that no event of these rows carries any more."""
    return rows(kind, source, event, lambda found: replace(found, emits=tuple(
        replace(emit, carry=tuple(fact for fact in emit.carry if fact != carried)) for emit in found.emits
    )))  # fmt: skip


def misses(update: Callable[..., dict[str, Any]], *names: str) -> Callable[..., dict[str, Any]]:
    """An update that forgets facts."""
    return lambda facts, brought, now_ms: {
        key: value for key, value in update(facts, brought, now_ms).items() if key not in names
    }
