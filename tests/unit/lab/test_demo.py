"""Around the demo: it never removes what was there before, it sees what is left behind, and its picture stands alone."""

import subprocess
import sys
from pathlib import Path

import pytest

from herder.lab.demo import _facts, _throw_away, draw_svg, left_behind
from herder.lab.screen import HEALED, NOT_POSSIBLE, WAITING, Ending, Frame, Result
from herder.lab.steps import ALL, SERVICES, STEPS
from herder.model.errors import InvalidInput


def ending(*results):
    return Ending(results, {"acknowledged": 3, "premium": {"lost": 0, "doubled": 0}}, 64.25)


def test_a_directory_with_something_in_it_is_refused_because_it_would_be_removed(tmp_path: Path):
    (tmp_path / "VERSION").write_text("1\n")
    with pytest.raises(InvalidInput, match="not empty"):
        _throw_away(str(tmp_path))
    assert (tmp_path / "VERSION").exists()


def test_a_new_or_an_empty_directory_will_do(tmp_path: Path):
    assert _throw_away("") is None
    assert _throw_away(str(tmp_path)) == tmp_path.resolve()
    assert _throw_away(str(tmp_path / "a" / "b")) == (tmp_path / "a" / "b").resolve()


def test_nothing_is_left_behind_when_all_is_gone(tmp_path: Path):
    assert left_behind(tmp_path / "gone", set()) == []


def test_a_process_that_works_in_the_directory_is_seen_and_so_is_the_directory(tmp_path: Path):
    wait = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"]
    with subprocess.Popen(wait, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = left_behind(tmp_path, set())
        process.communicate()
    assert any(str(process.pid) in text for text in found)
    assert f"directory {tmp_path}" in found


def test_json_says_what_was_possible_and_never_that_of_what_was_not_tried():
    tried = Result("engine killed", "orders", "premium", HEALED)
    missing = Result("host silent", "orders", "premium", NOT_POSSIBLE)
    waiting = Result("switchover", "orders", "premium", WAITING)
    facts = _facts(ending(tried, missing, waiting))
    assert facts["possible"] == {"engine killed": True, "host silent": False, "switchover": None}
    assert facts["seconds"] == pytest.approx(64.2, abs=0.1)
    assert [fault["fault"] for fault in facts["faults"]] == ["engine killed", "host silent", "switchover"]


def test_the_picture_brings_nothing_from_elsewhere(tmp_path: Path):
    path = tmp_path / "demo.svg"
    draw_svg(path, Frame(sentence="The cable is pulled."), ending(Result("host silent", "orders", "premium", HEALED)))
    drawn = path.read_text(encoding="utf-8")
    assert "@font-face" not in drawn
    assert "url(http" not in drawn
    assert "cable" in drawn


def test_every_step_breaks_a_service_that_is_made_and_its_sentence_can_be_said():
    names = {name for name, _, _ in SERVICES} | {ALL}
    for step in STEPS:
        assert step.service in names
        assert step.sentence.format(primary="orders-0", server="srv-5", hold=8.0).endswith((".", "?"))
