"""What many machines know in common: a million databases of one plan differ in their ids, hardly in their facts."""

from __future__ import annotations

from typing import Any

import msgspec


class Shape(msgspec.Struct, frozen=True, array_like=True):
    """The facts that machines of a cohort share. relative: facts that are ids, as distances from the machine's own id
    (`{"service": -1, "members": (1, 2)}`), so that a service of five machines needs no document of its own. patterns:
    texts with the id in them (`{"address": "m{id}.fleet"}`).
    """

    kind: str
    facts: dict[str, Any] = {}
    relative: dict[str, int | tuple[int, ...]] = {}
    patterns: dict[str, str] = {}

    def facts_of(self, machine: int) -> dict[str, Any]:
        """All that it says of one machine."""
        known = dict(self.facts)
        for name, distance in self.relative.items():
            known[name] = machine + distance if isinstance(distance, int) else [machine + each for each in distance]
        known.update((name, text.format(id=machine)) for name, text in self.patterns.items())
        return known


class Shapes:
    """Shapes by their code; code 0 is 'nothing in common'. A shape that is known already keeps its code."""

    def __init__(self) -> None:
        self.known: list[Shape] = [Shape("")]
        self._codes: dict[bytes, int] = {}

    def code(self, shape: Shape) -> int:
        """Its code. Raises OverflowError past 65,535 shapes: cohorts are meant to be few."""
        key = msgspec.msgpack.encode(shape)
        if key not in self._codes:
            if len(self.known) > 0xFFFF:
                raise OverflowError("more than 65,535 shapes")
            self._codes[key] = len(self.known)
            self.known.append(shape)
        return self._codes[key]

    def __getitem__(self, code: int) -> Shape:
        return self.known[code]
