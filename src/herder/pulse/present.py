"""Where the servers of a relay's bitmap stand. One bitmap is like the one before but for a few, and those few are looked up."""

from __future__ import annotations

import numpy as np

from herder.pulse.fleet_frame import Bitmap
from herder.pulse.slots import NOBODY, Finder, Slots, Words

FEW_BYTES = 2048
"""Where more bytes of two bitmaps differ, all of them are looked up: that is quicker then."""


class Present:
    """Of one life of a relay. Holds what the last bitmap said: 12 bytes a server."""

    def __init__(self) -> None:
        self._first = -1
        self._packed = b""
        self._changes = -1
        self._servers: Words = np.empty(0, np.uint32)
        self._slots: Slots = np.empty(0, np.intp)

    def slots(self, frame: Bitmap, finder: Finder) -> Slots:
        """Slots of the frame's servers, in their order, NOBODY for those that are not expected; shape (n,), to be read only."""
        same = (frame.first, len(frame.packed), finder.changes) == (self._first, len(self._packed), self._changes)
        if same and frame.packed == self._packed:
            return self._slots
        if not same or not self._follow(frame, finder):
            self._servers = frame.servers
            self._slots = finder.many(self._servers)
        self._first, self._packed, self._changes = frame.first, frame.packed, finder.changes
        if (self._slots == NOBODY).any():
            self._first = -1  # who is not expected yet may be, the next time
        return self._slots

    def _follow(self, frame: Bitmap, finder: Finder) -> bool:
        """Take those out that are in this bitmap no more and those in that are new; False when there are too many."""
        now, before = np.frombuffer(frame.packed, np.uint8), np.frombuffer(self._packed, np.uint8)
        other = np.flatnonzero(now != before)
        if len(other) > FEW_BYTES:
            return False
        here, there = (np.unpackbits(bits[other], bitorder="little").astype(bool) for bits in (now, before))
        ids = (np.repeat(other * 8, 8) + np.tile(np.arange(8), len(other)) + frame.first).astype(np.uint32)
        gone, come = ids[there & ~here], ids[here & ~there]
        if len(gone):
            places = np.searchsorted(self._servers, gone)
            self._servers, self._slots = np.delete(self._servers, places), np.delete(self._slots, places)
        if len(come):
            places = np.searchsorted(self._servers, come)
            self._servers = np.insert(self._servers, places, come)
            self._slots = np.insert(self._slots, places, finder.many(come))
        return True
