"""What fell, and where: a clock of each server's last fall, and the scopes that each stands in, as arrays by slot.

It is cheap while nothing falls, and costs as much as there are fallen ones when something does; the sizes of scopes are
counted anew every two minutes, and once a second at most while servers are being made.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from herder.engine.world import Ids, World
from herder.governor.scopes import LIVE, WHERE, codes_of, ill
from herder.machines.registry import BY_KIND
from herder.pulse.storm import FLEET, Dimension

SIZES_S = 120.0
"""A scope's size is at most this old: a fleet does not change by a tenth in two minutes."""

MAKING_S = 1.0
"""While servers are being made it is: they are no part of it yet, and a new fleet's would stay nobody's for two minutes."""

STILL_S = 0.6
"""A server that was told as silent this long ago is silent still: the board tells of each again after a quarter second."""

Mask = NDArray[np.bool_]


class Falls:
    """Servers are slots here, ascending by id; a server's scopes never change, so they are read once."""

    def __init__(self) -> None:
        self.ids: Ids = np.empty(0, np.uint32)
        self.fell_at: NDArray[np.float64] = np.empty(0)
        self.silent_at: NDArray[np.float64] = np.empty(0)
        self._codes: dict[str, NDArray[np.int64]] = {kind: np.empty(0, np.int64) for kind in WHERE}
        self._names: dict[str, dict[str, int]] = {kind: {} for kind in WHERE}
        self._recent: deque[tuple[float, NDArray[np.intp]]] = deque()
        self._total: dict[str, NDArray[np.int64]] = {}
        self._counted_at = -np.inf
        self._making = False  # some were, when they were counted
        self.alive: Mask = np.empty(0, bool)
        self.live = 0

    def follow(self, world: World, now: float) -> None:
        """Take in servers that were made since, and count sizes when they are old."""
        ids = world.ids("server")
        if len(ids) != len(self.ids):
            self._take_in(world, ids)
            self._counted_at = -np.inf
        if now - self._counted_at >= (MAKING_S if self._making else SIZES_S):
            self._count(world, now)

    def _take_in(self, world: World, ids: Ids) -> None:
        old = len(self.ids)
        if not np.array_equal(ids[:old], self.ids):  # ids are given in order, so this is another world
            old, self._names = 0, {kind: {} for kind in WHERE}
            self._recent.clear()
        fell_at, silent_at = np.full(len(ids), -np.inf), np.full(len(ids), -np.inf)
        fell_at[:old], silent_at[:old] = self.fell_at[:old], self.silent_at[:old]
        self.ids, self.fell_at, self.silent_at = ids.copy(), fell_at, silent_at
        for kind, names in self._names.items():
            self._codes[kind] = np.concatenate([self._codes[kind][:old], codes_of(world, ids[old:], kind, names)])

    def _count(self, world: World, now: float) -> None:
        states = BY_KIND["server"].state_codes
        wanted = np.zeros(256, bool)
        wanted[[states[state] for state in LIVE]] = True
        held = world.columns.state[self.ids]
        self.alive = alive = wanted[held]
        self._making = bool((held == states["installing"]).any())
        for kind, codes in self._codes.items():
            self._total[kind] = np.bincount(codes[alive], minlength=len(self._names[kind]))
        self.live, self._counted_at = int(np.count_nonzero(alive)), now

    def slots(self, servers: Ids) -> NDArray[np.intp]:
        """Slots of servers; those that are not known (yet) are left out."""
        at = np.searchsorted(self.ids, servers)
        known = at < len(self.ids)
        known[known] = self.ids[at[known]] == servers[known]
        return at[known]

    def fall(self, servers: Ids, now: float, window_s: float) -> int:
        """These fell now; one whose silence goes on keeps its moment. Returns how many are new: had not within the window.

        Who was well in between fell again, and now: by its first fall it would be forgotten while it has just fallen.
        """
        slots = self.slots(servers)
        new = self.fell_at[slots] <= now - window_s
        fell = slots[new | (self.silent_at[slots] < now - STILL_S)]
        self.fell_at[fell] = now
        if len(fell):
            self._recent.append((now, fell))
        return int(np.count_nonzero(new))

    def hush(self, servers: Ids, now: float) -> None:
        """These are silent now."""
        self.silent_at[self.slots(servers)] = now

    def fallen(self, world: World, now: float, window_s: float, without: Sequence[str] = ()) -> NDArray[np.intp]:
        """Slots that fell within the window, are not well yet, and stand in none of the scopes `without`."""
        while self._recent and self._recent[0][0] <= now - window_s:
            self._recent.popleft()
        if not self._recent:
            return np.empty(0, np.intp)
        slots = np.concatenate([fallen[self.fell_at[fallen] == at] for at, fallen in self._recent])
        still = ill(world, self.ids[slots]) | (self.silent_at[slots] >= now - STILL_S)
        kept: NDArray[np.intp] = slots[still & ~self.inside(slots, without)]
        return kept

    def standing_in(self, scopes: Sequence[str]) -> Ids:
        """Servers in any of the scopes that could fall, ascending, as of the last count."""
        slots = np.flatnonzero(self.alive)
        return self.ids[slots[self.inside(slots, scopes)]]

    def inside(self, slots: NDArray[np.intp], scopes: Sequence[str]) -> Mask:
        """Which of these slots stand in one of the scopes, shape (len(slots),)."""
        if FLEET in scopes:
            return np.ones(len(slots), bool)
        found = np.zeros(len(slots), bool)
        for scope in scopes:
            kind, _, name = scope.partition(":")
            if name in self._names.get(kind, ()):
                found |= self._codes[kind][slots] == self._names[kind][name]
        return found

    def dimensions(self, slots: NDArray[np.intp]) -> list[Dimension]:
        """The fleet and each kind of scope, with these slots as the fallen."""
        found = [Dimension(FLEET, (FLEET,), np.array([self.live]), np.array([len(slots)]))]
        for kind, names in self._names.items():
            fallen = np.bincount(self._codes[kind][slots], minlength=len(names))
            known = [code for name, code in names.items() if name]  # '' is no scope
            if known:
                named = tuple(name for name in names if name)
                found.append(Dimension(kind, named, self._total[kind][known], fallen[known]))
        return found
