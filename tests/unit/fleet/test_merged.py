"""What relays' frames say against the log: few are looked at, silence is told in bulk, and the storm gate is asked."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from herder.engine.bulk import Bulk
from herder.engine.decide import Input
from herder.engine.world import World
from herder.fleet.merged import MANY
from herder.fleet.watch import ONE_BY_ONE, Watch
from herder.pulse.board import LOOK_AGAIN_S, Board
from herder.pulse.detector import Limits
from herder.pulse.fleet_frame import (
    ALIVE,
    ARCHIVING_STALLED,
    EXITED,
    POSITION,
    PRIMARY,
    STANDBY,
    UPSTREAM,
    UPSTREAM_KNOWN,
    Header,
    encode_rows,
    rows,
)
from herder.pulse.judge import DEAF_PATIENCE_S, SETTLE_S, UPSTREAM_PATIENCE_S
from herder.wire.memory import MemoryHub, MemoryRelayWire, MemoryWire
from tests.machines import sample
from tests.unit.engine.yard import VirtualClock, settle

LEADS = ALIVE | PRIMARY | POSITION
FOLLOWS = ALIVE | STANDBY | UPSTREAM | UPSTREAM_KNOWN | POSITION
CUT_OFF = ALIVE | STANDBY | UPSTREAM_KNOWN | POSITION
PRIMARY_ID, STANDBY_ID, OTHER_ID = sample.MEMBERS
WELL = [LEADS, FOLLOWS, FOLLOWS]


def fleet(services: int) -> World:
    """Services of one member each: machine ids 3n + 1 (service), + 2 (member), + 3 (server), with no names of their own."""
    world = World()
    for service in range(1, 3 * services, 3):
        sample.put(world, service, "service", "available", **sample.service_facts(primary=service + 1, name="", members=[service + 1], servers=[service + 2]))  # fmt: skip
        sample.put(
            world, service + 1, "member", "available", service=service, server=service + 2, role="primary", slot=0
        )
        sample.put(world, service + 2, "server", "available", incarnation=1, member=service + 1, service=service)
    return world


class Post:
    """A watch whose events are kept; its relay is the first server."""

    def __init__(self, world: World, **hooks: Any) -> None:
        self.world = world
        self.clock = VirtualClock(sample.NOW_MS)
        self.told: list[Input | Bulk] = []
        self.board = Board(1.0, Limits(1.5, 8.0))
        self.servers = world.ids("server")
        self.watch = Watch(
            lambda: self.world, self.board, cast(Any, None), self.clock, self.told.append, lambda why: None, **hooks
        )
        self.watch._scan(self.clock.monotonic())
        self.seq = 0

    def frame(self, flags: Any, **columns: Any) -> list[tuple[int, str]]:
        """One frame of all servers a second later; what is told one by one then."""
        self.wait(1.0)
        self.seq += 1
        self.told.clear()
        members = self.world.fact(self.servers, "member", 0, np.uint32)
        told: dict[str, Any] = {"server": self.servers, "member": members, "incarnation": 1, "life": 1, "seq": self.seq}
        header = Header(int(self.servers[0]), 1, 1, self.seq)
        self.watch.on_fleet_frame(encode_rows(rows(header, flags=flags, timeline=1, **told | columns)))
        return [(item.machine, item.event) for item in self.told if isinstance(item, Input)]

    def bulks(self) -> list[tuple[str, str, list[int]]]:
        return [(item.kind, item.event, item.machines.tolist()) for item in self.told if isinstance(item, Bulk)]

    def scan(self, wait_s: float) -> None:
        self.told.clear()
        self.wait(wait_s)
        self.watch._scan(self.clock.monotonic())

    def wait(self, seconds: float) -> None:
        self.clock.at_ms += round(seconds * 1000)

    def change(self, ident: int, state: str, **facts: Any) -> None:
        """As the log does it: every move counts the version up."""
        machine = self.world.get(ident)
        sample.change(self.world, ident, state=state, version=machine.version + 1, data=machine.data | facts)


def premium() -> Post:
    world = sample.well()
    primary = world.get(PRIMARY_ID)
    sample.change(world, PRIMARY_ID, data=primary.data | {"led_ms": sample.NOW_MS - 60_000})
    return Post(world)


def test_what_the_log_knows_is_no_news_and_is_not_looked_at_again(monkeypatch: pytest.MonkeyPatch):
    post = premium()
    for _ in range(3):
        assert post.frame(WELL) == []
    monkeypatch.setattr(post.watch.merged, "_sort", lambda *_: pytest.fail("looked at again"))
    assert post.frame(WELL) == []


def test_a_standby_without_its_stream_tells_of_the_primary_then_of_itself():
    post = premium()
    post.frame(WELL)
    assert post.frame([LEADS, CUT_OFF, FOLLOWS]) == [(PRIMARY_ID, "suspected")]
    for _ in range(round(UPSTREAM_PATIENCE_S + SETTLE_S)):
        told = post.frame([LEADS, CUT_OFF, FOLLOWS])
    assert told == [(STANDBY_ID, "ill")]
    assert post.frame(WELL) == []


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ([STANDBY | EXITED, FOLLOWS, FOLLOWS], [(PRIMARY_ID, "exited")]),
        ([FOLLOWS, FOLLOWS, FOLLOWS], [(PRIMARY_ID, "ill")]),
        ([LEADS, LEADS, FOLLOWS], [(STANDBY_ID, "ill")]),
        ([0, FOLLOWS, FOLLOWS], []),
    ],
    ids=["exited", "a primary that follows", "a standby that leads", "deaf, but not for long"],
)
def test_what_the_log_does_not_expect_is_judged(flags: list[int], told: list[tuple[int, str]]):
    post = premium()
    post.frame(WELL)
    assert post.frame(flags) == told


def test_a_deaf_engine_is_suspected_in_the_end():
    post = premium()
    post.frame(WELL)
    told = [post.frame([0, FOLLOWS, FOLLOWS]) for _ in range(round(DEAF_PATIENCE_S) + 1)]
    assert told[-1] == [(PRIMARY_ID, "suspected")]


@pytest.mark.parametrize("state", ["uncertain", "unavailable"])
def test_who_is_well_again_is_told_until_the_log_knows(state: str):
    post = premium()
    post.frame(WELL)
    post.change(PRIMARY_ID, state)
    assert post.frame(WELL) == post.frame(WELL) == [(PRIMARY_ID, "well")]
    post.change(PRIMARY_ID, "available")
    assert post.frame(WELL) == []


def test_a_member_that_was_deposed_is_not_called_well():
    post = premium()
    post.change(STANDBY_ID, "unavailable", deposed=True)
    assert post.frame(WELL) == []


def test_a_role_that_changed_in_the_log_is_compared_anew():
    post = premium()
    post.frame(WELL)
    post.change(STANDBY_ID, "available", role="primary")
    assert post.frame(WELL) == [(STANDBY_ID, "ill")]


@pytest.mark.parametrize("state", ["uncertain", "unavailable"])
def test_a_server_that_is_heard_again_is_told(state: str):
    post = premium()
    post.frame(WELL)
    post.change(sample.SERVERS[1], state)
    assert post.frame(WELL) == [(sample.SERVERS[1], "heard")]
    post.change(sample.SERVERS[1], "available")
    assert post.frame(WELL) == []


@pytest.mark.parametrize("state", ["uncertain", "unavailable"])
def test_a_life_that_the_log_has_counted_out_is_not_heard(state: str):
    post = premium()
    post.frame(WELL)
    post.change(sample.SERVERS[1], state, incarnation=3)
    assert post.frame(WELL) == []
    assert post.board.servers["srv-6"].incarnation == 3
    assert post.frame(WELL, incarnation=np.array([1, 3, 1], np.uint32)) == [(sample.SERVERS[1], "heard")]


def test_a_member_that_moved_is_found_where_the_log_has_it():
    post = premium()
    post.frame(WELL)
    post.change(sample.SERVERS[1], "available", member=77)
    sample.put(post.world, 77, "member", "available", **sample.member_facts(1) | {"server": sample.SERVERS[1]})
    post.frame(WELL)
    assert post.board.refused == {"not_its_member": 1}
    post.frame(WELL)
    assert post.board.refused == {"not_its_member": 1}


def test_a_stranger_is_not_believed():
    post = premium()
    assert post.frame(WELL, member=[PRIMARY_ID, OTHER_ID, 4_000_000_000]) == []
    assert post.board.refused == {"not_its_member": 2}
    post.watch.on_fleet_frame(b"garbage")
    assert post.board.refused["frame_garbage"] == 1


async def test_frames_that_come_together_are_folded_together():
    post = Post(sample.well())
    hub = MemoryHub(post.clock)
    post.watch._wire = MemoryWire(hub)
    await post.watch.start()
    relay = MemoryRelayWire(hub, int(post.servers[0]))
    for seq, server in enumerate(post.servers.tolist(), 1):
        header, member = Header(int(post.servers[0]), 1, 1, seq), server - len(post.servers)
        await relay.publish_fleet(encode_rows(rows(header, server=[server], member=member, incarnation=1, life=1, seq=1, flags=WELL[seq - 1])))  # fmt: skip
    assert post.board.servers["srv-5"].frames == 0
    await settle()
    assert [track.frames for track in post.board.servers.values()] == [1, 1, 1]
    assert (post.told, post.board.refused) == ([], {})


def test_archiving_is_told_to_who_asked():
    told: list[tuple[list[int], bool]] = []
    world = sample.well()
    post = Post(world, on_archiving=lambda members, stalled: told.append((members.tolist(), stalled)))
    post.frame(WELL)
    post.frame([LEADS | ARCHIVING_STALLED, FOLLOWS, FOLLOWS])
    post.frame(WELL)
    assert told == [([PRIMARY_ID], True), ([PRIMARY_ID], False)]


def test_silence_of_a_few_is_told_one_by_one():
    post = Post(fleet(3))
    post.frame(LEADS)
    post.scan(2.0)
    assert [(item.machine, item.event) for item in post.told if isinstance(item, Input)] == [
        (server, "silent") for server in (3, 6, 9)
    ]
    assert post.told[0].why == "no pulse for 2.0 s, its rhythm allows 1.5 s"


def test_silence_of_many_is_one_event_and_is_not_told_at_every_tick():
    post = Post(fleet(ONE_BY_ONE + 1))
    post.frame(LEADS)
    post.scan(2.0)
    assert post.bulks() == [("server", "silent", post.servers.tolist())]
    assert not post.told[0].facts, "facts would make a document for each"
    post.scan(LOOK_AGAIN_S - 0.05)
    assert post.told == []
    post.scan(0.1)
    assert len(post.told) == 1


def test_only_servers_that_the_log_has_as_available_fall_silent():
    post = Post(fleet(3))
    post.change(6, "uncertain")
    post.change(9, "unavailable")
    post.scan(2.0)
    assert [(item.machine, item.event) for item in post.told if isinstance(item, Input)] == [(3, "silent")]


def test_the_storm_gate_is_asked_before_silence_is_told():
    asked: list[list[int]] = []

    def gate(servers: NDArray[np.uint32], now: float) -> NDArray[np.uint32]:
        asked.append(servers.tolist())
        return servers[servers < 100]

    count = ONE_BY_ONE + 20
    post = Post(fleet(count), storm=gate)
    post.scan(2.0)
    assert asked == [post.servers.tolist()]
    assert [item.machine for item in post.told if isinstance(item, Input)] == [*range(3, 100, 3)]


def test_servers_that_are_taken_over_later_are_expected():
    post = Post(fleet(2))
    sample.put(post.world, 50, "server", "available", incarnation=3, name="late")
    sample.put(post.world, 51, "server", "installing", incarnation=1, name="not-yet")
    post.scan(0.05)
    assert post.board.servers["late"].incarnation == 3
    assert "not-yet" not in post.board.servers


def test_many_that_are_well_again_are_one_event():
    post = Post(fleet(MANY + 5))
    post.frame(LEADS)
    for server in post.servers.tolist():
        post.change(server, "uncertain")
        post.change(server - 1, "unavailable")
    assert post.frame(LEADS) == []
    assert [(kind, event, len(machines)) for kind, event, machines in post.bulks()] == [
        ("server", "heard", MANY + 5),
        ("member", "well", MANY + 5),
    ]


def test_when_too_many_are_ill_each_has_its_turn():
    count = MANY + 5
    post = Post(fleet(count))
    told: set[int] = set()
    for _ in range(4):
        post.watch.merged._left = 0.0
        post.watch.merged._left_at = post.clock.monotonic() + 0.996  # room for 20 of them at the next frame
        some = {machine for machine, _ in post.frame(FOLLOWS)}
        assert len(some) in (19, 20)
        told |= some
    assert len(told) == count
