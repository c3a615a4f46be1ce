"""What publishes in `herder bench pulse`: a relay in a process of its own, as fast as it is given credit.

Its first line of stdin says what to send (Order, as JSON), every byte
after that is credit for CREDIT frames, and the end of stdin ends it. It speaks to NATS over a plain socket: a client that
costs more than what is measured would measure itself.
"""

from __future__ import annotations

import os
import select
import socket
import sys

import msgspec
import numpy as np
from numpy.typing import NDArray

from herder.pulse.fleet_frame import HEADER, Header, encode_rows, rows
from herder.wire.credentials import User

CHUNK_BYTES = 256 * 1024
MEMBERS_FROM = 10_000_000
"""Machine ids: servers count from 1, members from here."""

FLAGS = 0b101011
"""Alive, a primary, its upstream not known (it has none), its position known."""


class Order(msgspec.Struct):
    """Where to, as whom, and what. size: members a frame; credit: frames that one byte of stdin allows."""

    host: str
    port: int
    jwt: str
    seed: str
    relay: int
    members: int
    size: int
    credit: int


def template(relay: int, life: int, begin: int, size: int) -> bytes:
    """A frame of `size` one-member servers from `begin` on."""
    servers = np.arange(begin, begin + size, dtype=np.uint32)
    told = rows(
        Header(relay, 1, life, 0), server=servers, incarnation=1, life=1, member=servers + MEMBERS_FROM, seq=0,
        timeline=1, flags=FLAGS,
    )  # fmt: skip
    return encode_rows(told)


class Frames:
    """All frames of a fleet, one after the other: shape (frames, bytes). `beat` makes the next pulse of each of them."""

    def __init__(self, relay: int, life: int, members: int, size: int, before: bytes = b"", after: bytes = b"") -> None:
        frames = [before + template(relay, life, at, size) + after for at in range(1, members - size + 2, size)]
        self.bytes: NDArray[np.uint8] = np.frombuffer(b"".join(frames), np.uint8).reshape(len(frames), -1).copy()
        self.size = size
        self.beats = 0
        self._head = len(before)

    def beat(self) -> None:
        """Everybody's next pulse: seq and lsn have grown."""
        count, rows_at = len(self.bytes), self._head + HEADER.size
        first = self.beats * count + 1
        self.beats += 1
        self._put(self._head + 16, np.arange(first, first + count, dtype="<u4").view("u1").reshape(count, 4))
        self._put(rows_at + 16 * self.size, np.full(self.size, self.beats * 100, "<u8").view("u1"))
        self._put(rows_at + 24 * self.size, np.full(self.size, self.beats, "<u4").view("u1"))

    def _put(self, at: int, what: NDArray[np.uint8]) -> None:
        self.bytes[:, at : at + what.shape[-1]] = what


def main() -> None:
    """Send until stdin ends."""
    order = msgspec.json.decode(_line(), type=Order)
    link = socket.create_connection((order.host, order.port))
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    info = msgspec.json.decode(link.recv(65536).split(b"\r\n")[0][5:])
    hello = {"verbose": False, "jwt": order.jwt, "sig": User(order.jwt, order.seed).sign(info["nonce"]).decode()}
    link.sendall(b"CONNECT %s\r\nPING\r\n" % msgspec.json.encode(hello))
    size = len(template(order.relay, 1, 1, order.size))
    frames = Frames(
        order.relay, 1, order.members, order.size, b"PUB herder.fleet.%d %d\r\n" % (order.relay, size), b"\r\n"
    )
    chunk = max(CHUNK_BYTES // frames.bytes.shape[1], 1)
    left = 0
    while True:
        frames.beat()
        at = 0
        while at < len(frames.bytes):
            while left <= 0:
                given = len(os.read(0, 4096))
                if not given:
                    return
                left += given * order.credit
            end = min(at + min(chunk, left), len(frames.bytes))
            link.sendall(frames.bytes[at:end].data)
            left -= end - at
            at = end
            _answer(link)


def _line() -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            sys.exit(1)
        line += byte
    return line


def _answer(link: socket.socket) -> None:
    """The server asks now and then whether we live."""
    if select.select([link], [], [], 0)[0]:
        told = link.recv(65536)
        if not told or b"-ERR" in told:
            sys.exit(f"the server said {told!r}")
        if b"PING" in told:
            link.sendall(b"PONG\r\n")
