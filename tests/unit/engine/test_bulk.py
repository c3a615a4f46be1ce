"""Many machines at once come out as they would one by one: the same rows, versions, deadlines, and the same world."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from herder.engine.bulk import CHUNK, Bulk, Cohort, chunks, decide_bulk, due
from herder.engine.decide import Input, decide
from herder.engine.record import FORMAT, GENESIS, Body, Record, open_record, pack, seal
from herder.engine.shapes import Shape
from herder.engine.world import Machine, World
from herder.machines.registry import BY_KIND
from tests.machines import sample

NOW = sample.NOW_MS + 60_000
BLOCK = (
    Shape("service", {"plan": "premium", "sync": False, "voters": [], "term": 1},
          {"members": (1, 2), "servers": (3, 4), "primary": 1}),
    Shape("member", {"role": "primary"}, {"service": -1, "server": 2}),
    Shape("member", {"role": "standby"}, {"service": -2, "server": 2}),
    Shape("server", {"incarnation": 1, "zone": "a"}, {"service": -3, "member": -2}),
    Shape("server", {"incarnation": 1, "zone": "b"}, {"service": -4, "member": -2}),
)  # fmt: skip


def opened(world: World, body: Body) -> Record:
    """Through bytes and back, as a start would read it."""
    return open_record(seal(0, world.seq + 1, 1, NOW, GENESIS, body), None)


def commit_bulk(world: World, item: Bulk | Cohort) -> list[Input]:
    singles: list[Input] = []
    for part in chunks(item):
        found = decide_bulk(world, part, NOW)
        if len(found.moves):
            world.apply(opened(world, Body(FORMAT, "moves", "", found.moves.tobytes(), [], found.spans, found.births)))
        singles.extend(found.singles)
    return singles


def commit(world: World, inputs: list[Input]) -> None:
    decision = decide(world, inputs, NOW)
    if decision.moves:
        columns, notes = pack(decision.moves)
        world.apply(opened(world, Body(FORMAT, "moves", "", columns, notes)))


def seen(world: World) -> list[Machine]:
    """All machines; `order` says in which record, and that differs."""
    counted = world.census.by_kind()
    world.recount()
    assert world.census.by_kind() == counted
    return [replace(machine, order=0) for machine in world.machines.values()]


def members(seed: int, count: int = 60) -> World:
    """Members of a few services in every state, some with documents of their own."""
    chance, world = random.Random(seed), World()
    commit_bulk(world, Cohort(count // 2, BLOCK))
    for ident in world.ids("member").tolist():
        state = chance.choice(BY_KIND["member"].states).name
        data = {"deposed": chance.random() < 0.5} if chance.random() < 0.4 else {}
        world.put(replace(world.get(ident), state=state, deadline_ms=chance.choice((0, NOW - 1, NOW + 1)),
                          data=world.get(ident).data | data))  # fmt: skip
    return world


@pytest.mark.parametrize("event", sorted(set(BY_KIND["member"].events) - {"create", "adopt"}))
@pytest.mark.parametrize("seed", range(3))
def test_both_ways_give_the_same_world(event: str, seed: int):
    facts = {"leased": {"lease_s": 5.0}, "rebuild_began": {"sender": 1}, "last_read": {"last_read": {"lsn": 7}}}.get(
        event, {}
    )
    many, single = members(seed), members(seed)
    ids = many.ids("member")
    commit(many, commit_bulk(many, Bulk("member", event, ids, "told", "test", facts)))
    commit(single, [Input(ident, event, facts, why="told", actor="test") for ident in ids.tolist()])
    assert seen(many) == seen(single)


def test_what_arrays_can_answer_is_answered_by_arrays():
    """A mass return: standbys in bulk, primaries by themselves, since their services are told."""
    world = World()
    commit_bulk(world, Cohort(100, BLOCK))
    ids = world.ids("member")
    world.columns.state[ids] = BY_KIND["member"].state_codes["uncertain"]
    world.recount()
    found = decide_bulk(world, Bulk("member", "well", ids), NOW)
    assert (len(found.moves), len(found.singles), found.dropped) == (100, 100, 0)
    assert {item.machine for item in found.singles} == {*world.ids("member")[::2].tolist()}


def test_a_machine_that_moved_on_is_left_out():
    world = World()
    commit_bulk(world, Cohort(10, BLOCK))
    ids = world.ids("member")
    world.columns.state[ids] = BY_KIND["member"].state_codes["uncertain"]
    world.recount()
    entered = world.columns.entered[ids].copy()
    world.columns.entered[ids[:4]] += 1
    assert len(decide_bulk(world, Bulk("member", "recheck", ids, entered=entered), NOW).moves) == 16


def test_what_is_no_machine_of_the_kind_is_left_out():
    world = World()
    commit_bulk(world, Cohort(2, BLOCK))
    ids = np.array([0, 1, 2, 3, 9_999_999], np.uint32)
    world.columns.state[2:4] = BY_KIND["member"].state_codes["uncertain"]
    world.recount()
    assert decide_bulk(world, Bulk("member", "recheck", ids), NOW).moves["machine"].tolist() == [2, 3]
    assert not len(decide_bulk(world, Bulk("member", "no such event", ids), NOW).moves)


def test_a_cohort_knows_its_own():
    world = World()
    commit_bulk(world, Cohort(3, BLOCK))
    assert len(world.machines) == 15
    service = world.get(6)
    assert (service.kind, service.state, service.name) == ("service", "available", "service-6")
    assert (service.data["members"], service.data["servers"], service.data["primary"]) == ([7, 8], [9, 10], 7)
    assert world.get(8).data == {"role": "standby", "service": 6, "server": 10}
    assert world.named("service", "service-6") == service
    assert world.named("service", "service-7") is None
    assert world.fact(world.ids("server"), "zone", "", "U1").tolist() == ["a", "b"] * 3
    assert world.fact(world.ids("member"), "service", 0, np.uint32).tolist() == [1, 1, 6, 6, 11, 11]
    assert set(world.columns.priority[world.ids("service")].tolist()) == {0}


def test_a_cohort_larger_than_a_record_is_several():
    each = CHUNK // len(BLOCK)
    parts = list(chunks(Cohort(2 * each + 1, BLOCK)))
    assert [part.count for part in parts if isinstance(part, Cohort)] == [each, each, 1]


def test_a_fact_of_its_own_goes_before_its_shapes():
    world = World()
    commit_bulk(world, Cohort(2, BLOCK))
    commit(world, [Input(2, "deposed", why="another leads")])
    assert world.fact(world.ids("member"), "role", "", "U7").tolist() == ["standby", "standby", "primary", "standby"]
    assert world.document(2).keys() == {"role", "deposed", "since_ill_ms", "leased"}
    assert world.document(3) == {}


def test_a_snapshot_keeps_a_cohort():
    world = World()
    commit_bulk(world, Cohort(5, BLOCK))
    commit(world, [Input(2, "exited", {"evidence": {"why": "seen"}})])
    again = World.restore(world.snapshot())
    assert list(again.machines.values()) == list(world.machines.values())
    assert 1 in again.attention
    assert 6 not in again.attention


def waiting(state, count):
    """So many members in a state whose deadline passes at NOW."""
    world = World()
    commit_bulk(world, Cohort(2_000, BLOCK))
    ids = world.ids("member")
    world.columns.state[ids] = BY_KIND["member"].state_codes[state]
    world.recount()
    world.columns.deadline_ms[ids[:count]] = NOW
    world._deadlines.put_all(world.columns.deadline_ms[: world.size])
    return world


@pytest.mark.parametrize("count", [10, 4_000])
def test_who_took_over_tries_what_is_overdue_before_it_says_so_and_no_longer_than_the_state_may_last(count):
    uncertain = waiting("uncertain", count)  # 30 s, and an effect
    for since_s, until_s in ((-60, 0), (-15, 0), (-4, 6), (0, 10), (15, 25), (25, 30), (29, 30), (40, 40)):
        since_ms, until_ms = NOW + since_s * 1000, NOW + until_s * 1000
        before_ms = max(since_ms, until_ms - 1)
        if before_ms < until_ms:
            assert due(uncertain, before_ms, since_ms) == []
        assert len(due(uncertain, until_ms, since_ms)) == (count if count == 10 else 1)


def test_a_state_that_only_waits_is_over_when_its_deadline_has_passed_whoever_looks():
    assert len(due(waiting("unavailable", 10), NOW + 1, NOW)) == 10


def test_many_deadlines_are_a_bulk_and_few_are_not():
    for few in (10, 4_000):
        world = waiting("uncertain", few)
        assert due(world, NOW - 1) == []
        found = due(world, NOW)
        assert sum(len(item.machines) if isinstance(item, Bulk) else 1 for item in found) == few
        assert isinstance(found[0], Bulk) == (few == 4_000)
        assert {item.event for item in found} == {"recheck"}
