"""The shortest way to a state, in words: the way is walked again from the first pair, since only parents are kept."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from herder.proof.product.acts import Act
from herder.proof.product.causes import Cause
from herder.proof.product.log import Moved
from herder.proof.product.report import Step
from herder.proof.product.shelf import member_name


class Next(NamedTuple):
    """One step from a pair. fair: it happens when the world no longer does its worst. who: what acts; act: what it does in
    the small world; cause: what makes the log step by itself; moved: what the log records; lost: its controller loses the shard.
    """

    log: int
    world: int
    fair: bool
    moved: Moved | None
    who: str
    act: Act | None
    cause: Cause | None = None
    lost: bool = False

    @property
    def broken(self) -> str:
        """The rule that the step itself breaks."""
        return self.moved.broken if self.moved is not None else ""

    def told(self) -> Step:
        """In words."""
        if self.cause is not None:
            return self.cause.step
        assert self.act is not None
        whom = f"member {member_name(self.act.whom)}" if self.act.whom >= 0 else "world"
        more = "; its controller loses the shard and goes on unaware" if self.lost else ""
        return Step(self.who, whom, self.act.what + more)


class Walked(Protocol):
    """A search, as far as its ways are walked again. By pair: the pair that it was reached from, and its two halves."""

    parents: array[int]
    logs: array[int]
    smalls: array[int]

    def begin(self) -> tuple[int, int]:
        """The first pair."""

    def nexts(self, log: int, world: int) -> Iterable[Next]:
        """Every step from a pair."""

    def canonical(self, log: int, world: int) -> tuple[int, int]:
        """The pair that stands for it and its mirror images."""


def trace(search: Walked, at: int, last: Next | None) -> Iterator[Step]:
    """Every step from the first pair to `at`, and one more, if any. Members keep the names that they have in the first pair."""
    way = [at]
    while way[-1]:
        way.append(search.parents[way[-1]])
    way.reverse()
    log, world = search.begin()
    for place in way[1:]:
        wanted = search.logs[place], search.smalls[place]
        item = next(it for it in search.nexts(log, world) if search.canonical(it.log, it.world) == wanted)
        yield item.told()
        yield from moves(item)
        log, world = item.log, item.world
    if last is None:
        return
    wanted = search.canonical(last.log, last.world)
    fitting = (
        it
        for it in search.nexts(log, world)
        if search.canonical(it.log, it.world) == wanted and it.broken == last.broken
    )
    item = next(fitting, last)
    yield item.told()
    yield from moves(item)


def moves(item: Next) -> Iterator[Step]:
    """What the log recorded in this step."""
    for whom, what, why in item.moved.moves if item.moved is not None else ():
        yield Step("log", whom, f"{what} ({why})" if why else what)
