"""The sweep on real processes: what makes it fail, and what it refuses, before anything is started."""

from io import StringIO

import pytest
from rich.console import Console

from herder.lab.sweep import Outcome, Sample, main, summary
from herder.model.errors import InvalidInput

GOOD = Sample("switchover", 3, 0, 2, 7.1, ())
OTHERWISE = Sample("failover", 5, 1, 0, 9.0, ("page: no pledges",))


def test_it_passes_when_every_sample_ended_as_undisturbed_and_no_write_is_gone():
    assert Outcome([GOOD], {"switchover": 10}, acked=100).passed
    assert not Outcome([GOOD, OTHERWISE], {"switchover": 10, "failover": 9}, acked=100).passed
    assert not Outcome([GOOD], {"switchover": 10}, acked=100, lost=1).passed
    assert not Outcome([GOOD], {"switchover": 10}, acked=100, doubled=1).passed
    assert not Outcome([GOOD], {"switchover": 10}, acked=100, by_two=1).passed


def test_it_says_how_late_each_kill_was_and_what_differed():
    outcome = Outcome([GOOD, OTHERWISE], {"switchover": 10, "failover": 9}, acked=1234)
    assert outcome.facts()["over"] == {"0": 1, "1": 1}
    assert [kill["again"] for kill in outcome.facts()["kills"]] == [2, 0]
    console = Console(width=160, record=True, file=StringIO())
    console.print(summary(outcome))
    told = console.export_text()
    assert "failover killed at record 5 (+1): page: no pledges" in told
    assert "1,234 writes acknowledged; 0 lost" in told


def test_a_playbook_that_is_not_swept_for_real_is_refused_before_anything_is_made():
    with pytest.raises(InvalidInput, match="'strike' is not swept on real processes"):
        main(1, 1, ["strike"], as_json=True)
