"""Racks' relays: what untouched hosts say, as the frames that a relay agent would send, a bit a server.

A rack here is a stretch of machine ids. Its relay runs on the first server of the stretch, which no fault strikes (a relay
that is lost is taken over by the next server in the rack; that is not modelled).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from herder.pulse.fleet_frame import (
    ALIVE,
    ARCHIVING_STALLED,
    PRIMARY,
    STANDBY,
    UPSTREAM,
    UPSTREAM_KNOWN,
    Header,
    Rows,
    encode_bitmap,
    encode_rows,
    rows,
)

RACK_IDS = 1 << 20
"""Machine ids a relay speaks for: a frame of 128 KiB."""

ROWS_EACH = 20_000
LIFE = 1

Ids = NDArray[np.uint32]


@dataclass(frozen=True, slots=True, eq=False)
class Relay:
    """servers: those it speaks for, ascending machine ids; `first` is the one it runs on, the `place`-th of them."""

    servers: Ids
    slots: slice
    place: int = 0

    @property
    def first(self) -> int:
        """The machine id of the server it runs on."""
        return int(self.servers[self.place])


class Relays:
    """All relays of a fleet. servers, members: machine ids by host slot; primary: does the member lead; incarnation: of
    the host; stalled: its archive does not take the log; all by host slot.
    """

    def __init__(self, servers: Ids, members: Ids, primary: NDArray[np.bool_]) -> None:
        self.servers, self.members, self.primary = servers, members, primary
        self.incarnation = np.ones(len(servers), np.uint32)
        self.stalled = np.zeros(len(servers), bool)
        ends = np.searchsorted(servers, np.arange(RACK_IDS, int(servers[-1]) + RACK_IDS, RACK_IDS))
        starts = [0, *ends[:-1].tolist()]
        self.all = [Relay(servers[a:b], slice(a, b)) for a, b in zip(starts, ends.tolist(), strict=True) if b > a]
        self._seq = 0

    @property
    def told(self) -> int:
        """The number of the last frame."""
        return self._seq

    def beat(self, awake: NDArray[np.bool_], sent_ms: int, send: Callable[[bytes], None]) -> None:
        """One frame each: these hosts were heard, and nothing of them has changed. awake: by host slot."""
        self._seq += 1
        for relay in self.all:
            heard = relay.servers[awake[relay.slots]]
            if len(heard):
                send(encode_bitmap(self._header(relay, sent_ms), heard))

    def _header(self, relay: Relay, sent_ms: int) -> Header:
        epoch = int(self.incarnation[relay.slots.start + relay.place])
        return Header(relay.first, epoch, LIFE, self._seq, sent_ms)

    def take_over(self, number: int, place: int) -> slice:
        """The rack's relay runs on another of its servers from now on; returns the host slots that it must tell of anew."""
        self.all[number] = replace(self.all[number], place=place)
        return self.all[number].slots

    def tell(self, slots: NDArray[np.intp], sent_ms: int, send: Callable[[bytes], None]) -> None:
        """What these hosts read of their members (host slots, ascending): at first, and when something has changed."""
        for relay in self.all:
            inside = slots[(slots >= relay.slots.start) & (slots < relay.slots.stop)]
            for begin in range(0, len(inside), ROWS_EACH):
                self._seq += 1
                header = self._header(relay, sent_ms)
                send(encode_rows(self._rows(header, inside[begin : begin + ROWS_EACH])))

    def _rows(self, header: Header, slots: NDArray[np.intp]) -> Rows:
        leads = self.primary[slots]
        flags = np.where(leads, ALIVE | PRIMARY, ALIVE | STANDBY | UPSTREAM | UPSTREAM_KNOWN).astype(np.uint8)
        flags |= np.where(self.stalled[slots], ARCHIVING_STALLED, 0).astype(np.uint8)
        return rows(
            header, server=self.servers[slots], incarnation=self.incarnation[slots], life=LIFE, member=self.members[slots], seq=self._seq,
            flags=flags, timeline=1,
        )  # fmt: skip
