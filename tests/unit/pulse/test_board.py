"""The board: what it takes in, what it refuses, and whose silence it counts."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from herder.ports.driver import Reading, Role
from herder.ports.wire import FRAME_VERSION, MemberPulse, Pulse
from herder.pulse.board import Board
from herder.pulse.detector import Limits

LIMITS = Limits(1.5, 8.0)


def frame(seq: int, **changes: Any) -> Pulse:
    plain = Pulse(
        version=FRAME_VERSION, server="srv-5", incarnation=1, agent_pid=70, life="a", seq=seq, sent_ms=0, paused_ms=0,
        rss_kb=4000, disk_free=9,
    )  # fmt: skip
    return msgspec.structs.replace(plain, **changes)


def member(**reading: Any) -> tuple[MemberPulse, ...]:
    told = {"alive": True, "role": Role.STANDBY, "upstream": True} | reading
    return (MemberPulse(member="orders-0", service="orders", term=1, reading=Reading(**told)),)


@pytest.fixture
def board() -> Board:
    made = Board(1.0, LIMITS)
    made.expect("srv-5", 1, 100.0)
    return made


def beat(board: Board, count: int, begin: float = 100.0) -> float:
    for seq in range(1, count + 1):
        assert board.fold(frame(seq), begin + seq)
    return begin + count


def test_silence_counts_from_the_moment_it_is_expected(board: Board):
    assert board.silent_for("srv-5", 103.5) == pytest.approx(3.5)
    assert board.silent_for("never-made", 103.5) == 0.0


def test_a_frame_ends_the_silence_and_tells_of_the_agent(board: Board):
    assert board.fold(frame(1, members=member()), 101.0)
    track = board.servers["srv-5"]
    assert (track.frames, track.agent_pid, track.rss_kb, track.disk_free) == (1, 70, 4000, 9)
    assert board.silent_for("srv-5", 101.25) == pytest.approx(0.25)
    assert board.reading("srv-5", "orders-0") == member()[0].reading


@pytest.mark.parametrize(
    ("pulse", "reason"),
    [
        (frame(9, server="srv-6"), "unknown_server"),
        (frame(9, incarnation=2), "other_incarnation"),
        (frame(9, incarnation=0), "other_incarnation"),
        (frame(3), "out_of_order"),
        (frame(2), "out_of_order"),
    ],
    ids=["unknown", "future incarnation", "fenced incarnation", "doubled", "late"],
)
def test_a_frame_that_is_not_the_next_one_is_refused_and_counted(board: Board, pulse: Pulse, reason: str):
    now = beat(board, 3)
    assert not board.fold(pulse, now + 5)
    assert board.refused == {reason: 1}
    assert board.silent_for("srv-5", now + 5) == pytest.approx(5.0)


def test_an_agent_that_starts_again_counts_its_frames_anew(board: Board):
    now = beat(board, 5)
    before = board.servers["srv-5"].rhythm
    assert board.fold(frame(1, life="b", agent_pid=71), now + 4)
    assert board.servers["srv-5"].agent_pid == 71
    assert board.servers["srv-5"].rhythm == before, "a restart is not its rhythm"


def test_an_outage_is_not_a_rhythm(board: Board):
    now = beat(board, 20)
    assert board.fold(frame(21), now + 60)
    assert board.patience("srv-5") < 3.0


def test_patience_is_learnt_for_each_server(board: Board):
    board.expect("srv-6", 1, 100.0)
    now = 100.0
    for seq, gap in enumerate([0.7, 1.4, 0.6, 1.9, 0.8, 2.0] * 4, 1):
        now += gap
        board.fold(frame(seq), now)
    assert board.patience("srv-5") > board.patience("srv-6") == pytest.approx(1.5)
    assert board.patience("never-made") == pytest.approx(1.5)


def test_a_new_incarnation_is_another_server(board: Board):
    beat(board, 3)
    board.expect("srv-5", 2, 110.0)
    assert board.servers["srv-5"].frames == 0
    assert not board.fold(frame(4), 111.0)
    assert board.fold(frame(1, incarnation=2, life="b"), 111.0)


def test_what_is_expected_already_is_left_alone(board: Board):
    now = beat(board, 3)
    board.expect("srv-5", 1, now + 9)
    assert board.silent_for("srv-5", now + 9) == pytest.approx(9.0)


def test_a_server_that_is_gone_is_forgotten(board: Board):
    board.forget("srv-5")
    board.forget("srv-5")
    assert not board.fold(frame(1), 101.0)
    assert board.reading("srv-5", "orders-0") is None


def test_it_is_remembered_since_when_an_engine_is_deaf_and_its_stream_lost(board: Board):
    board.fold(frame(1, members=member()), 101.0)
    board.fold(frame(2, members=member(upstream=False)), 102.0)
    board.fold(frame(3, members=member(alive=False, upstream=None)), 103.0)
    board.fold(frame(4, members=member(alive=False, upstream=False)), 104.0)
    track = board.servers["srv-5"].members["orders-0"]
    assert (track.heard_at, track.alive_at) == (104.0, 102.0)


def test_our_own_absence_is_not_their_silence(board: Board):
    now = beat(board, 3)
    board.fold(frame(4, members=member()), now)
    board.hold(30.0)
    assert board.silent_for("srv-5", now + 30.5) == pytest.approx(0.5)
    track = board.servers["srv-5"].members["orders-0"]
    assert (track.heard_at, track.alive_at, track.upstream_at) == (now + 30, now + 30, now + 30)


def test_since_when_a_stream_is_lost_is_not_known_of_one_first_heard_without_it(board: Board):
    """A controller that has just taken over cannot say what such a standby lacks (S4)."""
    board.fold(frame(1, members=member(upstream=False)), 101.0)
    track = board.servers["srv-5"].members["orders-0"]
    assert (track.streamed_at, track.upstream_at) == (-math.inf, 101.0)


def test_a_standby_that_does_not_run_has_no_stream_however_often_its_agent_is_heard(board: Board):
    """Started again for an election, it lacks what was written since it stood still, not since it was started (S4)."""
    board.fold(frame(1, members=member(upstream=True)), 101.0)
    for seq in range(2, 80):
        board.fold(frame(seq, members=member(alive=False, upstream=None)), 100.0 + seq)
    board.fold(frame(80, members=member(upstream=False)), 180.0)
    track = board.servers["srv-5"].members["orders-0"]
    assert track.streamed_at == 101.0
    assert track.upstream_at == 179.0, "it is not to be judged for its stream before it had time to find it"
    board.fold(frame(81, members=member(upstream=True)), 181.0)
    assert board.servers["srv-5"].members["orders-0"].streamed_at == 181.0
