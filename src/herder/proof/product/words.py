"""The shortest way to a state, in words: the way is walked again from the first pair, since only parents are kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from herder.proof.product.report import Step

if TYPE_CHECKING:
    from herder.proof.product.search import Next, Search


def trace(search: Search, at: int, last: Next | None) -> Iterator[Step]:
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
