"""The projection's rows in sets: a COPY into a stage, then one UPDATE for machines that are there and one INSERT for the rest."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any

from herder.ports.store import Change, Collision, HistoryRow, UnitBlock, UnitRow
from herder.stores import rows
from herder.stores.postgres import binary
from herder.stores.postgres.named import QUERIES

REBUILD_S = 600.0
"""Seconds for one statement of a rebuild."""

FEW = 10_000
"""Rows that go as one JSON text."""

HISTORY_COLUMNS = (
    "seq", "ordinal", "at_ms", "machine", "kind", "name", "service", "source", "event", "target", "why", "actor",
)  # fmt: skip


class Projector:
    """Writes what follows the log. It remembers the codes of words, which never change."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}

    async def write(self, connection: Any, change: Change) -> None:
        """One transaction; see the port's `project`."""
        if change.units is not None:
            await self._learn(connection, change.units.words)
        async with connection.transaction():
            await connection.execute(QUERIES["begin_projection"], change.shard, change.epoch)
            if change.units is not None or change.history:
                await connection.execute(QUERIES["make_stages"])
            if change.units is not None and len(change.units):
                await self._put(connection, change, change.units)
            if change.history:
                await _copy_history(connection, change.shard, change.history)
                await connection.execute(QUERIES["insert_history"])
            values = (change.shard, change.epoch, change.seq, change.at_ms, change.history_seq)
            _check(await connection.fetchval(QUERIES["mark_projection"], *values), change.shard)

    async def _put(self, connection: Any, change: Change, block: UnitBlock) -> None:
        """Machines above the last one that is there are new: they go straight into the table."""
        place = await connection.fetchrow(QUERIES["generations"], change.shard)
        generation = place["building"] if change.fresh else place["generation"]
        if generation is None:
            raise Collision(f"no rebuild of shard {change.shard} is under way any more")
        last = await connection.fetchval(QUERIES["last_unit"], change.shard, generation)
        found = binary.columns_of(block, self._codes)
        known = found["machine"] <= (-1 if last is None else last)
        if known.any():
            data = binary.pack(found[known], block)
            await connection.copy_to_table(
                "unit_stage", columns=binary.STAGE_COLUMNS, source=io.BytesIO(data), format="binary"
            )
            await connection.execute(QUERIES["plan_in_sets"])
            done = await connection.execute(QUERIES["update_units"], change.shard, generation)
            if int(done.split()[-1]) < int(known.sum()):
                await connection.execute(QUERIES["insert_units"], change.shard, generation)
        if not known.all():
            data = binary.pack(found[~known], block, (change.shard, generation))
            await connection.copy_to_table(
                "unit", schema_name="herder", columns=binary.UNIT_COLUMNS, source=io.BytesIO(data), format="binary"
            )

    async def _learn(self, connection: Any, words: Sequence[str]) -> None:
        """Codes for words, in transactions of their own: what is remembered is committed."""
        new = [word for word in words if word not in self._codes]
        if new:
            await connection.execute(QUERIES["add_words"], new)
            self._codes = {row["word"]: row["code"] for row in await connection.fetch(QUERIES["words"])}

    async def begin(self, connection: Any, shard: int, epoch: int) -> None:
        """See the port's `begin_rebuild`."""
        async with connection.transaction():
            await connection.execute(QUERIES["begin_projection"], shard, epoch)
            _check(await connection.fetchval(QUERIES["begin_rebuild"], shard, epoch), shard)

    async def finish(self, connection: Any, shard: int, epoch: int, seq: int, at_ms: int) -> None:
        """See the port's `finish_rebuild`."""
        _check(await connection.fetchval(QUERIES["finish_rebuild"], shard, epoch, seq, at_ms), shard)


def _check(written: object, shard: int) -> None:
    if not written:
        raise Collision(f"a controller of a newer epoch writes the projection of shard {shard}")


async def _copy_history(connection: Any, shard: int, history: Sequence[HistoryRow]) -> None:
    await connection.copy_records_to_table(
        "history_stage", columns=("shard", *HISTORY_COLUMNS), records=_tuples(shard, history)
    )


async def retell(connection: Any, shard: int, between: tuple[int, int], history: Sequence[HistoryRow]) -> None:
    """See the port's `replace_history`."""
    async with connection.transaction():
        await connection.execute(QUERIES["make_stages"])
        await connection.execute(QUERIES["delete_history_between"], shard, *between)
        await _copy_history(connection, shard, history)
        await connection.execute(QUERIES["insert_history"])


async def replace(connection: Any, shard: int, units: Sequence[UnitRow], history: Sequence[HistoryRow]) -> None:
    """See the port's `rebuild_projection`."""
    async with connection.transaction():
        await connection.execute(QUERIES["take_your_time"])
        await connection.execute(QUERIES["make_stages"])
        await connection.execute(QUERIES["begin_projection"], shard, 0)
        await connection.execute(QUERIES["delete_units"], shard, timeout=REBUILD_S)
        await connection.execute(QUERIES["delete_history"], shard, timeout=REBUILD_S)
        kept = rows.last_by_machine(units)
        for at in range(0, len(kept), FEW):
            await connection.execute(QUERIES["put_units"], shard, rows.to_json(kept[at : at + FEW]), timeout=REBUILD_S)
        await _copy_history(connection, shard, history)
        await connection.execute(QUERIES["insert_history"], timeout=REBUILD_S)


def _tuples(shard: int, history: Sequence[HistoryRow]) -> Iterator[tuple[Any, ...]]:
    for row in rows.clean_history(history):
        yield (shard, *(getattr(row, column) for column in HISTORY_COLUMNS))
