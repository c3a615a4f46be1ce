"""An operator's order to reboot hosts, given to the control plane as a person gives it, and what the simulated fleet needs
for it: services whose servers go are no longer rows, and a rack whose relay's server goes has its relay on another.
"""

from __future__ import annotations

import asyncio

from herder.assembly import ControlPlane
from herder.engine.shard import Committed
from herder.engine.world import World as Log
from herder.fleet.rollout import order_reboot as ordered
from herder.machines.registry import BY_CODE
from herder.sim import hosts
from herder.sim.drill.scenario import Event
from herder.sim.fleet import FleetWorld

LOOK_S = 5.0
CALM_S = 4.0
"""A service that has been well for so long is a row again: a hundred thousand of them take their turn."""

OVER = ("done", "aborted")


def order_reboot(world: FleetWorld, event: Event) -> asyncio.Task[None]:
    """The order, now. The task ends with the order; it is the caller's to cancel."""
    return asyncio.get_running_loop().create_task(_Order(world, event).run(), name="order to reboot")


class _Order:
    def __init__(self, world: FleetWorld, event: Event) -> None:
        self.world = world
        self.event = event
        self._followed: ControlPlane | None = None

    async def run(self) -> None:
        """Propose it, then wake whom it touches until it is over."""
        plane = await self._plane()
        event = self.event
        await plane.loop.propose(
            lambda log: ordered(log, str(event.scope), event.image, event.until_ms or 0, event.note, "operator")
        )
        while not self._over():
            await asyncio.sleep(LOOK_S)
            await self._plane()
            self.world.rest_those_at_rest(CALM_S)
            self._keep_relays()

    def _over(self) -> bool:
        log = self.world.committed
        ids = log.ids("rollout")
        return bool(len(ids)) and log.get(int(ids[-1])).state in OVER

    async def _plane(self) -> ControlPlane:
        """The control plane of now; a new one is followed too."""
        while (active := self.world.active) is None or active.plane is None:  # noqa: ASYNC110  virtual time
            await asyncio.sleep(1.0)
        if active.plane is not self._followed:
            self._followed = active.plane
            active.plane.loop.watch(self._saw)
        return active.plane

    def _saw(self, committed: Committed) -> None:
        """Before any effect of the commit runs."""
        log = self.world.committed
        for move in committed.moves:
            table = BY_CODE[move.kind]
            if table.kind == "server" and table.state_names[move.target] == "upgrading":
                self.world.awake_service(log.get(move.machine).service)
                self._keep_relay(log, move.machine)
            elif table.kind == "switchover" and not move.source:
                self.world.awake_service(log.get(move.machine).service)

    # --- relays

    def _keep_relays(self) -> None:
        """A relay goes back to its rack's first server, which no fault strikes, when that runs again."""
        log = self.world.committed
        for number, relay in enumerate(self.world.relays.all):
            if relay.place and self._can_relay(log, relay.slots.start):
                self._take_over(number, 0)

    def _keep_relay(self, log: Log, server: int) -> None:
        """Its server goes: the next in the rack that runs takes over."""
        for number, relay in enumerate(self.world.relays.all):
            if relay.first == server:
                places = (
                    place for place in range(len(relay.servers)) if self._can_relay(log, relay.slots.start + place)
                )
                self._take_over(number, next(places, relay.place))

    def _can_relay(self, log: Log, slot: int) -> bool:
        rows, ident = self.world.hosts, int(self.world.hosts.ids[slot])
        return bool(rows.power[slot] == hosts.RUNNING) and log.get(ident).state == "available"

    def _take_over(self, number: int, place: int) -> None:
        relays, rows = self.world.relays, self.world.hosts
        slot = relays.all[number].slots.start + place
        relays.incarnation[slot] = rows.incarnation[slot]
        self.world.tell_of(relays.take_over(number, place))
