"""A drill says how it was run: what a reader would else take for the fleet's own slowness."""

import logging
from dataclasses import replace

from herder.sim.drill import manual, reading
from herder.sim.drill.observer import Observer
from herder.sim.drill.report import render
from herder.sim.drill.run import SERVICES_A_BEAT, run_drill, stretched
from herder.sim.drill.stores import memory
from herder.sim.drill.types import Drill


def test_a_fleet_that_one_process_can_tell_of_beats_as_the_scenario_asks():
    assert stretched(1.0, SERVICES_A_BEAT) == (1.0, "")
    assert stretched(30.0, 10 * SERVICES_A_BEAT) == (30.0, "")


def test_a_larger_fleet_beats_more_slowly_and_says_what_comes_of_it():
    pulse_s, why = stretched(1.0, 4 * SERVICES_A_BEAT)
    assert pulse_s == 4.0
    assert "heard every 4 s and not every 1 s" in why
    assert "noticed after 6 s instead of 1.5 s" in why


def test_the_report_of_a_stretched_drill_says_so_before_anything_else(monkeypatch):
    monkeypatch.setattr("herder.sim.drill.run.SERVICES_A_BEAT", 10)
    scenario = reading.read("s3-2017").with_services(20)
    scenario = replace(scenario, events=(), rates=(), end_ms=scenario.start_ms + 300_000, measured_ms=scenario.start_ms)
    result = run_drill(Drill(scenario, 20, 7, memory, "memory", manual.read()), lambda progress: None)
    assert result.notes[0].startswith("The pulse is stretched: a host is heard every 2 s")
    assert result.facts()["pulse_s"] == 2.0
    page = render(result)
    assert "The pulse is stretched" in page
    assert "every 2 s" in page


def test_a_drill_in_which_herder_itself_fails_does_not_pass(monkeypatch):
    scenario = reading.read("s3-2017").with_services(20)
    scenario = replace(
        scenario, events=(), rates=(), end_ms=scenario.start_ms + 300_000, measured_ms=scenario.start_ms, wanted=()
    )

    def broken(self: Observer, *args: object) -> None:
        logging.getLogger("herder.effects").error("an effect crashed", exc_info=ZeroDivisionError("by us"))

    monkeypatch.setattr(Observer, "_tick", broken)
    result = run_drill(Drill(scenario, 20, 7, memory, "memory", manual.read()), lambda progress: None)
    assert result.crashed > 0
    assert not result.passed
    assert "an effect crashed: ZeroDivisionError: by us" in result.notes[0]


def test_a_fleet_that_beats_slowly_is_heard_from_its_first_frame(monkeypatch):
    monkeypatch.setattr("herder.sim.drill.run.SERVICES_A_BEAT", 1)
    scenario = reading.read("s3-2017").with_services(30)
    scenario = replace(scenario, events=(), rates=(), end_ms=scenario.start_ms + 300_000, measured_ms=scenario.start_ms)
    result = run_drill(Drill(scenario, 30, 7, memory, "memory", manual.read()), lambda progress: None)
    assert result.facts()["pulse_s"] == 30.0
    assert (result.transitions, result.pages, result.not_well) == (0, (), 0)
