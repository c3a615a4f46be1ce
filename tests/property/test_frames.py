"""Frames: whatever they hold comes out as it went in, a newer peer's fields pass unread, and no frame breaks the board."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from herder.ports.driver import MemberSpec, Position, Reading, Role, SyncSet
from herder.ports.wire import FRAME_VERSION, Job, JobReply, JobStatus, MemberPulse, Pulse
from herder.pulse import fleet_frame
from herder.pulse.board import Board
from herder.pulse.detector import Limits
from herder.wire.frame import decode_job, decode_pulse, decode_reply, encode
from tests.property.effort import EFFORT, PLENTY
from tests.property.outside import JOB, PULSE, REPLY

WORDS = st.text(max_size=12)
WHOLE = st.integers(-(2**63), 2**64 - 1)
"""What msgpack carries."""

AGES = st.none() | st.floats(allow_nan=False)
PLAIN: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | WHOLE | WORDS | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)
POSITIONS = st.builds(Position, timeline=WHOLE, lsn=WHOLE, history=WORDS)
SYNC_SETS = st.builds(SyncSet, k=WHOLE, members=st.lists(WORDS, max_size=3).map(tuple))
READINGS = st.builds(
    Reading, alive=st.booleans(), role=st.sampled_from(Role), position=st.none() | POSITIONS, received=st.none() | WHOLE,
    upstream=st.none() | st.booleans(), upstream_age_s=AGES, streaming=st.dictionaries(WORDS, WHOLE, max_size=3),
    sync=st.none() | SYNC_SETS, system_id=WORDS, pid=WHOLE, detail=WORDS,
    overrides=st.none() | st.lists(WORDS, max_size=2).map(tuple),
)  # fmt: skip
SERVERS = st.sampled_from(["server-3", "s1", "server-99", "server-٣", ""])
MEMBERS = st.builds(
    MemberPulse, member=st.sampled_from(["member-4", "m1", ""]), service=WORDS, term=WHOLE, reading=READINGS,
    exited=st.booleans(), exit_line=WORDS, busy=WORDS,
)  # fmt: skip
PULSES = st.builds(
    Pulse, version=st.just(FRAME_VERSION), server=SERVERS, incarnation=st.sampled_from([1, 1, 2, -1, 2**63]),
    agent_pid=WHOLE, life=st.sampled_from(["a", "b", ""]), seq=st.integers(-3, 9) | WHOLE, sent_ms=WHOLE, paused_ms=WHOLE,
    rss_kb=WHOLE, disk_free=WHOLE, members=st.lists(MEMBERS, max_size=3).map(tuple),
)  # fmt: skip
SPECS = st.builds(
    MemberSpec, service=WORDS, member=WORDS, slot=WHOLE, engine=WORDS, major=WHOLE, address=WORDS, port=WHOLE,
    data_dir=WORDS, memory_mb=WHOLE, database=WORDS, user=WORDS, password=WORDS, admin_password=WORDS,
    replication_password=WORDS, peers=st.lists(WORDS, max_size=2).map(tuple),
)  # fmt: skip
JOBS = st.builds(
    Job, intent=WORDS, name=WORDS, server=WORDS, incarnation=WHOLE, member=WORDS, term=WHOLE, order=WHOLE,
    spec=st.none() | SPECS, args=st.dictionaries(WORDS, PLAIN, max_size=3), wait_s=st.floats(allow_nan=False),
)  # fmt: skip
REPLIES = st.builds(
    JobReply,
    intent=WORDS,
    status=st.sampled_from(JobStatus),
    result=PLAIN,
    error=WORDS,
    hint=WORDS,
    term=WHOLE,
    code=WORDS,
)


@PLENTY
@given(PULSES)
def test_a_pulse_comes_out_as_it_went_in(pulse: Pulse):
    assert decode_pulse(encode(pulse)) == pulse


@PLENTY
@given(JOBS)
def test_a_job_comes_out_as_it_went_in(job: Job):
    assert decode_job(encode(job)) == job


@PLENTY
@given(REPLIES)
def test_a_reply_comes_out_as_it_went_in(reply: JobReply):
    assert decode_reply(encode(reply)) == reply


def with_more(frame: Pulse | Job | JobReply, more: Any) -> bytes:
    """The frame as the next version of herder could send it: the same, and a field at the end that nobody knows here."""
    plain = msgspec.msgpack.decode(encode(frame)[1:])
    later = [*plain, more] if isinstance(plain, list) else plain | {"of_a_later_version": more}
    return bytes((FRAME_VERSION,)) + msgspec.msgpack.encode(later)


@EFFORT
@given(PLAIN)
def test_fields_that_a_newer_peer_added_are_left_unread(more: Any):
    """Agents and controllers one version apart work together."""
    assert decode_pulse(with_more(PULSE, more)) == PULSE
    assert decode_job(with_more(JOB, more)) == JOB
    assert decode_reply(with_more(REPLY, more)) == REPLY


def test_fields_that_an_older_peer_does_not_know_have_their_defaults():
    plain = msgspec.msgpack.decode(encode(REPLY)[1:])
    older = {name: plain[name] for name in ("intent", "status")}
    assert decode_reply(bytes((FRAME_VERSION,)) + msgspec.msgpack.encode(older)) == JobReply(
        intent=REPLY.intent, status=REPLY.status
    )


def board() -> Board:
    made = Board(1.0, Limits(1.5, 8.0))
    made.expect("server-3", 1, 100.0, machine=3, member=4)
    made.expect("s1", 1, 100.0, machine=5)
    return made


COUNTLESS = msgspec.structs.replace(PULSE, incarnation=1, seq=-1)


@EFFORT
@given(st.lists(st.tuples(PULSES, st.floats(0, 5)), max_size=8))
@example([(COUNTLESS, 1.0)])
def test_no_pulse_breaks_the_board_and_each_is_taken_or_counted(story: list[tuple[Pulse, float]]):
    """An agent that was taken over may send whatever it likes: it speaks for its own server only, and in order."""
    seen, now, taken = board(), 100.0, 0
    for pulse, pause_s in story:
        now += pause_s
        before = {name: (track.heard_at, track.frames) for name, track in seen.servers.items()}
        if seen.fold(pulse, now):
            taken += 1
            assert pulse.incarnation == 1
            assert seen.servers[pulse.server].heard_at == now
            before.pop(pulse.server)
        after = {name: (track.heard_at, track.frames) for name, track in seen.servers.items()}
        assert before.items() <= after.items(), "a frame moved a server that did not send it"
        for each in pulse.members:
            seen.member(pulse.server, each.member, 4)
        seen.silent(now)
    assert taken + seen.refused.total() == len(story)


@PLENTY
@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 4)), max_size=20))
def test_within_one_life_of_an_agent_only_later_frames_are_taken(story: list[tuple[str, int]]):
    seen, life, last = board(), "", -1
    for at, (of, seq) in enumerate(story):
        taken = seen.fold(msgspec.structs.replace(PULSE, incarnation=1, life=of, seq=seq), 101.0 + at)
        assert taken is (of != life or seq > last)
        if taken:
            life, last = of, seq


U4 = st.integers(0, 2**32 - 1)


@PLENTY
@given(st.data(), st.integers(1, 5))
def test_rows_of_any_numbers_come_out_as_they_went_in(data: st.DataObject, count: int):
    def column(least: int, most: int) -> np.ndarray[Any, Any]:
        return np.array(data.draw(st.lists(st.integers(least, most), min_size=count, max_size=count)), np.uint64)

    columns = {name: column(0, 2**32 - 1) for name in ("server", "incarnation", "life", "member", "seq", "timeline")}
    columns |= {"lsn": column(0, 2**64 - 1), "flags": column(0, 255)}
    head = fleet_frame.Header(*(data.draw(U4) for _ in range(4)), data.draw(st.integers(0, 2**64 - 1)))
    read = fleet_frame.decode(fleet_frame.encode_rows(fleet_frame.rows(head, **columns)))
    assert isinstance(read, fleet_frame.Rows)
    assert read.header == head
    assert all((getattr(read, name) == values).all() for name, values in columns.items())


def test_a_rows_flags_say_what_the_reading_said():
    """Every flag for itself: of a reading that is told by flags, no answer turns into another."""
    for flags in range(256):
        upstream = bool(flags & fleet_frame.UPSTREAM) if flags & fleet_frame.UPSTREAM_KNOWN else None
        reading = Reading(
            alive=bool(flags & fleet_frame.ALIVE), role=fleet_frame.role_of(flags), upstream=upstream,
            position=Position(1, 2) if flags & fleet_frame.POSITION else None,
        )  # fmt: skip
        exited, stalled = bool(flags & fleet_frame.EXITED), bool(flags & fleet_frame.ARCHIVING_STALLED)
        again = fleet_frame.flags_of(reading, exited=exited, stalled=stalled)
        assert not again & ~flags
        lost = flags & ~again & ~(fleet_frame.STANDBY | fleet_frame.UPSTREAM)
        assert not lost, "only what a second role or an unknown stream says is dropped"
