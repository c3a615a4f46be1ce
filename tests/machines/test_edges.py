"""Every row of every table fires: the move, the deadline, the facts that it records, and whom it tells."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from herder.engine.decide import Decision, Input, decide
from herder.engine.world import Machine, World
from herder.machines.registry import BY_KIND, TABLES
from herder.machines.table import ABSENT, CREATE, Row, Table
from herder.machines.verify import KINDS_OF
from herder.model.states import UnitState
from tests.machines import sample

EDGES = [(table, row) for table in TABLES for row in table.rows]
EMITTED = {(KINDS_OF[emit.to], emit.event) for _, row in EDGES for emit in row.emits}

FACTS: tuple[dict[str, Any], ...] = tuple(
    role | deposed | tries | plan
    for role in ({}, {"role": "primary"}, {"role": "standby"})
    for deposed in ({}, {"deposed": True})
    for tries in ({}, {"tries": 9, "boots": 9})
    for plan in (
        {},
        {"sync": False},
        {"on_isolation": "stop"},
        {"members": [sample.MEMBERS[0]]},
        {"playbook": sample.PLAYBOOK},
        {"rounds": 9},
        {"by": "budget"},
        {"told": True},
        {"boots": 3},
        {"parked": 2},
        {"planned": True},
        {"alone": True},
        {"no_data": sample.MEMBERS[0]},
        {"evidence": {"disk": "full"}},
    )
)
"""What may decide a guard; the first that does is taken."""

BROUGHT: tuple[dict[str, Any], ...] = (
    {},
    {"sync": False},
    {"consent": "orders", "service_name": "orders"},
    {"exercise": True},
    {"verdict": "us"},
    {"by": "budget"},
    {"member_back": True},
)


def edge_name(edge: Table | Row) -> str:
    return edge.kind if isinstance(edge, Table) else f"{edge.source}-{edge.event}-{edge.target}"


def scene(table: Table, row: Row) -> tuple[World, Machine, Input]:
    """A world in which exactly this row fires on the input."""
    for facts, brought in itertools.product(FACTS, BROUGHT):
        world, machine = world_with(table.kind, row.source, facts)
        told = told_to(table, row) | brought
        known = {} if row.source == ABSENT else machine.data
        if table.row(row.source, row.event, known, told) is row:
            create = table.kind if row.source == ABSENT else ""
            return world, machine, Input(machine.id, row.event, told, create=create)
    raise AssertionError("no facts make this row fire")


def world_with(kind: str, state: str, facts: dict[str, Any]) -> tuple[World, Machine]:
    """The subject takes the place of the well one of its kind."""
    world = sample.well(playbook=sample.PLAYBOOK)
    known = {
        "service": sample.service_facts(), "member": sample.member_facts(0), "server": sample.server_facts(0),
        "page": {"name": "page-8", "subject": sample.SERVICE, "reason": "any", "times": 1, "text": ""},
    }.get(kind, sample.playbook_facts())  # fmt: skip
    ident = {"service": sample.SERVICE, "member": sample.MEMBERS[0], "server": sample.SERVERS[0]}.get(
        kind, sample.PLAYBOOK
    )
    if state == ABSENT:
        return world, Machine(ident + 100, kind, data=known | facts)
    return world, sample.put(world, ident, kind, state, **(known | facts))


def told_to(table: Table, row: Row) -> dict[str, Any]:
    """What the event brings: a row's event what its sender carries, a creation its facts, others nothing."""
    if row.event == CREATE:
        return {"service": sample.SERVICE} if table.unit else sample.playbook_facts(subject=sample.SERVICE)
    if (table.kind, row.event) in EMITTED or row.event == "again":
        return {"sender": sample.PLAYBOOK, "term": 2, "candidate": sample.MEMBERS[1], "new_voters": [sample.MEMBERS[2]],
                "counts": True, "added": [sample.MEMBERS[0]], "member": sample.MEMBERS[1]}  # fmt: skip
    return {"evidence": {"why": "seen"}, "lease_s": 5.0, "last_read": {"lsn": 1}}


@pytest.mark.parametrize(("table", "row"), EDGES, ids=edge_name)
def test_every_edge_fires(table: Table, row: Row):
    world, machine, item = scene(table, row)
    before = {} if item.create else dict(machine.data)
    decision = decide(world, [item], sample.NOW_MS)
    move = decision.moves[0]
    assert (move.machine, table.state_names[move.source], table.events[move.event], table.state_names[move.target]) == (
        machine.id,
        row.source,
        row.event,
        row.target,
    )
    expected = {} if "sender" in item.facts else dict(item.facts)
    if row.update is not None:
        expected |= row.update(before, item.facts, sample.NOW_MS)
    assert move.patch == expected
    assert move.keep is row.keep
    assert move.why == row.why
    assert move.deadline_ms == deadline_of(table, row)
    assert_told(decision, row, before | expected)
    assert [kind for kind, _ in decision.releases] == [f"{table.kind}.{fact}" for fact in row.releases]


def deadline_of(table: Table, row: Row) -> int:
    deadline = table.by_name[row.target].deadline
    if row.keep or deadline is None:
        return 0
    return sample.NOW_MS + int(deadline.after_s * 1000)


def assert_told(decision: Decision, row: Row, data: dict[str, Any]) -> None:
    """Each machine that the row names hears of it, in the same record, in order; a page is made when it says so."""
    heard = [(move.machine, BY_KIND_CODE[move.kind].events[move.event]) for move in decision.moves[1:]]
    heard += [(item.machine, item.event) for item, _ in decision.dropped]
    for emit in row.emits:
        assert emit.to in data, f"a machine in {row.source} does not know its {emit.to}"
        held = data[emit.to]
        for target in held if isinstance(held, list) else [held]:
            assert (target, emit.event) in heard
    pages = [move for move in decision.moves if move.kind == BY_KIND["page"].code and move.patch.get("reason")]
    assert [page.patch["reason"] for page in pages[-1:]] == ([row.page.reason] if row.page else [])


BY_KIND_CODE = {table.code: table for table in TABLES}


@pytest.mark.parametrize("table", TABLES, ids=edge_name)
def test_a_row_with_a_guard_does_not_fire_when_the_guard_says_no(table: Table):
    for row in (row for row in table.rows if row.guard is not None):
        refused = any(
            table.row(row.source, row.event, *_known(table, row, facts, brought)) is not row
            for facts, brought in itertools.product(FACTS, BROUGHT)
        )
        assert refused, f"{row.source} -{row.event}-> {row.target} always fires"


def _known(
    table: Table, row: Row, facts: dict[str, Any], brought: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    _, machine = world_with(table.kind, row.source, facts)
    return ({} if row.source == ABSENT else machine.data), told_to(table, row) | brought


@pytest.mark.parametrize("table", TABLES, ids=edge_name)
def test_an_event_that_means_nothing_changes_nothing(table: Table):
    for state in table.states:
        for event in sorted({*table.events} - {event for source, event in table.lookup if source == state.name}):
            world, machine = world_with(table.kind, state.name, {})
            before = (machine.state, machine.version, dict(machine.data))
            decision = decide(world, [Input(machine.id, event, {"sender": sample.PLAYBOOK})], sample.NOW_MS)
            assert not decision.moves
            assert [reason for _, reason in decision.dropped] == [f"means nothing in {state.name}"]
            assert before == (machine.state, machine.version, machine.data)


def test_a_unit_is_in_one_of_the_ten_states_and_no_other():
    assert len(UnitState) == 10
    used = {state.name for table in TABLES if table.unit for state in table.states}
    assert used <= set(UnitState)


def test_every_row_tells_a_person_why():
    silent = [
        f"{table.kind}: {row.source} -{row.event}->" for table, row in EDGES if not row.why and row.event != CREATE
    ]
    assert not silent
