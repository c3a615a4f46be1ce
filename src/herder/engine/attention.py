"""Services that are not known to be at rest: those a review must look at again, however long nothing happens to them."""

from __future__ import annotations

RANKS = 4
"""Priorities told apart: one deque each, so that a premium service is looked at before a million others."""


class Attention:
    """Rings of services by priority. `some` takes from the front and puts to the back, so that each has its turn."""

    def __init__(self) -> None:
        self._rings: list[dict[int, None]] = [{} for _ in range(RANKS)]

    def __len__(self) -> int:
        return sum(len(ring) for ring in self._rings)

    def __contains__(self, service: int) -> bool:
        return any(service in ring for ring in self._rings)

    def call(self, service: int, priority: int) -> None:
        """Something of it moved: look at it until it is at rest."""
        self._rings[min(priority, RANKS - 1)].setdefault(service)

    def dismiss(self, service: int) -> None:
        """It is at rest; the next move of it calls again."""
        for ring in self._rings:
            ring.pop(service, None)

    def some(self, limit: int) -> list[int]:
        """Up to `limit` services, those of the best priority first."""
        found: list[int] = []
        for ring in self._rings:
            taken = [service for service, _ in zip(ring, range(limit - len(found)), strict=False)]
            for service in taken:
                ring[service] = ring.pop(service)
            found.extend(taken)
        return found
