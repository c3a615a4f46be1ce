"""Handlers of effects: what they are called with, what they answer, and the check that every effect has exactly one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from herder.engine.world import Machine, World
from herder.machines.table import Table

AT_ONCE = 1024
"""Effects of one sort and priority under way for one machine each: a task and a copy of the machine are about 10 KB."""

BATCH = 4096
"""Machines a call: a handler of batches holds so many answers at a time."""

BATCHES_AT_ONCE = 4
"""So that one batch whose answers are slow does not hold up the next."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an effect ended: one of its declared outcomes, the facts that the machine learns, and the sentence for people."""

    event: StrEnum
    facts: dict[str, Any] = field(default_factory=dict)
    why: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Many:
    """How an effect ended for some machines of a batch, alike for all of them."""

    event: StrEnum
    machines: NDArray[np.uint32]
    why: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


Handler = Callable[[Machine], Awaitable[Outcome]]
"""Gets a copy of the machine as it was when the work began, in the state that declares the effect."""

BatchHandler = Callable[[World, NDArray[np.uint32]], Awaitable[Sequence[Many]]]
"""Gets the committed world and machines of one kind, priority and set of buckets. Machines of the batch that no answer
names are asked for again after a pause.
"""


@dataclass(frozen=True, slots=True)
class Registered:
    """A handler with the type of its outcomes, for one machine a call.

    bucket: names of token buckets, parted by spaces, each of which has to give a token; "{zone}" in a name stands for
    that fact of the machine. at_once: calls under way for each priority.
    """

    effect: str
    outcomes: type[StrEnum]
    run: Handler
    bucket: str = ""
    at_once: int = AT_ONCE


@dataclass(frozen=True, slots=True)
class RegisteredMany:
    """A handler for many machines a call; a machine costs one token. batch: machines a call at the most."""

    effect: str
    outcomes: type[StrEnum]
    run: BatchHandler
    bucket: str = ""
    batch: int = BATCH
    at_once: int = BATCHES_AT_ONCE


AnyRegistered = Registered | RegisteredMany


def check_handlers(tables: Iterable[Table], handlers: Iterable[AnyRegistered]) -> dict[str, AnyRegistered]:
    """Every effect exactly one handler of either sort, outcome types equal to the declared sets; else ValueError that
    names each fault.
    """
    found: dict[str, AnyRegistered] = {}
    faults: list[str] = []
    for handler in handlers:
        if handler.effect in found:
            faults.append(f"effect '{handler.effect}' has two handlers")
        found[handler.effect] = handler
    declared = {
        state.effect.name: set(state.effect.outcomes) for table in tables for state in table.states if state.effect
    }
    for effect, outcomes in declared.items():
        if effect not in found:
            faults.append(f"effect '{effect}' has no handler")
        elif {str(outcome) for outcome in found[effect].outcomes} != outcomes:
            faults.append(
                f"effect '{effect}' declares {sorted(outcomes)}, its handler gives {sorted(map(str, found[effect].outcomes))}"
            )
    faults.extend(f"handler '{effect}' belongs to no effect" for effect in found if effect not in declared)
    if faults:
        raise ValueError("; ".join(faults))
    return found
