"""`herder recovery`: what it prints, and what it passes on."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from herder.cli.recovery_view import recovery_view
from herder.model.errors import InvalidInput
from tests.unit.api.standin import PARKED, RECOVERY, STORE


def test_it_says_how_far_it_is_and_what_waits(herder, plane):
    told = herder("recovery")
    assert told.code == 0
    for word in ("incident-12", "zone:a", "1,200 of 3,000", "object-store:eu-1", "900", "wave", "1,500"):
        assert word in told.out
    assert herder("recovery", "--json").json == {"incidents": [RECOVERY], "dependencies": [STORE], "parked": [PARKED]}


@pytest.mark.parametrize(
    ("option", "name", "asked"),
    [
        ("--down", "object-store:eu-1", ("say_of_dependency", "object-store:eu-1", "down")),
        ("--well", "object-store:eu-1", ("say_of_dependency", "object-store:eu-1", "well")),
    ],
)
def test_a_persons_word_is_passed_on(herder, plane, option, name, asked):
    assert herder("recovery", option, name).code == 0
    assert plane.asked == [asked]


def test_one_word_at_a_time(herder, plane):
    said = herder("recovery", "--well", "a", "--down", "b")
    assert (said.code, plane.asked) == (InvalidInput.exit_code, [])


def printed(**changes) -> str:
    paper = StringIO()
    Console(width=200, file=paper).print(
        recovery_view({"incidents": [RECOVERY | changes], "dependencies": [], "parked": []})
    )
    return paper.getvalue()


def test_a_forecast_is_only_given_when_there_is_one():
    assert " to " in printed()
    assert "not known yet" in printed(end_ms=0)
    assert "nobody can tell" in printed(late_ms=0)
