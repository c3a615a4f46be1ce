"""Units in PostgreSQL's binary COPY format, made from columns: no value passes through Python but a document or a name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from herder.ports.store import UnitBlock
from herder.stores import rows

HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TAIL = b"\xff\xff"
_JSONB = b"\x01"
"""The version that stands before a jsonb value's text."""

_NUMBERS = (
    ("since_ms", "i8"), ("deadline_ms", "i8"), ("version", "i4"), ("machine", "i4"), ("service_id", "i4"),
    ("kind", "i2"), ("state", "i2"),
)  # fmt: skip
_PLACE = (("shard", "i2"), ("generation", "i2"))
_TEXTS = ("name", "service", "data")
STAGE_COLUMNS = (*(name for name, _ in _NUMBERS), *_TEXTS)
UNIT_COLUMNS = (*(name for name, _ in (*_NUMBERS, *_PLACE)), *_TEXTS)


def columns_of(block: UnitBlock, codes: Mapping[str, int]) -> NDArray[np.void]:
    """The numbers of a block, kinds and states as the store's codes; shape (n,), native byte order."""
    of_word = np.array([codes[word] for word in block.words], "<i2")
    found = np.zeros(len(block), [(name, kind) for name, kind in _NUMBERS])
    found["machine"] = np.frombuffer(block.machines, "<u4")
    found["kind"] = of_word[np.frombuffer(block.kinds, "<u2")]
    found["state"] = of_word[np.frombuffer(block.states, "<u2")]
    found["version"] = np.frombuffer(block.versions, "<u4")
    found["since_ms"] = np.frombuffer(block.since_ms, "<i8")
    found["deadline_ms"] = np.frombuffer(block.deadline_ms, "<i8")
    found["service_id"] = np.frombuffer(block.services, "<u4")
    return found


def pack(found: NDArray[np.void], block: UnitBlock, place: tuple[int, int] | None = None) -> bytes:
    """Rows of `found` (a part of the block's columns) as a COPY's bytes; place: (shard, generation), in front of the texts."""
    numbers = _NUMBERS if place is None else (*_NUMBERS, *_PLACE)
    fields: list[tuple[str, str]] = [("fields", ">i2")]
    for name, kind in numbers:
        fields += [(f"{name} bytes", ">i4"), (name, f">{kind}")]
    fields += [(f"{name} bytes", ">i4") for name in _TEXTS]
    packed = np.zeros(len(found), fields)
    packed["fields"] = len(numbers) + len(_TEXTS)
    for name, kind in numbers:
        packed[f"{name} bytes"] = np.dtype(kind).itemsize
    for name, _ in _NUMBERS:
        packed[name] = found[name]
    if place is not None:
        packed["shard"], packed["generation"] = place
    for name in _TEXTS:
        packed[f"{name} bytes"] = -1
    wordy = _wordy(found, block)
    texts = [_with_texts(packed[at], found[at], block) for at in np.flatnonzero(wordy).tolist()]
    return b"".join((HEAD, packed[~wordy].tobytes(), *texts, TAIL))


def _wordy(found: NDArray[np.void], block: UnitBlock) -> NDArray[np.bool_]:
    """Which rows have a text of their own."""
    wordy = np.zeros(len(found), np.bool_)
    for column, known in (("machine", block.names), ("machine", block.data), ("service_id", block.service_names)):
        if known:
            wordy |= np.isin(found[column], np.fromiter(known, np.int64, len(known)))
    return wordy


def _with_texts(packed: Any, row: Any, block: UnitBlock) -> bytes:
    machine, service = int(row["machine"]), int(row["service_id"])
    data = block.data.get(machine)
    values = (
        _text(block.names.get(machine)),
        _text(block.service_names.get(service)),
        None if not data else _JSONB + rows.to_text(data).encode(),
    )
    numbers: bytes = packed.tobytes()[: -4 * len(_TEXTS)]
    return numbers + b"".join(
        b"\xff\xff\xff\xff" if value is None else len(value).to_bytes(4, "big") + value for value in values
    )


def _text(value: str | None) -> bytes | None:
    return None if value is None else str(rows.clean(value)).encode()
