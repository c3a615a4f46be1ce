"""Who is not well, kept by each commit: services by engine and plan, and how many services and archives are ill in all."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from herder.engine.record import Move, Span
from herder.engine.world import Ids, World
from herder.machines.registry import BY_KIND

Flags = NDArray[np.bool_]

_SERVICE = BY_KIND["service"]
NO_WRITES = ("unavailable", "restart", "upgrading")
"""A service in these takes no writes, as the log has it. One that is uncertain may well: it is counted apart."""

_NO_WRITES = tuple(state in NO_WRITES for state in _SERVICE.state_names)
ILL = {
    "service": ("installing", "uncertain", "unavailable", "restart", "upgrading"),
    "archive": ("uncertain", "unavailable", "restart"),
}
_ILL = {BY_KIND[kind].code: tuple(state in ill for state in BY_KIND[kind].state_names) for kind, ill in ILL.items()}


def grown(column: NDArray[np.generic], size: int) -> NDArray[np.generic]:
    """The column with room for ids below `size`; new places are 0."""
    if size <= len(column):
        return column
    wider = np.zeros(max(size, len(column) + (len(column) >> 3)), column.dtype)
    wider[: len(column)] = column
    return wider


class Wellness:
    """Three bytes a machine: its group, whether it ever took no writes, whether its illness is excused. labels: 'engine plan'
    by group, '' = none. ill: services and archives that are not well and not excused.
    """

    def __init__(self) -> None:
        self.labels: list[str] = [""]
        self.unavailable: list[int] = [0]
        self.ill = 0
        self._group: NDArray[np.uint8] = np.zeros(0, np.uint8)
        self._ever: Flags = np.zeros(0, bool)
        self._excused: Flags = np.zeros(0, bool)

    @property
    def by_plan(self) -> dict[str, int]:
        """'engine plan' -> services that take no writes now."""
        return {label: count for label, count in zip(self.labels, self.unavailable, strict=True) if label}

    @property
    def ever_down(self) -> int:
        """Services that took no writes at some time of the day."""
        return int(np.count_nonzero(self._ever))

    def rebase(self, world: World) -> None:
        """Everything from the columns: groups from the shapes of cohorts, one look for each service without a shape."""
        services = world.ids("service")
        self._room(world.size)
        shapes = world.columns.shape[services]
        of_shape = np.zeros(int(shapes.max(initial=0)) + 1, np.uint8)
        for code in np.flatnonzero(np.bincount(shapes)).tolist():
            if code:
                of_shape[code] = self._code(world.shapes[code].facts)
        self._group[services] = of_shape[shapes]
        for service in services[shapes == 0].tolist():
            self._group[service] = self._code(world.document(service))
        down = world.ids_in("service", *NO_WRITES)
        self._ever[down] = True
        self.unavailable = np.bincount(self._group[down], minlength=len(self.labels)).tolist()
        self._count_ill(world)

    def excuse(self, world: World, machines: Ids) -> None:
        """From now on these services and archives, and no others, may be ill: nothing that herder could do would help."""
        self._room(world.size)
        self._excused[:] = False
        self._excused[machines] = True
        self._count_ill(world)

    def _count_ill(self, world: World) -> None:
        self.ill = sum(len(self.not_excused(world.ids_in(kind, *states))) for kind, states in ILL.items())

    def not_excused(self, machines: Ids) -> Ids:
        """Those of them that have no excuse."""
        return machines[~self._excused[machines]]

    def _room(self, size: int) -> None:
        self._group = grown(self._group, size).view(np.uint8)
        self._ever = grown(self._ever, size).view(np.bool_)
        self._excused = grown(self._excused, size).view(np.bool_)

    def _code(self, facts: dict[str, object]) -> int:
        label = f"{facts.get('engine', '')} {facts.get('plan', '')}".strip()
        if label not in self.labels:
            self.labels.append(label)
            self.unavailable.append(0)
        return self.labels.index(label)

    def service(self, move: Move, world: World) -> None:
        """One service moved by itself."""
        if not move.source:
            self._room(world.size)
            self._group[move.machine] = self._code(world.facts_of(move.machine))
        self.single(move)
        was, now = _NO_WRITES[move.source], _NO_WRITES[move.target]
        if was is not now:
            self.unavailable[self._group[move.machine]] += 1 if now else -1
            if now:
                self._ever[move.machine] = True

    def single(self, move: Move) -> None:
        """One service or archive moved: is it one more that is ill, or one less?"""
        ill = _ILL[move.kind]
        was, now = ill[move.source], ill[move.target]
        if was is not now:
            self._room(move.machine + 1)
            if not self._excused[move.machine]:
                self.ill += now - was

    def span(self, span: Span, world: World) -> None:
        """Many of them moved alike."""
        ill = _ILL.get(span.kind)
        if ill is None or span.source == span.target:
            return
        self._room(world.size)
        self.ill += (ill[span.target] - ill[span.source]) * len(self.not_excused(span.machines))
        if span.kind != _SERVICE.code:
            return
        if not span.source:
            self.rebase(world)  # a cohort that is taken over in the middle of a day
            return
        was, now = _NO_WRITES[span.source], _NO_WRITES[span.target]
        if was is not now:
            for group, count in enumerate(np.bincount(self._group[span.machines]).tolist()):
                self.unavailable[group] += count if now else -count
            if now:
                self._ever[span.machines] = True
