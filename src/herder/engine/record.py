"""The record of a shard's log: packed columns of a batch's moves, their notes, and the hash of the record before.

The format is versioned and stored codes are never renumbered: `tests/golden` replays records written by older versions.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from herder.engine.shapes import Shape
from herder.machines.registry import BY_CODE
from herder.model.errors import UNREADABLE, HerderError
from herder.ports.store import StoredRecord

FORMAT = 2
"""2 added spans (moves of one row for many machines) and births (cohorts); a record of format 1 has neither."""

GENESIS = bytes(32)

MOVE = np.dtype(
    [
        ("machine", "<u4"),
        ("version", "<u4"),
        ("deadline_ms", "<i8"),  # 0 = none
        ("kind", "u1"),
        ("source", "u1"),
        ("event", "u1"),
        ("target", "u1"),
        ("flags", "u1"),  # 1 = keep: the state was not entered anew
        ("spare", "u1", (3,)),
    ]
)
"""One move, 24 bytes."""

KEEP = 1
ENTERS = 2
"""Of a span: source and target differ, so its machines' `since_ms` begins anew. Not stored: it follows from them."""


class Note(msgspec.Struct, frozen=True, array_like=True):
    """What a move changed besides the state, and why. ordinal: its index in the record's columns."""

    ordinal: int
    patch: dict[str, Any]
    why: str
    actor: str


class Birth(msgspec.Struct, frozen=True, array_like=True):
    """A cohort: `count` times the machines of `block`, ids `first_machine + i * len(block) + place`."""

    first_machine: int
    count: int
    block: tuple[Shape, ...]


class SpanNote(msgspec.Struct, frozen=True, array_like=True):
    """Moves `first` to `first + count - 1` of the record are one row's, for one reason."""

    first: int
    count: int
    why: str
    actor: str


class Body(msgspec.Struct, frozen=True, array_like=True):
    """What lies in `StoredRecord.body`. kind: 'moves' or 'takeover' (a controller took the shard; no moves)."""

    format: int
    kind: str
    owner: str
    moves: bytes
    notes: list[Note]
    spans: list[SpanNote] = []
    births: list[Birth] = []


@dataclass(frozen=True, slots=True)
class Move:
    """One move before it is packed."""

    machine: int
    version: int
    deadline_ms: int
    kind: int
    source: int
    event: int
    target: int
    keep: bool
    patch: dict[str, Any] = field(default_factory=dict)
    why: str = ""
    actor: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Span:
    """Moves of one row of one table, in a record's columns from `first`. Codes as in MOVE; flags: KEEP, ENTERS.

    machines: u4 array, shape (count,).
    """

    first: int
    count: int
    kind: int
    source: int
    event: int
    target: int
    flags: int
    deadline_ms: int
    why: str
    actor: str
    machines: NDArray[np.uint32]

    @property
    def words(self) -> tuple[str, str, str, str]:
        """(kind, source, event, target) by name."""
        table = BY_CODE[self.kind]
        names = table.state_names
        return table.kind, names[self.source], table.events[self.event], names[self.target]


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """A decoded record. columns: shape (n,), dtype MOVE; spans in order, the moves between them one by one."""

    shard: int
    seq: int
    epoch: int
    at_ms: int
    kind: str
    owner: str
    columns: NDArray[np.void]
    notes: dict[int, Note]
    spans: tuple[Span, ...] = ()
    births: tuple[Birth, ...] = ()


class Broken(HerderError):
    """A record is missing, torn or altered; says which. Nothing is decided on such a log."""

    code = "broken_log"

    def __init__(self, message: str) -> None:
        super().__init__(message, "restore the store from its backup; data services keep serving meanwhile")


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Body)


def pack(moves: list[Move]) -> tuple[bytes, list[Note]]:
    """Moves -> columns and notes."""
    columns = np.zeros(len(moves), dtype=MOVE)
    for name in ("machine", "version", "deadline_ms", "kind", "source", "event", "target"):
        columns[name] = [getattr(move, name) for move in moves]
    columns["flags"] = [KEEP if move.keep else 0 for move in moves]
    notes = [
        Note(ordinal, move.patch, move.why, move.actor)
        for ordinal, move in enumerate(moves)
        if move.patch or move.why or move.actor
    ]
    return columns.tobytes(), notes


def seal(shard: int, seq: int, epoch: int, at_ms: int, prev_hash: bytes, body: Body) -> StoredRecord:
    """Encode and chain. The hash covers the header too, so that no field can be altered unseen."""
    data = _encoder.encode(body)
    return StoredRecord(
        shard=shard, seq=seq, epoch=epoch, at_ms=at_ms, body=data, prev_hash=prev_hash,
        hash=_chain(shard, seq, epoch, at_ms, prev_hash, data),
    )  # fmt: skip


def takeover(shard: int, owner: str, at_ms: int, epoch: int, last: StoredRecord | None) -> StoredRecord:
    """The record that a controller appends with its lease."""
    body = Body(FORMAT, "takeover", owner, b"", [])
    return seal(shard, last.seq + 1 if last else 1, epoch, at_ms, last.hash if last else GENESIS, body)


def open_record(stored: StoredRecord, prev: StoredRecord | None) -> Record:
    """Check the chain and decode. Raises Broken naming the record."""
    name = f"record {stored.seq} of shard {stored.shard}"
    expected = _chain(stored.shard, stored.seq, stored.epoch, stored.at_ms, stored.prev_hash, stored.body)
    if expected != stored.hash:
        raise Broken(f"{name} was altered: its hash does not fit its content")
    if prev is not None:
        if stored.seq != prev.seq + 1:
            raise Broken(f"record {prev.seq + 1} of shard {stored.shard} is missing")
        if stored.prev_hash != prev.hash:
            raise Broken(f"{name} does not follow the record before it")
        if stored.epoch < prev.epoch:
            raise Broken(f"{name} has an older epoch than the record before it")
    try:
        body = _decoder.decode(stored.body)
        if body.format > FORMAT:
            raise Broken(f"{name} was written by a newer herder (format {body.format})")
        return as_record(stored, body)
    except (*UNREADABLE, ValueError) as error:  # the last: columns cut short, spans that lie outside
        raise Broken(f"{name} is torn: {error}") from error


def as_record(stored: StoredRecord, body: Body) -> Record:
    """A body that is known to be the stored record's, as a record."""
    columns = np.frombuffer(body.moves, dtype=MOVE)
    notes = {note.ordinal: note for note in body.notes}
    spans = tuple(_span(columns, span) for span in body.spans)
    return Record(stored.shard, stored.seq, stored.epoch, stored.at_ms, body.kind, body.owner, columns, notes, spans,
                  tuple(body.births))  # fmt: skip


def _span(columns: NDArray[np.void], note: SpanNote) -> Span:
    """What its first move says holds for all of them."""
    if note.first < 0 or note.count < 1 or note.first + note.count > len(columns):
        raise ValueError(f"a span of {note.count} moves from {note.first} on, of {len(columns)}")
    row = columns[note.first]
    source, target = int(row["source"]), int(row["target"])
    flags = int(row["flags"]) | (ENTERS if source != target else 0)
    return Span(
        note.first, note.count, int(row["kind"]), source, int(row["event"]), target, flags, int(row["deadline_ms"]),
        note.why, note.actor, columns["machine"][note.first : note.first + note.count],
    )  # fmt: skip


def _chain(shard: int, seq: int, epoch: int, at_ms: int, prev_hash: bytes, data: bytes) -> bytes:
    digest = hashlib.sha256(prev_hash)
    digest.update(np.array([shard, seq, epoch, at_ms], dtype="<i8").tobytes())
    digest.update(data)
    return digest.digest()
