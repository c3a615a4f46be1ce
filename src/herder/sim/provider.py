"""The provider of simulated servers: slow, limited, sometimes down, sometimes wrong, and sometimes it happened all the same."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from herder.model.errors import Conflict, Environment, NotFound, Refused, Unreachable
from herder.ports.provider import Ground, Launch, ServerHandle
from herder.sim.hosts import GONE

if TYPE_CHECKING:
    from herder.sim.controller import Controller
    from herder.sim.host import Host
    from herder.sim.world import World

_T = TypeVar("_T")

PROVIDER = "provider"
NAME = "simulated"
"""What it calls itself: the scope of its servers and of its dependency."""

CALL_TIMEOUT_S = 5.0


@dataclass(slots=True)
class Mood:
    """How the provider is now. Shares 0..1. down: no call gets an answer; no_launch: create and boot have no capacity.

    happened: share of calls that were done and answered by a timeout. blind: `alive` says None. lies: it says the
    opposite of the truth. calls_per_s: above it calls are refused (0 = no limit). no_stop: nothing is fenced or destroyed.
    launch_fails, boot_fails: share of starts that are begun and never come up. late, late_s: share of calls that come so
    much later. dark: hosts without power, a bool a slot; None: all have it.
    """

    can_fence: bool = True
    down: bool = False
    no_launch: bool = False
    happened: float = 0.0
    blind: float = 0.0
    lies: float = 0.0
    calls_per_s: float = 0.0
    no_stop: bool = False
    launch_fails: float = 0.0
    boot_fails: float = 0.0
    late: float = 0.0
    late_s: float = 0.0
    dark: NDArray[np.bool_] | None = None

    def is_dark(self, slot: int) -> bool:
        """Nothing can be started there now."""
        return self.dark is not None and slot < len(self.dark) and bool(self.dark[slot])


class SimProvider:
    """ports.provider.Provider as one controller sees it; what it owns is the world's."""

    def __init__(self, world: World, controller: Controller) -> None:
        self._world = world
        self._controller = controller

    async def ground(self) -> Ground:
        """See the port."""
        return Ground(
            name=NAME, namespaces=True, can_fence=self._world.mood.can_fence, subnet="10.77.3.0/24",
            images=True,
            controller_address="10.77.3.1",
        )  # fmt: skip

    async def create(self, launch: Launch, address: str) -> ServerHandle:
        """See the port."""
        await self._call("launch")
        world = self._world
        host = world.hosts.find(launch.server)
        if host is None:
            host = world.add_host(launch.server)
            host.incarnation, host.address = launch.incarnation, address
        self._check(host, launch)
        if (host.incarnation, host.address) != (launch.incarnation, address):
            raise Conflict(f"{launch.server} exists as incarnation {host.incarnation}", "boot it, or destroy it")
        self._start(host, launch, world.mood.launch_fails)
        return await self._told(self._handle(host))

    async def boot(self, launch: Launch) -> ServerHandle:
        """See the port. What is gone for good is launched anew under its name."""
        host = self._must_find(launch.server)
        anew = self._world.hosts.power[host.slot] == GONE
        fresh = launch.incarnation > host.incarnation
        await self._call(("launch" if anew else "boot") if fresh else "agent_start")
        host = self._must_find(launch.server)
        self._check(host, launch)
        fails = 0.0
        if launch.incarnation > host.incarnation:
            if host.alive:
                raise Conflict(f"{host.name} incarnation {host.incarnation} still runs", "fence it first")
            host.incarnation = launch.incarnation
            fails = self._world.mood.launch_fails if anew else self._world.mood.boot_fails
        self._start(host, launch, fails)
        return await self._told(self._handle(host))

    def _start(self, host: Host, launch: Launch, fails: float) -> None:
        """fails: the chance that it never comes up. Raises Environment where there is no power: no fault of the API."""
        world = self._world
        if world.mood.is_dark(host.slot):
            raise Environment(f"where {host.name} stands there is no power", "it is started when there is")
        if not (fails and world.draw.random() < fails):
            world.power_on(host, launch)

    def _check(self, host: Host, launch: Launch) -> None:
        if launch.incarnation <= host.fenced:
            raise Refused(f"{host.name} incarnation {launch.incarnation} was fenced and never rejoins", "boot a higher")
        if launch.incarnation < host.incarnation:
            raise Refused(f"{host.name} is at incarnation {host.incarnation}, later than {launch.incarnation}")

    async def attach_address(self, server: str, address: str) -> None:
        """See the port."""
        await self._call("provider")
        self._must_find(server)
        self._world.addresses[address] = server

    async def alive(self, server: str) -> bool | None:
        """See the port."""
        await self._call("provider")
        world, host = self._world, self._world.hosts.find(server)
        if host is None or (world.mood.blind and world.draw.random() < world.mood.blind):
            return None
        lie = bool(world.mood.lies) and world.draw.random() < world.mood.lies
        if lie:
            world.saw("the provider lied")
        return host.alive != lie

    async def fence(self, server: str, incarnation: int) -> str:
        """See the port."""
        if not self._world.mood.can_fence:
            self._world.saw("a fence could not be had")
            raise Refused(f"this provider may not fence {server}", "switch `fencing` on to allow it")
        await self._call("fence")
        host = self._must_find(server)
        if host.incarnation > incarnation:
            raise Refused(f"{server} is at incarnation {host.incarnation}; the fence is for {incarnation}")
        host.fenced = max(host.fenced, incarnation)
        if self._world.hosts.power[host.slot] != GONE:
            self._world.power_off(host, f"fenced as incarnation {incarnation}")
        return await self._told(f"{server} incarnation {incarnation} is powered off")

    async def destroy(self, server: str) -> None:
        """See the port."""
        await self._call("destroy")
        host = self._world.hosts.find(server)
        if host is not None:
            host.fenced = max(host.fenced, host.incarnation)
            self._world.remove(host)
        await self._told(None)

    async def close(self) -> None:
        """See the port."""

    def _handle(self, host: Host) -> ServerHandle:
        return ServerHandle(
            server=host.name, incarnation=host.incarnation, address=host.address, namespace=f"ns-{host.name}",
            directory=f"/sim/{host.name}", pid=1,
        )  # fmt: skip

    def _must_find(self, server: str) -> Host:
        host = self._world.hosts.find(server)
        if host is None:
            raise NotFound(f"there is no server {server} here", "see `herder servers`")
        return host

    async def _call(self, kind: str) -> None:
        """The way there and the time it takes. Raises Unreachable before anything was done."""
        await self._controller.gate()
        world, node = self._world, self._controller.name
        world.provider_calls[kind] = world.provider_calls.get(kind, 0) + 1
        if world.mood.down or not world.network.between(node, PROVIDER):
            await asyncio.sleep(CALL_TIMEOUT_S)
            await self._controller.gate()
            raise Unreachable("the provider's API does not answer")
        if not world.admit_call():
            world.saw("the provider refused a call for its rate")
            await asyncio.sleep(world.takes("provider"))
            raise Unreachable("the provider's API says: too many requests (429)")
        if world.mood.no_launch and kind in ("launch", "boot"):
            world.saw("the provider had no capacity")
            await asyncio.sleep(world.takes("provider"))
            raise Unreachable("the provider has no capacity for this size in this zone")
        if world.mood.no_stop and kind in ("fence", "destroy"):
            await asyncio.sleep(world.takes("provider"))
            raise Unreachable("the provider cannot stop anything now")
        if world.mood.late and world.draw.random() < world.mood.late:
            await asyncio.sleep(world.mood.late_s)
        await asyncio.sleep(world.takes(kind))
        await self._controller.gate()

    async def _told(self, answer: _T) -> _T:
        """The answer's way back; it may be lost though the work was done."""
        world = self._world
        if world.mood.happened and world.draw.random() < world.mood.happened:
            world.saw("a provider call timed out but happened")
            await asyncio.sleep(CALL_TIMEOUT_S)
            await self._controller.gate()
            raise Unreachable("the provider's API timed out")
        return answer
