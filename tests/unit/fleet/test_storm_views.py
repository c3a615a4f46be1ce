"""What a person says to the storm governor, and what it shows."""

from __future__ import annotations

import json

import pytest

from herder.engine.decide import Input, decide
from herder.engine.world import World
from herder.fleet.storm_views import freeze_scope, release_scope, storm_view
from herder.model.errors import Conflict, InvalidInput, NotFound
from tests.machines import sample
from tests.unit.fleet.test_storm import Z1, Post, mass
from tests.unit.governor.test_freezes_and_budgets import many


def committed(world: World, inputs: list[Input]) -> World:
    for machine in decide(world, inputs, sample.NOW_MS).after.values():
        world.put(machine)
    return world


def view(post: Post) -> dict[str, object]:
    told = storm_view(post.storm, post.world, post.clock.monotonic(), post.clock.now_ms())
    return dict(json.loads(json.dumps(told)))


def test_a_freeze_is_in_the_log_with_who_and_why():
    world = committed(many(), freeze_scope(many(), "zone:z1", "a switch is replaced", "ann"))
    (freeze,) = world.of_kind("freeze")
    assert (freeze.state, freeze.data) == ("frozen", {"scope": "zone:z1", "by": "ann", "why": "a switch is replaced"})
    assert world.open_pages(freeze.id) == []
    with pytest.raises(Conflict, match="zone:z1 is frozen already"):
        freeze_scope(world, "zone:z1", "again", "bob")
    committed(world, release_scope(world, "zone:z1", "bob"))
    assert world.get(freeze.id).state == "released"


@pytest.mark.parametrize(
    ("scope", "why", "error"),
    [("zone:z1", " ", InvalidInput), ("z1", "x", InvalidInput), ("zone:z9", "x", NotFound)],
)
def test_a_freeze_that_cannot_be_is_refused(scope: str, why: str, error: type[Exception]):
    with pytest.raises(error):
        freeze_scope(many(), scope, why, "ann")


def test_what_an_incident_froze_is_not_released_by_hand():
    post = Post()
    post.silent(*Z1)
    post.commit()
    with pytest.raises(NotFound) as told:
        release_scope(post.world, "zone:z1", "ann")
    assert f"herder storm abort {post.incident().name}" in told.value.hint


def test_a_freeze_that_is_forgotten_pages():
    world = committed(many(), freeze_scope(many(), "fleet", "a test", "ann"))
    (freeze,) = world.of_kind("freeze")
    committed(world, [Input(freeze.id, "overdue")])
    assert world.get(freeze.id).state == "frozen"
    assert [page.data["reason"] for page in world.open_pages(freeze.id)] == ["freeze_forgotten"]


def test_a_calm_fleet_says_so():
    told = view(Post())
    assert (told["verdict"], told["incidents"], told["freezes"]) == ("calm", [], [])
    assert {"scope": "zone:z1", "servers": 10, "ill": 0, "fell": 0} in told["scopes"]


def test_a_mass_outage_is_shown_with_its_evidence_and_counts():
    post = Post()
    incident = mass(post)
    told = view(post)
    assert {"scope": "zone:z1", "servers": 10, "ill": 10, "fell": 10} in told["scopes"]
    assert {"scope": "fleet", "servers": 40, "ill": 10, "fell": 10} in told["scopes"]
    (shown,) = told["incidents"]
    assert (shown["id"], shown["state"], shown["scope"], shown["total"]) == (incident.name, "recovering", "zone:z1", 10)


def test_an_empty_fleet_can_be_shown():
    post = Post(0)
    assert view(post)["scopes"] == []
