"""The log: any record comes out as it went in, and whatever is changed, lost, doubled or swapped in a chain is named."""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from herder.engine.record import FORMAT, GENESIS, MOVE, Birth, Body, Broken, Note, SpanNote, open_record, seal, takeover
from herder.engine.shapes import Shape
from herder.engine.world import World
from herder.ports.store import StoredRecord
from tests.property.effort import EFFORT, PLENTY
from tests.property.outside import world
from tests.property.test_frames import PLAIN, WORDS

U4 = st.integers(0, 2**32 - 1)
FACTS = st.dictionaries(WORDS, PLAIN, max_size=3)
NUMBERS = st.integers(-1000, 1000)
SHAPES = st.builds(
    Shape, kind=st.sampled_from(["service", "member", "server"]), facts=FACTS,
    relative=st.dictionaries(WORDS, NUMBERS | st.lists(NUMBERS, max_size=3).map(tuple), max_size=2),
    patterns=st.dictionaries(WORDS, WORDS, max_size=2),
)  # fmt: skip


@st.composite
def bodies(draw: st.DrawFn) -> Body:
    """Moves of any numbers, notes on some of them, spans over some stretches, and births."""
    count = draw(st.integers(0, 5))
    columns = np.frombuffer(draw(st.binary(min_size=count * MOVE.itemsize, max_size=count * MOVE.itemsize)), MOVE)
    noted = draw(st.sets(st.integers(0, max(count - 1, 0)), max_size=count))
    notes = [Note(ordinal, draw(FACTS), draw(WORDS), draw(WORDS)) for ordinal in sorted(noted) if count]
    spans, first = [], 0
    while first < count:
        length = draw(st.integers(1, count - first))
        if draw(st.booleans()):
            spans.append(SpanNote(first, length, draw(WORDS), draw(WORDS)))
        first += length
    births = draw(st.lists(st.builds(Birth, U4, U4, st.lists(SHAPES, max_size=2).map(tuple)), max_size=2))
    return Body(
        FORMAT, draw(st.sampled_from(["moves", "takeover"])), draw(WORDS), columns.tobytes(), notes, spans, births
    )


def chained(made: list[Body]) -> list[StoredRecord]:
    found: list[StoredRecord] = [takeover(0, "controller-a", 1, 1, None)]
    for at, body in enumerate(made):
        last = found[-1]
        found.append(seal(0, last.seq + 1, 1 + at // 2, 5 + at, last.hash, body))
    return found


def replayed(records: list[StoredRecord]) -> int:
    """How many of them open, one after the other, as a start does it. Raises Broken."""
    prev: StoredRecord | None = None
    for stored in records:
        if prev is None and stored.seq != 1:
            raise Broken("record 1 of shard 0 is missing")
        open_record(stored, prev)
        prev = stored
    return len(records)


@PLENTY
@given(bodies(), U4, U4, st.integers(0, 2**62))
def test_a_record_comes_out_as_it_went_in(body: Body, seq: int, epoch: int, at_ms: int):
    record = open_record(seal(3, seq, epoch, at_ms, GENESIS, body), None)
    assert (record.shard, record.seq, record.epoch, record.at_ms) == (3, seq, epoch, at_ms)
    assert (record.kind, record.owner) == (body.kind, body.owner)
    assert record.columns.tobytes() == body.moves
    assert list(record.notes.values()) == body.notes
    assert record.births == tuple(body.births)
    assert [(span.first, span.count, span.why, span.actor) for span in record.spans] == [
        (span.first, span.count, span.why, span.actor) for span in body.spans
    ]
    for span in record.spans:
        assert span.machines.tolist() == record.columns["machine"][span.first : span.first + span.count].tolist()


@EFFORT
@given(st.lists(bodies(), min_size=2, max_size=5), st.data())
def test_whatever_is_changed_in_a_chain_is_named_and_nothing_behind_it_is_read(made: list[Body], data: st.DataObject):
    records = chained(made)
    assert replayed(records) == len(records)
    at = data.draw(st.integers(0, len(records) - 1))
    field = data.draw(st.sampled_from(["shard", "seq", "epoch", "at_ms", "body", "prev_hash", "hash"]))
    value = getattr(records[at], field)
    if isinstance(value, int):
        changed: Any = value + data.draw(st.integers(-(2**40), 2**40).filter(bool))
    else:
        byte = data.draw(st.integers(0, len(value) - 1))
        changed = value[:byte] + bytes((value[byte] ^ data.draw(st.integers(1, 255)),)) + value[byte + 1 :]
    records[at] = msgspec.structs.replace(records[at], **{field: changed})
    with pytest.raises(Broken, match=r"record -?\d+ of shard -?\d+ "):
        replayed(records)
    assert replayed(records[:at]) == at


@EFFORT
@given(st.lists(bodies(), min_size=3, max_size=5), st.data())
def test_a_record_that_is_lost_doubled_or_in_another_place_is_named(made: list[Body], data: st.DataObject):
    """The last one lost is not a fault that a chain can show: a start finds its own takeover there (test_shard.py)."""
    records = chained(made)
    at, other = data.draw(st.lists(st.integers(0, len(records) - 2), min_size=2, max_size=2, unique=True))
    one, two = min(at, other), max(at, other)
    wrong = data.draw(
        st.sampled_from([
            records[:one] + records[one + 1 :],
            records[: one + 1] + records[one:],
            [*records[:one], records[two], *records[one + 1 : two], records[one], *records[two + 1 :]],
        ])
    )  # fmt: skip
    with pytest.raises(Broken):
        replayed(wrong)


@EFFORT
@given(st.lists(bodies(), min_size=2, max_size=4), bodies(), st.data())
def test_a_line_that_another_controller_wrote_does_not_pass_for_ours(
    made: list[Body], theirs: Body, data: st.DataObject
):
    """From any record on, a chain that is whole in itself: its first one names another record before it."""
    records = chained(made)
    at = data.draw(st.integers(1, len(records) - 1))
    another = seal(0, at + 1, records[at].epoch, records[at].at_ms, b"another line of records, 32 byte", theirs)
    with pytest.raises(Broken, match=f"record {at + 1} of shard 0 does not follow"):
        replayed([*records[:at], another])


# ---- snapshots


def test_a_snapshot_that_is_cut_anywhere_is_named():
    body = world().snapshot()
    assert list(World.restore(body).machines.values()) == list(world().machines.values())
    for end in range(0, len(body), 7):
        with pytest.raises(Broken, match="torn"):
            World.restore(body[:end])
    with pytest.raises(Broken, match="torn"):
        World.restore(body + b"\0")


@EFFORT
@given(st.data())
def test_a_flipped_byte_of_a_snapshot_is_named_or_read_as_another_state(data: st.DataObject):
    """Which of the two is not ours to tell: the store keeps a SHA-256 beside it and gives out no other bytes
    (test_a_torn_snapshot_is_named_and_the_one_before_is_used). Never anything else than Broken.
    """
    body = bytearray(world().snapshot())
    body[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(Broken):
        World.restore(bytes(body)).snapshot()
