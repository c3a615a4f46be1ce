"""What fell, and where: a clock of each server's last fall, and the scopes that each stands in, as arrays by slot.

It is cheap while nothing falls, and costs as much as there are fallen ones when something does; the sizes of scopes are
counted anew once a second at most.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from herder.engine.world import Ids, World
from herder.governor.scopes import LIVE, WHERE, facts_of, ill
from herder.machines.registry import BY_KIND
from herder.pulse.storm import FLEET, Dimension

SIZES_S = 1.0
"""A scope's size is at most this old."""

Mask = NDArray[np.bool_]


class Falls:
    """Servers are slots here, ascending by id; a server's scopes never change, so they are read once."""

    def __init__(self) -> None:
        self.ids: Ids = np.empty(0, np.uint32)
        self.fell_at: NDArray[np.float64] = np.empty(0)
        self._codes: dict[str, NDArray[np.int64]] = {}
        self._names: dict[str, list[str]] = {}
        self._total: dict[str, NDArray[np.int64]] = {}
        self._counted_at = -np.inf
        self.alive: Mask = np.empty(0, bool)
        self.live = 0

    def follow(self, world: World, now: float) -> None:
        """Take in servers that were made since, and count sizes when they are old."""
        ids = world.ids("server")
        if len(ids) != len(self.ids):
            self._take_in(world, ids)
            self._counted_at = -np.inf
        if now - self._counted_at >= SIZES_S:
            self._count(world, now)

    def _take_in(self, world: World, ids: Ids) -> None:
        fell_at = np.full(len(ids), -np.inf)
        fell_at[np.searchsorted(ids, self.ids)] = self.fell_at
        self.ids, self.fell_at = ids.copy(), fell_at
        for kind, (names, codes) in facts_of(world, ids).items():
            self._names[kind], self._codes[kind] = names, codes

    def _count(self, world: World, now: float) -> None:
        states = BY_KIND["server"].state_codes
        self.alive = alive = np.isin(world.columns.state[self.ids], [states[state] for state in LIVE])
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
        """These fell now; one that fell within the window already keeps its moment. Returns how many are new."""
        slots = self.slots(servers)
        new = slots[self.fell_at[slots] <= now - window_s]
        self.fell_at[new] = now
        return len(new)

    def fallen(
        self, world: World, now: float, window_s: float, silent: Ids, without: Sequence[str] = ()
    ) -> NDArray[np.intp]:
        """Slots that fell within the window, are not well yet, and stand in none of the scopes `without`."""
        slots = np.flatnonzero(self.fell_at > now - window_s)
        if not len(slots):
            return slots
        still = ill(world, self.ids[slots]) | np.isin(self.ids[slots], silent)
        kept: NDArray[np.intp] = slots[still & ~self.inside(slots, without)]
        return kept

    def inside(self, slots: NDArray[np.intp], scopes: Sequence[str]) -> Mask:
        """Which of these slots stand in one of the scopes, shape (len(slots),)."""
        if FLEET in scopes:
            return np.ones(len(slots), bool)
        found = np.zeros(len(slots), bool)
        for scope in scopes:
            kind, _, name = scope.partition(":")
            if name in self._names.get(kind, ()):
                found |= self._codes[kind][slots] == self._names[kind].index(name)
        return found

    def dimensions(self, slots: NDArray[np.intp]) -> list[Dimension]:
        """The fleet and each kind of scope, with these slots as the fallen."""
        found = [Dimension(FLEET, (FLEET,), np.array([self.live]), np.array([len(slots)]))]
        for kind in WHERE:
            names, codes = self._names.get(kind, []), self._codes.get(kind)
            if codes is None or not names:
                continue
            fallen = np.bincount(codes[slots], minlength=len(names))
            known = np.array([bool(name) for name in names])  # '' is no scope
            found.append(
                Dimension(kind, tuple(np.array(names, object)[known].tolist()), self._total[kind][known], fallen[known])
            )
        return found
