"""The result as JSON: the promised figures by their names, and what is made of them."""

import json
from dataclasses import replace

from herder.sim.drill.result import Limit
from herder.sim.drill.scenario import Measure
from tests.unit.sim.drill import sample

PROMISED = {"services", "wall_s", "peak_rss_mb", "trace_sha256", "transitions", "pages", "lost_premium", "lost_beyond_bound",
            "amplification", "well_after_s", "manual_person_years"}  # fmt: skip


def test_the_promised_figures_are_there_and_are_numbers():
    facts = json.loads(json.dumps(sample.result().facts()))
    assert facts.keys() >= PROMISED
    assert facts["pages"] == 4
    assert facts["well_after_s"] == 1020
    assert facts["amplification"] == 1.0134
    assert facts["manual_person_years"] == 19.77


def test_every_measure_is_a_figure_of_the_result():
    result = sample.result()
    assert all(result.value(measure) is not None for measure in Measure)


def test_a_day_on_which_a_premium_write_was_lost_does_not_pass():
    assert sample.result().passed
    result = sample.result(lost_premium=1)
    assert not result.passed
    assert [verdict.ok for verdict in result.verdicts if verdict.wanted.measure == "lost_premium"] == [False]


def test_a_day_that_never_got_well_does_not_pass():
    assert not sample.result(well_ms=None).passed
    assert sample.result(well_ms=None).facts()["well_after_s"] is None


def test_a_day_that_was_not_run_to_its_end_does_not_pass():
    assert not sample.result(ended_early="the store was lost").passed


def test_services_that_were_well_before_the_measured_moment_took_no_time():
    result = sample.result()
    assert replace(result, well_ms=result.scenario.start_ms).well_after_s == 0


def test_the_bottleneck_is_the_limit_that_was_busy_longest():
    assert sample.result().bottleneck.name == "archive drain"
    assert sample.result(limits=(Limit("controller", 0.0, "2 cores"),)).bottleneck is None


def test_without_work_there_is_no_amplification():
    assert sample.result(effects_done=0, effects_needed=0).amplification is None
