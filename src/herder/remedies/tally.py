"""Calls of what the fleet depends on, counted as they end: the symptoms from which a dependency is known to fail."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from herder.model.errors import Unreachable
from herder.ports.provider import Ground, Launch, Provider, ServerHandle

WINDOW_S = 30
"""Calls of the last half minute count: a provider that is throttled for a moment is not down."""

FAILED_MIN = 5
FAILED_SHARE = 0.5
"""Five failures, and one call in two: below that a retry with backoff is enough (failures.md 48)."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Calls:
    """How many ended well and how many did not, in the window."""

    well: int = 0
    failed: int = 0


def are_failing(calls: Calls) -> bool:
    """Pure: is this more than what retries put right?"""
    return calls.failed >= FAILED_MIN and calls.failed >= (calls.well + calls.failed) * FAILED_SHARE


class Tally:
    """Counts by the name of the dependency, a slot a second. Times are seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._slots: dict[str, deque[tuple[int, int, int]]] = {}

    def count(self, name: str, at: float, *, well: bool) -> None:
        """One call has ended."""
        slots = self._slots.setdefault(name, deque(maxlen=WINDOW_S + 1))
        second, good, bad = slots.pop() if slots and slots[-1][0] >= int(at) else (int(at), 0, 0)
        slots.append((second, good + well, bad + (not well)))

    def within(self, name: str, now: float, seconds: float = WINDOW_S) -> Calls:
        """Those of the last `seconds`, WINDOW_S at the most."""
        recent = [slot for slot in self._slots.get(name, ()) if slot[0] > now - min(seconds, WINDOW_S)]
        return Calls(sum(slot[1] for slot in recent), sum(slot[2] for slot in recent))


class Counted:
    """A provider whose calls are counted. Only Unreachable is its failure: a refusal is an answer."""

    def __init__(self, provider: Provider, tally: Tally, monotonic: Callable[[], float]) -> None:
        self._provider = provider
        self._name = ""  # known once it has said what it is
        self._tally = tally
        self._monotonic = monotonic

    async def _call(self, call: Awaitable[T]) -> T:
        try:
            answer = await call
        except Unreachable:
            self._tally.count(self._name, self._monotonic(), well=False)
            raise
        self._tally.count(self._name, self._monotonic(), well=True)
        return answer

    async def ground(self) -> Ground:
        """See the port. Its name is the dependency's."""
        ground = await self._provider.ground()
        self._name = f"provider:{ground.name}"
        return ground

    async def create(self, launch: Launch, address: str) -> ServerHandle:
        """See the port."""
        return await self._call(self._provider.create(launch, address))

    async def attach_address(self, server: str, address: str) -> None:
        """See the port."""
        await self._call(self._provider.attach_address(server, address))

    async def boot(self, launch: Launch) -> ServerHandle:
        """See the port."""
        return await self._call(self._provider.boot(launch))

    async def alive(self, server: str) -> bool | None:
        """See the port."""
        return await self._call(self._provider.alive(server))

    async def fence(self, server: str, incarnation: int) -> str:
        """See the port. Not counted: a fence that cannot be confirmed says something of its server, not of the provider."""
        return await self._provider.fence(server, incarnation)

    async def destroy(self, server: str) -> None:
        """See the port."""
        await self._call(self._provider.destroy(server))

    async def close(self) -> None:
        """See the port."""
        await self._provider.close()
