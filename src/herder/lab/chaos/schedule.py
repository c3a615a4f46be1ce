"""What will be broken when: drawn from a seed before anything runs, so that the same seed is the same day. Pure.

A service that was broken is left in peace for a while after, except where two at once is what was drawn; nothing begins
that would not be over by the end, and no kind destroys data, so there is always a way back.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from herder.lab.chaos.kinds import KINDS, Kind, On

FIRST_S = 3.0
PAUSE_S = (4.0, 12.0)
"""Seconds between two draws, evenly."""

REST_S = 20.0
"""Seconds a service is left alone after a fault was over: a failover and a rebuild take a few on a quiet machine."""

TWO_AT_ONCE = 0.2
"""Of the draws, this share gets a second fault at the same moment."""

PRIMARY = 0.6
"""Share of the faults on a member that meet the primary."""

PLANE = -1
"""In place of a service's number: the control plane."""


@dataclass(frozen=True, slots=True)
class Planned:
    """One fault to come.

    at_s, lasts_s: seconds since the faults begin. service: its number, or PLANE. member: 0 is whoever leads then, 1 and
    up are the standbys in order. way: of what a kind has to choose besides, a number from 0 to 1. twin: the number of
    the fault that begins at the same moment, -1 without.
    """

    number: int
    at_s: float
    kind: str
    service: int
    member: int
    lasts_s: float
    way: float
    twin: int = -1

    @property
    def until_s(self) -> float:
        return self.at_s + self.lasts_s

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def draw(seed: int, duration_s: float, members: Sequence[int], kinds: Sequence[str]) -> list[Planned]:
    """The schedule. duration_s: nothing lasts longer. members: how many each service has. kinds: names to draw from."""
    return list(_Draw(random.Random(f"{seed} chaos"), duration_s, members, [KINDS[name] for name in kinds]).all())


class _Draw:
    def __init__(self, chance: random.Random, duration_s: float, members: Sequence[int], kinds: Sequence[Kind]) -> None:
        self._chance = chance
        self._duration_s = duration_s
        self._members = members
        self._kinds = kinds
        self._free: dict[int, float] = dict.fromkeys((PLANE, *range(len(members))), 0.0)
        self._made = 0

    def all(self) -> Iterator[Planned]:
        now = FIRST_S
        while now < self._duration_s:
            rested = [number for number, free in self._free.items() if free <= now]
            first = self._one(now, rested)
            if first is not None:
                yield from self._with_a_second(first, rested)
            now = round(now + self._chance.uniform(*PAUSE_S), 1)

    def _with_a_second(self, first: Planned, rested: list[int]) -> Iterator[Planned]:
        second = None
        if self._chance.random() < TWO_AT_ONCE:
            second = self._one(first.at_s, rested, first)
        for fault in (first, second) if second is not None else (first,):
            self._free[fault.service] = max(self._free[fault.service], fault.until_s + REST_S)
        if second is None:
            yield first
        else:
            yield Planned(**{**first.facts(), "twin": second.number})
            yield second

    def _one(self, now: float, free: list[int], beside: Planned | None = None) -> Planned | None:
        """A fault on somebody who is free; beside: one at the same moment, of another kind or on another member."""
        kinds = [kind for kind in self._kinds if any((number == PLANE) == (kind.on == On.PLANE) for number in free)]
        if beside is not None:
            kinds = [kind for kind in kinds if kind.name != beside.kind]
        kinds = [kind for kind in kinds if now + kind.lasts_s[0] <= self._duration_s]
        if not kinds:
            return None
        kind = self._chance.choices(kinds, [kind.share for kind in kinds])[0]
        service = PLANE
        if kind.on == On.MEMBER:
            service = self._chance.choice([number for number in free if number != PLANE])
        member = self._member(service, beside)
        fault = Planned(
            self._made, now, kind.name, service, member, self._lasts(kind, now), round(self._chance.random(), 3),
            -1 if beside is None else beside.number,
        )  # fmt: skip
        self._made += 1
        return fault

    def _member(self, service: int, beside: Planned | None) -> int:
        """Two at once on one service are on two of its members, where there are two."""
        if service == PLANE:
            return 0
        members = list(range(self._members[service]))
        if beside is not None and beside.service == service and len(members) > 1:
            members.remove(beside.member)
        if 0 in members and (len(members) == 1 or self._chance.random() < PRIMARY):
            return 0
        return self._chance.choice([member for member in members if member])

    def _lasts(self, kind: Kind, now: float) -> float:
        """Short ones are as frequent as long ones are: even over the logarithm."""
        least, most = kind.lasts_s
        if not most:
            return 0.0
        most = min(most, self._duration_s - now)
        return round(float(least * (most / least) ** self._chance.random()), 1)
