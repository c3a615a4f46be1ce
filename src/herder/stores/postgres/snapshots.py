"""Snapshots in parts, and where the log may be cut: what a start reads first."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from typing import Any

from herder.ports.store import Snapshot
from herder.stores import rows
from herder.stores.postgres.named import QUERIES

log = logging.getLogger("herder.store")

PART_BYTES = 4 * 1024**2
"""Of one row: a statement's time is enough for it on a slow disk, and nobody holds the whole twice."""


async def save(
    connection: Any, shard: int, seq: int, body: bytes | Sequence[bytes | memoryview], record_hash: bytes
) -> None:
    """Part by part, each its own transaction, since nobody looks before the snapshot's row is there."""
    digest, parts = hashlib.sha256(), 0
    await connection.execute(QUERIES["hide_snapshot"], shard, seq)
    for part in rows.parts_of(body, PART_BYTES):
        await connection.execute(QUERIES["save_part"], shard, seq, parts, part)
        digest.update(part)
        parts += 1
    async with connection.transaction():
        await connection.execute(QUERIES["save_snapshot"], shard, seq, parts, digest.digest(), record_hash)
        await connection.execute(QUERIES["drop_old_snapshots"], shard)
        await connection.execute(QUERIES["drop_old_parts"], shard)


async def load(connection: Any, shard: int) -> Snapshot | None:
    """The newest one that is whole; those that are not are named in the log."""
    torn: list[int] = []
    for found in await connection.fetch(QUERIES["snapshots"], shard):
        body = await _read(connection, shard, found["seq"], found["parts"])
        if body is not None and hashlib.sha256(body).digest() == found["digest"]:
            return Snapshot(seq=found["seq"], body=body, record_hash=found["record_hash"], torn=tuple(torn))
        torn.append(found["seq"])
        log.error(
            "the snapshot of shard %d at record %d is torn or altered; the one before is used", shard, found["seq"]
        )
    return None


async def _read(connection: Any, shard: int, seq: int, parts: int) -> bytes | None:
    read = []
    for part in range(parts):
        body = await connection.fetchval(QUERIES["read_part"], shard, seq, part)
        if body is None:
            return None
        read.append(body)
    return read[0] if len(read) == 1 else b"".join(read)


async def seq_before(connection: Any, shard: int, at_ms: int) -> int:
    """By halves over the primary key: time only goes up along the log, and there is no index on it."""
    ends = await connection.fetchrow(QUERIES["ends_of_log"], shard)
    if ends["first"] is None:
        return 0
    older, newer = ends["first"] - 1, ends["last"] + 1
    while newer - older > 1:
        middle = (older + newer) // 2
        found = await connection.fetchval(QUERIES["time_of_record"], shard, middle)
        if found is None or found < at_ms:
            older = middle
        else:
            newer = middle
    return int(older) if older >= ends["first"] else 0
