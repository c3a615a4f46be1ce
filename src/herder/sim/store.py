"""Stores for simulations: one that a controller reaches over the modelled world, and a real one at a virtual pace."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from herder.model.errors import Unreachable
from herder.ports.store import Batch, Change, ClaimTaken, Collision, CommitUnknown, Store

if TYPE_CHECKING:
    from herder.sim.controller import Controller
    from herder.sim.world import World

STORE = "store"
ANSWER_S = 2.0


@dataclass(slots=True)
class StoreMood:
    """How the store is now. stall_s: seconds that a commit takes longer; unknown: share (0..1) of commits whose connection
    breaks, so that whoever asked cannot know how they ended: some are done, some are not, some are done later.
    """

    stall_s: float = 0.0
    unknown: float = 0.0


LATE_S = 1.5
"""A commit that was given up by its client is done by then, if it is done at all."""


class SimStore:
    """A store as one controller reaches it: it takes time, may be cut off, and a commit's answer may be lost.

    Whatever it has no method for goes to the store itself in the same manner.
    """

    def __init__(self, inner: Any, world: World, controller: Controller) -> None:
        self._inner = inner
        self._world = world
        self._controller = controller
        self._late: dict[asyncio.Task[None], None] = {}

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        method = getattr(self._inner, name)

        async def call(*args: Any, **named: Any) -> Any:
            await self._reach()
            return await method(*args, **named)

        return call

    async def _reach(self) -> None:
        await self._controller.gate()
        if not self._world.network.between(self._controller.name, STORE):
            await asyncio.sleep(ANSWER_S)
            await self._controller.gate()
            raise Unreachable("the store does not answer")

    async def append(self, batch: Batch) -> None:
        """See the port. A connection that is cut on the way back leaves it unknown; a crash leaves it done or not."""
        await self._reach()
        world, mood = self._world, self._world.pace_of_store
        half_s = world.takes("commit") / 2
        await asyncio.sleep(half_s + mood.stall_s)
        await self._reach()
        if mood.unknown and world.draw.random() < mood.unknown:
            await self._lose(batch)
        await self._written(batch)
        await asyncio.sleep(half_s)
        await self._controller.gate()
        if not world.network.between(self._controller.name, STORE):
            world.saw("append of unknown end, done")
            raise CommitUnknown("the connection broke around the commit")

    async def _written(self, batch: Batch) -> None:
        await self._inner.append(batch)
        self._world.written_at[batch.record.seq] = self._world.now

    async def _lose(self, batch: Batch) -> None:
        """The connection breaks around the commit. Raises CommitUnknown."""
        world = self._world
        end = world.draw.choice(("done", "not done", "done late"))
        world.saw(f"append of unknown end, {end}")
        if end == "done":
            await self._written(batch)
        elif end == "done late":
            late = asyncio.get_running_loop().create_task(self._written_late(batch, world.draw.random() * LATE_S))
            self._late[late] = None
            late.add_done_callback(lambda done: self._late.pop(done, None))
        raise CommitUnknown("the connection broke around the commit")

    async def _written_late(self, batch: Batch, seconds: float) -> None:
        """The server goes on with it by itself, unless another record stands there by then."""
        await asyncio.sleep(seconds)
        with contextlib.suppress(Collision, ClaimTaken):
            await self._written(batch)


class PacedStore:
    """A real store in a thread with a loop of its own, at a fixed virtual pace.

    `append` hands the batch over, lets `latency_s` of virtual time pass, then really waits for the thread: the real I/O
    goes on while the simulation computes, and still the order of events does not depend on how long it took. Everything
    else is waited for at once. make: makes the store inside its loop.
    """

    def __init__(
        self, make: Callable[[], Awaitable[Store]], latency_s: float = 0.0006, rows_per_s: float = 2_000.0
    ) -> None:
        self._latency_s = latency_s
        self._rows_per_s = rows_per_s
        self._projecting: Any = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="paced store", daemon=True)
        self._thread.start()
        self._inner: Any = self._wait(_made(make))
        self.appends = 0

    def _begin(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._begin(work).result()

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        method = getattr(self._inner, name)

        async def call(*args: Any, **named: Any) -> Any:
            return self._wait(method(*args, **named))

        return call

    async def append(self, batch: Batch) -> None:
        """See the port."""
        self.appends += 1
        begun = self._begin(self._inner.append(batch))
        await asyncio.sleep(self._latency_s)
        begun.result()

    async def project(self, change: Change) -> None:
        """See the port. Rows follow slowly in virtual time, so that they are written while the day goes on."""
        before = self._projecting
        self._projecting = self._begin(self._after(before, self._inner.project, change))
        await asyncio.sleep((len(change.units) if change.units is not None else 0) / self._rows_per_s + self._latency_s)
        if before is not None:
            before.result()  # this one has until the next

    @staticmethod
    async def _after(before: Any, call: Callable[[Change], Awaitable[None]], change: Change) -> None:
        """One at a time, in their order."""
        if before is not None:
            await asyncio.wait((asyncio.wrap_future(before),))
        await call(change)

    async def close(self) -> None:
        """Nothing yet: its maker ends it."""

    def end(self) -> None:
        """Close the store, once everything is written, and end its thread."""
        if self._projecting is not None:
            self._projecting.exception()
        self._wait(self._inner.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _made(make: Callable[[], Awaitable[Store]]) -> Store:
    return await make()
