"""The limit: what one would write by hand for this one step, with no engine around it.

The same numpy step (a gather over a table, the packed moves, the columns set) and one row with the same bytes a commit,
over the same driver into the same PostgreSQL. No chain of hashes, no lanes, no effects, no projection, no guard.
"""

from __future__ import annotations

import time
from typing import Any

import asyncpg
import numpy as np

from herder.engine.bulk import CHUNK
from herder.engine.record import MOVE

_TABLE = """
create table if not exists hand (seq bigint primary key, body bytea not null);
alter table hand alter column body set storage external;
"""
_INSERT = "insert into hand (seq, body) values ($1, $2)"

STATES, EVENTS = 9, 16


class CommitByHand:
    """One small row a commit: the limit of a single command's latency."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._number = 0

    @classmethod
    async def opened(cls, options: dict[str, Any]) -> CommitByHand:
        """With a connection and a table of its own."""
        connection = await asyncpg.connect(**options)
        await connection.execute(_TABLE)
        return cls(connection)

    async def commit(self) -> float:
        """Milliseconds of one commit of 200 bytes, about what a record of one move is."""
        self._number -= 1
        began = time.perf_counter()
        await self._connection.execute(_INSERT, self._number, bytes(200))
        return (time.perf_counter() - began) * 1000

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()


class ByHand:
    """A million machines as columns, and one table."""

    def __init__(self, machines: int) -> None:
        self.ids = np.arange(machines, dtype=np.uint32)
        self.state = np.ones(machines, np.uint8)
        self.version, self.entered, self.order = (np.ones(machines, np.uint32) for _ in range(3))
        self.since_ms, self.deadline_ms = (np.zeros(machines, np.int64) for _ in range(2))
        self.target = np.tile(np.arange(1, STATES + 1, dtype=np.uint8) % STATES, (EVENTS, 1))
        self.seq = 0

    async def step(self, options: dict[str, Any]) -> float:
        """Everyone takes one step; seconds until the last is committed."""
        connection = await asyncpg.connect(**options)
        try:
            await connection.execute(_TABLE)
            insert = await connection.prepare(_INSERT)
            began = time.perf_counter()
            for begin in range(0, len(self.ids), CHUNK):
                ids, now_ms = self.ids[begin : begin + CHUNK], int(time.time() * 1000)
                self.seq += 1
                moves = self._moves(ids, now_ms)
                await insert.fetch(self.seq, moves.tobytes())
                self._apply(ids, moves, now_ms)
            return time.perf_counter() - began
        finally:
            await connection.close()

    def _moves(self, ids: Any, now_ms: int) -> Any:
        source = self.state[ids]
        moves = np.zeros(len(ids), MOVE)
        moves["machine"], moves["version"] = ids, self.version[ids] + np.uint32(1)
        moves["deadline_ms"] = now_ms + 60_000
        moves["kind"], moves["source"], moves["event"], moves["target"] = 2, source, 3, self.target[3][source]
        return moves

    def _apply(self, ids: Any, moves: Any, now_ms: int) -> None:
        self.state[ids] = moves["target"]
        self.version[ids] = self.entered[ids] = moves["version"]
        self.order[ids] = self.seq
        self.since_ms[ids] = now_ms
        self.deadline_ms[ids] = moves["deadline_ms"]
