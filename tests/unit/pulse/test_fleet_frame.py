"""Relays' frames: what goes in comes out, and whatever arrives gives a frame or one FrameError."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from herder.ports.driver import Position, Reading, Role
from herder.pulse.fleet_frame import (
    ALIVE,
    BITMAP_MAX,
    EXITED,
    FRAME_MAX,
    HEADER,
    POSITION,
    PRIMARY,
    ROW_BYTES,
    ROWS_MAX,
    STANDBY,
    UPSTREAM,
    UPSTREAM_KNOWN,
    VERSION,
    Bitmap,
    FrameError,
    Header,
    Rows,
    decode,
    encode_bitmap,
    encode_rows,
    flags_of,
    role_of,
    rows,
)
from herder.wire.frame import relay_of

HEAD = Header(relay=7, epoch=2, life=9, seq=5, sent_ms=123)


def told(count: int = 3) -> Rows:
    servers = np.arange(1, count + 1)
    return rows(
        HEAD, server=servers, incarnation=4, life=servers + 50, member=servers + 100, seq=servers + 7, timeline=3,
        lsn=servers.astype(np.uint64) << np.uint64(33), flags=servers % 256,
    )  # fmt: skip


ROWS = encode_rows(told())
BITMAP = encode_bitmap(HEAD, np.array([900, 17, 18], np.uint32))


def fault_of(data: bytes) -> str:
    try:
        decode(data)
    except FrameError as error:
        return error.fault
    return ""


@pytest.mark.parametrize("count", [1, 2, 1000])
def test_rows_that_go_in_come_out(count: int):
    sent, read = told(count), decode(encode_rows(told(count)))
    assert isinstance(read, Rows)
    assert read.header == HEAD
    for column in ("server", "incarnation", "life", "member", "seq", "timeline", "lsn", "flags"):
        assert (getattr(read, column) == getattr(sent, column)).all(), column
    assert len(encode_rows(sent)) == HEADER.size + ROW_BYTES * count


@given(st.sets(st.integers(0, 100_000), min_size=1, max_size=50), st.integers(0, 2**32 - 100_001))
def test_a_bitmap_that_goes_in_comes_out(servers: set[int], base: int):
    ids = np.array([*servers], np.int64) + base
    read = decode(encode_bitmap(HEAD, ids))
    assert isinstance(read, Bitmap)
    assert (read.header, read.servers.tolist()) == (HEAD, sorted(ids.tolist()))


def test_the_wire_finds_the_relay_without_reading_the_rest():
    assert relay_of(ROWS) == relay_of(BITMAP) == 7
    assert relay_of(b"HF") == 0


def damaged(data: bytes, at: int, value: int) -> bytes:
    return data[:at] + bytes((value,)) + data[at + 1 :]


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "empty"),
        (ROWS[:39], "garbage"),
        (ROWS[:-1], "garbage"),
        (ROWS + b"x", "garbage"),
        (BITMAP[:-1], "garbage"),
        (BITMAP + b"x", "garbage"),
        (damaged(ROWS, 0, 0), "garbage"),
        (damaged(ROWS, 2, 0), "garbage"),
        (damaged(ROWS, 2, VERSION + 1), "newer"),
        (damaged(ROWS, 3, 3), "garbage"),
        (damaged(ROWS, 20, 4), "garbage"),
        (damaged(ROWS[: HEADER.size], 20, 0), "garbage"),
        (damaged(damaged(ROWS, 22, 255), 23, 255), "garbage"),
        (HEADER.pack(b"HF", 1, 2, 7, 2, 9, 5, 9, 0, 2**32 - 8, 0) + b"\xff\xff", "garbage"),
        (ROWS + bytes(FRAME_MAX), "too_large"),
    ],
)
def test_what_is_no_frame_says_why(data: bytes, fault: str):
    assert fault_of(data) == fault


def test_what_cannot_be_sent_is_refused():
    with pytest.raises(FrameError):
        encode_rows(told(0))
    with pytest.raises(FrameError):
        encode_rows(told(ROWS_MAX + 1))
    assert len(encode_rows(told(ROWS_MAX))) <= FRAME_MAX
    with pytest.raises(FrameError):
        encode_bitmap(HEAD, np.array([1, 1 + BITMAP_MAX]))
    with pytest.raises(FrameError):
        encode_bitmap(HEAD, np.array([], np.uint32))
    assert len(encode_bitmap(HEAD, np.array([1, BITMAP_MAX]))) <= FRAME_MAX


@given(st.binary(max_size=200), st.sampled_from([b"", b"HF\x01\x01", b"HF\x01\x02"]))
def test_any_bytes_give_a_frame_or_a_frame_error(data: bytes, before: bytes):
    assert fault_of(before + data) in ("", "garbage", "empty", "newer")


@given(st.integers(0, 10_000), st.integers(0, 255), st.sampled_from((ROWS, BITMAP)))
def test_a_flipped_byte_gives_a_frame_or_a_frame_error(at: int, value: int, frame: bytes):
    assert fault_of(damaged(frame, at % len(frame), value)) in ("", "garbage", "newer")


@given(st.integers(0, 200), st.sampled_from((ROWS, BITMAP)))
def test_a_torn_frame_is_no_frame(size: int, frame: bytes):
    if size < len(frame):
        assert fault_of(frame[:size]) in ("garbage", "empty")


def test_a_reading_as_flags():
    leads = Reading(alive=True, role=Role.PRIMARY, position=Position(1, 2))
    follows = Reading(alive=True, role=Role.STANDBY, upstream=True)
    assert flags_of(leads) == ALIVE | PRIMARY | POSITION
    assert flags_of(follows) == ALIVE | STANDBY | UPSTREAM | UPSTREAM_KNOWN
    assert flags_of(Reading(alive=False, upstream=False), exited=True) == UPSTREAM_KNOWN | EXITED
    assert [role_of(flags_of(each)) for each in (leads, follows, Reading(alive=True))] == [*Role]
