"""The record: what goes in comes out, and whatever was torn, altered, lost or written by a newer herder is named."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from herder.engine.record import (
    FORMAT,
    GENESIS,
    KEEP,
    MOVE,
    Body,
    Broken,
    Move,
    Note,
    Record,
    _chain,
    open_record,
    pack,
    seal,
    takeover,
)
from herder.ports.store import StoredRecord

SMALL = st.integers(0, 255)
PLAIN: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
MOVES = st.builds(
    Move, machine=st.integers(1, 2**32 - 1), version=st.integers(1, 2**32 - 1), deadline_ms=st.integers(0, 2**62),
    kind=SMALL, source=SMALL, event=SMALL, target=SMALL, keep=st.booleans(),
    patch=st.dictionaries(st.text(max_size=6), PLAIN, max_size=4), why=st.text(max_size=12), actor=st.text(max_size=6),
)  # fmt: skip

MOVE_ONE = Move(1, 1, 0, 3, 0, 0, 1, keep=False, patch={"name": "orders"}, why="asked", actor="ann")


def sealed(moves: list[Move], prev: StoredRecord | None = None, **changes: Any) -> StoredRecord:
    columns, notes = pack(moves)
    body = Body(changes.pop("format", FORMAT), "moves", "", columns, notes)
    told = {"shard": 0, "seq": prev.seq + 1 if prev else 1, "epoch": 1, "at_ms": 5} | changes
    return seal(prev_hash=prev.hash if prev else GENESIS, body=body, **told)


def chain(count: int) -> list[StoredRecord]:
    found: list[StoredRecord] = []
    for _ in range(count):
        found.append(sealed([MOVE_ONE], found[-1] if found else None))
    return found


def moves_of(record: Record) -> list[Move]:
    """A decoded record's moves again."""
    silent = Note(0, {}, "", "")
    notes = [record.notes.get(ordinal, silent) for ordinal in range(len(record.columns))]
    return [
        Move(*row[:7], keep=bool(row[7] & KEEP), patch=note.patch, why=note.why, actor=note.actor)
        for row, note in zip(record.columns.tolist(), notes, strict=True)
    ]


@given(st.lists(MOVES, max_size=5))
def test_what_goes_in_comes_out(moves: list[Move]):
    record = open_record(sealed(moves, at_ms=77), None)
    assert moves_of(record) == moves
    assert (record.seq, record.epoch, record.at_ms, record.kind) == (1, 1, 77, "moves")


def test_a_move_without_words_costs_its_columns_only():
    silent = Move(1, 1, 0, 3, 0, 0, 1, keep=False)
    columns, notes = pack([silent, MOVE_ONE, silent])
    assert len(columns) == 3 * MOVE.itemsize
    assert MOVE.itemsize == 24
    assert [note.ordinal for note in notes] == [1]


def test_a_takeover_follows_the_last_record_and_holds_no_moves():
    (last,) = chain(1)
    taken = takeover(0, "controller-b", 9, 2, last)
    record = open_record(taken, last)
    assert (record.kind, record.owner, record.seq, len(record.columns)) == ("takeover", "controller-b", 2, 0)
    assert takeover(0, "first", 9, 1, None).prev_hash == GENESIS


@pytest.mark.parametrize("field", ["shard", "seq", "epoch", "at_ms"])
def test_an_altered_header_is_named(field: str):
    (stored,) = chain(1)
    altered = msgspec.structs.replace(stored, **{field: getattr(stored, field) + 1})
    with pytest.raises(Broken, match=f"record {altered.seq} of shard {altered.shard} was altered"):
        open_record(altered, None)


@given(st.data())
def test_no_byte_of_a_body_changes_unseen(data: st.DataObject):
    (stored,) = chain(1)
    at = data.draw(st.integers(0, len(stored.body) - 1))
    flipped = bytearray(stored.body)
    flipped[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Broken, match="record 1 of shard 0 was altered"):
        open_record(msgspec.structs.replace(stored, body=bytes(flipped)), None)


def test_a_truncated_body_is_named():
    (stored,) = chain(1)
    with pytest.raises(Broken, match="record 1 of shard 0 was altered"):
        open_record(msgspec.structs.replace(stored, body=stored.body[:-3]), None)


def test_a_body_that_was_sealed_torn_is_named():
    """A hash that fits a body that does not decode: the writer was wrong, not the disk."""
    torn = b"\x95\x01\xa5mo"
    stored = StoredRecord(
        shard=0, seq=1, epoch=1, at_ms=5, body=torn, prev_hash=GENESIS, hash=_chain(0, 1, 1, 5, GENESIS, torn)
    )
    with pytest.raises(Broken, match="record 1 of shard 0 is torn"):
        open_record(stored, None)


def test_a_missing_record_is_named():
    first, _, third = chain(3)
    with pytest.raises(Broken, match="record 2 of shard 0 is missing"):
        open_record(third, first)


def test_a_record_of_another_line_is_named():
    first, second = chain(2)
    other = sealed([MOVE_ONE], at_ms=6)
    assert open_record(second, first)
    with pytest.raises(Broken, match="record 2 of shard 0 does not follow the record before it"):
        open_record(second, other)


def test_an_epoch_never_goes_back():
    first = sealed([MOVE_ONE], epoch=3)
    with pytest.raises(Broken, match="record 2 of shard 0 has an older epoch"):
        open_record(sealed([MOVE_ONE], first, epoch=2), first)


def test_a_newer_format_is_refused():
    with pytest.raises(Broken, match=rf"written by a newer herder \(format {FORMAT + 1}\)"):
        open_record(sealed([MOVE_ONE], format=FORMAT + 1), None)
