"""Which of the files in pg_wal hold what a member had alone, and what of them was ever written."""

import os
import struct
from pathlib import Path

import pytest

from herder.drivers.postgres.control import FOREVER
from herder.drivers.postgres.kept import Segment, copy_written, segments_from

PAGE = 8192
SIZE = 16 * PAGE
"""A small segment: what counts is that all are alike."""

HISTORY = [(1, 2 * SIZE + 100), (3, 2 * SIZE + PAGE + 50), (4, FOREVER)]
"""Two timelines were left within one segment; timeline 2 was somebody else's."""


def segment(data: Path, timeline: int, number: int, written: int, *, page_bytes: int = PAGE) -> Path:
    """A segment whose first pages were written in this life, and whose others are those of another one."""
    wal = data / "pg_wal"
    wal.mkdir(parents=True, exist_ok=True)
    path = wal / f"{timeline:08X}{number * SIZE >> 32:08X}{number % ((1 << 32) // SIZE):08X}"
    pages = []
    for index in range(SIZE // page_bytes):
        start = (number if index < written else number + 1000) * SIZE + index * page_bytes
        pages.append(struct.pack("<HHIQ", 0xD118, 2 if index == 0 else 0, timeline, start).ljust(page_bytes, b"\x5a"))
    pages[0] = pages[0][:36] + struct.pack("<I", page_bytes) + pages[0][40:]
    path.write_bytes(b"".join(pages))
    return path


def names(segments: list[Segment]) -> list[tuple[int, int]]:
    return [(each.timeline, each.start // SIZE) for each in segments]


def test_a_timeline_left_before_the_fork_has_nothing_to_keep_though_its_file_reaches_past_it(tmp_path):
    for timeline, number in ((1, 2), (2, 2), (3, 2), (4, 2), (4, 3)):
        segment(tmp_path, timeline, number, 16)
    fork = 2 * SIZE + PAGE + 50
    assert names(segments_from(tmp_path, HISTORY, fork, SIZE)) == [(4, 2), (4, 3)]


def test_every_timeline_that_was_written_after_the_fork_is_kept(tmp_path):
    for timeline in (1, 2, 3, 4):
        segment(tmp_path, timeline, 2, 16)
    assert names(segments_from(tmp_path, HISTORY, 2 * SIZE + 100, SIZE)) == [(3, 2), (4, 2)]


def test_a_timeline_later_than_our_own_may_be_the_newest_we_wrote(tmp_path):
    segment(tmp_path, 5, 2, 3)
    assert names(segments_from(tmp_path, HISTORY, 2 * SIZE + PAGE + 50, SIZE)) == [(5, 2)]


def test_what_lies_before_the_fork_and_what_was_only_recycled_is_left_out(tmp_path):
    segment(tmp_path, 4, 1, 16)
    segment(tmp_path, 4, 6, 0)
    (tmp_path / "pg_wal" / "00000004.history").write_text("1\t0/100\n")
    (tmp_path / "pg_wal" / ("0" * 7 + "4" + "0" * 15 + "7")).write_bytes(b"")  # made and not yet filled
    assert segments_from(tmp_path, HISTORY, 2 * SIZE + PAGE + 50, SIZE) == []


@pytest.mark.parametrize("page_bytes", [PAGE, 2 * PAGE])
def test_a_copy_has_the_written_pages_and_holes_for_the_rest(tmp_path, page_bytes):
    path = segment(tmp_path, 4, 6, 2, page_bytes=page_bytes)
    target = tmp_path / "copy"
    assert copy_written(Segment(path, 4, 6 * SIZE), target) == 2 * page_bytes
    found, original = target.read_bytes(), path.read_bytes()
    assert found[: 2 * page_bytes] == original[: 2 * page_bytes]
    assert found[2 * page_bytes :] == bytes(SIZE - 2 * page_bytes), "the length is the segment's, as programs want it"
    assert os.stat(target).st_blocks * 512 < SIZE, "and takes no room for what was never written"


def test_a_page_that_was_lost_in_a_power_cut_does_not_hide_those_after_it(tmp_path):
    path = segment(tmp_path, 4, 6, 5)
    whole = path.read_bytes()
    path.write_bytes(whole[: 2 * PAGE] + bytes(PAGE) + whole[3 * PAGE :])
    target = tmp_path / "copy"
    assert copy_written(Segment(path, 4, 6 * SIZE), target) == 4 * PAGE
    assert target.read_bytes()[3 * PAGE : 5 * PAGE] == whole[3 * PAGE : 5 * PAGE]
