"""What the scenario says of a moment: is the controller blind, are all hosts rebooted that were to be, from when on may the
fleet be called well again? Read from its events and the simulated hosts.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from herder.sim import hosts
from herder.sim.drill.scenario import Event, Scenario, What
from herder.sim.fleet import FleetWorld

NOTICED_MS = 30_000
"""What struck is noticed within this time: before it a fleet that seems well may only not know yet."""


def blind(scenario: Scenario, now_ms: int, zone: str) -> bool:
    """Is the object store down, or is the controller cut off from this zone? What is destroyed now cannot come back."""
    return any(
        event.at_ms <= now_ms < (event.until_ms or scenario.end_ms)
        and (
            (event.what is What.DOWN and event.scope.kind == "object_store")
            or (event.what is What.CUT and (event.scope.kind != "zone" or event.scope.name == zone))
        )
        for event in scenario.events
    )


def settles_ms(event: Event) -> int:
    """When it is over and noticed. An order is over when it is done: see Reboots."""
    last = event.until_ms if event.until_ms is not None else event.at_ms
    return last + round(max(event.spread_s, event.return_s) * 1000) + NOTICED_MS


@dataclass(slots=True)
class _Order:
    """One order to reboot. before: incarnations of the hosts in scope when it came. done_ms: when none was left."""

    event: Event
    slots: NDArray[np.intp] | None = None
    before: NDArray[np.uint32] | None = None
    left: int | None = None
    done_ms: int | None = None


@dataclass(slots=True)
class Reboots:
    """Orders to reboot hosts. A host has been rebooted when its incarnation is another; one that is gone need not be."""

    scenario: Scenario
    _orders: list[_Order] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._orders = [_Order(event) for event in self.scenario.events if event.what is What.REBOOT]

    @property
    def left(self) -> int:
        """Hosts that had not been rebooted when their window closed."""
        return sum(order.left or 0 for order in self._orders)

    def look(self, world: FleetWorld, now_ms: int, ahead_ms: int) -> None:
        """Each tick. ahead_ms: until the next one, so that hosts are counted before the order comes."""
        for order in self._orders:
            if order.left is not None or now_ms + ahead_ms < order.event.at_ms:
                continue
            if order.before is None:
                self._begin(order, world)
            done = self._missing(order, world) == 0
            if done and order.done_ms is None:
                order.done_ms = now_ms
            if now_ms >= (order.event.until_ms or self.scenario.end_ms):
                self._close(order, world)

    def close(self, world: FleetWorld) -> None:
        """At the end of the day, also of one that ended before a window did."""
        for order in self._orders:
            if order.left is None:
                if order.before is None:
                    self._begin(order, world)
                self._close(order, world)

    def _begin(self, order: _Order, world: FleetWorld) -> None:
        size, scope = len(world.hosts.ids), order.event.scope
        inside = np.ones(size, bool)
        if scope.kind == "zone":
            inside = world.hosts.zone[:size] == world.zone_codes.get(scope.name, 0xFFFF)
        order.slots = np.flatnonzero(inside)
        order.before = world.hosts.incarnation[order.slots].copy()

    def _missing(self, order: _Order, world: FleetWorld) -> int:
        assert order.slots is not None
        old = world.hosts.incarnation[order.slots] == order.before
        old &= world.hosts.power[order.slots] != hosts.GONE
        return int(np.count_nonzero(old))

    def _close(self, order: _Order, world: FleetWorld) -> None:
        order.left = self._missing(order, world)

    def settled_ms(self, order: Event) -> int:
        """When an order was done, or its window closed."""
        for each in self._orders:
            if each.event is order and each.done_ms is not None:
                return each.done_ms
        return order.until_ms if order.until_ms is not None else self.scenario.end_ms


def settled_from(scenario: Scenario, reboots: Reboots) -> int:
    """From this moment on (ms) the fleet is well when nobody is ill: nothing that was to happen is still to come."""
    ends = [
        reboots.settled_ms(event) if event.what is What.REBOOT else settles_ms(event)
        for event in scenario.events
        if event.scope.kind != "pager"
    ]
    return max([scenario.measured_ms, *ends])
