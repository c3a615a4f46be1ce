"""A playbook of one's own: read with its lines, checked like herder's, refused with what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from herder.machines.registry import BY_KIND
from herder.model.errors import InvalidInput
from herder.proof import playbook_file
from herder.proof.playbook_file import read, written
from tests.house.tree import ROOT

EXAMPLE = re.search(r"```toml\n(.*?)```", (ROOT / "docs/reference/playbook-file.md").read_text(), re.DOTALL).group(1)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mine.toml"


def found(file: Path, text: str) -> list[tuple[int, str]]:
    """(line, rule) of what the checks of the tables say; the searches are not begun while those fail."""
    file.write_text(text)
    mine = read(file)
    return [(mine.line(each), each.rule) for each in playbook_file.check(mine)]


def line_of(text: str, words: str) -> int:
    return text[: text.index(words)].count("\n") + 1


@pytest.mark.parametrize("kind", playbook_file.playbooks())
def test_what_is_shown_of_a_playbook_is_read_back_as_the_same_table(kind: str, file: Path):
    file.write_text(written(BY_KIND[kind]))
    mine = read(file).table
    assert (mine.states, mine.rows, mine.code) == (BY_KIND[kind].states, BY_KIND[kind].rows, BY_KIND[kind].code)


def test_the_example_of_the_page_keeps_every_rule(file: Path):
    assert found(file, EXAMPLE) == []


def test_a_broken_rule_is_told_with_its_line(file: Path):
    slow = EXAMPLE.replace("deadline_s = 60 ", "deadline_s = 6000 ")
    assert found(file, slow) == [(line_of(slow, "[[state]]"), "waits")]


def test_a_row_that_tells_nobody_is_told_with_its_line(file: Path):
    mute = EXAMPLE.replace('on = "overdue"', 'on = "overdue"', 1)
    head, tail = mute.rsplit('page = "restart_failed"\n', 1)
    assert found(file, head + tail) == [(line_of(mute, '[[row]]\nfrom = "restarting"\non = "overdue"'), "pages")]


def test_an_outcome_without_a_row_is_found(file: Path):
    assert (line_of(EXAMPLE, "[[state]]"), "outcomes") in found(
        file, EXAMPLE.replace('on = "no_data"', 'on = "no_dat"')
    )


def test_a_file_cannot_claim_a_fence(file: Path):
    """It skips the fence of an async failover: the rows that are left prove what their effects prove, and no more."""
    text = written(BY_KIND["failover"])
    unfenced = text.replace(
        'from = "fencing"\non = "unconfirmed"\nto = "paged"', 'from = "fencing"\non = "unconfirmed"\nto = "pledging"'
    )
    assert unfenced != text
    assert "S2" in {rule for _, rule in found(file, unfenced)}


def test_a_playbook_of_a_new_kind_is_checked_by_itself(file: Path):
    own = EXAMPLE.replace('replaces = "restart"', 'kind = "careful_restart"').replace(
        "tries_left", "restart.tries_left"
    )
    own = own.replace("count_try", "restart.count_try")
    assert found(file, own) == []
    assert "nothing begins it" in playbook_file.searched(read(file))


@pytest.mark.parametrize(
    ("was", "becomes", "line", "what"),
    [
        ('effect = "restart_primary"', 'effect = "reboot"', '[[state]]\nname = "restarting"', "no effect 'reboot'"),
        (
            'when = "tries_left"',
            'when = "lucky"',
            '[[row]]\nfrom = "restarting"\non = "failed"',
            "when = 'lucky' is not known",
        ),
        ('replaces = "restart"', 'replaces = "service"', "replaces", "no playbook is called 'service'"),
        ('replaces = "restart"', 'kind = "failover"', "replaces", "there is a 'failover' already"),
        (
            'on = "restarted"',
            'off = "restarted"',
            '[[row]]\nfrom = "restarting"\non = "restarted"',
            "'off' is not known here",
        ),
        ('name = "done"', 'doc = "done"', '[[state]]\nname = "done"', "'name' is missing"),
        ('when = "tries_left"', 'when = "is_sync"', '[[row]]\nfrom = "restarting"\non = "failed"', "in several tables"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_what_to_write(file: Path, was: str, becomes: str, line: str, what: str):
    assert was in EXAMPLE
    file.write_text(EXAMPLE.replace(was, becomes, 1))
    with pytest.raises(InvalidInput) as told:
        read(file)
    assert f"line {line_of(EXAMPLE, line)}: " in told.value.message
    assert what in told.value.message
    assert told.value.hint


@pytest.mark.parametrize("text", ["", "not toml [", 'replaces = "restart"\nstate = 3\n', "[[row]]\n"])
def test_what_is_no_playbook_is_refused(file: Path, text: str):
    file.write_text(text)
    with pytest.raises(InvalidInput):
        read(file)
