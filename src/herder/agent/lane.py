"""One member's turn: what changes an engine runs one at a time, and what is newer pushes what is older out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rider:
    """An action that holds or awaits the turn. restarts: it starts or ends engine processes itself."""

    mark: tuple[int, int]
    name: str
    restarts: bool
    task: asyncio.Task[object]


class Lane:
    """admission: held while a job is let in. turn: held while something acts on the engine."""

    def __init__(self) -> None:
        self.admission = asyncio.Lock()
        self._turn = asyncio.Lock()
        self._riders: dict[str, Rider] = {}
        self.acting = ""

    @property
    def free(self) -> bool:
        """Nothing acts on the engine now."""
        return not self._turn.locked()

    def enter(self, intent: str, rider: Rider) -> None:
        """Make an action known, so that a newer one can push it out."""
        self._riders[intent] = rider

    def leave(self, intent: str) -> None:
        """It has ended."""
        self._riders.pop(intent, None)

    def push_out_older(self, mark: tuple[int, int]) -> None:
        """Cancel all that is older than `mark`: a pledge or a stop must not wait for a slow base backup."""
        for rider in list(self._riders.values()):
            if rider.mark < mark:
                rider.task.cancel()

    def push_out_bystanders(self) -> None:
        """Cancel what needs a running engine and does not start one: the engine has just ended."""
        for rider in list(self._riders.values()):
            if not rider.restarts:
                rider.task.cancel()

    @contextlib.asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[None]:
        """Wait for the turn and hold it."""
        async with self._turn:
            self.acting = name
            try:
                yield
            finally:
                self.acting = ""
