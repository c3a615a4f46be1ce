"""What one controller reaches the world through, with a knife beside each write that lasts and each effect."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

from herder.assembly import Parts
from herder.ports.provider import Launch, Provider, ServerHandle
from herder.ports.store import Batch, Store, StoredRecord
from herder.ports.wire import Job, JobReply, Wire
from herder.sim.agent import RENEW
from herder.sim.controller import Controller
from herder.sim.provider import SimProvider
from herder.sim.store import LATE_S, SimStore
from herder.sim.sweep.points import CONTROLLER, Kill, When
from herder.sim.wire import SimWire

if TYPE_CHECKING:
    from herder.sim.sweep.world import SweptWorld

T = TypeVar("T")
WRITE = (When.BEFORE, When.SENT, When.LATE, When.AFTER)
EFFECT = (When.BEFORE, When.SENT, When.AFTER)
TAKEOVER = (When.BEFORE, When.SENT)
"""It takes no virtual time: sent and lost is the same as after."""


class _Ghost:
    """What a dead controller had sent goes on by itself: the same node of the network, which nothing stops any more."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def gate(self) -> None:
        """It passes."""

    def when_awake(self, act: Callable[[], Any]) -> None:
        """Nobody is there to hear."""


class SweptController(Controller):
    """The production control plane; each of its writes and effects is a point."""

    world: SweptWorld

    def parts(self) -> Parts:
        """See Controller."""
        parts, ghost = super().parts(), cast("Controller", _Ghost(self.name))
        world = self.world
        return replace(
            parts,
            store=cast("Store", TappedStore(self, parts.store, SimStore(world.store, world, ghost))),
            wire=cast("Wire", TappedWire(self, parts.wire, SimWire(world, ghost))),
            provider=cast("Provider", TappedProvider(self, parts.provider, SimProvider(world, ghost))),
        )


class _Tap:
    """An adapter that passes everything on. alone: the same adapter for what is still on its way when its sender is dead."""

    def __init__(self, controller: SweptController, inner: Any, alone: Any) -> None:
        self._controller = controller
        self._inner = inner
        self._alone = alone

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def _at(self, words: str, whens: tuple[When, ...], do: Callable[[Any], Awaitable[T]]) -> T:
        """Do it through the inner adapter, and die where the knife says. What a dead one was about to do is no point."""
        await self._controller.gate()
        _, kill = self._controller.world.knife.reach(CONTROLLER, words, whens)
        if kill is None:
            return await do(self._inner)
        if kill.when in (When.SENT, When.LATE):
            self._controller.world.alone(do(self._alone), LATE_S if kill.when is When.LATE else 0.0)
        if kill.when is When.AFTER:
            try:
                return await do(self._inner)
            finally:
                await self._die(kill)
        await self._die(kill)
        raise AssertionError("a dead controller went on")

    async def _die(self, kill: Kill) -> None:
        self._controller.world.kill(self._controller, kill.successor)
        await asyncio.get_running_loop().create_future()


class TappedStore(_Tap):
    """ports.store.Store."""

    async def append(self, batch: Batch) -> None:
        """See the port."""
        await self._at(f"record of {_told(batch)}", WRITE, lambda store: store.append(batch))

    async def take_over(
        self, shard: int, owner: str, ttl_s: float, build: Callable[[int, StoredRecord | None], StoredRecord]
    ) -> StoredRecord:
        """See the port."""
        world = self._controller.world

        async def take(store: Any) -> StoredRecord:
            taken: StoredRecord = await store.take_over(shard, owner, ttl_s, build)
            world.written_at[taken.seq] = world.now
            return taken

        return await self._at("record of a takeover", TAKEOVER, take)


class TappedWire(_Tap):
    """ports.wire.Wire. Questions that change nothing, and renewals of leases, are no points."""

    async def ask(self, job: Job, timeout_s: float) -> JobReply:
        """See the port."""
        if not job.term or job.name == RENEW:
            answer: JobReply = await self._inner.ask(job, timeout_s)
        else:
            answer = await self._at(f"job '{job.name}' to {job.member}", EFFECT, lambda wire: wire.ask(job, timeout_s))
        return answer


class TappedProvider(_Tap):
    """ports.provider.Provider. Questions are no points."""

    async def create(self, launch: Launch, address: str) -> ServerHandle:
        """See the port."""
        handle: ServerHandle = await self._at(
            f"call 'create' of {launch.server}", EFFECT, lambda provider: provider.create(launch, address)
        )
        return handle

    async def boot(self, launch: Launch) -> ServerHandle:
        """See the port."""
        words = f"call 'boot' of {launch.server}, incarnation {launch.incarnation}"
        handle: ServerHandle = await self._at(words, EFFECT, lambda provider: provider.boot(launch))
        return handle

    async def attach_address(self, server: str, address: str) -> None:
        """See the port."""
        await self._at(
            f"call 'attach_address' of {server}", EFFECT, lambda provider: provider.attach_address(server, address)
        )

    async def fence(self, server: str, incarnation: int) -> str:
        """See the port."""
        words = f"call 'fence' of {server}, incarnation {incarnation}"
        told: str = await self._at(words, EFFECT, lambda provider: provider.fence(server, incarnation))
        return told

    async def destroy(self, server: str) -> None:
        """See the port."""
        await self._at(f"call 'destroy' of {server}", EFFECT, lambda provider: provider.destroy(server))


def _told(batch: Batch) -> str:
    """The moves of a record in words: the first three."""
    moves = list(_moves(batch))
    return ", ".join(moves[:3]) + (f" and {len(moves) - 3} more" if len(moves) > 3 else "")


def _moves(batch: Batch) -> Iterator[str]:
    return (f"{row.kind} {row.name} {row.event} -> {row.target}" for row in batch.history)
