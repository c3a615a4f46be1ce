"""What a member's log has that its service's log has not: found among the segments, and copied without what was never written.

The file system is full of lookalikes. A recycled segment has its next name and its old contents, page by page; a timeline
that was left in the middle of a segment leaves that segment's file behind, and so does each one before it. Copied along,
they make every kept log longer than the last one and in the end the disk full, with nothing in them that is missing elsewhere.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path

from herder.drivers.postgres.control import SEGMENT_NAME, History

_PAGE_ADDRESS = struct.Struct("<8xQ")
"""xlp_pageaddr of a page's header (access/xlog_internal.h), after xlp_magic, xlp_info and xlp_tli."""

_PAGE_BYTES_AT = 36
"""xlp_xlog_blcksz of a segment's long header, after xlp_sysid and xlp_seg_size."""

_PAGE_BYTES = 8192
"""XLOG_BLCKSZ, unless the header says otherwise."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One file of the log. start: the lsn of its first byte."""

    path: Path
    timeline: int
    start: int


def segments_from(data: Path, history: History, fork: int, segment_bytes: int) -> list[Segment]:
    """The segments that hold anything of this history at or after `fork`, or of a later timeline.

    history: the member's own. A timeline that it left before the fork, or that it is not on, has nothing to keep.
    """
    last = history[-1][0]
    ours = {timeline for timeline, end in history if end > fork}
    found = []
    for path in (data / "pg_wal").iterdir():
        if not SEGMENT_NAME.fullmatch(path.name):
            continue
        per_id = (1 << 32) // segment_bytes
        start = (int(path.name[8:16], 16) * per_id + int(path.name[16:], 16)) * segment_bytes
        timeline = int(path.name[:8], 16)
        if start + segment_bytes <= fork or not (timeline in ours or timeline > last):
            continue
        with path.open("rb") as segment:
            if _address(segment.read(_PAGE_ADDRESS.size)) == start:
                found.append(Segment(path, timeline, start))
    return sorted(found, key=lambda each: each.path.name)


def _address(page: bytes) -> int:
    """Where a page says that it stands; -1 of one that is cut off."""
    return int(_PAGE_ADDRESS.unpack_from(page)[0]) if len(page) >= _PAGE_ADDRESS.size else -1


def copy_written(segment: Segment, target: Path) -> int:
    """Copy the pages that were written in this segment's present life, fsynced; returns their bytes.

    The rest are a hole: the copy is as long as the segment, as the engine's programs want it, and takes no more room than it
    tells. Never a hard link: pg_rewind and recycling write segments in place, and would change the kept copy with them.
    """
    written = 0
    with segment.path.open("rb") as reader, target.open("xb") as writer:
        size = os.fstat(reader.fileno()).st_size
        page_bytes = _page_bytes(reader.read(_PAGE_BYTES_AT + 4))
        reader.seek(0)
        for offset in range(0, size, page_bytes):
            page = reader.read(page_bytes)
            if _address(page) == segment.start + offset:
                writer.seek(offset)
                writer.write(page)
                written += len(page)
        writer.truncate(size)
        writer.flush()
        os.fsync(writer.fileno())
    return written


def _page_bytes(header: bytes) -> int:
    """A power of two up to 64 kB, else it is no header."""
    told = int.from_bytes(header[_PAGE_BYTES_AT:], "little")
    return told if told & (told - 1) == 0 and 1024 <= told <= 65536 else _PAGE_BYTES


def copy_file(source: Path, target: Path) -> None:
    """A copy of its own blocks and fsynced; sharing them copy-on-write where the file system can."""
    with source.open("rb") as reader, target.open("xb") as writer:
        remaining = os.fstat(reader.fileno()).st_size
        while remaining > 0:
            copied = os.copy_file_range(reader.fileno(), writer.fileno(), remaining)
            if copied == 0:
                break
            remaining -= copied
        os.fsync(writer.fileno())
