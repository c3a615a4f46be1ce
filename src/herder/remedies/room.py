"""Is there room on a member's disk to lead? Asked before anything is changed: who ends in the middle of a promotion keeps all others
from leading too.
"""

from __future__ import annotations

from collections.abc import Iterable

from herder.remedies.hands import Hands

ROOM_BYTES = 32 * 1024**2
"""What must be free: a new timeline of PostgreSQL begins with a copy of its last segment (16 MB) and goes on into another."""

NEEDED = f"leading needs {ROOM_BYTES // 1024**2} MB free"


def cramped(hands: Hands, idents: Iterable[int]) -> list[int]:
    """Members whose agents say that there is not. One that was never heard is not held to have none."""
    rooms = {ident: hands.room_bytes(hands.get(ident)) for ident in idents}
    return [ident for ident, free in rooms.items() if free is not None and free < ROOM_BYTES]
