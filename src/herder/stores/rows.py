"""What every store does to rows before it keeps them, so that no store keeps what another would refuse."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from herder.machines.registry import TABLES
from herder.ports.store import Batch, Claim, ClaimTaken, HistoryRow, StoredRecord, UnitRow

HASH_BYTES = 32
"""sha-256."""


PLAYBOOK_KINDS = tuple(table.kind for table in TABLES if not table.unit and "done" in table.by_name)
"""What is counted as a playbook: it is done, or it ends otherwise."""

ENDS = ("done", "abandoned", "failed", "paged")
"""The final states of playbooks."""

EXERCISER = "exercise"
"""The actor of a playbook that is an exercise."""


def percentile(ordered: Sequence[int], share: float) -> float | None:
    """As PostgreSQL's percentile_cont: between two values in a line. None of none."""
    if not ordered:
        return None
    at = share * (len(ordered) - 1)
    below = int(at)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (at - below)


def check_record(record: StoredRecord) -> None:
    """Raise ValueError for a record that no engine may write (a bug, not an operating error)."""
    if record.shard < 0 or record.seq < 1 or record.epoch < 1 or record.at_ms < 0:
        raise ValueError(
            f"record {record.shard}/{record.seq} of epoch {record.epoch} at {record.at_ms} is out of range"
        )
    if len(record.hash) != HASH_BYTES or len(record.prev_hash) != HASH_BYTES:
        raise ValueError(
            f"record {record.shard}/{record.seq}: a hash is {HASH_BYTES} bytes; the first one follows zeros"
        )


def check_claims(claims: Sequence[Claim]) -> None:
    """Raise ClaimTaken when one batch takes the same thing twice; ValueError for what cannot be a key."""
    seen: dict[tuple[str, str], int] = {}
    for claim in claims:
        if not claim.kind or "\0" in claim.kind + claim.value:
            raise ValueError(f"not a claim: {claim!r}")
        if (claim.kind, claim.value) in seen:
            raise ClaimTaken(claim, seen[claim.kind, claim.value])
        seen[claim.kind, claim.value] = claim.machine


def prepare(batch: Batch) -> None:
    """Check a batch before it is sent."""
    check_record(batch.record)
    check_claims(batch.claims)


def last_by_machine(units: Sequence[UnitRow]) -> list[UnitRow]:
    """A machine that moves twice in a batch is kept as it ends."""
    return list({unit.machine: unit for unit in units}.values())


def to_json(rows: Sequence[UnitRow] | Sequence[HistoryRow]) -> str | None:
    """Rows as a JSON array, None when there are none.

    Words in rows come from engines' standard error and from people: a NUL or a lone surrogate, which PostgreSQL refuses
    in text, must not make a shard unable to commit. They become U+FFFD.
    """
    if not rows:
        return None
    try:
        text = msgspec.json.encode(rows).decode()
    except UnicodeEncodeError:
        return msgspec.json.encode(clean(msgspec.to_builtins(rows))).decode()
    if "\\u0000" in text:
        return msgspec.json.encode(clean(msgspec.to_builtins(rows))).decode()
    return text


def clean(value: Any) -> Any:
    """The same value with text that PostgreSQL can keep."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd").encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    if isinstance(value, dict):
        return {clean(key): clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    return value


def to_text(data: Any) -> str:
    """A document as JSON that PostgreSQL can keep."""
    return msgspec.json.encode(clean(data)).decode()


def clean_units(units: Sequence[UnitRow]) -> list[UnitRow]:
    """Units as they read back from a store: copied, through JSON, one a machine."""
    text = to_json(last_by_machine(units))
    return msgspec.json.decode(text, type=list[UnitRow]) if text else []


def clean_history(history: Sequence[HistoryRow]) -> list[HistoryRow]:
    """Moves as they read back from a store."""
    text = to_json(history)
    return msgspec.json.decode(text, type=list[HistoryRow]) if text else []


def parts_of(body: bytes | Sequence[bytes | memoryview], size: int) -> Iterator[bytes]:
    """A snapshot's body, cut or joined into parts of `size` bytes; the last one may be shorter."""
    kept = bytearray()
    for piece in [body] if isinstance(body, bytes) else body:
        view = memoryview(piece).cast("B")
        for at in range(0, len(view), size):
            kept += view[at : at + size]
            while len(kept) >= size:
                yield bytes(kept[:size])
                del kept[:size]
    if kept:
        yield bytes(kept)
