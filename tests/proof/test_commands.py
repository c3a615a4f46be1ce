"""`herder verify --mutants-file` and `--playbook`: what is printed, and the exit code that a script goes by."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from herder.cli import proofs
from herder.model.errors import InvalidInput

KILLED = """
[[mutant]]
name = "pledges for ever"
what = "a failover may wait without end"
table = "failover"
state = "pledging"
change = { deadline_s = 0 }
"""


def test_mutants_that_are_noticed_end_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "mine.toml"
    file.write_text(KILLED)
    assert proofs.mutants(str(file), as_json=False, traces=True, directory=str(tmp_path / "drawn")) == 0
    told = capsys.readouterr().out
    assert "killed    pledges for ever: tables, deadlines at failover.pledging" in told
    assert "1 of 1 mutants killed (100.0%)" in told


def test_mutants_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "mine.toml"
    file.write_text(KILLED)
    assert proofs.mutants(str(file), as_json=True, traces=False, directory="") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["ok"], told["mutants"], told["killed"]) == (True, 1, 1)
    assert told["verdicts"][0]["killed"]["where"] == "failover.pledging"


def test_a_playbook_that_breaks_a_rule_ends_in_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "mine.toml"
    assert proofs.show_playbook("strike") == 0
    file.write_text(capsys.readouterr().out.replace("deadline_s = 20\n", ""))
    assert proofs.playbook(str(file), as_json=False) == 1
    told = capsys.readouterr().out
    assert f"{file}, line " in told
    assert "one may wait here for ever: it has no deadline" in told
    assert proofs.playbook(str(file), as_json=True) == 1
    assert json.loads(capsys.readouterr().out)["findings"][0]["rule"] == "deadlines"


def test_a_playbook_that_there_is_not_is_refused_with_those_there_are():
    with pytest.raises(InvalidInput, match="no playbook is called 'rescue'") as told:
        proofs.show_playbook("rescue")
    assert "failover" in told.value.hint
