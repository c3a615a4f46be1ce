"""What is swept: a playbook on a small service, from what sets it off to the moment at which all is well."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from herder.assembly import ControlPlane
from herder.engine.world import World as Committed
from herder.fleet.control import Control
from herder.model.errors import HerderError, InvalidInput
from herder.model.plans import PLANS
from herder.sim.sweep.world import SweptWorld

ASK_AGAIN_S = 0.1
SERVICE = "s"


@dataclass(frozen=True, slots=True)
class Scene:
    """cause: what sets it off. can_fence: may the provider fence."""

    playbook: str
    plan: str
    engine: str = "postgres"
    cause: str = ""
    can_fence: bool = True

    @property
    def name(self) -> str:
        """In words."""
        words = f"{self.playbook}, {self.plan} {self.engine}"
        return words + (f", {self.cause}" if self.cause else "") + ("" if self.can_fence else ", nothing can be fenced")


KILLED = "engine killed"
DEAD = "host dead"

SCENES: tuple[Scene, ...] = (
    Scene("provision", "premium"), Scene("provision", "standard"), Scene("provision", "dev"),
    Scene("provision", "premium", "valkey"), Scene("provision", "standard", "valkey"),
    Scene("failover", "premium", cause=KILLED, can_fence=False), Scene("failover", "premium", cause=DEAD),
    Scene("failover", "standard", cause=DEAD),
    Scene("failover", "premium", "valkey", DEAD), Scene("failover", "standard", "valkey", DEAD),
    Scene("switchover", "premium"), Scene("switchover", "standard"),
    Scene("switchover", "premium", "valkey"), Scene("switchover", "standard", "valkey"),
    Scene("rebuild", "premium"), Scene("rebuild", "standard"), Scene("rebuild", "standard", "valkey"),
    Scene("restart", "premium"), Scene("restart", "standard"), Scene("restart", "dev"),
    Scene("restart", "standard", "valkey"), Scene("restart", "dev", cause=KILLED),
    Scene("strike", "premium", cause=DEAD),
    Scene("destroy", "premium"), Scene("destroy", "standard"), Scene("destroy", "dev"),
    Scene("destroy", "standard", "valkey"),
)  # fmt: skip
"""Every playbook that changes who serves, on each plan and engine where it does something of its own."""

PLAYBOOKS = tuple(dict.fromkeys(scene.playbook for scene in SCENES))


class Stage:
    """A scene under way: the world, and the person who owns the service."""

    def __init__(self, world: SweptWorld, scene: Scene) -> None:
        self.world = world
        self.scene = scene

    async def plane(self) -> ControlPlane:
        """The control plane that decides now; waits for one."""
        while (active := self.world.active) is None or active.plane is None:  # noqa: ASYNC110  virtual time
            await asyncio.sleep(ASK_AGAIN_S)
        return active.plane

    async def committed(self) -> Committed:
        """What it has in its log."""
        return (await self.plane()).loop.world

    async def order(self, ask: Callable[[Control], Awaitable[Any]], known: Callable[[Committed], bool]) -> None:
        """As a person does: ask, and when whoever was asked dies before it answers, look, and ask its successor."""
        while not known(await self.committed()):
            plane = await self.plane()
            asked = asyncio.ensure_future(ask(plane.control))
            while not asked.done() and self.world.active is not None and self.world.active.plane is plane:
                await asyncio.wait((asked,), timeout=ASK_AGAIN_S)
            asked.cancel()
            await asyncio.wait((asked,))
            if not asked.cancelled() and isinstance(asked.exception(), HerderError):
                await asyncio.sleep(ASK_AGAIN_S)

    async def create(self) -> None:
        """Ask for the service."""
        scene = self.scene
        await self.order(
            lambda control: control.create_service(engine=scene.engine, name=SERVICE, plan=scene.plan, key="sweep"),
            lambda committed: committed.named("service", SERVICE) is not None,
        )

    async def begin(self) -> None:
        """What sets the playbook off."""
        if self.scene.cause:
            self._hurt(self._standby() if self.scene.playbook == "strike" else self._leader(), self.scene.cause)
        else:
            await getattr(self, f"_{self.scene.playbook}")()

    def _hurt(self, member: str, how: str) -> None:
        world = self.world
        if how == KILLED:
            world.crash_engine(SERVICE, member)
        else:
            world.power_off(world.host(world.cluster(SERVICE).engines[member].host), "its host lost power")

    def _leader(self) -> str:
        return next(e.member for e in self.world.cluster(SERVICE).engines.values() if e.leads(self.world.now))

    def _standby(self) -> str:
        return max(e.member for e in self.world.cluster(SERVICE).engines.values() if e.standby)

    async def _provision(self) -> None:
        await self.create()

    async def _rebuild(self) -> None:
        engine = self.world.cluster(SERVICE).engines[self._standby()]
        self.world.lose_disk(self.world.host(engine.host))

    async def _switchover(self) -> None:
        await self.order(lambda control: control.switchover(SERVICE), self._had("switchover"))

    async def _restart(self) -> None:
        await self.order(lambda control: control.restart(SERVICE), self._had("restart"))

    async def _destroy(self) -> None:
        await self.order(lambda control: control.destroy_service(SERVICE, SERVICE), self._retired)

    @staticmethod
    def _had(kind: str) -> Callable[[Committed], bool]:
        return lambda committed: bool(len(committed.ids(kind)))

    @staticmethod
    def _retired(committed: Committed) -> bool:
        service = committed.named("service", SERVICE)
        return service is None or service.state in ("retiring", "retired", "archived", "terminated")


def chosen(playbooks: Sequence[str], plan: str, engine: str) -> tuple[Scene, ...]:
    """The scenes of these playbooks, this plan and this engine ('' or none: any). Raises InvalidInput when there is none."""
    for name in playbooks:
        if name not in PLAYBOOKS:
            raise InvalidInput(f"'{name}' is not swept", f"choose among: {', '.join(PLAYBOOKS)}")
    found = tuple(
        scene
        for scene in SCENES
        if (not playbooks or scene.playbook in playbooks) and plan in ("", scene.plan) and engine in ("", scene.engine)
    )
    if not found:
        raise InvalidInput("no scene is of that playbook, plan and engine", f"plans: {', '.join(PLANS)}")
    return found
