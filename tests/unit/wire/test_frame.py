"""The codec: what goes in comes out, and whatever arrives gives a frame or one FrameError."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herder.ports.driver import MemberSpec, Position, Reading, Role, SyncSet
from herder.ports.wire import FRAME_VERSION, Job, JobReply, JobStatus, MemberPulse, Pulse
from herder.wire.frame import (
    FRAME_MAX,
    FrameError,
    FrameFault,
    decode_job,
    decode_pulse,
    decode_reply,
    encode,
)

DECODERS: tuple[Callable[[bytes], object], ...] = (decode_pulse, decode_job, decode_reply)

READING = Reading(
    alive=True, role=Role.PRIMARY, position=Position(1, 2**60, "x"), streaming={"m2": 5}, sync=SyncSet(1, ("m2", "m3"))
)
PULSE = Pulse(
    version=FRAME_VERSION, server="s1", incarnation=2, agent_pid=7, life="ab", seq=3, sent_ms=4, paused_ms=0,
    rss_kb=5, disk_free=6, members=(MemberPulse(member="m1", service="orders", term=9, reading=READING),),
)  # fmt: skip
SPEC = MemberSpec(
    service="orders", member="m1", slot=0, engine="postgres", major=18, address="10.0.0.1", port=5432,
    data_dir="/d", memory_mb=256, database="o", user="u", password="p", admin_password="a", replication_password="r",
)  # fmt: skip
JOB = Job(
    intent="i",
    name="promote",
    server="s1",
    incarnation=2,
    member="m1",
    term=9,
    order=8,
    spec=SPEC,
    args={"sync": {"k": 1}},
)
REPLY = JobReply(intent="i", status=JobStatus.DONE, result={"lsn": 5}, term=9)


def test_what_goes_in_comes_out() -> None:
    assert decode_pulse(encode(PULSE)) == PULSE
    assert decode_job(encode(JOB)) == JOB
    assert decode_reply(encode(REPLY)) == REPLY


def test_the_first_byte_is_the_version() -> None:
    assert {encode(frame)[0] for frame in (PULSE, JOB, REPLY)} == {FRAME_VERSION}


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", FrameFault.EMPTY),
        (b"\x00\x90", FrameFault.GARBAGE),
        (bytes((FRAME_VERSION + 1,)) + b"\x90", FrameFault.NEWER),
        (b"\xff", FrameFault.NEWER),
        (b"\x01", FrameFault.GARBAGE),
        (b"\x01" + b"\x91" * 100_000, FrameFault.GARBAGE),
        (b"\x01\x81\xa1\xff\xc0", FrameFault.GARBAGE),
        (b"\x01" + b"\x00" * FRAME_MAX, FrameFault.TOO_LARGE),
    ],
)
def test_what_is_no_frame_says_why(decode: Callable[[bytes], object], data: bytes, fault: FrameFault) -> None:
    with pytest.raises(FrameError) as caught:
        decode(data)
    assert caught.value.fault is fault


def test_nested_garbage_in_a_free_field_does_not_crash() -> None:
    nested: Any = 1
    for _ in range(2000):
        nested = [nested]
    data = encode(REPLY)
    deep = data.replace(b"\xa6result\x81\xa3lsn\x05", b"\xa6result" + b"\x91" * 200_000 + b"\x05")
    assert deep != data
    with pytest.raises(FrameError):
        decode_reply(deep)


def test_what_is_too_large_is_not_sent() -> None:
    with pytest.raises(FrameError):
        encode(JobReply(intent="i", status=JobStatus.DONE, result="x" * FRAME_MAX))


def fault_of(decode: Callable[[bytes], object], data: bytes) -> FrameFault | None:
    try:
        decode(data)
    except FrameError as error:
        return error.fault
    return None


@given(st.binary(max_size=300), st.sampled_from(DECODERS))
def test_any_bytes_give_a_frame_or_a_frame_error(data: bytes, decode: Callable[[bytes], object]) -> None:
    assert fault_of(decode, b"\x01" + data) in (None, FrameFault.GARBAGE)


@given(st.integers(1, 10_000), st.integers(0, 255), st.sampled_from((PULSE, JOB, REPLY)))
def test_a_flipped_byte_gives_a_frame_or_a_frame_error(at: int, value: int, frame: Pulse | Job | JobReply) -> None:
    data = bytearray(encode(frame))
    data[1 + at % (len(data) - 1)] = value
    for decode in DECODERS:
        assert fault_of(decode, bytes(data)) in (None, FrameFault.GARBAGE)
