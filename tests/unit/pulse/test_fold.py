"""Relays' frames on the board: what is taken, what is refused and counted, and that arrays say what single frames say."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herder.ports.driver import Position, Reading, Role
from herder.ports.wire import FRAME_VERSION, MemberPulse, Pulse
from herder.pulse.board import LOOK_AGAIN_S, Board
from herder.pulse.detector import Limits, Rhythm, after_many, first_rhythm, patience_many
from herder.pulse.fleet_frame import (
    ALIVE,
    ARCHIVING_STALLED,
    POSITION,
    PRIMARY,
    STANDBY,
    UPSTREAM,
    UPSTREAM_KNOWN,
    Header,
    encode_bitmap,
    encode_rows,
    rows,
)
from herder.pulse.fold import Folded

LIMITS = Limits(1.5, 8.0)
RELAY = 1
WELL = ALIVE | STANDBY | UPSTREAM | UPSTREAM_KNOWN | POSITION
LEADS = ALIVE | PRIMARY | POSITION
MEMBER = 1000
"""Server n carries member 1000 + n."""


class Rack:
    """A board with servers 1 to n, and their relay, on server 1."""

    def __init__(self, count: int = 6, *, assigned: bool = False) -> None:
        self.board = Board(1.0, LIMITS)
        self.ids = np.arange(1, count + 1, dtype=np.uint32)
        members = self.ids + MEMBER if assigned else None
        self.board.expect_many(self.ids, None, np.ones(count, np.uint32), 100.0, members)
        self.seq = 0
        self.now = 100.0

    def send(
        self, *, relay: int = RELAY, epoch: int = 1, relay_life: int = 1, frame: int = 0, now: float = 0.0, **told: Any
    ) -> Folded:
        """A frame of all servers a second later; told: columns that differ."""
        self.seq += 1
        self.now = now or self.now + 1.0
        columns: dict[str, Any] = {
            "server": self.ids, "incarnation": 1, "life": 1, "seq": self.seq, "timeline": 1, "lsn": self.seq * 100,
            "flags": WELL,
        } | told  # fmt: skip
        columns.setdefault("member", np.asarray(columns["server"]) + MEMBER)
        header = Header(relay, epoch, relay_life, frame or self.seq)
        folded = self.board.fold_frame(encode_rows(rows(header, **columns)), self.now)
        assert folded is not None
        return folded

    def bitmap(self, *servers: int) -> Folded:
        self.seq += 1
        self.now += 1.0
        data = encode_bitmap(Header(RELAY, 1, 1, self.seq), np.array(servers))
        folded = self.board.fold_frame(data, self.now)
        assert folded is not None
        return folded

    def silence(self) -> list[float]:
        return [self.board.silent_for(f"server-{ident}", self.now) for ident in self.ids.tolist()]

    def reading(self, server: int) -> Reading | None:
        return self.board.reading(f"server-{server}", f"member-{server + MEMBER}")


def test_everybody_in_a_frame_is_heard():
    rack = Rack()
    folded = rack.send()
    assert (folded.server_ids == rack.ids).all()
    assert (folded.member_ids == rack.ids + MEMBER).all()
    assert rack.silence() == [0.0] * 6
    assert rack.reading(3) == Reading(alive=True, role=Role.STANDBY, position=Position(1, 100), upstream=True)
    assert rack.board.refused == {}


def test_the_same_members_again_and_again():
    rack = Rack()
    for _ in range(5):
        rack.send()
    track = rack.board.servers["server-4"]
    assert (track.frames, track.seq, track.machine) == (5, 5, 4)
    assert rack.board.member("server-4", "member-1004").bytes_per_s == pytest.approx(100.0)  # type: ignore[union-attr]
    assert rack.board.refused == {}


@pytest.mark.parametrize(
    ("told", "reason", "rows_refused"),
    [
        ({"server": [1, 2, 99, 4, 5, 6]}, "unknown_server", 1),
        ({"server": [1, 2, 2**32 - 1, 0, 5, 6]}, "unknown_server", 2),
        ({"incarnation": [1, 0, 1, 1, 1, 1]}, "older_incarnation", 1),
        ({"incarnation": [1, 2, 2, 1, 1, 1]}, "future_incarnation", 2),
        ({"member": [1001, 1002, 1002, 1004, 1005, 1006]}, "not_its_member", 1),
        ({"member": [1001, 0, 1003, 1004, 1005, 1006]}, "not_its_member", 1),
        ({"seq": [3, 3, 2, 3, 3, 1]}, "out_of_order", 2),
        ({"epoch": 0}, "older_epoch", 6),
        ({"epoch": 2}, "future_epoch", 6),
        ({"relay": 77}, "unknown_relay", 6),
        ({"frame": 2}, "out_of_order", 6),
        ({"frame": 1}, "out_of_order", 6),
    ],
)
@pytest.mark.parametrize("assigned", [False, True])
def test_what_is_not_the_next_of_its_sender_is_refused_row_by_row(
    told: dict[str, Any], reason: str, rows_refused: int, assigned: bool
):
    rack = Rack(assigned=assigned)
    rack.send()
    rack.send()
    folded = rack.send(**told)
    assert rack.board.refused == {reason: rows_refused}
    assert folded.refused == rows_refused
    assert sum(silence == 0 for silence in rack.silence()) == 6 - rows_refused
    rack.send()
    assert rack.silence() == [0.0] * 6, "the next good frame is taken"


def test_a_sequence_far_ahead_is_fine():
    rack = Rack()
    rack.send()
    rack.send(seq=2**32 - 1, frame=4_000_000)
    assert rack.board.refused == {}
    assert rack.board.lost_frames == 4_000_000 - 2


def test_another_members_row_cannot_steal_a_member():
    rack = Rack(assigned=True)
    rack.send()
    folded = rack.send(member=[1001, 1002, 1003, 1005, 1004, 1006])
    assert rack.board.refused == {"not_its_member": 2}
    assert folded.strangers is not None
    assert folded.strangers.tolist() == [[4, 1005], [5, 1004]]


def test_the_log_may_move_a_member():
    rack = Rack(assigned=True)
    rack.send()
    rack.board.assign(4, 2000)
    rack.send()
    assert rack.board.refused == {"not_its_member": 1}
    rack.send(member=[1001, 1002, 1003, 2000, 1005, 1006])
    assert rack.board.refused == {"not_its_member": 1}
    assert rack.board.member("server-4", "orders-1", 2000) is not None
    rack.board.assign(5, 2000)
    rack.send(server=[5], member=[2000])
    assert rack.board.member("server-5", "member-2000") is not None
    assert rack.board.member("server-4", "member-2000") is None


def test_a_member_that_stands_twice_is_taken_as_told_last():
    rack = Rack()
    told = {"server": [1, 2, 2, 3], "member": [1001, 1002, 1002, 1003], "seq": [5, 9, 7, 5], "lsn": [1, 90, 70, 1]}
    for _ in range(2):
        rack.board.refused.clear()
        folded = rack.send(**told)
        told["seq"] = [6, 19, 17, 6]
        assert rack.board.refused == {"doubled": 1}
        assert folded.server_ids.tolist() == [1, 3, 2] or sorted(folded.server_ids.tolist()) == [1, 2, 3]
        assert rack.reading(2).position == Position(1, 90)  # type: ignore[union-attr]


def test_a_server_of_several_members_beats_once_a_frame():
    rack = Rack()
    for _ in range(3):
        rack.send(server=[1, 2, 2, 2, 3], member=[1, 2, 3, 4, 5])
    assert rack.board.servers["server-2"].frames == 3
    assert rack.board.refused == {}
    assert rack.board.member("server-2", "member-4") is not None


def test_an_agent_that_starts_again_counts_anew():
    rack = Rack()
    for _ in range(5):
        rack.send()
    before = rack.board.servers["server-2"].rhythm
    rack.send(life=[1, 2, 1, 1, 1, 1], seq=[9, 1, 9, 9, 9, 9], now=rack.now + 3)
    assert rack.board.refused == {}
    assert rack.board.servers["server-2"].rhythm == before, "a restart is not its rhythm"
    assert rack.board.servers["server-3"].rhythm != before


def test_a_new_incarnation_is_another_server():
    rack = Rack()
    rack.send()
    rack.board.expect("server-2", 2, 110.0, machine=2)
    rack.send()
    assert rack.board.refused == {"older_incarnation": 1}
    rack.send(incarnation=[1, 2, 1, 1, 1, 1])
    assert rack.board.servers["server-2"].frames == 1


def test_a_relay_that_starts_again_counts_anew():
    rack = Rack()
    rack.send()
    rack.send()
    rack.send(relay_life=2, frame=1)
    assert rack.board.refused == {}


def test_a_relay_tells_of_its_own_rack_only():
    rack = Rack()
    rack.board.bind_relay(np.array([3, 4, 99], np.uint32), 2)
    rack.send()
    assert rack.board.refused == {"not_its_server": 2}
    rack.send(relay=2, server=[3, 4])
    assert rack.board.refused == {"not_its_server": 2}


def test_two_relays_may_take_turns():
    rack = Rack()
    for turn in range(8):
        rack.send(relay=1 + turn % 2, flags=WELL if turn % 4 else LEADS)
    assert rack.reading(2).role is Role.STANDBY  # type: ignore[union-attr]
    assert rack.board.refused == {}


def test_a_bitmap_tells_of_those_who_were_told_of_whole():
    rack = Rack()
    rack.bitmap(1, 2)
    assert rack.board.refused == {"not_told_whole": 2}
    rack.send(server=[1, 2, 3])
    folded = rack.bitmap(1, 3, 4, 99)
    assert rack.board.refused == {"not_told_whole": 3, "unknown_server": 1}
    assert folded.server_ids.tolist() == [1, 3]
    assert folded.member_ids.tolist() == [1001, 1003]
    assert rack.board.silent_for("server-3", rack.now) == 0
    assert rack.board.silent_for("server-2", rack.now) == 1
    assert rack.board.member("server-3", "member-1003").heard_at == rack.now  # type: ignore[union-attr]
    rack.board.expect("server-3", 2, rack.now, machine=3)
    rack.bitmap(3)
    assert rack.board.refused["not_told_whole"] == 4, "of its new incarnation nothing was told"


def test_it_is_remembered_since_when_an_engine_is_deaf_and_its_stream_lost():
    rack = Rack(1)
    cut, dead = ALIVE | STANDBY | UPSTREAM_KNOWN, STANDBY | UPSTREAM_KNOWN
    for flags in (WELL, cut, dead, dead):
        rack.send(flags=flags)
    track = rack.board.member("server-1", "member-1001")
    assert track is not None
    assert (track.heard_at, track.alive_at, track.upstream_at) == (104.0, 102.0, 101.0)
    rack.send(flags=WELL)
    track = rack.board.member("server-1", "member-1001")
    assert track is not None
    assert (track.alive_at, track.upstream_at) == (105.0, 105.0)


def test_a_member_that_was_never_heard_well_counts_from_when_it_was_heard():
    rack = Rack(1)
    rack.send(flags=UPSTREAM_KNOWN, now=150.0)
    track = rack.board.member("server-1", "member-1001")
    assert track is not None
    assert (track.alive_at, track.upstream_at, track.bytes_per_s) == (150.0, 150.0, 0.0)


def test_archiving_that_stalls_and_goes_on_is_told_once():
    rack = Rack(3)
    assert rack.send().resumed is None, "heard first"
    stalled = rack.send(flags=[WELL, WELL | ARCHIVING_STALLED, WELL])
    assert stalled.stalled is not None
    assert stalled.stalled.tolist() == [1002]
    assert rack.send(flags=[WELL, WELL | ARCHIVING_STALLED, WELL]).stalled is None
    resumed = rack.send()
    assert resumed.resumed is not None
    assert resumed.resumed.tolist() == [1002]


def test_our_own_absence_is_not_their_silence():
    rack = Rack()
    rack.send()
    rack.board.hold(30.0)
    assert not len(rack.board.silent(rack.now + 31))
    assert rack.board.member("server-2", "member-1002").heard_at == rack.now + 30  # type: ignore[union-attr]


def test_the_scan_finds_who_is_silent_and_finds_them_again():
    rack = Rack()
    assert not len(rack.board.silent(101.5))
    assert len(rack.board.silent(101.6)) == 6
    rack.send()
    rack.send(server=[1, 2, 4, 5, 6])
    now = rack.now + 1.0
    silent = rack.board.silent(now)
    assert rack.board.of_servers.machine[silent].tolist() == [3]
    rack.board.look_again(silent, now)
    assert not len(rack.board.silent(now + LOOK_AGAIN_S - 0.01))
    assert len(rack.board.silent(now + LOOK_AGAIN_S + 0.01)) == 1
    rack.send()
    assert not len(rack.board.silent(rack.now + 1.0))


def test_a_server_that_is_gone_is_forgotten_and_its_slot_used_again():
    rack = Rack()
    rack.send()
    rack.board.forget("server-3")
    rack.send()
    assert rack.board.refused == {"unknown_server": 1}
    assert not (rack.board.of_servers.machine[rack.board.silent(1e9)] == 3).any()
    rack.board.expect("srv-77", 1, rack.now, machine=77)
    assert rack.board.of_servers.count == 6
    rack.send(server=[77], member=[1003])
    assert rack.board.member("srv-77", "member-1003") is not None
    assert [*rack.board.servers] == ["server-1", "server-2", "srv-77", "server-4", "server-5", "server-6"]


def test_bytes_that_are_no_frame_are_counted():
    rack = Rack()
    assert rack.board.fold_frame(b"", 101.0) is None
    assert rack.board.fold_frame(b"HF" + bytes(90), 101.0) is None
    assert rack.board.refused == {"frame_empty": 1, "frame_garbage": 1}


def test_an_agents_own_word_and_its_relays_are_put_together():
    rack = Rack(2)
    reading = Reading(alive=True, role=Role.STANDBY, pid=44, position=Position(1, 5))
    member = MemberPulse(member="orders-0", service="orders", term=3, reading=reading)
    pulse = Pulse(
        version=FRAME_VERSION, server="server-2", incarnation=1, agent_pid=70, life="a", seq=1, sent_ms=0, paused_ms=0,
        rss_kb=1, disk_free=9, members=(member,),
    )  # fmt: skip
    assert rack.board.fold(pulse, 100.5)
    assert rack.board.reading("server-2", "orders-0", 1002) == reading
    rack.send(flags=LEADS)
    track = rack.board.member("server-2", "orders-0", 1002)
    assert track is not None
    assert (track.pulse.term, track.pulse.reading.pid, track.pulse.reading.role) == (3, 44, Role.PRIMARY)
    assert track.pulse.reading.position == Position(1, 100)


def test_a_relay_tells_since_when_a_stream_is_lost_only_of_one_that_it_told_of_with_it():
    rack = Rack(2)
    streamed = lambda: rack.board.member("server-2", "orders-0", 1002).streamed_at  # noqa: E731
    rack.send(flags=ALIVE | UPSTREAM_KNOWN)
    assert streamed() == -np.inf
    rack.send(flags=ALIVE | UPSTREAM_KNOWN | UPSTREAM)
    assert streamed() == rack.now
    had_it = rack.now
    rack.send(flags=ALIVE | UPSTREAM_KNOWN)
    rack.send(flags=ALIVE | UPSTREAM_KNOWN)
    assert streamed() == had_it


# the arrays say what the single ones say

FLOATS = st.floats(0, 30, allow_subnormal=False)
BEATS = st.lists(
    st.lists(st.tuples(st.booleans(), st.floats(0.01, 20)), min_size=4, max_size=4), min_size=1, max_size=12
)


@given(st.lists(st.tuples(st.floats(0.1, 9), st.floats(0, 5), FLOATS), min_size=1, max_size=40), st.floats(0.1, 4))
def test_the_rhythm_of_many_is_the_rhythm_of_each(states: list[tuple[float, float, float]], nominal_s: float):
    interval, deviation, gap = (np.array(column) for column in zip(*states, strict=True))
    intervals, deviations = after_many(interval, deviation, gap, nominal_s)
    patiences = patience_many(intervals, deviations, LIMITS)
    for row, (before, spread, waited) in enumerate(states):
        single = Rhythm(before, spread, nominal_s).after(waited)
        assert (single.interval_s, single.deviation_s) == (intervals[row], deviations[row])
        assert single.patience_s(LIMITS) == patiences[row]


@settings(max_examples=40)
@given(BEATS)
def test_the_board_of_frames_is_the_board_of_pulses(beats: list[list[tuple[bool, float]]]):
    """Four servers, each heard or not at each beat, by relay and by their own agents: the same rhythm to the last bit."""
    rack, single = Rack(4), Board(1.0, LIMITS)
    for ident in rack.ids.tolist():
        single.expect(f"server-{ident}", 1, 100.0, machine=ident)
    now = 100.0
    for seq, beat in enumerate(beats, 1):
        now += beat[0][1]
        heard = [ident for ident, (told, _) in enumerate(beat, 1) if told]
        for ident in heard:
            pulse = Pulse(
                version=FRAME_VERSION, server=f"server-{ident}", incarnation=1, agent_pid=1, life="a", seq=seq,
                sent_ms=0, paused_ms=0, rss_kb=1, disk_free=1,
            )  # fmt: skip
            assert single.fold(pulse, now)
        if heard:
            rack.send(server=heard, now=now)
    for name, track in single.servers.items():
        other = rack.board.servers[name]
        assert (track.rhythm, track.heard_at, track.frames) == (other.rhythm, other.heard_at, other.frames)
    for later in (0.5, 1.4, 2.0, 5.0, 9.0):
        assert single.silent(now + later).tolist() == rack.board.silent(now + later).tolist()


@settings(max_examples=60)
@given(st.data())
def test_frames_in_any_order_with_any_rows_never_break_the_board(data: st.DataObject):
    rack = Rack(5)
    for _ in range(data.draw(st.integers(1, 6))):
        count = data.draw(st.integers(1, 6))
        few, some = st.integers(0, 7), st.integers(0, 3)
        columns = {
            "server": data.draw(st.lists(few, min_size=count, max_size=count)),
            "member": data.draw(st.lists(few, min_size=count, max_size=count)),
            "incarnation": data.draw(st.lists(some, min_size=count, max_size=count)),
            "life": data.draw(st.lists(some, min_size=count, max_size=count)),
            "seq": data.draw(st.lists(few, min_size=count, max_size=count)),
            "flags": data.draw(st.lists(st.integers(0, 255), min_size=count, max_size=count)),
        }
        before = rack.board.refused.total()
        folded = rack.send(frame=data.draw(few), relay=data.draw(st.integers(0, 3)), **columns)
        assert folded.refused == rack.board.refused.total() - before
        homes = rack.board.of_members.home[folded.members]
        assert set(homes.tolist()) <= set(folded.server_ids.tolist())
    assert rack.board.servers["server-1"].rhythm.nominal_s == first_rhythm(1.0).nominal_s


@settings(max_examples=60)
@given(st.data())
def test_frames_that_come_together_are_as_those_that_come_one_by_one(data: st.DataObject):
    """Blocks of servers in any order, some late, some doubled, some of strangers: the same board, the same refusals."""
    together, single = Rack(12).board, Rack(12).board
    blocks = [[1, 2, 3], [4, 5, 6], [9, 8, 7], [10, 11], [2, 3, 4], [12, 99]]
    seq = 0
    for beat in range(data.draw(st.integers(1, 5))):
        frames = []
        for which in data.draw(st.lists(st.sampled_from(range(len(blocks))), min_size=1, max_size=7)):
            seq += 1
            at = seq - data.draw(st.sampled_from([0, 0, 0, 3]))
            header = Header(RELAY, 1, 1, max(seq - data.draw(st.sampled_from([0, 0, 0, 2])), 1))
            servers = np.array(blocks[which])
            told = rows(
                header,
                server=servers,
                incarnation=1,
                life=1,
                member=servers + MEMBER,
                seq=max(at, 1),
                flags=WELL,
                lsn=seq,
            )
            frames.append(data.draw(st.sampled_from([encode_rows(told)] * 6 + [b"", encode_bitmap(header, servers)])))
        folded = together.fold_frames(frames, 101.0 + beat)
        one = [single.fold_frame(each, 101.0 + beat) for each in frames]
        assert sum(each.refused for each in folded) == sum(each.refused for each in one if each is not None)
        heard, heard_one = Counter[int](), Counter[int]()
        for each in folded:
            heard.update(each.server_ids.tolist())
        for alone in one:
            heard_one.update(alone.server_ids.tolist() if alone is not None else ())
        assert heard == heard_one
    assert together.refused == single.refused
    assert dict(together.servers) == dict(single.servers)
    for field in ("heard_at", "lsn", "lsn_before", "flags", "timeline"):
        assert (getattr(together.of_members, field) == getattr(single.of_members, field)).all(), field
