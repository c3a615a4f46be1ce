"""The smallest list of items with which a seed still fails: delta debugging (Zeller 2002) over what was drawn."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from herder.sim.seeds.plan import Item

Fails = Callable[[Sequence[Item]], bool]


def shrink(items: Sequence[Item], fails: Fails, runs: int) -> tuple[Item, ...]:
    """Items without which `fails` says no; at most so many runs. It is 1-minimal when the runs were enough."""
    kept, parts = list(items), 2
    while len(kept) > 1 and runs > 0:
        for part in _parts(len(kept), parts):
            rest = kept[: part.start] + kept[part.stop :]
            runs -= 1
            if rest and fails(rest):
                kept, parts = rest, max(parts - 1, 2)
                break
            if runs <= 0:
                break
        else:
            if parts >= len(kept):
                break
            parts = min(2 * parts, len(kept))
    return tuple(kept)


def _parts(length: int, parts: int) -> list[range]:
    """`length` places in so many parts; the last ones first: what comes late is more often needless."""
    bounds = [length * number // parts for number in range(parts + 1)]
    return [range(begin, end) for begin, end in itertools.pairwise(bounds) if end > begin][::-1]
