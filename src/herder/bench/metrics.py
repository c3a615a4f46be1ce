"""What a benchmark prints: metrics with the limit of the method and the best safe peer beside them. Pure.

Limits and peers are those of the design's anchors.md, measured on a two-core machine; goals are the project's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

PEER = "pg_auto_failover 2.0, tight, sync: the fastest peer that lost nothing under any fault"


@dataclass(frozen=True, slots=True)
class Anchor:
    """What a gap is compared with, in seconds. limit: what the method costs at least, and why; goal: what we promise."""

    limit: float | None = None
    limit_why: str = ""
    goal: float | None = None
    peer: float | None = None
    peer_why: str = ""


_LIMIT = 0.15
_HOW = "pledge 0.03 + promotion 0.10 + one reconnect 0.02"

ANCHORS: dict[str, Anchor] = {
    "engine_killed": Anchor(_LIMIT, _HOW, 0.3, 5.1, PEER),
    "host_killed": Anchor(_LIMIT, f"{_HOW}, once resets are seen", 0.5, 5.1, PEER),
    "host_silent": Anchor(1.5 + _LIMIT, f"patience 1.5 + {_HOW}", 3.0, 7.1, f"{PEER}; its host was frozen"),
    "host_frozen": Anchor(1.5 + _LIMIT, f"patience 1.5 + {_HOW}", 3.0, 7.1, PEER),
    "switchover": Anchor(_LIMIT, "drain 0.05 + promotion 0.10", 0.2, 1.3, PEER),
    "control_plane_killed": Anchor(goal=0.2),
}
"""Faults of PostgreSQL services. Valkey's have no measured peer."""

CREATE_GOALS = {"dev": 1.5, "premium": 4.0}


@dataclass(frozen=True, slots=True)
class Metric:
    """One line. value: the median; all None when it could not be measured here."""

    name: str
    unit: str
    value: float | None
    min: float | None
    max: float | None
    limit: float | None
    ratio_to_limit: float | None
    peer: float | None
    ratio_to_peer: float | None
    note: str

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def metric(
    name: str, unit: str, values: Sequence[float | None], *, anchor: Anchor | None = None, notes: Sequence[str] = ()
) -> Metric:
    """Of the measured values; what could not be measured is left out."""
    known = [value for value in values if value is not None]
    said = Anchor() if anchor is None else anchor
    parts = list(notes)
    if said.goal is not None:
        parts.append(f"goal <= {said.goal:g} {unit}")
    if said.limit is not None:
        parts.append(f"limit: {said.limit_why}")
    if said.peer is not None:
        parts.append(f"peer: {said.peer_why}")
    middle = _rounded(median(known)) if known else None
    return Metric(
        name, unit, middle, _rounded(min(known)) if known else None, _rounded(max(known)) if known else None,
        said.limit, ratio(middle, said.limit), said.peer, ratio(middle, said.peer), "; ".join(part for part in parts if part),
    )  # fmt: skip


def ratio(value: float | None, to: float | None) -> float | None:
    """Value / to; None where either is missing or there is nothing to divide by."""
    return round(value / to, 3) if value is not None and to else None


def _rounded(value: float) -> float:
    return round(value, 4)


def not_possible(name: str, unit: str, why: str) -> Metric:
    """A metric that this machine cannot have: null, never passed."""
    return metric(name, unit, [], notes=[why])


def as_object(bench: str, machine: dict[str, Any], runs: int, metrics: Sequence[Metric]) -> dict[str, Any]:
    """What `herder bench … --json` prints."""
    return {"bench": bench, "machine": machine, "runs": runs, "metrics": [each.facts() for each in metrics]}
