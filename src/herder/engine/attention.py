"""Services that are not known to be at rest: those a review must look at again, however long nothing happens to them."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush

RANKS = 4
"""Priorities told apart, so that a premium service is looked at before a million others."""

FIRST_MS = 50
GROWTH = 1.5
LAST_MS = 30_000
"""Looks at one service, to which nothing happens meanwhile: at once, then farther and farther apart. What waits for its own
time (a retry) is found half as late again at the most; what waits for others (a dependency) is roused when they change.
"""


class Attention:
    """Services with the time of their next look, by priority."""

    def __init__(self) -> None:
        self._heaps: list[list[tuple[int, int]]] = [
            [] for _ in range(RANKS)
        ]  # (due ms, service); stale ones are skipped
        self._waits: dict[int, tuple[int, int, float]] = {}  # service -> priority, due ms, pause ms

    def __len__(self) -> int:
        return len(self._waits)

    def __iter__(self) -> Iterator[int]:
        return iter(list(self._waits))

    def __contains__(self, service: int) -> bool:
        return service in self._waits

    def call(self, service: int, priority: int) -> None:
        """Something of it moved: look at it at once, and until it is at rest."""
        rank = min(priority, RANKS - 1)
        known = self._waits.get(service)
        self._waits[service] = (rank, 0, FIRST_MS)
        if known is None or known[:2] != (rank, 0):
            heappush(self._heaps[rank], (0, service))

    def dismiss(self, service: int) -> None:
        """It is at rest; the next move of it calls again."""
        self._waits.pop(service, None)

    def rouse(self) -> None:
        """Something that many may wait for has changed: look at all of them again."""
        for service, (rank, due_ms, _) in self._waits.items():
            self._waits[service] = (rank, 0, FIRST_MS)
            if due_ms:
                heappush(self._heaps[rank], (0, service))

    def next_ms(self) -> int | None:
        """When the next look is due, None = never. It may be early, never late."""
        return min((heap[0][0] for heap in self._heaps if heap), default=None)

    def some(self, now_ms: int, limit: int) -> list[int]:
        """Up to `limit` services that are due, those of the best priority first; each has its next look later."""
        found: list[int] = []
        for rank, heap in enumerate(self._heaps):
            while heap and heap[0][0] <= now_ms and len(found) < limit:
                due_ms, service = heappop(heap)
                known = self._waits.get(service)
                if known is None or known[:2] != (rank, due_ms):
                    continue
                again_ms = now_ms + round(known[2])
                self._waits[service] = (rank, again_ms, min(known[2] * GROWTH, LAST_MS))
                heappush(heap, (again_ms, service))
                found.append(service)
        return found
