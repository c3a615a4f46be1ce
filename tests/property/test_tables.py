"""Tables and their arrays: whatever machines know, a step by arrays is the step of the first row that fits, or is left to it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from herder.engine.bulk import Bulk, decide_bulk
from herder.engine.record import KEEP
from herder.engine.world import World
from herder.machines.compile import Cell, compile_table, is_light
from herder.machines.registry import BY_KIND, TABLES
from herder.machines.table import ABSENT, Deadline, Facts, Row, Spawn, State, Table, columnar
from tests.machines import sample
from tests.property.effort import EFFORT, PLENTY

KINDS = pytest.mark.parametrize("kind", [table.kind for table in TABLES])
READS: dict[str, tuple[Any, str]] = {
    name: read for table in TABLES for row in table.rows for name, read in getattr(row.guard, "reads", {}).items()
}
"""Every fact that guards read from arrays, with its default and type."""


def values(default: Any, dtype: str) -> st.SearchStrategy[Any]:
    if dtype.startswith("U"):
        return st.sampled_from(["primary", "standby", "stop", "serve", ""])
    return st.booleans() if dtype == "?" else st.integers(0, 9)


FACTS = st.fixed_dictionaries({}, optional={name: values(*read) for name, read in READS.items()})
"""What a machine knows of it; what is missing counts as its default."""


def test_there_are_guards_that_arrays_answer():
    assert READS


@KINDS
@EFFORT
@given(data=st.data())
def test_a_step_by_arrays_is_the_step_of_the_first_row_that_fits(kind: str, data: st.DataObject):
    """Each machine either moves as its table says, or is handed to it one by one, or nothing means anything to it."""
    table, world = BY_KIND[kind], World()
    facts = data.draw(st.lists(FACTS, min_size=1, max_size=6))
    for ident, own in enumerate(facts, 1):
        state = data.draw(st.sampled_from(table.states)).name
        sample.put(world, ident, kind, state, subject=0, scope="fleet", scopes=[], **own)
    event = data.draw(st.sampled_from([event for event in table.events if event != "create"]))
    found = decide_bulk(world, Bulk(kind, event, world.ids(kind)), sample.NOW_MS)
    moved = {int(move["machine"]): move for move in found.moves}
    single = {item.machine for item in found.singles}
    assert not moved.keys() & single
    assert len(moved) + len(single) + found.dropped == len(facts)
    for ident in range(1, len(facts) + 1):
        machine = world.get(ident)
        rows = table.lookup.get((machine.state, event), ())
        if ident in single:
            assert any(not hasattr(row.guard, "reads") or not is_light(row) for row in rows)
            continue
        row = table.row(machine.state, event, machine.data, {})
        assert (row is None) == (ident not in moved)
        if row is not None:
            assert is_light(row), "a row that changes more than the state was stepped by arrays"
            target = table.by_name[row.target]
            wait_ms = int(target.deadline.after_s * 1000) if target.deadline and not row.keep else 0
            move = moved[ident]
            assert table.state_names[move["target"]] == row.target
            assert bool(move["flags"] & KEEP) == row.keep
            assert move["deadline_ms"] == (sample.NOW_MS + wait_ms if wait_ms else 0)
            assert move["version"] == machine.version + 1


@KINDS
@EFFORT
@given(data=st.data())
def test_a_guard_says_of_arrays_what_it_says_of_each(kind: str, data: st.DataObject):
    guards = {id(row.guard): row.guard for row in BY_KIND[kind].rows if hasattr(row.guard, "reads")}
    machines = data.draw(st.lists(FACTS, min_size=1, max_size=6))
    for guard in guards.values():
        columns = {
            name: np.array([own.get(name, default) for own in machines], dtype)
            for name, (default, dtype) in guard.reads.items()
        }
        answers = np.broadcast_to(np.asarray(guard(columns, {}), bool), (len(machines),))
        assert answers.tolist() == [bool(guard(own, {})) for own in machines]


# ---- tables that nobody wrote


@columnar(deposed=(False, "?"))
def by_arrays(facts: Facts, brought: Facts) -> Any:
    return facts.get("deposed", False) == True  # noqa: E712  elementwise, of arrays too


def by_document(facts: Facts, brought: Facts) -> bool:
    return bool(facts.get("deposed", False))


def note(facts: Facts, brought: Facts, now_ms: int) -> dict[str, Any]:
    return {"noted_ms": now_ms}


NAMES = ("a", "b", "c", "d")
STATES = st.lists(
    st.builds(
        State, st.sampled_from(NAMES), st.just("drawn"),
        deadline=st.none() | st.builds(Deadline, st.floats(0.1, 9_999), st.just("late")),
    ),
    min_size=1, max_size=4, unique_by=lambda state: state.name,
)  # fmt: skip


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """Any rows between any states: several for one event, shadowed ones, ones that do more than move."""
    states = tuple(draw(STATES))
    names = st.sampled_from([ABSENT, *(state.name for state in states)])
    targets = st.sampled_from([state.name for state in states])
    rows = st.builds(
        Row, source=names, event=st.sampled_from(["create", "late", "x", "y"]), target=targets,
        guard=st.sampled_from([None, by_arrays, by_document]), update=st.sampled_from([None, None, note]),
        page=st.sampled_from([None, None, Spawn("drawn")]), keep=st.booleans(),
    )  # fmt: skip
    return Table("drawn", 99, "drawn", states, tuple(draw(st.lists(rows, max_size=12))))


@PLENTY
@given(tables(), st.sampled_from([{}, {"deposed": True}, {"deposed": False}]))
def test_the_arrays_of_any_table_say_no_more_than_its_rows(table: Table, facts: dict[str, Any]):
    arrays = compile_table(table)
    for event, at_event in table.event_codes.items():
        for state, at_state in table.state_codes.items():
            row, cell = table.row(state, event, facts, {}), arrays.cell[at_event, at_state]
            if cell == Cell.NOTHING:
                assert row is None
            elif cell == Cell.PLAIN:
                assert row is not None
                assert is_light(row)
                assert arrays.target[at_event, at_state] == table.state_codes[row.target]
                assert arrays.keep[at_event, at_state] == row.keep
            elif cell == Cell.GUARDED:
                tried = arrays.rows[at_event, at_state]
                assert tried == table.lookup[state, event]
                assert all(each.guard in (None, by_arrays) for each in tried)
    for state in table.states:
        wait_ms = int(state.deadline.after_s * 1000) if state.deadline else 0
        assert arrays.wait_ms[table.state_codes[state.name]] == wait_ms
    assert arrays.wait_ms[0] == 0
