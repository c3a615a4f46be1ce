"""Scenario files: those that come along are whole, a user's wrong one is told where and what to do."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from herder.model.errors import InvalidInput, NotFound
from herder.sim.drill import reading
from herder.sim.drill.scenario import MEANING, RULES, Measure, Scope, Wanted, What
from herder.sim.drill.writing import to_toml

ALL = ["kernel-cve-reboot", "partition-of-the-controller", "s3-2017", "thundering-return", "zone-loss"]


def clock(at_ms):
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%H:%M}"


def changed(old, new):
    text = reading.text_of("s3-2017")
    assert old in text
    return text.replace(old, new, 1)


def refused(text):
    with pytest.raises(InvalidInput) as caught:
        reading.parse(text, "mine", "mine.toml")
    return caught.value


def test_the_five_scenarios_come_along():
    assert reading.names() == ALL


@pytest.mark.parametrize("name", ALL)
def test_a_scenario_written_as_toml_is_read_as_the_same(name):
    scenario = reading.read(name)
    assert reading.parse(to_toml(scenario), name) == scenario


@pytest.mark.parametrize("name", ALL)
def test_no_scenario_lets_a_premium_write_be_lost(name):
    assert Wanted(Measure.LOST_PREMIUM, at_most=0) in reading.read(name).wanted


def test_the_day_of_2017_is_as_it_was_told():
    scenario = reading.read("s3-2017")
    down = {str(event.scope): (clock(event.at_ms), clock(event.until_ms)) for event in scenario.events}
    assert down["object_store:reads"] == ("17:37", "20:26")
    assert down["object_store:writes"] == down["provider:launches"] == down["provider:restores"] == ("17:37", "21:54")
    pager = next(event for event in scenario.events if event.what is What.DELAY)
    assert (pager.share, pager.delay_s) == (0.333, 720)
    assert clock(scenario.measured_ms) == "21:54"


def test_every_usual_failure_says_where_its_number_is_from():
    assert all(rate.source for name in ALL for rate in reading.read(name).rates)


def test_every_happening_and_measure_has_its_words():
    assert set(RULES) == set(What)
    assert set(MEANING) == set(Measure)


def test_the_same_day_may_be_had_with_another_fleet():
    assert reading.read("s3-2017").with_services(12).fleet.services == 12


def test_a_bound_that_was_not_measured_does_not_hold():
    assert not Wanted(Measure.WELL_AFTER_S, at_most=10).holds(None)
    assert Wanted(Measure.WELL_AFTER_S, at_most=10).holds(10)
    assert not Wanted(Measure.PAGES, at_least=1).holds(0)


def test_a_name_that_is_not_there_is_told_with_those_that_are():
    with pytest.raises(NotFound) as caught:
        reading.read("s4")
    assert "s3-2017" in caught.value.hint


def test_a_file_that_is_not_there_is_not_found(tmp_path):
    with pytest.raises(NotFound):
        reading.read(str(tmp_path / "none.toml"))


@pytest.mark.parametrize(
    ("old", "new", "where", "hint"),
    [
        ('what = "delay"', 'what = "delai"', "event.5.what", "delay"),
        ("share = 0.50", "share = 0.60", "fleet.plan", "add up to 1"),
        ('at = "17:37"', 'at = "17:77"', "event.1.at", "17:37"),
        ('scope = "pager"', 'scope = "controller"', "event.5.scope", "pager"),
        ("delay_s = 720", "", "event.5.delay_s", "late"),
        ('until = "20:26"', 'until = "17:00"', "event.1.until", "17:37"),
        ('measure = "lost_premium"', 'measure = "lost"', "wanted.1.measure", "lost_premium"),
        ("launches_per_s = 200", 'launches_per_s = "200"', "fleet.provider.launches_per_s", "without quotes"),
        ("seed = 7", "seed = 7\nsead = 8", "sead", "did you mean 'seed'"),
        ("start = 2017-02-28T17:30:00Z", "start = 2017-02-28T17:30:00", "clock.start", "Z for UTC"),
        ('plan = "dev"', 'plan = "development"', "fleet.plan.1.plan", "dev"),
        ("at_most = 1.1", "", "wanted.7.measure", "at_most"),
    ],
)  # fmt: skip
def test_a_wrong_key_is_named_with_its_line_and_what_to_write(old, new, where, hint):
    text = changed(old, new)
    error = refused(text)
    assert where in error.message
    assert hint in error.hint
    number = int(error.message.partition("line ")[2].partition(":")[0])
    line = text.splitlines()[number - 1]
    key = where.rpartition(".")[2]
    assert line.split(" ")[0] == key or line.startswith("[")


def test_what_is_no_toml_is_told_with_its_line():
    assert "line 2" in refused('title = "x"\nstory = = 3\n').message


def test_a_key_that_means_nothing_there_is_refused():
    error = refused(changed('scope = "object_store:reads"', 'scope = "object_store:reads"\ndelay_s = 3'))
    assert "means nothing" in error.message


@pytest.mark.parametrize(
    ("name", "old", "new", "key"),
    [
        ("kernel-cve-reboot", 'image = "kernel-mended"', 'image = "kernel-mended"\nshare = 0.5', "share"),
        ("s3-2017", 'scope = "object_store:reads"', 'scope = "object_store:reads"\nshare = 0.5', "share"),
        ("zone-loss", 'what = "die"', 'what = "clock_jump"\nstep_s = 3', "scope"),
        ("s3-2017", 'what = "delay"\nscope = "pager"', 'what = "delay"\nscope = "zone:a"', "scope"),
        ("s3-2017", "boot_s = 20", "boot_s = 20\nstops_per_s = 3", "stops_per_s"),
    ],
)
def test_what_is_not_played_is_no_part_of_the_format(name, old, new, key):
    text = reading.text_of(name)
    assert old in text
    assert key in refused(text.replace(old, new)).message


def test_launches_and_boots_are_one_rate_to_herder_the_smaller_one():
    limits = reading.read("s3-2017").fleet.provider
    assert limits.starts_per_s == limits.launches_per_s == 200
    assert replace(limits, boots_per_s=3.0).starts_per_s == 3


def test_a_time_may_be_counted_from_the_start():
    scenario = reading.parse(changed('at = "17:37"', 'at = "+1:07:30"'), "mine")
    assert any((event.at_ms - scenario.start_ms) / 1000 == 4050 for event in scenario.events)


def test_a_zone_is_scoped_by_its_name():
    assert reading.read("zone-loss").events[0].scope == Scope("zone", "a")
