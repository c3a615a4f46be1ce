"""What is dropped of the log and of the history that was told from it. What a start needs is never touched: the store keeps
everything from the older of the last two snapshots on, and the hash chain is checked from there.
"""

from __future__ import annotations

import logging

from herder.model.errors import Unreachable
from herder.ports.clock import Clock
from herder.ports.store import Store

log = logging.getLogger("herder.engine")

EVERY_S = 3600.0
PAUSE_S = 0.05
"""Between two slices: commits go first."""

DAY_MS = 86_400_000
LOG_SLICE = 200
"""Records of one transaction: at 1.5 MB each, what a disk drops in a moment."""

HISTORY_SLICE = 10_000


class Retention:
    """Drops what is older than `days` (0 = nothing ever), some at a time, once an hour."""

    def __init__(self, store: Store, shard: int, clock: Clock, days: float) -> None:
        self._store = store
        self._shard = shard
        self._clock = clock
        self._days = days

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._clock.sleep(EVERY_S)
            try:
                await self.once()
            except Unreachable as error:
                log.warning("old records stay for now: %s", error.message)

    async def once(self) -> tuple[int, int]:
        """Returns how many records and how many told moves were dropped."""
        if self._days <= 0:
            return 0, 0
        before_ms = self._clock.now_ms() - round(self._days * DAY_MS)
        last = await self._store.seq_before(self._shard, before_ms)
        records = moves = 0
        while last and (dropped := await self._store.drop_log(self._shard, last + 1, LOG_SLICE)):
            records += dropped
            await self._clock.sleep(PAUSE_S)
        while dropped := await self._store.drop_history(before_ms, HISTORY_SLICE):
            moves += dropped
            await self._clock.sleep(PAUSE_S)
        if records or moves:
            log.info("dropped %d records and %d told moves older than %g days", records, moves, self._days)
        return records, moves
