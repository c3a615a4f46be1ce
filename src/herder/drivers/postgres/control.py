"""pg_control and timelines: what a cluster on disk says of itself, and how a copied one gets an identity of its own.

A template's copies would all carry one system identifier, and a standby of one tenant could then be attached to
another's primary. pg_resetwal cannot set it (18.6), so it is patched here: in pg_control with its CRC-32C, and in the
long header of each WAL segment, which has no checksum (access/xlog_internal.h: XLogLongPageHeaderData).
"""

from __future__ import annotations

import re
import secrets
import struct
import time
from dataclasses import dataclass
from pathlib import Path

from herder.drivers.processes import Account, run
from herder.model.errors import Environment
from herder.model.lsn import parse_lsn

SEGMENT_NAME = re.compile(r"[0-9A-F]{24}")

_SYSID = struct.Struct("<Q")
_CRC = struct.Struct("<I")
_LONG_HEADER = 0x0002  # XLP_LONG_HEADER in xlp_info
_WAL_SYSID_AT = 24  # after xlp_magic, xlp_info, xlp_tli, xlp_pageaddr, xlp_rem_len and 4 bytes of padding
_CONTROL_MAX = 512  # PG_CONTROL_MAX_SAFE_SIZE: the struct is smaller than a disk sector

FOREVER = 1 << 64
"""Where the newest timeline of a history ends."""


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli), which PostgreSQL uses; zlib's crc32 is another polynomial."""
    value = 0xFFFFFFFF
    for byte in data:
        value = (value >> 8) ^ _TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


def crc_offset(control: bytes) -> int:
    """Where the checksum stands: the struct's length differs between majors, so it is found by being right.

    Environment error when none is right (a damaged file, or another byte order).
    """
    for offset in range(128, _CONTROL_MAX, 4):
        if _CRC.unpack_from(control, offset)[0] == crc32c(control[:offset]) and any(control[offset : offset + 4]):
            return offset
    raise Environment("pg_control has no valid checksum", "the file is damaged: make the member again")


def system_id(data: Path) -> int:
    """The system identifier of a cluster on disk."""
    with (data / "global" / "pg_control").open("rb") as control:
        found: int = _SYSID.unpack(control.read(8))[0]
    return found


_SHUTDOWN = struct.Struct("<16xi4x8xQ8xI")
"""ControlFileData as in 17 and 18: state at 16, checkPoint at 32, checkPointCopy.ThisTimeLineID at 48."""

_DB_SHUTDOWNED = 1


def clean_end(data: Path) -> tuple[int, int] | None:
    """(timeline, lsn) of the shutdown checkpoint of a primary that was stopped cleanly; None for any other state.

    A standby that received more than this has everything that primary ever wrote.
    """
    with (data / "global" / "pg_control").open("rb") as control:
        state, checkpoint, timeline = _SHUTDOWN.unpack(control.read(_SHUTDOWN.size))
    return (timeline, checkpoint) if state == _DB_SHUTDOWNED else None


def fresh_system_id() -> int:
    """Seconds in the upper half as PostgreSQL does, chance in the lower instead of a pid: many are made in a second."""
    return (int(time.time()) << 32) | secrets.randbits(32)


def renew_identity(data: Path, nonce: bytes) -> int:
    """Give a cleanly stopped copy a system identifier and authentication nonce of its own; returns the identifier.

    nonce: the template's, to find where it stands (its offset differs between majors).
    """
    identifier = fresh_system_id()
    path = data / "global" / "pg_control"
    control = bytearray(path.read_bytes())
    end = crc_offset(bytes(control))
    at = control.find(nonce, 0, end)
    if at < 0:
        raise Environment(f"{path} is not a copy of the template", "remove the template directory; it is made again")
    control[at : at + len(nonce)] = secrets.token_bytes(len(nonce))
    _SYSID.pack_into(control, 0, identifier)
    _CRC.pack_into(control, end, crc32c(bytes(control[:end])))
    path.write_bytes(control)
    for segment in (data / "pg_wal").iterdir():
        if SEGMENT_NAME.fullmatch(segment.name):
            _patch_segment(segment, identifier)
    return identifier


def _patch_segment(path: Path, identifier: int) -> None:
    with path.open("r+b") as segment:
        if struct.unpack_from("<H", segment.read(4), 2)[0] & _LONG_HEADER:  # else a segment never written to
            segment.seek(_WAL_SYSID_AT)
            segment.write(_SYSID.pack(identifier))


@dataclass(frozen=True, slots=True)
class Control:
    """What pg_controldata says. checkpoint in bytes; clean: it was shut down, so the log ends with that checkpoint."""

    system_id: int
    clean: bool
    timeline: int
    checkpoint: int
    segment_bytes: int
    nonce: str


async def read_control(bin_dir: Path, data: Path, account: Account, cwd: Path) -> Control:
    """Read a stopped cluster's pg_control with the engine's own program, which knows its version's layout."""
    text = await run([str(bin_dir / "pg_controldata"), "-D", str(data)], account=account, cwd=cwd, timeout_s=20)
    if "warning" in text.lower():  # a wrong CRC is only a warning to it
        raise Environment(f"pg_control of {data} is damaged", "copy the member again from its primary")
    pairs = (line.partition(":") for line in text.splitlines())
    fields = {name.strip(): value.strip() for name, _, value in pairs}
    timelines = (fields["Latest checkpoint's TimeLineID"], fields["Min recovery ending loc's timeline"])
    return Control(
        system_id=int(fields["Database system identifier"]),
        clean=fields["Database cluster state"] in {"shut down", "shut down in recovery"},
        timeline=max(map(int, timelines)),
        checkpoint=parse_lsn(fields["Latest checkpoint location"]),
        segment_bytes=int(fields["Bytes per WAL segment"]),
        nonce=fields["Mock authentication nonce"],
    )


History = list[tuple[int, int]]
"""(timeline, lsn at which it was left), oldest first; the last one ends at FOREVER."""


def parse_history(text: str, timeline: int) -> History:
    """A timeline history file (`NNNNNNNN.history`; empty for timeline 1) and the timeline it belongs to. Raises Environment
    for a line that is none: where two logs part must not be guessed.
    """
    rows = [line.split() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    try:
        return [(int(row[0]), parse_lsn(row[1])) for row in rows] + [(timeline, FOREVER)]
    except (ValueError, IndexError):
        raise Environment(
            f"the history of timeline {timeline} is damaged", "copy the member again from its primary"
        ) from None


def fork(ours: History, theirs: History) -> int:
    """The lsn up to which two histories are the same; FOREVER when one log is on the other's timeline, never left.

    As pg_rewind's findCommonAncestorTimeline: the last shared timeline ends where the first of the two left it.
    """
    common = 0
    for (our_line, our_end), (their_line, their_end) in zip(ours, theirs, strict=False):
        if our_line != their_line:
            break
        common = min(our_end, their_end)
        if our_end != their_end:
            break
    return common


def own_history(data: Path, timeline: int) -> History:
    """The history of a cluster on disk."""
    path = data / "pg_wal" / f"{timeline:08X}.history"
    return parse_history(path.read_text(errors="replace") if path.exists() else "", timeline)
