"""The arithmetic of a run: time without writes around each fault, what was lost to which, and the verdict. Pure."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from herder.lab.ledger import Entry, gap

OUTAGE_S = 1.0
"""Pauses that are longer count as time without writes; shorter ones happen on cores that all share."""

LOST_BEFORE_S = 2.0
"""A write acknowledged this shortly before a fault and gone afterwards was lost to that fault."""

ROW_BYTES = 512
"""More than a lost write of the load takes in the log of its database."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Of some seconds; None where there are none."""

    count: int
    p50: float | None
    p99: float | None
    most: float | None


def spread(values: Sequence[float]) -> Spread:
    """p50 and p99 are the nearest rank's: a value that was measured."""
    if not values:
        return Spread(0, None, None, None)
    ranked = sorted(values)

    def rank(share: float) -> float:
        return ranked[max(math.ceil(share * len(ranked)), 1) - 1]

    return Spread(len(ranked), rank(0.5), rank(0.99), ranked[-1])


def gap_in(acked_at: Sequence[float], since: float, until: float) -> float | None:
    """`ledger.gap` of sorted times, without looking at all of them: a run has hundreds of thousands."""
    first = max(bisect_right(acked_at, since) - 1, 0)
    return gap(acked_at[first : bisect_right(acked_at, until)], since, until)


def without_writes_s(acked_at: Sequence[float], since: float, until: float) -> float:
    """Seconds in all in which nothing was acknowledged for longer than OUTAGE_S."""
    inside = acked_at[bisect_left(acked_at, since) : bisect_right(acked_at, until)]
    return sum(later - earlier for earlier, later in pairwise([since, *inside, until]) if later - earlier > OUTAGE_S)


def stretch_s(lost: Iterable[Entry], faults_at: Sequence[float]) -> float:
    """Between the first and the last write that were lost to the same fault; 0 without. faults_at: when each began."""
    ends: dict[int, tuple[float, float]] = {}
    for entry in lost:
        number = bisect_right(faults_at, entry.at + LOST_BEFORE_S)
        low, high = ends.get(number, (entry.at, entry.at))
        ends[number] = (min(low, entry.at), max(high, entry.at))
    return max((high - low for low, high in ends.values()), default=0.0)


@dataclass(slots=True)
class Account:
    """What came of one service. sync: may nothing be lost? bound_s, bound_bytes: what may be, where something may.

    lost, doubled: rows and transfers together. by_two: acknowledged by a primary after its successor had begun to.
    totals: looks at the bank, wrong: those that did not find its total, in words.
    """

    name: str
    engine: str
    plan: str
    sync: bool
    bound_s: float
    bound_bytes: int
    faults: int = 0
    acked: int = 0
    unknown: int = 0
    lost: int = 0
    lost_over_s: float = 0.0
    doubled: int = 0
    by_two: int = 0
    promotions: int = 0
    gaps: Spread = field(default_factory=lambda: spread(()))
    server_gaps: Spread = field(default_factory=lambda: spread(()))
    without_writes_s: float = 0.0
    totals: int = 0
    wrong: list[str] = field(default_factory=list)
    members_read: int = 0
    members: int = 0
    well_after_s: float | None = None
    not_well: str = ""


def objections(account: Account) -> list[str]:
    """Why this service's account is not as promised; nothing when it is."""
    found = []
    name = account.name
    if account.sync and account.lost:
        found.append(f"{name}: {account.lost} acknowledged writes lost; its plan loses none")
    if not account.sync and (account.lost_over_s > account.bound_s or account.lost * ROW_BYTES > account.bound_bytes):
        found.append(
            f"{name}: {account.lost} writes of {account.lost_over_s:.1f} s lost; "
            f"its plan loses {account.bound_s:.0f} s and {account.bound_bytes // 1024**2} MB at most"
        )
    if account.doubled:
        found.append(f"{name}: {account.doubled} writes are there twice")
    if account.by_two:
        found.append(f"{name}: {account.by_two} writes were acknowledged by an old primary after the new one's first")
    found += [f"{name}: {words}" for words in account.wrong]
    if account.members_read < account.members:
        found.append(f"{name}: only {account.members_read} of {account.members} members could be read at the end")
    if account.not_well:
        found.append(f"{name} is not well at the end: {account.not_well}")
    if not account.acked:
        found.append(f"{name}: nothing was ever acknowledged, so nothing is shown")
    return found
