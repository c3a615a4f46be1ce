"""What the engine's tests stand on: time that a test moves, and a store that dies when it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from herder.engine.shard import Shard
from herder.engine.world import Machine, World
from herder.model.errors import Unreachable
from herder.ports.store import Batch, CommitUnknown, StoredRecord
from herder.stores.memory.store import MemoryStore
from tests.unit.engine import story

OWNER = "controller-a"


class VirtualClock:
    """Sleepers wake when the test moves time past them."""

    def __init__(self, now_ms: int = story.BEGIN_MS) -> None:
        self.at_ms = now_ms
        self.asleep: list[tuple[float, asyncio.Future[None]]] = []
        self.slept: list[float] = []

    def now_ms(self) -> int:
        return self.at_ms

    def monotonic(self) -> float:
        return self.at_ms / 1000

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.slept.append(seconds)
        self.asleep.append((self.monotonic() + seconds, future))
        await future

    async def pass_time(self, seconds: float) -> None:
        await settle()
        self.at_ms += round(seconds * 1000)
        ready = [future for at, future in self.asleep if at <= self.monotonic() + 1e-6]
        self.asleep = [(at, future) for at, future in self.asleep if future not in ready]
        for future in ready:
            if not future.done():
                future.set_result(None)
        await settle()


async def settle() -> None:
    """Let every task that can run, run."""
    for _ in range(20):
        await asyncio.sleep(0)


class NoChance:
    """Jitter at its most."""

    def token(self, nbytes: int) -> str:
        return "t" * nbytes

    def jitter(self, ceiling_s: float) -> float:
        return ceiling_s


class Died(BaseException):
    """The process was killed here; nothing catches this."""


class FrailStore:
    """A store that does once what a test asks of it around an append or a read; all else is the real one's."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.appends = 0
        self.before: Callable[[int], BaseException | None] = lambda number: None
        self.after: Callable[[int], BaseException | None] = lambda number: None
        self.unread = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    async def append(self, batch: Batch) -> None:
        self.appends += 1
        if error := self.before(self.appends):
            raise error
        await self.store.append(batch)
        if error := self.after(self.appends):
            raise error

    async def read(self, shard: int, seq: int) -> StoredRecord | None:
        if self.unread:
            self.unread -= 1
            raise Unreachable("the store is gone")
        return await self.store.read(shard, seq)


def once(error: BaseException, at: int = 1) -> Callable[[int], BaseException | None]:
    return lambda number: error if number == at else None


def unknown() -> CommitUnknown:
    return CommitUnknown("the connection broke")


async def opened(store: Any, clock: VirtualClock, owner: str = OWNER) -> Shard:
    shard = Shard(0, store, clock)
    await shard.open(owner, 15.0)
    return shard


async def told(store: Any, clock: VirtualClock, steps: Sequence[story.Step] = story.STORY) -> Shard:
    """The story from its beginning, without trouble."""
    shard = await opened(store, clock)
    for step in steps:
        clock.at_ms += step.wait_ms
        await shard.commit(story.inputs_of(step, shard.world, clock.at_ms), story.review)
    return shard


def facts_of(machine: Machine) -> tuple[Any, ...]:
    """All that matters of a machine; `order` is the log's number, which a takeover shifts."""
    return (
        machine.id,
        machine.kind,
        machine.state,
        machine.version,
        machine.entered,
        machine.since_ms,
        machine.deadline_ms,
        machine.data,
    )


def world_of(world: World) -> list[tuple[Any, ...]]:
    return [facts_of(machine) for _, machine in sorted(world.machines.items())]
