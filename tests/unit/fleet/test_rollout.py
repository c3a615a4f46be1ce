"""Rolling reboots: whose turn comes, what is checked as it is committed, and when it pauses."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from herder.engine.decide import Input, decide
from herder.engine.record import Birth
from herder.engine.shapes import Shape
from herder.engine.world import Ids, World
from herder.fleet import rollout as pure
from herder.fleet.rollout import PRIMARIES, STANDBYS, Due, Turn, choose, find_due, ground_of
from herder.fleet.rollouts import STALLED_MS, WATCHED_MS, Rollouts
from herder.machines.registry import BY_KIND
from herder.model.errors import Conflict, InvalidInput, NotFound, Refused
from herder.ports.provider import Ground
from herder.remedies.hands import Hands
from tests.machines import sample

NOW = sample.NOW_MS
NOTHING: Ids = np.empty(0, np.uint32)


def service(plan: str, *zones: str) -> tuple[Shape, ...]:
    """A service with a member and a server in each zone; the first leads."""
    count = len(zones)
    members = [
        Shape("member", {"role": "standby" if slot else "primary"}, {"service": -1 - slot, "server": count})
        for slot in range(count)
    ]
    servers = [
        Shape("server", {"zone": zone, "incarnation": 1}, {"service": -1 - count - slot, "member": -count})
        for slot, zone in enumerate(zones)
    ]
    facts = {"plan": plan, "sync": False, "voters": [], "term": 1, "engine": "postgres", "playbook": 0}
    ids = tuple(range(1, count + 1))
    whole = Shape("service", facts, {"primary": 1, "members": ids, "servers": tuple(count + each for each in ids)})
    return (whole, *members, *servers)


def fleet(*blocks: tuple[tuple[Shape, ...], int]) -> World:
    """So many services of each shape, all well."""
    world = World()
    for block, count in blocks:
        world._bear(Birth(world.next_id, count, block))
    for kind in ("service", "member", "server"):
        put(world, kind, "available", world.ids(kind))
    for ident in world.ids("service").tolist():
        rank = {"premium": 0, "standard": 1, "dev": 2}[world.get(ident).data["plan"]]
        world.columns.priority[[ident, *world.get(ident).data["servers"]]] = rank
    return world


def put(world: World, kind: str, state: str, ids: Any) -> None:
    world.columns.state[np.asarray(ids)] = BY_KIND[kind].state_codes[state]
    world.recount()


def ordered(world: World, **facts: Any) -> int:
    known = {
        "scope": "fleet",
        "image": "",
        "until_ms": 0,
        "began_ms": NOW,
        "canaries": [],
        "canaries_ms": 0,
        "window": 0,
    }
    sample.put(world, world.next_id, "rollout", "running", **known | facts)
    return world.next_id - 1


def due_of(world: World, frozen: tuple[str, ...] = (), **facts: Any) -> tuple[Due, tuple[str, ...]]:
    rollout = world.get(ordered(world, **facts))
    ground = ground_of(world, rollout, NOW)
    return find_due(world, ground, frozen), ground.zones


PREMIUM = service("premium", "a", "b", "c")
STANDARD = service("standard", "b", "a")
DEV = service("dev", "a")


# ---- who is due


def test_standbys_and_single_members_go_as_they_are_and_those_who_lead_others_hand_over_first():
    world = fleet((PREMIUM, 1), (DEV, 1))
    due, zones = due_of(world)
    found = {int(s): (int(stage), zones[zone]) for s, stage, zone in zip(due.servers, due.stage, due.zone, strict=True)}
    assert found == {5: (2, "a"), 6: (1, "b"), 7: (1, "c"), 10: (1, "a")}
    assert due.ready.all()


@pytest.mark.parametrize(("kind", "ident"), [("member", 3), ("server", 7), ("service", 1)])
def test_nobody_of_a_service_is_ready_while_anything_of_it_is_not_well(kind: str, ident: int):
    world = fleet((PREMIUM, 2))
    put(world, kind, "restart", [ident])
    due, _ = due_of(world)
    assert {int(each) for each in due.servers[due.ready]} == {12, 13, 14}, "the other service's"


def test_servers_in_a_frozen_scope_wait_and_those_outside_of_the_order_are_nobodys():
    world = fleet((PREMIUM, 1))
    due, _ = due_of(world, ("zone:b",))
    assert due.servers[~due.ready].tolist() == [6]
    due, _ = due_of(world, scope="zone:c")
    assert due.servers.tolist() == [7]


def test_who_was_rebooted_by_this_order_or_has_the_image_is_done():
    world = fleet((PREMIUM, 1))
    rollout = world.next_id
    sample.change(world, 6, data=world.get(6).data | {"rolled": rollout})
    sample.change(world, 7, data=world.get(7).data | {"image": "mended"})
    due, _ = due_of(world, image="mended")
    assert due.servers.tolist() == [5]


# ---- whose turn comes


def rows(*given: tuple[int, int, int, int, bool]) -> Due:
    servers, stage, zone, rank, ready = zip(*given, strict=True)
    return Due(np.array(servers, np.uint32), np.array(stage), np.array(zone), np.array(rank, np.uint8), np.array(ready))


ROWS = rows(
    (1, STANDBYS, 0, 0, True), (2, STANDBYS, 0, 2, True), (3, STANDBYS, 0, 1, False), (4, PRIMARIES, 0, 1, True),
    (5, STANDBYS, 1, 1, True), (6, PRIMARIES, 1, 0, True),
)  # fmt: skip


@pytest.mark.parametrize(
    ("at", "room", "moves", "busy", "begin", "move", "then"),
    [
        ((0, 0), 9, 9, False, [2, 1], [], (1, 0)),
        ((0, 0), 1, 9, False, [2], [], (1, 0)),
        ((1, 1), 9, 9, True, [5], [], (1, 1)),
        ((2, 0), 9, 9, True, [2, 1], [4], (2, 0)),
        ((2, 0), 9, 0, True, [2, 1], [], (2, 0)),
        ((1, 7), 9, 9, True, [], [], (1, 7)),
        ((1, 0), 0, 9, False, [], [], (1, 0)),
    ],
    ids=["lesser plans first", "no more than there is room", "stays in its zone", "former primaries with their zone",
         "no more moves than allowed", "no other zone while this one is busy", "no room"],
)  # fmt: skip
def test_whose_turn_comes(at: Any, room: int, moves: int, busy: bool, begin: list[int], move: list[int], then: Any):
    turn = choose(ROWS, at, room, moves, busy=busy)
    assert (turn.begin.tolist(), turn.move.tolist(), turn.at) == (begin, move, then)


def test_standbys_of_all_zones_go_before_primaries_of_any():
    left = rows((4, PRIMARIES, 0, 1, True), (5, STANDBYS, 1, 1, True))
    assert choose(left, (1, 0), 9, 9, busy=False).at == (STANDBYS, 1)
    assert choose(left.only([4]), (1, 1), 9, 9, busy=False).at == (PRIMARIES, 0)


def test_canaries_are_a_few_of_the_lesser_plans_in_one_zone():
    world = fleet((PREMIUM, 3), (STANDARD, 5), (DEV, 5))
    due, _ = due_of(world)
    found = [world.get(ident) for ident in pure.canaries_of(due)]
    plans = [world.get(server.service).data["plan"] for server in found]
    assert plans == ["dev", "dev", "standard", "standard"]
    assert {server.data["zone"] for server in found} == {"a"}


# ---- as it is committed


def test_one_server_of_a_service_at_most_and_never_one_that_leads():
    world = fleet((PREMIUM, 1), (DEV, 1))
    rollout = world.get(ordered(world))
    everybody = Turn(np.array([5, 6, 7, 10], np.uint32), NOTHING, (1, 0))
    assert [(item.machine, item.event) for item in pure.begin(world, rollout, everybody)] == [
        (6, "upgrade"),
        (10, "upgrade"),
    ]


def test_a_primary_is_moved_and_its_server_is_not_touched():
    world = fleet((PREMIUM, 1))
    rollout = world.get(ordered(world))
    (item,) = pure.begin(world, rollout, Turn(NOTHING, np.array([5, 6], np.uint32), (2, 0)))
    assert (item.create, item.facts["old_primary"], item.actor) == ("switchover", 2, "rollout")


def test_a_service_that_is_not_whole_by_then_is_left_alone():
    world = sample.well(voters=[sample.MEMBERS[1]])
    rollout = world.get(ordered(world))
    assert pure.unfit(world, world.get(sample.SERVERS[2])) == "orders-2 is not a voter"
    assert pure.begin(world, rollout, Turn(np.array(sample.SERVERS, np.uint32), NOTHING, (1, 0))) == []


def test_the_turn_is_counted_on_the_server_and_its_member_is_expected_to_be_away():
    world = sample.well()
    (item,) = pure.begin(
        world, world.get(ordered(world, image="mended")), Turn(np.array([6], np.uint32), NOTHING, (1, 0))
    )
    after = decide(world, [item], NOW).after
    assert (after[6].state, after[6].data["image_next"], after[3].state) == ("upgrading", "mended", "restart")
    ended = decide(_with(world, after), [Input(6, "ended")], NOW).after
    assert (ended[6].state, ended[6].data["incarnation"]) == ("restart", 2)
    back = decide(_with(world, ended), [Input(6, "up", {"member_back": True})], NOW).after
    assert (back[6].state, back[6].data["image"], back[3].state) == ("available", "mended", "available")
    assert back[6].data["incarnation"] == 2
    assert back[6].data["rolled"] == item.facts["rollout"]


def test_the_only_member_takes_its_service_along_and_nobody_is_paged():
    world = sample.small(plan="dev", members=1)
    after = decide(world, [Input(sample.SERVERS[0], "upgrade", {"rollout": 9})], NOW).after
    assert (after[1].state, after[2].state) == ("restart", "restart")
    assert not [machine for machine in after.values() if machine.kind == "page"]


def _with(world: World, after: dict[int, Any]) -> World:
    for machine in after.values():
        world.put(machine)
    return world


# ---- the task


class Stage:
    """The task over a world without an engine: what it submits is taken in at once, what it proposes is decided and kept."""

    def __init__(self, world: World, **facts: Any) -> None:
        self.world, self.now_ms, self.reason = world, NOW, ""
        self.said: list[Input] = []
        self.rollout = ordered(world, **facts)
        self.ground = Ground(name="lab", namespaces=True, can_fence=True, subnet="", controller_address="", images=True)
        self.tasks = self.successor()

    def successor(self) -> Rollouts:
        async def ground() -> Ground:
            return self.ground

        clock = SimpleNamespace(now_ms=lambda: self.now_ms)
        provider = SimpleNamespace(ground=ground)
        hands = SimpleNamespace(world=lambda: self.world, clock=clock, submit=self.take, provider=provider)
        self.tasks = Rollouts(cast(Hands, hands), self.propose, lambda: self.reason)
        return self.tasks

    def take(self, *items: Input) -> None:
        self.said += items
        _with(self.world, decide(self.world, items, self.now_ms).after)

    async def propose(self, proposal: Any) -> None:
        self.take(*proposal(self.world))

    async def look(self, seconds: float = 1) -> list[int]:
        """One round later; returns the servers whose turn came."""
        self.said.clear()
        self.now_ms += int(seconds * 1000)
        await self.tasks.look()
        return [item.machine for item in self.said if item.event == "upgrade"]

    def ends(self, *servers: int, well: bool = True) -> None:
        for server in servers:
            self.take(
                Input(server, "ended"), Input(server, "up", {"member_back": True}) if well else Input(server, "failed")
            )

    @property
    def facts(self) -> dict[str, Any]:
        return self.world.get(self.rollout).data

    @property
    def state(self) -> str:
        return self.world.get(self.rollout).state

    def pages(self) -> list[str]:
        return [page.data["reason"] for page in self.world.of_kind("page") if page.state == "open"]


async def test_canaries_go_first_and_are_watched_before_the_others():
    stage = Stage(fleet((DEV, 200)))
    stage.world.get(stage.rollout).data.pop("canaries")
    assert await stage.look() == []
    canaries = await stage.look()
    assert canaries == stage.facts["canaries"] == [3, 6]
    stage.ends(*canaries)
    assert await stage.look() == []
    assert await stage.look(WATCHED_MS / 1000 - 2) == []
    assert len(await stage.look(3)) == 4, "2 % of 200"


async def test_a_successor_goes_on_where_its_predecessor_died():
    stage = Stage(fleet((DEV, 200)))
    begun = await stage.look()
    stage.ends(*begun[:2])
    stage.successor()
    assert len(await stage.look()) == 2, "two are under way still, two have ended"
    assert stage.facts["done"] == 2


async def test_too_many_failures_pause_it_with_one_page():
    stage = Stage(fleet((DEV, 200)))
    stage.ends(*(await stage.look()), well=False)
    assert await stage.look() == []
    assert (stage.state, stage.pages()) == ("paused", ["rollout_stopped"])
    assert await stage.look() == []
    stage.take(*pure.give_order(stage.world, f"rollout-{stage.rollout}", "resume", 0, "ann"))
    assert await stage.look()
    assert stage.pages() == [], "a person has answered"


async def test_it_pauses_when_its_window_of_time_is_over():
    stage = Stage(fleet((DEV, 200)), until_ms=NOW + 5000)
    assert await stage.look()
    assert await stage.look(10) == []
    assert (stage.state, stage.pages()) == ("paused", ["rollout_window_over"])


async def test_it_tells_what_keeps_it_when_nothing_moves():
    stage = Stage(fleet((PREMIUM, 1)))
    put(stage.world, "member", "unavailable", [3])
    await stage.look()
    await stage.look(STALLED_MS / 1000 + 1)
    assert (stage.state, stage.pages()) == ("paused", ["rollout_stopped"])
    (page,) = stage.world.of_kind("page")
    assert "member-3 is unavailable" in page.data["text"]


async def test_an_incident_or_our_own_trouble_holds_it_and_says_so():
    stage = Stage(fleet((DEV, 10)))
    stage.reason = "our own pulse does not come back"
    assert await stage.look() == []
    assert stage.facts["held"] == "our own pulse does not come back"
    stage.reason = ""
    sample.put(stage.world, stage.world.next_id, "incident", "recovering", name="incident-x", scopes=["zone:z"])
    assert await stage.look() == []
    assert stage.facts["held"] == "incident-x is recovering"
    sample.change(stage.world, stage.world.next_id - 1, state="over")
    assert await stage.look()


async def test_it_is_done_when_everybody_is():
    stage = Stage(fleet((DEV, 2)))
    for _ in range(2):
        stage.ends(*(await stage.look()))
    await stage.look()
    await stage.look()
    assert (stage.state, stage.facts["done"]) == ("done", 2)


# ---- orders


async def test_an_order_needs_a_provider_that_can_do_it():
    stage = Stage(fleet((DEV, 2)))
    stage.ground = Ground(name="lab", namespaces=True, can_fence=True, subnet="", controller_address="")
    with pytest.raises(Refused, match="knows no images"):
        await stage.tasks.order("fleet", "mended", 0, "", "ann")
    with pytest.raises(Conflict, match="is running"):
        await stage.tasks.order("fleet", "", 0, "", "ann")
    stage.take(*pure.give_order(stage.world, f"rollout-{stage.rollout}", "abort", 0, "ann"))
    await stage.tasks.order("zone:a", "", 0, "a hole", "ann")
    view = pure.rollouts_view(stage.world, NOW)["rollouts"][-1]
    assert (view["scope"], view["state"], view["why"], view["by"]) == ("zone:a", "running", "a hole", "ann")


def test_orders_that_mean_nothing_are_refused():
    world = fleet((DEV, 1))
    name = f"rollout-{ordered(world)}"
    with pytest.raises(InvalidInput):
        pure.give_order(world, name, "hurry", 0, "ann")
    with pytest.raises(NotFound):
        pure.give_order(world, "rollout-999", "pause", 0, "ann")
    with pytest.raises(Conflict):
        pure.give_order(world, name, "resume", 0, "ann")
