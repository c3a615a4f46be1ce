"""Commits that do not wait where they should: one page, which ends when they wait again."""

from __future__ import annotations

from herder.engine.decide import Decision, decide
from herder.engine.world import World
from herder.fleet.durability import overridden
from herder.ports.driver import Reading
from herder.remedies.catalogue import Catalogue
from tests.machines import sample

OFF = ("role app has synchronous_commit = off",)


def look(world: World, overrides: tuple[str, ...] | None, member: int = sample.MEMBERS[0]) -> Decision:
    items = overridden(world, world.get(1), world.get(member), Reading(alive=True, overrides=overrides))
    decision = decide(world, items, sample.NOW_MS, Catalogue(1).review)
    for machine in decision.after.values():
        world.put(machine)
    return decision


def pages(world: World) -> list[tuple[str, str]]:
    return [(page.data["reason"], page.state) for page in world.of_kind("page")]


def test_a_person_is_told_once_and_what_it_is():
    world = sample.well()
    decision = look(world, OFF)
    assert pages(world) == [("durability_overridden", "open")]
    assert world.get(8).data["text"] == (
        "acknowledged writes of orders may be lost by a failover: role app has synchronous_commit = off"
    )
    assert {machine.state for machine in decision.after.values() if machine.kind == "service"} == {"available"}
    assert not look(world, OFF).moves
    assert world.get(8).data["times"] == 1


def test_it_is_over_when_commits_wait_again_and_not_before():
    world = sample.well()
    look(world, OFF)
    assert not look(world, None).moves, "a standby, or not looked for"
    look(world, ())
    assert pages(world) == [("durability_overridden", "resolved")]
    assert not look(world, ()).moves


def test_who_does_not_lead_or_needs_no_voter_says_nothing():
    assert not look(sample.well(), OFF, sample.MEMBERS[1]).moves
    assert not look(sample.small(), OFF).moves
