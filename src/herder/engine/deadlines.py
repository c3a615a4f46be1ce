"""Which deadlines have passed? A heap of moments, each with the machines that wait for it: a million that were set together
are one entry. The column holds the truth; an entry whose machines have moved on since says nothing.
"""

from __future__ import annotations

from heapq import heappop, heappush

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.uint32]
NOBODY: Ids = np.empty(0, np.uint32)


class Deadlines:
    """Over the column `deadline_ms` (0 = none), which its owner passes in."""

    def __init__(self) -> None:
        self._moments: list[tuple[int, int, Ids | int]] = []
        self._entries = 0
        self._late: Ids = NOBODY  # passed when it was looked last, and not known to have moved

    def put(self, moment_ms: int, machines: Ids | int) -> None:
        """These wait until then."""
        self._entries += 1
        heappush(self._moments, (moment_ms, self._entries, machines))

    def put_all(self, column: NDArray[np.int64]) -> None:
        """Everything that waits by the column: of a world that was restored."""
        ids = np.flatnonzero(column).astype(np.uint32)
        ids = ids[np.argsort(column[ids], kind="stable")]
        ends = np.flatnonzero(np.diff(column[ids])) + 1
        for group in np.split(ids, ends) if len(ids) else ():
            self.put(int(column[group[0]]), group)

    def next_ms(self) -> int | None:
        """When to look again: 0 = at once, None = nobody waits. It may be early, never late."""
        if len(self._late):
            return 0
        return self._moments[0][0] if self._moments else None

    def passed(self, column: NDArray[np.int64], now_ms: int) -> Ids:
        """Machines whose deadline lies at or before now, ascending."""
        moments = self._moments
        if not len(self._late) and not (moments and moments[0][0] <= now_ms):
            return NOBODY
        parts = [self._late]
        while moments and moments[0][0] <= now_ms:
            machines = heappop(moments)[2]
            parts.append(np.array([machines], np.uint32) if isinstance(machines, int) else machines)
        found = np.concatenate(parts)
        waits = column[found]
        for ident in self._late[column[self._late] > now_ms].tolist():  # the wall clock went back
            self.put(int(column[ident]), ident)
        self._late = np.unique(found[(waits > 0) & (waits <= now_ms)])
        return self._late
