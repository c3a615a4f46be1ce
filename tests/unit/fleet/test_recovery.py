"""Waves: whose turn it is, how many at once, when it is over; and that a successor goes on from the log alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from herder.engine.bulk import Bulk
from herder.engine.decide import Input
from herder.engine.record import Birth
from herder.engine.shapes import Shape
from herder.engine.world import World
from herder.fleet.recovery import FIRST_WINDOW, Ill, Recovery, Round, find_ill, next_turns, terrain
from herder.fleet.recovery_views import give_order, incident_view, parked_reasons, recovery_view
from herder.machines.registry import BY_KIND
from herder.model.errors import Conflict, InvalidInput, NotFound
from herder.remedies.hands import Hands
from tests.machines import sample

NOW = sample.NOW_MS
BLOCK = 5
"""Ids of a service with two members on two servers: service, primary, standby, and their servers."""


def block(plan: str, zone: str = "a") -> tuple[Shape, ...]:
    return (
        Shape("service", {"plan": plan, "sync": False, "voters": []},
              {"primary": 1, "members": (1, 2), "servers": (3, 4)}),
        Shape("member", {"role": "primary"}, {"service": -1, "server": 2}),
        Shape("member", {"role": "standby"}, {"service": -2, "server": 2}),
        Shape("server", {"zone": zone}, {"service": -3, "member": -2}),
        Shape("server", {"zone": "z"}, {"service": -4, "member": -2}),
    )  # fmt: skip


def fleet(*plans: tuple[str, int]) -> World:
    """Services of each plan, in that order, all well: service n (from 0) is machine 1 + 5 n."""
    world = World()
    for plan, count in plans:
        first = world.next_id
        world._bear(Birth(first, count, block(plan)))
    for kind in ("service", "member", "server"):
        put(world, kind, "available", world.ids(kind))
    return world


def put(world: World, kind: str, state: str, ids: Any) -> None:
    world.columns.state[np.asarray(ids)] = BY_KIND[kind].state_codes[state]
    world.recount()


def fell(world: World, services: list[int], *, server_too: bool = False) -> World:
    """Their primaries are lost."""
    at = np.array(services, np.uint32) * BLOCK + 1
    put(world, "service", "unavailable", at)
    put(world, "member", "unavailable", at + 1)
    if server_too:
        put(world, "server", "unavailable", at + 3)
    return world


def came_well(world: World, services: list[int]) -> None:
    at = np.array(services, np.uint32) * BLOCK + 1
    put(world, "service", "available", at)
    put(world, "member", "available", at + 1)
    world.seq += 1  # there is a record of it


class Stage:
    """A recovery over a world without an engine: what it submits is kept, and taken in by `take`."""

    def __init__(self, world: World, **facts: Any) -> None:
        self.world, self.now_ms, self.said = world, NOW, cast("list[Any]", [])
        known = {"scope": "zone:a", "scopes": ["zone:a"], "window": 0, "admitted": 0, "done": 0, "total": 0}
        sample.put(world, world.next_id, "incident", "recovering", name="incident-x", **known | facts)
        self.incident = world.next_id - 1
        self.recovery = self.successor()

    def successor(self, at_once: int = 2000) -> Recovery:
        clock = SimpleNamespace(now_ms=lambda: self.now_ms)
        hands = SimpleNamespace(world=lambda: self.world, clock=clock, submit=self.said.append)
        self.recovery = Recovery(cast(Hands, hands), at_once)
        return self.recovery

    def look(self) -> list[int]:
        """One round; takes its progress in as the engine would. Returns the services whose turn came, from 0."""
        self.said.clear()
        self.now_ms += 1000
        self.recovery.look()
        for item in self.said:
            if isinstance(item, Input) and item.event == "progress":
                known = self.world.get(self.incident)
                sample.change(self.world, self.incident, data=known.data | item.facts)
        return [(int(each) - 1) // BLOCK for item in self.said if isinstance(item, Bulk) for each in item.machines]

    @property
    def facts(self) -> dict[str, Any]:
        return self.world.get(self.incident).data

    def events(self) -> list[str]:
        return [item.event for item in self.said]


# ---- who is ill, and whose turn it is


def test_the_ill_are_found_with_their_lane_and_whether_anything_of_them_runs():
    world = fell(fleet(("dev", 2), ("premium", 2)), [0, 3])
    put(world, "member", "unavailable", [2 * BLOCK + 3])  # the standby of the third
    ill = find_ill(world, terrain(world, ["zone:a"], NOW))
    assert [((int(s) - 1) // BLOCK, int(lane)) for s, lane in zip(ill.services, ill.lane, strict=True)] == [
        (0, 4), (3, 0), (2, 1),
    ]  # fmt: skip
    assert ill.ready.all()


def test_one_of_which_nothing_runs_waits_for_its_servers():
    world = fell(fleet(("dev", 2)), [0, 1], server_too=True)
    put(world, "member", "unavailable", [3])
    put(world, "server", "unavailable", [5])
    ill = find_ill(world, terrain(world, ["zone:a"], NOW))
    assert ill.ready.tolist() == [False, True], "the second has a standby that serves"
    put(world, "server", "available", [4])
    assert find_ill(world, terrain(world, ["zone:a"], NOW)).ready.all()


def test_services_outside_of_the_scope_are_nobodys_wave():
    world = fell(fleet(("dev", 2)), [0])
    assert len(find_ill(world, terrain(world, ["zone:elsewhere"], NOW)).services) == 0
    assert terrain(world, ["zone:a"], NOW).count == 2


def test_a_service_with_documents_of_its_own_is_found_too():
    world = sample.well()
    sample.change(world, sample.SERVICE, state="unavailable")
    sample.change(world, sample.MEMBERS[0], state="unavailable")
    ill = find_ill(world, terrain(world, ["fleet"], NOW))
    assert (ill.services.tolist(), ill.lane.tolist(), ill.ready.tolist()) == ([sample.SERVICE], [0], [True])


def ill_of(*rows: tuple[int, int, bool]) -> Ill:
    services, lanes, ready = zip(*rows, strict=True)
    return Ill(np.array(services, np.uint32), np.array(lanes, np.uint8), np.array(ready))


ROWS = ill_of((11, 2, True), (12, 0, True), (5, 0, False), (13, 0, True), (7, 4, True), (6, 1, True))


@pytest.mark.parametrize(
    ("room", "turns", "upto"),
    [
        (0, [], [0, 0, 0, 0, 0, 0]),
        (1, [12], [12, 0, 0, 0, 0, 0]),
        (2, [12, 13], [13, 0, 0, 0, 0, 0]),
        (4, [12, 13, 6, 11], [13, 6, 11, 0, 0, 0]),
        (99, [12, 13, 6, 11, 7], [13, 6, 11, 0, 7, 0]),
    ],
)
def test_turns_go_by_lane_and_those_without_a_server_hold_nobody_up(room: int, turns: list[int], upto: list[int]):
    limits, chosen = next_turns(ROWS, [], room)
    assert (chosen.tolist(), limits) == (turns, upto)


def test_nobody_has_two_turns():
    upto, _ = next_turns(ROWS, [], 2)
    assert next_turns(ROWS, upto, 99)[1].tolist() == [6, 11, 7]


def test_the_window_begins_small_and_doubles_when_a_whole_one_came_well():
    this = Round()
    assert this.window(0, 2000) == FIRST_WINDOW
    this.under_way = np.arange(1, FIRST_WINDOW + 1, dtype=np.uint32)
    this.take(np.array([1], np.uint32), 0)
    assert this.window(FIRST_WINDOW, 2000) == FIRST_WINDOW, "one is still ill"
    this.under_way = np.array([1], np.uint32)
    this.take(np.array([], np.uint32), 0)
    assert this.window(FIRST_WINDOW, 2000) == 2 * FIRST_WINDOW
    assert this.window(32, 2000) == 32, "counted anew"


def test_failures_halve_it_and_those_before_this_controller_do_not_count():
    this = Round()
    this.take(np.array([], np.uint32), 500)
    assert this.window(100, 2000) == 100
    this.take(np.array([], np.uint32), 512)
    assert this.window(100, 2000) == 50


# ---- a recovery from its beginning to its end


def test_premium_goes_first_and_no_more_than_the_window_at_once():
    stage = Stage(fell(fleet(("dev", 20), ("premium", 20)), [*range(40)]))
    assert stage.look() == [*range(20, 36)]
    assert stage.facts["window"] == FIRST_WINDOW
    assert (stage.facts["left"], stage.facts["parked"]) == (40, 24)
    assert stage.look() == [], "all of them are under way"


def test_it_goes_on_as_they_come_well_and_is_over_when_nobody_is_ill():
    stage = Stage(fell(fleet(("dev", 100)), [*range(100)]))
    sizes, ill = [], {*range(100)}
    while ill and len(sizes) < 20:
        turns = stage.look()
        sizes.append(len(turns))
        came_well(stage.world, turns)
        ill -= {*turns}
    assert sizes == [16, 32, 52], "twice as many each round"
    stage.look()
    assert stage.events() == ["recovered"]
    assert stage.said[0].facts["left"] == 0


def test_a_successor_goes_on_where_the_controller_died():
    stage = Stage(fell(fleet(("dev", 100)), [*range(100)]))
    first = stage.look()
    stage.successor()
    assert stage.look() == [], "those of the first are still under way, by the log"
    came_well(stage.world, first)
    assert stage.look() == [*range(16, 48)], "nobody twice, nobody left out, and twice as many"


def test_a_pause_gives_no_turns_and_a_resume_goes_on():
    stage = Stage(fell(fleet(("dev", 100)), [*range(100)]))
    came_well(stage.world, stage.look())
    sample.change(stage.world, stage.incident, state="paused")
    assert (stage.look(), stage.said) == ([], [])
    sample.change(stage.world, stage.incident, state="recovering")
    assert stage.look() == [*range(16, 32)]


def test_the_provider_sets_the_most_at_once():
    stage = Stage(fell(fleet(("dev", 100)), [*range(100)]))
    stage.successor(at_once=5)
    assert len(stage.look()) == 5
    came_well(stage.world, [*range(5)])
    assert len(stage.look()) == 5


def test_what_is_ill_on_any_day_does_not_keep_an_incident_open():
    stage = Stage(fell(fleet(("dev", 5000)), [1, 2, 3, 4, 5]))
    stage.look()
    assert stage.events() == ["recovered"]
    assert "few enough for ordinary remedies" in stage.said[0].why


def test_progress_is_not_said_when_nothing_has_changed():
    stage = Stage(fell(fleet(("dev", 100)), [*range(100)]))
    stage.look()
    stage.look()
    assert stage.events() == []
    stage.now_ms += 10_000
    stage.look()
    assert stage.events() == ["progress"], "a sample for the forecast"


# ---- what people see and say


def test_the_forecast_is_told_with_its_range():
    stage = Stage(
        fell(fleet(("dev", 1)), [0]),
        samples=[[NOW + 10_000 * n, 1000 - 100 * n] for n in range(5)],
        left=600,
        total=1000,
    )
    view = incident_view(stage.world.get(stage.incident), NOW + 40_000)
    assert (view["per_s"], view["end_ms"], view["late_ms"]) == (10.0, NOW + 100_000, NOW + 100_000)
    sample.change(stage.world, stage.incident, state="paused")
    assert incident_view(stage.world.get(stage.incident), NOW)["end_ms"] == 0, "nobody knows how long a person holds it"


def test_what_is_parked_is_counted_by_its_reason():
    world = sample.well(parked=2, parked_by=20, parked_kind="rebuild", parked_ms=NOW - 500)
    sample.put(world, 20, "dependency", "unavailable", name="provider:local", what="provider", scope="local")
    sample.put(world, 21, "incident", "recovering", name="incident-21", scope="zone:a", scopes=["zone:a"], parked=7)
    assert parked_reasons(world) == [
        {"reason": "wave", "by": "incident-21", "count": 7, "since_ms": NOW - 1000},
        {"reason": "dependency", "by": "provider:local", "count": 1, "since_ms": NOW - 500},
    ]
    view = recovery_view(world, NOW)
    assert [row["id"] for row in view["incidents"]] == ["incident-21"]
    assert [row["name"] for row in view["dependencies"]] == ["provider:local"]


def test_orders_are_taken_where_they_mean_something():
    world = Stage(fell(fleet(("dev", 1)), [0])).world
    (item,) = give_order(world, "incident-x", "pause", "ann")
    assert (item.event, item.why) == ("pause", "ann holds the recovery")
    with pytest.raises(Conflict):
        give_order(world, "incident-x", "resume", "ann")
    with pytest.raises(NotFound):
        give_order(world, "nobody", "pause", "ann")
    with pytest.raises(InvalidInput):
        give_order(world, "incident-x", "dance", "ann")
