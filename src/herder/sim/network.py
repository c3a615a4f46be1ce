"""The network between named nodes: delay, loss, duplication, reordering, cuts in one direction. All chance is the seed's.

`fate` is pure but for its draws: it says when the copies of a message arrive, if any. Delivery is a timer of the loop.
A stream (replication, SQL) is TCP: it loses nothing and stands still while a direction is cut (`flows`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from herder.sim.clock import SimRandom

ANY = "*"
"""Stands for every node in a cut."""


@dataclass(frozen=True, slots=True)
class Weather:
    """How a hop is. Seconds and shares (0..1). tail: share of messages that take `tail_s` more, which reorders them."""

    delay_s: float = 0.0003
    jitter_s: float = 0.0004
    loss: float = 0.0
    double: float = 0.0
    tail: float = 0.0
    tail_s: float = 0.3


FAIR = Weather()


class Network:
    """Who hears whom. Nodes are names: servers, controllers, 'nats', 'provider'; one that was never cut is in touch."""

    def __init__(self, chance: SimRandom, weather: Weather = FAIR) -> None:
        self._draw = chance.draw
        self.weather = weather
        self._cuts: dict[tuple[str, str], int] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self.sent = 0
        self.lost = 0
        self.before: list[Callable[[], None]] = []  # what must be reckoned up under the conditions of until now
        self.after: list[Callable[[], None]] = []

    # --- cuts

    def cut(self, source: str, target: str) -> None:
        """Nothing gets from `source` to `target`; either may be ANY. Cuts add up: each is healed for itself."""
        self._tell(self.before)
        self._cuts[source, target] = self._cuts.get((source, target), 0) + 1
        self._tell(self.after)

    def heal(self, source: str, target: str) -> None:
        """Take one such cut away."""
        self._tell(self.before)
        left = self._cuts.get((source, target), 0) - 1
        if left > 0:
            self._cuts[source, target] = left
        else:
            self._cuts.pop((source, target), None)
        self._tell(self.after)

    def heal_all(self) -> None:
        """Every node hears every other, in fair weather."""
        self._tell(self.before)
        self._cuts.clear()
        self.weather = FAIR
        self._tell(self.after)

    def flows(self, source: str, target: str) -> bool:
        """May anything get from one to the other now?"""
        cuts = self._cuts
        if not cuts or source == target:
            return True
        return not ((source, target) in cuts or (source, ANY) in cuts or (ANY, target) in cuts)

    @property
    def cuts(self) -> int:
        """How many directions are cut now."""
        return len(self._cuts)

    def between(self, one: str, other: str) -> bool:
        """Both directions work."""
        return self.flows(one, other) and self.flows(other, one)

    @staticmethod
    def _tell(hooks: list[Callable[[], None]]) -> None:
        for hook in hooks:
            hook()

    # --- messages

    def fate(self, *route: str) -> tuple[float, ...]:
        """Seconds after which each copy arrives over the hops of `route`; () when none does."""
        self.sent += 1
        weather = self.weather
        total = 0.0
        for source, target in pairwise(route):
            if not self.flows(source, target) or (weather.loss and self._draw.random() < weather.loss):
                self.lost += 1
                return ()
            total += weather.delay_s + self._draw.random() * weather.jitter_s
            if weather.tail and self._draw.random() < weather.tail:
                total += self._draw.random() * weather.tail_s
        if weather.double and self._draw.random() < weather.double:
            return (total, total + self._draw.random() * weather.tail_s)
        return (total,)

    def send(self, route: tuple[str, ...], deliver: Callable[..., Any], *args: Any) -> None:
        """Deliver each copy when it arrives. What is under way when a hop is cut still arrives: it has passed."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        for delay_s in self.fate(*route):
            self._loop.call_later(delay_s, deliver, *args)
