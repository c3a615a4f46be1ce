"""Token buckets: how many may go now, and when the next one may. Pure arithmetic; time is passed in.

A bucket has a name such as "provider:local", "zone:a" or "kind:failover". A name without a rate holds nobody back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import inf

SLACK = 1e-9
"""Tokens: what rounding may lack of a whole one."""


@dataclass(frozen=True, slots=True)
class Rate:
    """per_s: tokens a second; 0 lets nobody pass. burst: tokens that gather while nobody asks; at least 1 where per_s > 0."""

    per_s: float
    burst: float = 1.0

    @property
    def cap(self) -> float:
        """Tokens of a full bucket."""
        return max(self.burst, 1.0) if self.per_s > 0 else 0.0


@dataclass(slots=True)
class _Level:
    rate: Rate
    tokens: float
    at: float


class Buckets:
    """Buckets by name. Seconds are those of a monotonic clock; a time that goes back counts as no time."""

    def __init__(self, rates: Mapping[str, Rate] | None = None) -> None:
        self._levels: dict[str, _Level] = {}
        self._now = 0.0
        self._watchers: list[Callable[[], None]] = []
        for name, rate in (rates or {}).items():
            self._levels[name] = _Level(rate, rate.cap, 0.0)

    def set(self, name: str, rate: Rate) -> None:
        """Another rate from the last moment that this object has seen. A new bucket is full; one that shrinks spills."""
        level = self._levels.get(name)
        if level is None:
            self._levels[name] = _Level(rate, rate.cap, self._now)
        else:
            self._fill(level, self._now)
            level.rate, level.tokens = rate, min(level.tokens, rate.cap)
        self._tell()

    def lift(self, name: str) -> None:
        """No limit of that name any more."""
        self._levels.pop(name, None)
        self._tell()

    def watch(self, changed: Callable[[], None]) -> None:
        """Call `changed` after every change of a rate: who waits for the old one may go earlier."""
        self._watchers.append(changed)

    def rate(self, name: str) -> Rate | None:
        """Its rate, None where there is no limit."""
        level = self._levels.get(name)
        return level.rate if level is not None else None

    def take(self, names: Iterable[str], wanted: int, now: float) -> int:
        """How many of `wanted` may go now; each takes a token out of every one of these buckets, or out of none."""
        levels = self._filled(names, now)
        allowed = min([wanted, *(int(level.tokens + SLACK) for level in levels)])
        for level in levels:
            level.tokens = max(level.tokens - allowed, 0.0)
        return allowed

    def next_at(self, names: Iterable[str], now: float, at_least: int = 1) -> float:
        """When `at_least` may go at once, or as many as the smallest bucket holds; inf while a rate is 0."""
        when = now
        for level in self._filled(names, now):
            lacking = min(float(max(at_least, 1)), level.rate.cap) - level.tokens
            if level.rate.per_s <= 0:
                return inf
            if lacking > SLACK:
                when = max(when, now + lacking / level.rate.per_s)
        return when

    def gathered(self, names: Iterable[str], seconds: float) -> int:
        """Tokens that come together in so many seconds, at least 1; where nothing limits, as many as one may want."""
        rates = [self._levels[name].rate.per_s for name in names if name in self._levels]
        return max(int(min(rates) * seconds), 1) if rates else 1 << 32

    def _filled(self, names: Iterable[str], now: float) -> list[_Level]:
        self._now = max(self._now, now)
        levels = [self._levels[name] for name in dict.fromkeys(names) if name in self._levels]
        for level in levels:
            self._fill(level, now)
        return levels

    def _fill(self, level: _Level, now: float) -> None:
        passed = now - level.at
        if passed > 0:
            level.tokens = min(level.tokens + passed * level.rate.per_s, level.rate.cap)
            level.at = now

    def _tell(self) -> None:
        for changed in self._watchers:
            changed()
