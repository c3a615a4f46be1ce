"""A scenario out of a real log."""

import pytest

from herder.model.errors import InvalidInput, NotFound
from herder.sim.drill import reading
from herder.sim.drill.incident import scenario_from
from herder.sim.drill.scenario import What
from herder.sim.drill.writing import to_toml

T0 = 1_772_600_000_000
SERVERS = [{"id": f"srv-{n}", "zone": "a" if n < 4 else "b", "state": "available"} for n in range(8)]
SERVICES = [{"engine": "postgres", "plan": "premium", "state": "available"}] * 6


def row(seq, after_s, kind, name, event, source, target):
    return {"at_ms": T0 + round(after_s * 1000), "seq": seq, "kind": kind, "name": name, "source": source,
            "event": event, "target": target, "why": "as the log had it", "actor": "herder"}  # fmt: skip


HISTORY = [
    row(1, -3000, "server", "srv-6", "silent", "available", "uncertain"),  # another day's trouble
    row(2, -2990, "server", "srv-6", "heard", "uncertain", "available"),
    row(3, 0, "server", "srv-0", "silent", "available", "uncertain"),
    row(4, 2, "server", "srv-1", "silent", "available", "uncertain"),
    row(5, 2.5, "server", "srv-2", "silent", "available", "uncertain"),
    row(6, 3, "incident", "incident-9", "create", "absent", "verifying"),
    row(7, 4, "server", "srv-0", "gone", "uncertain", "unavailable"),
    row(8, 5, "server", "srv-1", "gone", "uncertain", "unavailable"),
    row(9, 6, "dependency", "object-store", "failing", "available", "uncertain"),
    row(10, 9, "dependency", "object-store", "down", "uncertain", "unavailable"),
    row(11, 30, "server", "srv-2", "heard", "uncertain", "available"),
    row(12, 240, "server", "srv-0", "heard", "unavailable", "available"),
    row(13, 252, "server", "srv-1", "up", "restart", "available"),
    row(14, 300, "dependency", "object-store", "answering", "unavailable", "restart"),
    row(15, 400, "server", "srv-5", "silent", "available", "uncertain"),
    row(16, 410, "server", "srv-5", "gone", "uncertain", "unavailable"),
    row(17, 600, "incident", "incident-9", "recovered", "recovering", "over"),
]


@pytest.fixture
def made():
    return scenario_from(HISTORY, "incident-9", SERVICES, SERVERS)


def by_sort(scenario):
    return {(event.what, str(event.scope)): event for event in scenario.events}


def test_servers_that_came_back_after_their_provider_saw_them_down_had_lost_power(made):
    event = by_sort(made)[What.POWER_OFF, "zone:a"]
    assert (event.at_ms - T0, event.until_ms - T0) == (0, 252_000)
    assert event.share == 0.5
    assert (event.spread_s, event.return_s) == (2.0, 12.0)


def test_servers_that_herder_had_to_start_only_stopped():
    """Else the drill would hold them back until the last of them had been started."""
    rows = [each for each in HISTORY if (each["name"], each["event"]) != ("srv-0", "heard")]
    rows.append(row(18, 240, "server", "srv-0", "up", "restart", "available"))
    event = by_sort(scenario_from(sorted(rows, key=lambda each: each["at_ms"]), "incident-9", SERVICES, SERVERS))[
        What.HALT, "zone:a"
    ]
    assert (event.at_ms - T0, event.until_ms, event.share, event.return_s) == (0, None, 0.5, 0.0)


def test_one_that_was_only_silent_stood_still(made):
    event = by_sort(made)[What.FREEZE, "zone:a"]
    assert (event.at_ms - T0, event.until_ms - T0, event.share) == (2500, 30_000, 0.25)


def test_one_that_never_came_back_died(made):
    event = by_sort(made)[What.DIE, "zone:b"]
    assert (event.until_ms, event.share) == (None, 0.25)


def test_a_dependency_was_down_from_its_first_failure_to_its_answer(made):
    event = by_sort(made)[What.DOWN, "object_store"]
    assert (event.at_ms - T0, event.until_ms - T0) == (6000, 300_000)


def test_what_happened_on_another_day_is_left_out(made):
    assert all(event.at_ms >= T0 for event in made.events)
    assert len(made.events) == 4


def test_the_same_incident_is_the_same_seed_and_another_is_another(made):
    assert made.seed == scenario_from(HISTORY, "incident-9").seed
    assert made.seed != scenario_from(HISTORY[:-2] + HISTORY[-1:], "incident-9").seed


def test_it_has_the_fleets_shape(made):
    assert made.fleet.services == 6
    assert [zone.name for zone in made.fleet.zones] == ["a", "b"]


def test_it_can_be_written_and_read_again(made):
    assert reading.parse(to_toml(made), "incident-9") == made


def test_without_the_fleet_it_strikes_a_share_of_all():
    made = scenario_from(HISTORY, "incident-9")
    assert {event.scope.kind for event in made.events} == {"fleet", "object_store"}
    assert reading.parse(to_toml(made), "incident-9") == made


def test_an_incident_that_is_not_in_the_log_is_told_with_those_that_are():
    with pytest.raises(NotFound) as caught:
        scenario_from(HISTORY, "incident-8")
    assert "incident-9" in caught.value.hint


def test_a_page_about_nothing_that_falls_makes_no_drill():
    rows = [row(1, 0, "page", "page-3", "create", "absent", "open")]
    with pytest.raises(InvalidInput):
        scenario_from(rows, "page-3")
