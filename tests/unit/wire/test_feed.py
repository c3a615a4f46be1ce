"""The feed's reading of the NATS protocol: however the bytes are cut, the same messages come out."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herder.wire.credentials import User
from herder.wire.feed import READ_BYTES, ROOM, _Reader
from herder.wire.frame import FRAME_MAX

INFO = b'INFO {"server_id":"x","max_payload":1048576}\r\n'


class Line:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.written = b""
        self.aborted = False

    def write(self, data: bytes) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True


def reader() -> tuple[_Reader, Line, list[tuple[str, bytes]]]:
    heard: list[tuple[str, bytes]] = []
    made = _Reader(
        User("jwt", ""), "herder.fleet.*", lambda subject, data: heard.append((subject, data)), asyncio.Event()
    )
    line = Line()
    made.connection_made(cast(Any, line))
    return made, line, heard


def feed(made: _Reader, data: bytes, parts: list[int]) -> None:
    for size in [*parts, len(data)]:
        left = size
        while left and data:
            room = made.get_buffer(-1)
            taken = min(left, len(room), len(data))
            room[:taken] = data[:taken]
            made.buffer_updated(taken)
            data, left = data[taken:], left - taken


def message(data: bytes, relay: int = 1) -> bytes:
    return b"MSG herder.fleet.%d 1 %d\r\n%s\r\n" % (relay, len(data), data)


@given(st.lists(st.binary(max_size=60), max_size=8), st.lists(st.integers(1, 50), max_size=40))
def test_however_the_bytes_are_cut(payloads: list[bytes], parts: list[int]):
    made, line, heard = reader()
    feed(made, INFO + b"PONG\r\nPING\r\n" + b"".join(map(message, payloads)) + b"PING\r\n", parts)
    assert heard == [("herder.fleet.1", data) for data in payloads]
    assert b"SUB herder.fleet.* 1\r\n" in line.written
    assert line.written.count(b"PONG\r\n") == 2
    assert made.stands.is_set()
    assert not made.error


@pytest.mark.parametrize("size", [READ_BYTES - 1, READ_BYTES, FRAME_MAX])
def test_large_frames_pass_one_after_the_other(size: int):
    made, _, heard = reader()
    sent = [bytes([each]) * size for each in range(5)]
    feed(made, INFO + b"".join(map(message, sent)), [])
    assert [data for _, data in heard] == sent
    assert len(made._buffer) == ROOM


@pytest.mark.parametrize(
    "told",
    [
        b"MSG herder.fleet.1 1 x\r\n",
        b"MSG herder.fleet.1 1 %d\r\n" % (FRAME_MAX + 1),
        b"MSG 1\r\n",
        b"x" * 5000,
        b"-ERR 'Authorization Violation'\r\n",
        b"INFO {\r\n",
        b'INFO {"tls_required":true}\r\n',
    ],
)
def test_what_is_not_the_protocol_ends_the_connection_with_a_reason(told: bytes):
    made, line, heard = reader()
    feed(made, told, [])
    assert line.aborted
    assert made.error
    assert heard == []


def test_a_frame_that_fails_does_not_end_it():
    made, line, heard = reader()

    def fail(subject: str, data: bytes) -> None:
        heard.append((subject, data))
        raise RuntimeError("a bug")

    made._on_frame = fail
    feed(made, INFO + message(b"a") + message(b"b"), [])
    assert len(heard) == 2
    assert not line.aborted
