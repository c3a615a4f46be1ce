"""`herder rollout`: what a person reads and types."""

from __future__ import annotations

import pytest

from herder.model.errors import InvalidInput
from tests.unit.api.standin import ROLLOUT


def test_it_tells_how_far_it_is_what_keeps_it_and_when_it_will_be_over(herder, plane):
    out = herder("rollout").out
    words = ("rollout-42", "zone:a onto mended", "1,200 of 3,000", "standbys in zone a", "37 under way of 64", "2 failed",
             "held: incident-12 is recovering", "a hole in the kernel (ann)", "nobody can tell")  # fmt: skip
    for word in words:
        assert word in out


def test_for_programs_it_is_the_answer_of_the_control_plane(herder, plane):
    assert herder("rollout", "--json").json == {"rollouts": [ROLLOUT]}


def test_an_order_has_a_window_of_time_of_its_own_when_none_is_said(herder, plane):
    assert herder("rollout", "reboot", "--scope", "fleet").code == 0
    assert herder("rollout", "reboot", "--scope", "zone:a", "--image", "x", "--until", "6h", "--why", "cve").code == 0
    assert plane.asked == [("rollout_reboot", "fleet", "", "12h", ""), ("rollout_reboot", "zone:a", "x", "6h", "cve")]


def test_an_order_without_a_scope_is_refused(herder, plane):
    assert herder("rollout", "reboot").code == InvalidInput.exit_code
    assert plane.asked == []


@pytest.mark.parametrize("order", ["pause", "resume", "abort"])
def test_a_person_has_the_word_over_it(herder, plane, order):
    assert herder("rollout", order, "rollout-42").code == 0
    assert ("order_rollout", "rollout-42", order, "") in plane.asked
