"""What a person may say of work on the whole fleet that goes on by itself: hold it, let it go on, end it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from herder.engine.decide import Input
from herder.engine.world import World
from herder.model.errors import Conflict, InvalidInput, NotFound

ORDERS = {"pause": "holds", "resume": "lets go on", "abort": "ends"}
"""What may be said, and the word for the log."""


@dataclass(frozen=True, slots=True)
class Sort:
    """One sort of such work, in the words of its errors and of the log. one: its machine in a sentence; hint: where to look."""

    kind: str
    called: str
    one: str
    hint: str
    what: str


RECOVERY = Sort("incident", "a recovery", "an incident", "herder recovery lists those in recovery", "the recovery")
ROLLOUT = Sort("rollout", "a rollout", "one", "herder rollout lists them", "it")


def give(world: World, sort: Sort, name: str, order: str, actor: str, facts: Mapping[str, Any] | None = None) -> Input:
    """facts: that the machine learns with it. Raises InvalidInput, NotFound, or Conflict where the order means nothing."""
    if order not in ORDERS:
        raise InvalidInput(f"{sort.called} cannot be told to '{order}'", f"choose one of: {', '.join(ORDERS)}")
    machine = world.named(sort.kind, name)
    if machine is None:
        raise NotFound(f"there is no {sort.kind} '{name}'", sort.hint)
    if not machine.table.lookup.get((machine.state, order)):
        raise Conflict(f"'{name}' is {machine.state}", f"{sort.one} in that state cannot be told to {order}")
    why = f"{actor} {ORDERS[order]} {sort.what}"
    return Input(machine.id, order, dict(facts or {}), why=why, actor=actor, entered=machine.entered)
