"""The pulses of many servers in one frame: fixed columns that numpy reads in place. Versioned; for relays.

A frame is a header of 40 bytes and columns, little-endian, each as long as the header's count:

    ROWS    server u4, incarnation u4, life u4, member u4 | lsn u8 | seq u4 | timeline u4 | flags u1    (33 bytes a row)
    BITMAP  one bit a server, of the machine ids from `first` on, lowest bit first                 (1/8 byte a server)

Who is told of (the first four columns) stands in one block, so that a reader that has seen the same block before knows
with one comparison of bytes that its look-ups still hold. A bitmap says: this server was heard since my last frame, and
nothing that I told of it has changed.

Relay and epoch are the machine id and incarnation of the server that the relay runs on; life is drawn anew by each of
its processes (and by each agent, in the rows); seq counts within a life. sent_ms is the relay's own clock: for people,
never for order.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from herder.ports.driver import Reading, Role

VERSION = 1
MAGIC = b"HF"
ROWS = 1
BITMAP = 2

HEADER = struct.Struct("<2sBBIIIIIQII")
"""magic, version, kind, relay, epoch, life, seq, count, sent_ms, first, reserved."""

ROW_BYTES = 33
"""Of which the first four columns are 16."""

FRAME_MAX = 1024 * 1024
"""Bytes; what the wire carries."""

ROWS_MAX = (FRAME_MAX - HEADER.size) // ROW_BYTES
BITMAP_MAX = (FRAME_MAX - HEADER.size) * 8

ALIVE, PRIMARY, STANDBY, UPSTREAM, UPSTREAM_KNOWN, POSITION, EXITED, ARCHIVING_STALLED = (1 << bit for bit in range(8))
"""Flags of a row. PRIMARY and STANDBY: what it says it is. UPSTREAM counts only with UPSTREAM_KNOWN. POSITION: timeline
and lsn are known. EXITED: no process of it is left. ARCHIVING_STALLED: its WAL is kept because the archive does not take it.
"""


class FrameError(Exception):
    """Bytes that are no frame. `fault` for counters: empty, too_large, newer, garbage."""

    def __init__(self, fault: str, message: str) -> None:
        super().__init__(message)
        self.fault = fault


class Header(NamedTuple):
    """Who says it, and in which order. relay, epoch: machine id and incarnation of the relay's server."""

    relay: int
    epoch: int
    life: int
    seq: int
    sent_ms: int = 0


Words = NDArray[np.uint32]
Ids = int | NDArray[Any]


@dataclass(slots=True, eq=False)
class Rows:
    """Readings, one row a member; arrays are views of the frame's bytes. who: server, incarnation, life and member, shape
    (4 n,), one after the other; the other arrays have shape (n,).
    """

    header: Header
    who: Words
    lsn: NDArray[np.uint64]
    seq: Words
    timeline: Words
    flags: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.seq)

    @property
    def server(self) -> Words:
        """Machine ids of the servers."""
        return self.who[: len(self.seq)]

    @property
    def incarnation(self) -> Words:
        """The servers' incarnations."""
        return self.who[len(self.seq) : 2 * len(self.seq)]

    @property
    def life(self) -> Words:
        """Of the servers' agents."""
        return self.who[2 * len(self.seq) : 3 * len(self.seq)]

    @property
    def member(self) -> Words:
        """Machine ids of the members."""
        return self.who[3 * len(self.seq) :]

    def some(self, chosen: NDArray[Any]) -> Rows:
        """Those rows only: a mask or ordinals."""
        who = np.ascontiguousarray(self.who.reshape(4, -1)[:, chosen]).reshape(-1)
        return Rows(self.header, who, self.lsn[chosen], self.seq[chosen], self.timeline[chosen], self.flags[chosen])


@dataclass(slots=True, eq=False)
class Bitmap:
    """Servers heard and unchanged. packed: a bit each from machine id `first` on, the lowest of a byte first."""

    header: Header
    first: int
    packed: bytes

    def __len__(self) -> int:
        """How many were heard."""
        return int.from_bytes(self.packed, "little").bit_count()

    @property
    def servers(self) -> Words:
        """Their machine ids, ascending; made anew each time."""
        bits = np.unpackbits(np.frombuffer(self.packed, np.uint8), bitorder="little")
        return (np.flatnonzero(bits) + self.first).astype(np.uint32)


def rows(  # noqa: PLR0913  one for each column
    header: Header, *, server: Ids, incarnation: Ids, life: Ids, member: Ids, seq: Ids, flags: Ids,
    timeline: Ids = 0, lsn: Ids = 0,
) -> Rows:  # fmt: skip
    """A frame's rows from columns; a single number stands for all rows. server gives their count."""
    servers = np.asarray(server)

    def column(given: Ids, dtype: str) -> NDArray[Any]:
        return np.ascontiguousarray(np.broadcast_to(np.asarray(given, dtype), servers.shape))

    who = np.concatenate([column(each, "<u4") for each in (servers, incarnation, life, member)])
    return Rows(header, who, column(lsn, "<u8"), column(seq, "<u4"), column(timeline, "<u4"), column(flags, "u1"))


def encode_rows(told: Rows) -> bytes:
    """A ROWS frame. Raises FrameError when it is empty or larger than the wire carries."""
    count = len(told)
    if not 0 < count <= ROWS_MAX:
        raise FrameError("too_large" if count else "empty", f"a frame of {count} rows; 1 to {ROWS_MAX} fit")
    columns = (told.who, told.lsn, told.seq, told.timeline, told.flags)
    return b"".join((_header(told.header, ROWS, count, 0), *(column.tobytes() for column in columns)))


def encode_bitmap(header: Header, servers: NDArray[Any]) -> bytes:
    """A BITMAP frame of these machine ids (any order, at least one). Raises FrameError when they span too many."""
    if not len(servers):
        raise FrameError("empty", "a bitmap of nobody")
    first, last = int(servers.min()), int(servers.max())
    if last - first >= BITMAP_MAX:
        raise FrameError("too_large", f"a bitmap of {last - first + 1} servers; {BITMAP_MAX} fit")
    bits = np.zeros(last - first + 1, bool)
    bits[servers.astype(np.int64) - first] = True
    return _header(header, BITMAP, len(bits), first) + np.packbits(bits, bitorder="little").tobytes()


def decode(data: bytes) -> Rows | Bitmap:
    """Bytes of a relay. Raises FrameError only, whatever the bytes are."""
    size = len(data)
    if size < HEADER.size:
        raise FrameError("garbage" if size else "empty", f"{size} bytes; a header alone has {HEADER.size}")
    if size > FRAME_MAX:
        raise FrameError("too_large", f"a frame of {size} bytes; the wire carries {FRAME_MAX}")
    magic, version, kind, relay, epoch, life, seq, count, sent_ms, first, _ = HEADER.unpack_from(data)
    if magic != MAGIC or not version:
        raise FrameError("garbage", "not a fleet frame")
    if version > VERSION:
        raise FrameError("newer", f"fleet frame version {version} is newer than {VERSION}: upgrade this side")
    header = Header(relay, epoch, life, seq, sent_ms)
    if kind == ROWS:
        return _decode_rows(header, data, count)
    if kind == BITMAP:
        return _decode_bitmap(header, data, first, count)
    raise FrameError("garbage", f"frame kind {kind} never was")


def _decode_rows(header: Header, data: bytes, n: int) -> Rows:
    if n < 1 or len(data) != HEADER.size + ROW_BYTES * n:
        raise FrameError("garbage", f"{len(data)} bytes cannot hold {n} rows")
    more = np.frombuffer(data, "<u4", 2 * n, HEADER.size + 24 * n)
    return Rows(
        header,
        np.frombuffer(data, "<u4", 4 * n, HEADER.size),
        np.frombuffer(data, "<u8", n, HEADER.size + 16 * n),
        more[:n],
        more[n:],
        np.frombuffer(data, "u1", n, HEADER.size + 32 * n),
    )


def _decode_bitmap(header: Header, data: bytes, first: int, count: int) -> Bitmap:
    if count < 1 or len(data) != HEADER.size + (count + 7) // 8:
        raise FrameError("garbage", f"{len(data)} bytes cannot hold {count} bits")
    if first + count - 1 > 0xFFFF_FFFF:
        raise FrameError("garbage", f"machine ids {first} to {first + count - 1} do not exist")
    if data[-1] >> ((count - 1) % 8 + 1):
        raise FrameError("garbage", f"a bit is set behind the last of {count}")
    return Bitmap(header, first, data[HEADER.size :])


def _header(header: Header, kind: int, count: int, first: int) -> bytes:
    return HEADER.pack(
        MAGIC, VERSION, kind, header.relay, header.epoch, header.life, header.seq, count, header.sent_ms, first, 0
    )


def flags_of(reading: Reading, *, exited: bool = False, stalled: bool = False) -> int:
    """A reading as flags: what a relay puts into a row. stalled: its WAL is not taken by the archive."""
    told = (
        (reading.alive, ALIVE), (reading.role is Role.PRIMARY, PRIMARY), (reading.role is Role.STANDBY, STANDBY),
        (bool(reading.upstream), UPSTREAM), (reading.upstream is not None, UPSTREAM_KNOWN),
        (reading.position is not None, POSITION), (exited, EXITED), (stalled, ARCHIVING_STALLED),
    )  # fmt: skip
    return sum(flag for is_so, flag in told if is_so)


def role_of(flags: int) -> Role:
    """What the member says it is."""
    if flags & PRIMARY:
        return Role.PRIMARY
    return Role.STANDBY if flags & STANDBY else Role.NONE
