"""Numbered points of a run at which something can be killed, and the knife that does it.

A point is a write that lasts or an effect on the world: a record appended to the log, a takeover of the log, a job sent to an
agent, a call of the provider; of an agent, a promise, a job that acts, a result kept. The loop is deterministic: up to the
first kill two runs of one scene reach the same points in the same order, so a number says where.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

DOWN_S = 0.5
"""A controller that its supervisor starts again is back after this."""

LEASE_OVER_S = 15.5
"""Another controller has to wait for the dead one's lease (assembly.LEASE_TTL_S after its last renewal)."""

AGENT_DOWN_S = 1.0


CONTROLLER = "the controller"


class When(StrEnum):
    """Where at a point. sent: on its way, and whoever sent it never learns; late: the same, and it arrives 1.5 s later."""

    BEFORE = "before"
    SENT = "sent, the answer lost"
    LATE = "sent, done late, the answer lost"
    AFTER = "after"
    MIDDLE = "half way through"


class Successor(StrEnum):
    """Who takes over from a killed controller."""

    SAME = "the same, started again"
    OTHER = "another, when the lease is over"


@dataclass(frozen=True, slots=True)
class Point:
    """at_s: virtual seconds after the scene's beginning. whens: where it can be killed. lasts_s: of an agent's job, how long
    it acted.
    """

    number: int
    at_s: float
    who: str
    words: str
    whens: tuple[When, ...]
    lasts_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill. after_s: with MIDDLE, so long after the job began to act."""

    point: int
    when: When
    successor: Successor = Successor.SAME
    after_s: float = 0.0


class Hand(Protocol):
    """What a knife kills with."""

    @property
    def now(self) -> float:
        """Virtual seconds."""

    def note(self, what: str) -> None:
        """A line for the story."""


class Parting(Protocol):
    """Plays runs that are alike up to a point from there on (fork.Fork)."""

    def at(self, number: int) -> Kill | None:
        """The kill that this run makes at a point, after all that were planned for it."""


class Knife:
    """Counts points while it is out, and says at each whether, and where, somebody dies there. left: kills not made yet."""

    def __init__(self, hand: Hand, kills: tuple[Kill, ...], parting: Parting | None = None) -> None:
        self._hand = hand
        self._parting = parting
        self.left = list(kills)
        self._since = 0.0
        self.out = False
        self.points: list[Point] = []
        self.struck: list[tuple[Kill, Point]] = []

    def draw(self) -> None:
        """From now on points count."""
        self.out, self._since = True, self._hand.now

    def sheathe(self) -> None:
        """What comes now is no part of the playbook."""
        self.out = False

    def reach(self, who: str, words: str, whens: tuple[When, ...]) -> tuple[int, Kill | None]:
        """A point is reached. Returns its number, and the kill that is planned there. -1: it does not count."""
        if not self.out:
            return -1, None
        point = Point(len(self.points), self._hand.now - self._since, who, words, whens)
        self.points.append(point)
        kill = self._planned(point.number)
        if kill is None:
            return point.number, None
        self.struck.append((kill, point))
        self._hand.note(f"!! {who} is killed {kill.when} point {point.number}: {words}")
        return point.number, kill

    def _planned(self, number: int) -> Kill | None:
        if self.left:
            return self.left.pop(0) if self.left[0].point == number else None
        return self._parting.at(number) if self._parting is not None else None

    def lasted(self, number: int, seconds: float) -> None:
        """How long the job of a point acted: long enough ones can be killed in the middle."""
        point = self.points[number]
        self.points[number] = replace(point, lasts_s=seconds, whens=(When.MIDDLE,) if seconds > 0 else ())


def kills_at(point: Point, successors: tuple[Successor, ...]) -> list[Kill]:
    """Every way to be killed at a point. An agent has one successor: itself."""
    heirs = successors if point.who == CONTROLLER else (Successor.SAME,)
    return [Kill(point.number, when, heir, point.lasts_s / 2) for when in point.whens for heir in heirs]


def in_words(struck: tuple[Kill, Point]) -> str:
    """A kill that was done."""
    kill, point = struck
    heir = f" (then: {kill.successor})" if point.who == CONTROLLER else ""
    return f"{point.who} killed {kill.when} point {point.number}, {point.words}{heir}"
