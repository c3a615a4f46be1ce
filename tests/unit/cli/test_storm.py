"""`herder storm`: what a person reads, types and is refused."""

from __future__ import annotations

import pytest

from herder.model.errors import Conflict, InvalidInput, NotFound
from tests.unit.api.standin import STORM_INCIDENT


def test_it_tells_the_verdict_the_incident_its_evidence_and_the_budgets(herder, plane):
    out = herder("storm").out
    for word in (
        "calm",
        "incident-12",
        "recovering",
        "zone:a",
        str(STORM_INCIDENT["why"]),
        "down 6",
        "9000",
        "720 of 720",
    ):
        assert word in out


def test_for_programs_it_is_the_answer_of_the_control_plane(herder, plane):
    told = herder("storm", "--json").json
    assert told["incidents"] == [STORM_INCIDENT]
    assert {"verdict", "us", "scopes", "freezes", "budgets", "base"} <= told.keys()


def test_a_scope_is_frozen_with_a_reason_and_released(herder, plane):
    assert "switch replaced" in herder("storm", "freeze", "zone:a", "--why", "switch replaced").out
    assert herder("storm", "freeze", "zone:a", "--why", "again").code == Conflict.exit_code
    assert herder("storm", "--json").json["freezes"][0]["scope"] == "zone:a"
    assert herder("storm", "release", "zone:a", "--json").json["freezes"] == []
    assert herder("storm", "release", "zone:a").code == NotFound.exit_code


def test_a_freeze_without_a_reason_is_refused(herder, plane):
    assert herder("storm", "freeze", "zone:a").code == InvalidInput.exit_code
    assert plane.frozen == {}


@pytest.mark.parametrize("order", ["pause", "resume", "abort"])
def test_a_person_has_the_word_over_a_recovery(herder, plane, order):
    assert herder("storm", order, "incident-12").code == 0
    assert ("order_recovery", "incident-12", order) in plane.asked


def test_an_option_before_the_subcommand_is_not_silently_ignored(herder, plane):
    said = herder("storm", "--json", "release", "zone:a")
    assert said.code == InvalidInput.exit_code
    assert "after it" in said.err


def test_a_freeze_shows_who_and_why(herder, plane):
    herder("storm", "freeze", "fleet", "--why", "the switch is replaced")
    out = herder("storm").out
    assert "frozen  fleet" in out
    assert "the switch is replaced" in out
    assert "by person" in out
