"""The same work by hand: arithmetic over what was committed, with a table that names only what there is."""

import pytest

from herder.model.errors import InvalidInput, NotFound
from herder.sim.drill import manual


def test_hours_are_minutes_times_how_often_it_was_done():
    table = manual.read()
    hand = manual.by_hand(table, {"failover.promoted": 30, "archive.drained": 1000})
    lines = {line.per: line for line in hand.lines}
    assert lines["failover.promoted",].hours == 30 * 20 / 60
    assert hand.hours == 30 * 20 / 60 + 1000 * 1.5 / 60
    assert hand.person_years == hand.hours / 1800


def test_what_was_not_done_costs_nothing_and_is_still_listed():
    hand = manual.by_hand(manual.read(), {})
    assert hand.person_years == 0
    assert len(hand.lines) == len(manual.read().tasks)


def test_every_task_says_why_it_takes_that_long():
    assert all(len(task.why.split()) > 5 for task in manual.read().tasks)


def test_the_original_stands_beside_it_with_its_source():
    table = manual.read()
    assert table.original_person_years == 35
    assert "https://" in table.original_why


def test_a_name_that_no_table_has_is_refused():
    text = manual.text().replace("failover.promoted", "failover.promotid")
    with pytest.raises(InvalidInput) as caught:
        manual.parse(text, "mine.toml")
    assert "mine.toml, line" in caught.value.message
    assert "promoted" in caught.value.hint


def test_a_file_of_ones_own_may_change_the_minutes(tmp_path):
    mine = tmp_path / "manual.toml"
    mine.write_text(manual.text().replace("minutes = 20\n", "minutes = 40\n"), encoding="utf-8")
    assert {task.minutes for task in manual.read(str(mine)).tasks} >= {40.0}


def test_a_file_that_is_not_there_is_not_found(tmp_path):
    with pytest.raises(NotFound):
        manual.read(str(tmp_path / "none.toml"))
