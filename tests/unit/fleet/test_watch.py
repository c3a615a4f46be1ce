"""What the log says goes into the judgement: a frame of a standby without its stream, told against its primary's state."""

from __future__ import annotations

from typing import Any, cast

import pytest

from herder.engine.decide import Input, decide
from herder.engine.world import World
from herder.fleet.watch import KNOWN_AGAIN_S, Watch
from herder.ports.driver import Reading, Role
from herder.ports.wire import FRAME_VERSION, MemberPulse, Pulse
from herder.pulse.board import Board
from herder.pulse.detector import Limits
from herder.pulse.judge import SETTLE_S, UPSTREAM_PATIENCE_S
from tests.machines import sample
from tests.unit.engine.yard import VirtualClock

PRIMARY, STANDBY, OTHER = sample.MEMBERS


class Post:
    """A watch whose events are kept."""

    def __init__(self, world: World, *, expected: bool = True) -> None:
        self.world = world
        self.clock = VirtualClock(sample.NOW_MS)
        self.told: list[Input] = []
        self.board = Board(1.0, Limits(1.5, 8.0))
        if expected:
            self.board.expect("srv-6", 1, self.clock.monotonic())
        wire = cast(Any, None)
        self.watch = Watch(lambda: self.world, self.board, wire, self.clock, self.told.append, lambda why: None)
        self.seq = 0

    def frame(self, *, upstream: bool | None = None, role: Role = Role.STANDBY) -> list[tuple[int, str]]:
        """The first standby's agent sends one; what is told then."""
        self.seq += 1
        self.told.clear()
        reading = Reading(alive=True, role=role, upstream=upstream)
        pulse = Pulse(
            version=FRAME_VERSION, server="srv-6", incarnation=1, agent_pid=70, life="a", seq=self.seq, sent_ms=0,
            paused_ms=0, rss_kb=1, disk_free=9,
            members=(MemberPulse(member="orders-1", service="orders", term=1, reading=reading),),
        )  # fmt: skip
        self.watch.on_pulse(pulse, b"")
        return [(item.machine, item.event) for item in self.told]

    def look(self) -> list[tuple[int, str]]:
        """For silence, once; all that was told by then."""
        self.watch._scan(self.clock.monotonic())
        return [(item.machine, item.event) for item in self.told]

    def wait(self, seconds: float) -> None:
        self.clock.at_ms += round(seconds * 1000)


def since(world: World, seconds: float, state: str = "available") -> World:
    """The primary is in `state`, and has led (or was started again, or came back) so long ago."""
    led_ms = sample.NOW_MS - round(seconds * 1000)
    sample.change(world, PRIMARY, state=state, data=world.get(PRIMARY).data | {"led_ms": led_ms})
    return world


def test_a_lost_stream_tells_of_the_primary():
    assert Post(since(sample.well(), 60)).frame(upstream=False) == [(PRIMARY, "suspected")]


def test_a_primary_that_just_came_back_is_given_time():
    post = Post(since(sample.well(), 0))
    assert post.frame(upstream=False) == []
    post.wait(SETTLE_S)
    assert post.frame(upstream=False) == []
    post.wait(0.1)
    assert post.frame(upstream=False) == [(PRIMARY, "suspected")]


def test_a_standby_is_not_condemned_for_a_primary_that_is_not_well():
    post = Post(since(sample.well(), 60, "unavailable"))
    post.frame(upstream=True)
    post.wait(UPSTREAM_PATIENCE_S + 60)
    assert post.frame(upstream=False) == []
    since(post.world, 0)
    assert (STANDBY, "ill") in post.frame(upstream=False)


def test_a_primary_that_was_just_promoted_is_given_time():
    """The other standby lost its stream with the old primary; the new one is neither suspected nor is it ill for that."""
    world = since(sample.well(), 60, "unavailable")
    post = Post(world)
    post.frame(upstream=True)
    post.wait(UPSTREAM_PATIENCE_S + 1)
    promoted = Input(OTHER, "promoted", {"sender": 8})
    world.put(decide(world, [promoted], post.clock.now_ms()).after[OTHER])
    world.get(sample.SERVICE).data["primary"] = OTHER
    assert post.frame(upstream=False) == []


def moving(state: str, leads: int) -> World:
    """A failover is in this state, the first standby is uncertain, and `leads` is the primary."""
    world = since(sample.well(), 60)
    sample.put(world, 80, "failover", state, **sample.playbook_facts(candidate=STANDBY))
    sample.change(world, sample.SERVICE, state="unavailable",
                  data=world.get(sample.SERVICE).data | {"playbook": 80, "primary": leads})  # fmt: skip
    role = "primary" if leads == STANDBY else "standby"
    sample.change(world, STANDBY, state="uncertain", data=world.get(STANDBY).data | {"role": role})
    return world


def test_a_new_primary_that_waits_for_its_followers_is_well_and_its_service_is_not_yet():
    """Found by seed 822623: it was silent for a moment, stayed uncertain, and nobody is rebuilt from such a one: for ever."""
    post = Post(moving("repointing", leads=STANDBY))
    assert post.frame(role=Role.PRIMARY) == [(STANDBY, "well")]
    decision = decide(post.world, post.told, post.clock.now_ms())
    assert decision.after[STANDBY].state == "available"
    assert decision.after[sample.SERVICE].state == "unavailable", "no voter follows: commits wait"


def test_an_old_primary_may_answer_as_it_likes_until_another_one_leads():
    assert Post(moving("promoting", leads=STANDBY)).frame(role=Role.PRIMARY) == []


def test_without_a_playbook_a_primary_that_answers_again_ends_it():
    world = moving("repointing", leads=STANDBY)
    sample.change(world, sample.SERVICE, data=world.get(sample.SERVICE).data | {"playbook": 0})
    post = Post(world)
    assert post.frame(role=Role.PRIMARY) == [(STANDBY, "well")]
    assert decide(world, post.told, post.clock.now_ms()).after[sample.SERVICE].state == "available"


def standing(state: str) -> tuple[World, int]:
    """The first standby's server is in this state; its machine id."""
    world = since(sample.well(), 60)
    server = world.named("server", "srv-6")
    assert server is not None
    sample.change(world, server.id, state=state)
    return world, server.id


def test_a_reboot_that_is_called_off_leaves_a_server_whose_silence_is_told():
    """Found by seed 600017: it was let be as one that was being rebooted, and was not looked at again (also not by a successor)."""
    world, server = standing("upgrading")
    post = Post(world)
    post.wait(20)
    assert post.look() == [], "it is being rebooted"
    sample.change(world, server, state="available")
    post.wait(1)
    assert (server, "silent") in post.look()


def test_a_server_whose_last_pulse_is_committed_after_it_fell_silent_is_told():
    """Found by seed 800390: the store was down while its host died, and came back with what had been heard before."""
    world, server = standing("uncertain")
    post = Post(world)
    post.wait(20)
    assert post.look() == []
    sample.change(world, server, state="available")
    post.wait(KNOWN_AGAIN_S + 0.1)
    assert (server, "silent") in post.look()


@pytest.mark.parametrize("state", ["uncertain", "unavailable"])
def test_a_life_that_the_log_has_counted_out_is_not_heard(state: str):
    """Found by seed 847646: a boot waited for an earlier life and gave up; heard after that it looked well, and refused every job."""
    world, server = standing(state)
    sample.change(world, server, data=world.get(server).data | {"incarnation": 3, "directory": "/srv"})
    post = Post(world)
    assert post.frame() == []
    assert post.board.servers["srv-6"].incarnation == 3
    sample.change(world, server, data=world.get(server).data | {"incarnation": 1})
    post.board.expect("srv-6", 1, post.clock.monotonic())
    assert (server, "heard") in post.frame(upstream=True)


def test_a_successor_expects_a_server_that_is_being_rebooted():
    world, _ = standing("upgrading")
    post = Post(world, expected=False)
    post.look()
    assert "srv-6" in post.board.servers
