"""Sending what was buffered while an object store was away, for many services at a time.

Nothing archives yet outside the simulator: backups come later, wiring passes None, and no archive machine is ever made there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Drained:
    """Ids of archive machines as u4 (memoryview format 'I'). drained: everything that was buffered is stored; stalled: the
    store did not take it. One that is in neither is still at it and is asked for again.
    """

    drained: memoryview
    stalled: memoryview


class ArchiveDriver(Protocol):
    """Asks the agents of many members at once. Idempotent: what is stored already counts as drained."""

    async def drain(self, machines: memoryview) -> Drained:
        """Have the members of these archive machines (ids as u4, format 'I') send what they buffered. Raises Unreachable
        when nobody could be asked.
        """
