"""What a drill is given, and what it tells on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from herder.ports.clock import Clock
from herder.ports.store import Store
from herder.sim.drill.manual import Manual
from herder.sim.drill.scenario import Scenario

StoreFactory = Callable[[Clock], AbstractAsyncContextManager[Store]]
"""Opens a store, migrated and empty, and closes it after the day: the drill does not know which one it is. The clock is the
day's own, for the time that is written into records."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How the day goes. virtual_ms: the clock of the fleet. states: kind of unit -> state -> how many; backlog, remedies
    (under way), done (ended well) by name. moves_per_s: committed, over the last second of wall time. forecast_ms: when
    all will be well, 0 = no incident or not known yet. sentence: what happened last, in words.
    """

    virtual_ms: int
    wall_s: float
    services: int
    states: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    unavailable: Mapping[str, int] = field(default_factory=dict)
    backlog: Mapping[str, int] = field(default_factory=dict)
    remedies: Mapping[str, int] = field(default_factory=dict)
    done: Mapping[str, int] = field(default_factory=dict)
    pages: int = 0
    moves: int = 0
    moves_per_s: float = 0.0
    behind: int = 0
    forecast_ms: int = 0
    sentence: str = ""


OnProgress = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Drill:
    """Everything that a run is given. scenario: with the user's own fleet in it where an inventory was applied.
    store_name: as the result tells it.
    """

    scenario: Scenario
    services: int
    seed: int
    store: StoreFactory
    store_name: str
    manual: Manual
