"""The user's own fleet instead of the scenario's."""

import json

import pytest

from herder.model.errors import InvalidInput, NotFound
from herder.model.plans import Engine
from herder.sim.drill import inventory, reading

FILE = """
[[plan]]
plan = "premium"
services = 30

[[plan]]
engine = "valkey"
plan = "standard"
services = 10

[[zone]]
name = "north"
servers = 80

[[zone]]
name = "south"
servers = 30

[provider]
launches_per_s = 3
"""


@pytest.fixture
def fleet(tmp_path):
    path = tmp_path / "fleet.toml"
    path.write_text(FILE, encoding="utf-8")
    return inventory.read(str(path))


def test_a_file_is_read(fleet):
    assert fleet.plans == {(Engine.POSTGRES, "premium"): 30, (Engine.VALKEY, "standard"): 10}
    assert fleet.services == 40
    assert fleet.provider.launches_per_s == 3


def test_json_says_the_same_as_toml(tmp_path, fleet):
    path = tmp_path / "fleet.json"
    told = {
        "plan": [{"plan": "premium", "services": 30}, {"engine": "valkey", "plan": "standard", "services": 10}],
        "zone": [{"name": "north", "servers": 80}, {"name": "south", "servers": 30}],
        "provider": {"launches_per_s": 3},
    }
    path.write_text(json.dumps(told), encoding="utf-8")
    again = inventory.read(str(path))
    assert (again.plans, again.zones, again.provider) == (fleet.plans, fleet.zones, fleet.provider)


def test_the_scenario_gets_its_shape_and_limits(fleet):
    scenario, notes = inventory.applied(reading.read("zone-loss"), fleet)
    assert scenario.fleet.services == 40
    assert sum(plan.share for plan in scenario.fleet.plans) == pytest.approx(1)
    assert {zone.name: round(zone.share, 2) for zone in scenario.fleet.zones} == {"north": 0.73, "south": 0.27}
    assert scenario.fleet.provider.launches_per_s == 3
    assert "the scenario's zone a is your zone north" in notes


def test_the_scenarios_first_zone_is_the_users_largest(fleet):
    scenario, _ = inventory.applied(reading.read("zone-loss"), fleet)
    assert str(scenario.events[0].scope) == "zone:north"


def test_without_limits_of_the_provider_it_is_said_that_they_are_assumed():
    shape = inventory.Inventory({(Engine.POSTGRES, "dev"): 3}, {"a": 1})
    scenario, notes = inventory.applied(reading.read("zone-loss"), shape)
    assert scenario.fleet.provider == reading.read("zone-loss").fleet.provider
    assert any("no limits of your provider" in note for note in notes)


def test_a_running_control_planes_answers_are_a_fleet():
    services = [
        {"engine": "postgres", "plan": "premium", "state": "available"},
        {"engine": "postgres", "plan": "premium", "state": "uncertain"},
        {"engine": "valkey", "plan": "dev", "state": "retired"},
    ]
    servers = [{"id": "s1", "state": "available", "zone": "a"}, {"id": "s2", "state": "available"}]
    shape = inventory.from_answers(services, servers, "this control plane")
    assert shape.plans == {(Engine.POSTGRES, "premium"): 2}
    assert shape.zones == {"a": 1, "local": 1}


def test_an_empty_fleet_has_no_shape():
    with pytest.raises(InvalidInput):
        inventory.from_answers([], [], "this control plane")


@pytest.mark.parametrize(
    "content", ['[[plan]]\nplan = "gold"\nservices = 3\n', "plan = 3\n", '[[plan]]\nplan = "dev"\n']
)
def test_a_wrong_file_is_told_with_its_line(tmp_path, content):
    path = tmp_path / "fleet.toml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InvalidInput) as caught:
        inventory.read(str(path))
    assert "line" in caught.value.message


def test_a_file_that_is_not_there_is_not_found(tmp_path):
    with pytest.raises(NotFound):
        inventory.read(str(tmp_path / "none.json"))
