"""The tables keep their rules, and the checker would say so if they did not: each mutant breaks one, and is named."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from herder.machines import verify
from herder.machines.registry import BY_KIND, TABLES
from herder.machines.rules import Finding, counted
from herder.machines.table import Deadline, Effect, Emit, Row, State, Table

KNOWN: frozenset[tuple[str, str]] = frozenset()
"""Faults that the checker found and that are not mended yet. Nothing may be added; what is mended is taken out."""


def rules_broken(tables: Sequence[Table]) -> set[tuple[str, str]]:
    return {(finding.rule, finding.where) for finding in verify.check(tables).findings}


BASE = frozenset(rules_broken(TABLES))


def test_the_tables_keep_every_rule_but_the_known_faults():
    assert BASE == KNOWN


def test_every_check_looked_at_something():
    assert all(checked.count > 0 for checked in verify.check().checked)


def test_a_finding_tells_the_way_there():
    unproven = row_of("failover", "fencing", "fenced", proves=())
    traces = [finding.trace for finding in verify.check(unproven).findings if finding.rule == "S2"]
    assert any("failover: fencing -fenced-> pledging (the old primary is fenced)" in trace for trace in traces)


def test_the_report_is_json_for_machines_and_an_exit_code_for_scripts(capsys: pytest.CaptureFixture[str]):
    code = verify.main(["--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["tables"] == len(TABLES)
    assert told["ok"] is (code == 0) is (not told["findings"])
    assert {"rule", "what", "count"} == told["checked"][0].keys()


def test_the_report_is_a_page_for_people(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    report = verify.Report(verify.check().checked, ())
    monkeypatch.setattr(verify, "check", lambda: report)
    assert verify.main([]) == 0
    assert capsys.readouterr().out.endswith("every rule holds\n")
    broken = replace(report, findings=(Finding("S2", "failover.promoting", "promoted", ("one", "two")),))
    monkeypatch.setattr(verify, "check", lambda: broken)
    assert verify.main([]) == 1
    assert "S2 does not hold at failover.promoting: promoted\n    1. one\n    2. two\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("kind", "state", "event", "tries"),
    [
        ("restart", "restarting", "failed", 2),
        ("provision", "hiring", "failed", 2),
    ],
)
def test_a_count_shuts_the_guard_of_what_is_tried_again(kind: str, state: str, event: str, tries: int):
    assert counted(BY_KIND[kind].lookup[state, event][0]) == tries


# ---- mutants: (what is broken, the tables, what must be found)


def with_table(kind: str, change: Callable[[Table], Table]) -> tuple[Table, ...]:
    return tuple(change(table) if table.kind == kind else table for table in TABLES)


def row_of(kind: str, source: str, event: str, **changes: object) -> tuple[Table, ...]:
    """The same rows of a state and event with some fields changed."""

    def change(table: Table) -> Table:
        assert (source, event) in table.lookup
        rows = (replace(row, **changes) if (row.source, row.event) == (source, event) else row for row in table.rows)
        return replace(table, rows=tuple(rows))

    return with_table(kind, change)


def without(kind: str, source: str, event: str, *, guarded: bool | None = None) -> tuple[Table, ...]:
    """Rows taken out; guarded: only those with, or without, a guard."""

    def gone(row: Row) -> bool:
        fits = guarded is None or (row.guard is not None) is guarded
        return (row.source, row.event) == (source, event) and fits

    def change(table: Table) -> Table:
        left = tuple(row for row in table.rows if not gone(row))
        assert len(left) < len(table.rows)
        return replace(table, rows=left)

    return with_table(kind, change)


def plus(kind: str, *rows: Row) -> tuple[Table, ...]:
    return with_table(kind, lambda table: replace(table, rows=(*table.rows, *rows)))


def state_of(kind: str, name: str, **changes: object) -> tuple[Table, ...]:
    def change(table: Table) -> Table:
        assert name in table.by_name
        return replace(table, states=tuple(replace(s, **changes) if s.name == name else s for s in table.states))

    return with_table(kind, change)


def plus_state(kind: str, state: State) -> tuple[Table, ...]:
    return with_table(kind, lambda table: replace(table, states=(*table.states, state)))


REPOINT = Effect("repoint_standbys", ("followed", "beheaded"))

MUTANTS: dict[str, tuple[tuple[Table, ...], tuple[str, str]]] = {
    "the fence proves nothing": (row_of("failover", "fencing", "fenced", proves=()), ("S2", "failover.promoting")),
    "the lease proves nothing": (row_of("failover", "leasing", "lease_over", proves=()), ("S2", "failover.promoting")),
    "pledges prove nothing": (row_of("failover", "pledging", "pledged", proves=()), ("S2", "failover.promoting")),
    "async begins with pledges": (
        row_of("failover", "absent", "create", target="pledging"),
        ("S2", "failover.promoting"),
    ),
    "an unconfirmed fence promotes": (
        plus("failover", Row("fencing", "overdue", "promoting")),
        ("S2", "failover.promoting"),
    ),
    "a drain proves nothing": (row_of("switchover", "draining", "drained", proves=()), ("S2", "switchover.promoting")),
    "an engine's own move proves nothing": (
        row_of("switchover", "draining", "moved", proves=()),
        ("S2", "switchover.draining"),
    ),
    "a restart promotes": (
        row_of("restart", "restarting", "restarted", emits=(Emit("service", "promoted"), Emit("member", "promoted"))),
        ("S2", "restart.restarting"),
    ),
    "destroy does not prove consent": (row_of("destroy", "absent", "create", proves=()), ("S5", "destroy.trashing")),
    "destroy does not look at consent": (row_of("destroy", "absent", "create", guard=None), ("S5", "destroy.absent")),
    "destroy takes any consent": (
        row_of("destroy", "absent", "create", guard=lambda facts, brought: bool(brought.get("consent"))),
        ("S5", "destroy.absent"),
    ),
    "an uncertain member is trashed": (
        plus("member", Row("uncertain", "seen_dead", "retired")),
        ("S6", "member.uncertain"),
    ),
    "silence retires a server": (plus("server", Row("uncertain", "recheck", "retiring")), ("S6", "server.uncertain")),
    "terminated may boot": (plus("server", Row("terminated", "retire", "restart")), ("S11", "server.terminated")),
    "terminated is not final": (state_of("member", "terminated", final=False), ("S11", "member.terminated")),
    "a final state waits": (state_of("failover", "done", deadline=Deadline(5, "overdue")), ("finals", "failover.done")),
    "a dead end": (without("rebuild", "placing", "placed"), ("S9", "rebuild.copying")),
    "a wait for ever": (state_of("member", "unavailable", deadline=None), ("deadlines", "member.unavailable")),
    "a playbook's wait for ever": (state_of("rebuild", "copying", deadline=None), ("deadlines", "rebuild.copying")),
    "a deadline of no length": (
        state_of("strike", "shrinking", deadline=Deadline(0, "overdue")),
        ("deadlines", "strike.shrinking"),
    ),
    "a deadline that means nothing": (without("failover", "promoting", "overdue"), ("deadlines", "failover.promoting")),
    "a deadline that stays": (row_of("server", "uncertain", "recheck", keep=True), ("deadlines", "server.uncertain")),
    "an outcome that means nothing": (without("failover", "pledging", "short"), ("outcomes", "failover.pledging")),
    "an outcome that nobody declared": (
        state_of("failover", "repointing", effect=REPOINT),
        ("outcomes", "failover.repointing"),
    ),
    "the same effect with other outcomes": (
        state_of("switchover", "repointing", effect=REPOINT),
        ("outcomes", "switchover.repointing"),
    ),
    "an outcome only when a guard likes it": (
        without("failover", "fencing", "unconfirmed", guarded=False),
        ("guards", "failover.fencing"),
    ),
    "a row behind one that always fires": (
        row_of("restart", "restarting", "failed", guard=None),
        ("guards", "restart.restarting"),
    ),
    "a restart without end": (row_of("restart", "restarting", "failed", update=None), ("S8", "restart.restarting")),
    "provisioning without end": (row_of("provision", "founding", "failed", update=None), ("S8", "provision.founding")),
    "an eleventh state": (plus_state("member", State("sulking", "")), ("states", "member.sulking")),
    "a state that nobody reaches": (plus_state("strike", State("lost", "", final=True)), ("S9", "strike.lost")),
    "a row to nowhere": (row_of("strike", "shrinking", "failed", target="limbo"), ("names", "strike.limbo")),
    "a row that keeps a state it leaves": (row_of("page", "open", "resolve", keep=True), ("names", "page.open")),
    "the same code twice": (with_table("page", lambda table: replace(table, code=1)), ("names", "1")),
    "an event that means nothing": (
        row_of("strike", "shrinking", "failed", emits=(Emit("service", "strike_dropped"),)),
        ("emits", "strike.shrinking"),
    ),
    "an event for nobody": (
        row_of("strike", "shrinking", "failed", emits=(Emit("servant", "restored"),)),
        ("emits", "strike.shrinking"),
    ),
    "an event that nobody sends": (plus("strike", Row("shrinking", "bored", "failed")), ("events", "strike.shrinking")),
    "a promotion that the log drops": (without("member", "unavailable", "promoted"), ("landing", "member.unavailable")),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_found(name: str):
    tables, expected = MUTANTS[name]
    found = rules_broken(tables) - BASE
    assert expected in found, sorted(found)


def test_without_any_consent_every_end_is_found():
    tables = with_table("service", _forgets_consent)
    tables = tuple(_forgets_consent(table) if table.kind in {"destroy", "member"} else table for table in tables)
    ended = {where for rule, where in rules_broken(tables) - BASE if rule == "S5"}
    assert {"service.retiring", "service.retired", "member.retiring", "member.retired", "server.terminated"} <= ended


def _forgets_consent(table: Table) -> Table:
    return replace(table, rows=tuple(replace(row, proves=()) for row in table.rows))
