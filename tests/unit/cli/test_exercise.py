"""`herder exercise` and `herder playbooks`: what they print for a person, what for a program, and how they exit."""

from __future__ import annotations

import pytest

from herder.model.errors import InvalidInput, NotFound, Refused, Unreachable
from tests.unit.api.standin import NOW_MS


@pytest.mark.parametrize(
    "words", [("exercise",), ("exercise", "on", "orders"), ("exercise", "now", "orders"), ("playbooks",)]
)
def test_every_question_is_answered_for_people_and_for_programs(herder, plane, words):
    told, structured = herder(*words), herder(*words, "--json")
    assert (told.code, structured.code) == (0, 0)
    assert told.out.strip()
    assert isinstance(structured.json, dict)


@pytest.mark.parametrize("words", [("exercise",), ("exercise", "off", "orders"), ("playbooks",)])
def test_without_a_control_plane_the_hint_is_to_start_one(herder, words):
    assert herder(*words).code == Unreachable.exit_code


def test_nobody_takes_part_until_somebody_says_so(herder, plane):
    assert "herder exercise on NAME" in herder("exercise").out


def test_on_passes_on_what_was_typed_and_says_when_it_is_due(herder, plane):
    said = herder("exercise", "on", "orders", "--every", "7d", "--window", "mon-fri 02:00-05:00", "--how", "switchover")
    assert ("exercise_on", "orders", "7d", "mon-fri 02:00-05:00", "switchover") in plane.asked
    assert said.out == "orders: a switchover every 7d in mon-fri 02:00-05:00 UTC, next Mon 09-21 14:13 UTC\n"
    assert herder("exercise", "on", "nobody").code == NotFound.exit_code


def test_the_calendar_shows_the_last_result(herder, plane):
    herder("exercise", "on", "orders")
    last = {"at_ms": NOW_MS, "result": "well", "why": "", "how": "failover", "playbook": 9, "took_ms": 1840}
    plane.exercised["orders"]["last"] = last
    out = herder("exercise").out
    assert "went well" in out
    assert "1.8 s" in out
    assert herder("exercise", "-n", "3", "--json").json["services"][0]["last"] == last
    assert ("exercise", 3) in plane.asked


def test_what_stopped_a_plan_is_said_with_what_to_do(herder, plane):
    plane.stopped_by = "orders"
    out = herder("exercise").out
    assert "Exercises of plan premium are stopped: that of orders failed." in out
    assert "herder exercise now orders" in out


def test_off_ends_it(herder, plane):
    herder("exercise", "on", "orders")
    assert herder("exercise", "off", "orders").out == "orders takes no part in exercises\n"
    assert not plane.exercised


def test_now_is_refused_with_the_reason(herder, plane):
    plane.held = "incident-9 is recovering"
    said = herder("exercise", "now", "orders", "--how", "failover")
    assert said.code == Refused.exit_code
    assert "incident-9 is recovering" in said.err
    assert "No exercise begins now: incident-9 is recovering." in herder("exercise").out


def test_now_waits_until_the_primary_has_moved(herder, plane):
    assert "its primary moved" in herder("exercise", "now", "orders").out
    assert "began" in herder("exercise", "now", "orders", "--no-wait").out
    assert ("exercise_now", "orders", "") in plane.asked


def test_playbooks_tell_how_sure_they_are(herder, plane):
    out = herder("playbooks", "--days", "7").out
    for word in ("failover", "exercise", "90.9%", "62.3% to 98.4%", "0.21 s", "2.2 min"):
        assert word in out
    assert ("playbooks", 7.0) in plane.asked
    assert "No playbook ran" in herder("playbooks", "--days", "0.5").out
    assert herder("playbooks", "--days", "0").code == InvalidInput.exit_code
