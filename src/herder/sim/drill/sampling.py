"""Samples of a day, and the timeline that they become: a state or a queue that was never there has no series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from herder.sim.drill.result import Timeline


@dataclass(frozen=True, slots=True)
class Sample:
    """One moment. As in Timeline, one value each."""

    at_ms: int
    states: Mapping[str, Mapping[str, int]]
    unavailable: Mapping[str, int]
    backlog: Mapping[str, int]
    bytes_waiting: int
    to_recover: int
    recovered: int


class Samples:
    """All of a day, in order. A second one of the same moment takes the place of the first."""

    def __init__(self) -> None:
        self._taken: list[Sample] = []

    def take(self, sample: Sample) -> None:
        """One more."""
        if self._taken and self._taken[-1].at_ms == sample.at_ms:
            self._taken.pop()
        self._taken.append(sample)

    def timeline(self) -> Timeline:
        """As series. A queue in which nobody ever waited is left out."""
        taken = self._taken
        kinds = dict.fromkeys(kind for sample in taken for kind in sample.states)
        backlog = _series([sample.backlog for sample in taken])
        return Timeline(
            at_ms=tuple(sample.at_ms for sample in taken),
            states={kind: _series([sample.states.get(kind, {}) for sample in taken]) for kind in kinds},
            unavailable=_series([sample.unavailable for sample in taken]),
            backlog={name: values for name, values in backlog.items() if any(values)},
            bytes_waiting=tuple(sample.bytes_waiting for sample in taken),
            to_recover=tuple(sample.to_recover for sample in taken),
            recovered=tuple(sample.recovered for sample in taken),
        )


def _series(rows: Sequence[Mapping[str, int]]) -> dict[str, tuple[int, ...]]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: tuple(row.get(name, 0) for row in rows) for name in names}
