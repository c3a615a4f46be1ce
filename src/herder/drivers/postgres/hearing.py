"""What a standby last heard of the end of its primary's log, kept over the loss of its stream.

Every message of a walsender says where the primary's log ended when it was sent; PostgreSQL shows it as `latest_end_lsn` while the
receiver lives, and forgets it with the receiver. The agent looks once a second and remembers, so that somebody can say what a
promotion would lose though the primary, and whoever listened to it, are gone. An agent that is started again has forgotten.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from herder.ports.driver import Heard, Position

LOOKS = 16
"""Looks over which the fastest growth counts: a quarter of a minute. Under a burst the last second alone says too little."""

SHORTEST_S = 0.2
"""Two looks closer than this say nothing of a speed."""


@dataclass(slots=True)
class _Kept:
    """at: where the log ended; said_at: when that was said, looked_at: when it was seen, in our monotonic seconds."""

    at: Position
    said_at: float
    looked_at: float
    rates: deque[float] = field(default_factory=lambda: deque(maxlen=LOOKS))


class Hearing:
    """By data directory. Nothing of it is on disk."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[str, _Kept] = {}

    def forget(self, data_dir: str) -> None:
        """It leads, or follows another: what it heard is over."""
        self._kept.pop(data_dir, None)

    def take(self, data_dir: str, at: Position, age_s: float) -> None:
        """A look at a living receiver. age_s: since its last message was sent."""
        now, before = self._clock(), self._kept.get(data_dir)
        if before is None or before.at.timeline != at.timeline:
            self._kept[data_dir] = _Kept(at, now - age_s, now)
            return
        # a keepalive of a sender that lags tells how far it has sent, which is less than was told before
        grown, passed_s = max(at.lsn - before.at.lsn, 0), now - before.looked_at
        if passed_s >= SHORTEST_S:
            before.rates.append(grown / passed_s)
            before.looked_at = now
            before.at = Position(at.timeline, before.at.lsn + grown)
            before.said_at = max(now - age_s, before.said_at)

    def told(self, data_dir: str) -> Heard | None:
        """What is remembered; None before a second look, since nobody knows a speed by then."""
        kept = self._kept.get(data_dir)
        if kept is None or not kept.rates:
            return None
        age_s = max(self._clock() - kept.said_at, 0.0)
        return Heard(kept.at, age_s, max(kept.rates))
