"""`herder verify`: rows that fire, what is told, and the exit code."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from herder.cli import everything as cli
from herder.machines import verify
from herder.machines.registry import BY_KIND, TABLES
from herder.machines.table import Row
from herder.proof import alone, voters
from herder.proof.everything import Everything, uncovered
from herder.proof.product.report import Product, Searched, Step, Violation

SEARCHED = Searched(
    "failover", 10, 20, 0.1, 3, whole=True, resting=4, by_person=0, abstracts="nothing", rows=frozenset({("page", 0)}),
)  # fmt: skip
VIOLATION = Violation("S2", "failover", "it promotes", ("world: a dies",), (Step("world", "member a", "a dies"),))


def found(*violations: Violation, missed: tuple[str, ...] = ()) -> Everything:
    aspect = replace(SEARCHED, violations=violations)
    product = Product((aspect,), aspect.rows, violations)
    scene = voters.QUICK[0]
    pledged = voters.Voters((voters.Searched(scene, 5, 9, 3, 0.1, True, None, frozenset({"a client writes"})),))
    return Everything(verify.check(), pledged, product, {"not built yet": ("page: a",)}, missed, 448, 1.0, quick=True)


def test_a_row_that_nothing_leads_to_is_missed_and_one_that_only_the_product_lacks_is_not():
    page = BY_KIND["page"]
    dead = replace(page, rows=(*page.rows, Row("vanished", "again", "open")))
    tables = [dead if table.kind == "page" else table for table in TABLES]
    known, missed = uncovered(tables, Product((SEARCHED,), SEARCHED.rows, ()), first_states=True)
    assert missed == ("page: vanished -again-> open",)
    assert "page: open -resolve-> resolved" in known["not reached yet"]
    assert "page: absent -create-> open" not in known["not reached yet"]


def test_a_row_that_the_whole_search_does_not_fire_needs_a_reason():
    known, missed = uncovered(TABLES, Product((SEARCHED,), SEARCHED.rows, ()), first_states=False)
    assert "page: open -resolve-> resolved" in missed
    assert "archive: absent -create-> available" in known["not built yet"]


def test_whatever_is_named_as_alone_is_a_row():
    cells = {(table.kind, row.event, row.source) for table in TABLES for row in table.rows}
    for row in (row for group in alone.GROUPS for row in group.rows):
        named = {(row.kind, row.event, state) for state in row.states}
        assert named <= cells, row
        assert any(row.names(*cell) for cell in cells), row


def test_every_reason_stands_on_the_page():
    page = (Path(__file__).parents[2] / "docs/reference/verify.md").read_text()
    for group in alone.GROUPS:
        assert group.title in page


@pytest.mark.parametrize(
    ("proved", "code"),
    [(found(), 0), (found(VIOLATION), 1), (found(missed=("page: vanished -again-> open",)), 1)],
    ids=["all holds", "a violation", "a dead row"],
)
def test_the_exit_code_is_for_scripts(
    proved: Everything, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(cli, "prove", lambda *, quick: proved)
    assert cli.everything(quick=True, as_json=True, directory="") == code
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is (code == 0)
    assert told["product"][0]["states"] == 10
    assert told["voters"][0]["states"] == 5
    assert told["rows_alone"] == {"not built yet": ["page: a"]}
    assert cli.everything(quick=True, as_json=False, directory="") == code
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == ("every rule holds" if code == 0 else "not every rule holds")


def test_a_violation_is_told_step_by_step(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(cli, "prove", lambda *, quick: found(VIOLATION))
    cli.everything(quick=True, as_json=False, directory="")
    assert "S2 does not hold in failover: it promotes\n    1. world: a dies\n" in capsys.readouterr().out
