"""Every mutant breaks something, those that are noticed are noticed by the right check, and a file may give others."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from herder.machines.registry import TABLES
from herder.model.errors import InvalidInput
from herder.proof import laws
from herder.proof.mutants import MUTANTS, Mutant, given, judge
from herder.proof.mutants.parts import ORIGINAL, pure, rewired, row
from herder.proof.mutants.render import page
from herder.proof.mutants.run import Report, as_plain, line, run, summary
from herder.remedies import election
from tests.house.tree import ROOT

BY_NAME = {mutant.name: mutant for mutant in MUTANTS}
PAGE = (ROOT / "docs/reference/mutants.md").read_text()
EXAMPLE = re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL).group(1)


def test_there_are_many_and_each_has_its_name_and_its_sentence():
    assert len(MUTANTS) >= 60
    assert len(BY_NAME) == len(MUTANTS)
    assert all(mutant.what and not mutant.what.endswith(".") for mutant in MUTANTS)


@pytest.mark.parametrize("name", BY_NAME)
def test_each_breaks_something(name: str):
    assert BY_NAME[name].change(ORIGINAL).differs(ORIGINAL)


def test_every_table_and_every_pure_decision_is_broken_by_one():
    broken = {name for mutant in MUTANTS for name in mutant.change(ORIGINAL).differs(ORIGINAL)}
    assert broken == {table.kind for table in TABLES} | set(laws.PURE)


@pytest.mark.parametrize(
    ("name", "check", "rule"),
    [
        ("drop the fence", "tables", "S2"),
        ("promote before lease end", "tables", "S2"),
        ("skip the quorum", "tables", "S2"),
        ("forget the deadline of the pledges", "tables", "deadlines"),
        ("remove the term bump", "tables", "S10"),
        ("swallow 'short'", "tables", "outcomes"),
        ("silence is death", "tables", "S6"),
        ("any word is consent", "tables", "S5"),
        ("us is them", "tables", "S7"),
        ("a fenced life comes back", "tables", "S2"),
        ("off-by-one quorum", "laws", "S3"),
        ("count a pledge of an older timeline", "laws", "S3"),
        ("one witness is enough", "laws", "S6"),
        ("widen a budget", "laws", "S8"),
        ("give the lease back first", "laws", "S2"),
        ("strike while a voter is enrolled", "voters", "S3"),
        ("old voters stay after a promotion", "voters", "S3"),
    ],
)
def test_who_notices(name: str, check: str, rule: str):
    noticed = judge(BY_NAME[name]).killed
    assert noticed is not None
    assert (noticed.check, noticed.rule) == (check, rule)
    assert noticed.trace or check == "tables"


def test_the_way_to_a_promotion_without_a_fence_is_told():
    noticed = judge(BY_NAME["drop the fence"]).killed
    assert noticed is not None
    assert any("failover: absent -create-> pledging" in step for step in noticed.trace)


def test_one_that_changes_nothing_is_refused():
    same = Mutant("nothing", "nothing is broken", row("page", "open", "resolve", target="resolved"))
    with pytest.raises(InvalidInput, match="changes nothing"):
        judge(same)


def test_one_that_breaks_nothing_survives_and_must_say_why():
    renamed = Mutant("another sentence", "the log says it in other words", row("page", "open", "resolve", why="over"))
    verdict = judge(renamed, deep=False)
    assert verdict.killed is None
    assert verdict.unexplained
    assert not replace(verdict, lives="a sentence decides nothing").unexplained


def test_a_run_is_well_when_enough_is_killed_and_survivors_are_explained():
    killed = judge(BY_NAME["drop the fence"])
    survivor = replace(killed, killed=None, lives="")
    explained = replace(survivor, lives="it may")
    assert Report((killed,)).ok
    assert not Report((killed, survivor)).ok
    assert not Report((killed, explained)).ok, "half is not enough"
    assert Report((*(killed,) * 19, explained)).ok
    assert not Report((*(killed,) * 19, survivor)).ok


def test_the_report_names_survivors_and_their_reasons():
    killed = judge(BY_NAME["drop the fence"])
    survivor = replace(killed, name="odd", killed=None, lives="it may")
    report = Report((killed, survivor))
    assert "it may" in "\n".join(line(survivor))
    assert next(iter(summary(report, 1.0))).startswith("1 of 2 mutants killed (50.0%) in 1 s: 1 by tables")
    told = as_plain(report, 1.0)
    assert (told["ok"], told["mutants"], told["killed"]) == (False, 2, 1)
    assert told["verdicts"][0]["killed"]["rule"] == "S2"


def test_several_processes_say_the_same_as_one():
    few = [BY_NAME[name] for name in ("drop the fence", "widen a budget", "us is them")]
    alone, together = list(run(few, 1)), list(run(few, 2))
    assert [each.killed for each in together] == [each.killed for each in alone]
    assert [each.name for each in together] == [each.name for each in few]


def test_a_function_is_rewired_in_its_copy_only():
    broken = rewired(election.elect_sync, pledges_needed=lambda voters, k=1: 1)
    parts = pure(elect_sync=broken)(ORIGINAL)
    assert parts.differs(ORIGINAL) == ("elect_sync",)
    assert laws.check(parts.pure)[1]
    assert not laws.check()[1]


def test_an_unknown_row_or_function_is_refused_with_what_there_is():
    with pytest.raises(InvalidInput, match="failover has no such row: pledging -shrot->"):
        row("failover", "pledging", "shrot", target="paged")(ORIGINAL)
    with pytest.raises(InvalidInput, match="no pure function 'elect'"):
        pure(elect=None)(ORIGINAL)


# ---- from a file


def test_the_example_of_the_page_is_killed(tmp_path: Path):
    file = tmp_path / "mine.toml"
    file.write_text(EXAMPLE)
    verdicts = [judge(mutant, deep=False) for mutant in given.read(file)]
    assert [verdict.killed.rule for verdict in verdicts if verdict.killed] == ["S2", "deadlines", "S5"]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "has no \\[\\[mutant\\]\\]"),
        ("[[mutant]]\n", "mutant 1 .* has no name"),
        (EXAMPLE.replace('"pledging"', '"plodging"', 1), "no such row: plodging"),
        (EXAMPLE.replace("target =", "taget =", 1), "'taget' is not known here"),
        (EXAMPLE.replace('table = "failover"', 'table = "failure"', 1), "no table 'failure'"),
        (EXAMPLE.replace("deadline_s = 0", 'effect = "wait"'), "no effect 'wait'"),
        (EXAMPLE.replace('change = { target = "promoting", page = "", emits = [] }', ""), "changes nothing"),
        ("not toml [", "cannot be read"),
    ],
)
def test_a_file_with_a_mistake_is_refused(tmp_path: Path, text: str, what: str):
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(InvalidInput, match=what):
        given.read(file)


def test_the_page_is_as_fresh_as_the_mutants():
    assert page() == PAGE, "run: python -m herder.proof.mutants.render docs/reference/mutants.md"
