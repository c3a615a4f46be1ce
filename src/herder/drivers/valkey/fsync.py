"""The append-only file reaches the disk once a second, and never waits in memory for it.

With `appendfsync everysec` the engine holds back what it acknowledges for as long as an fsync of it is under way, up to two
seconds: a process that is killed meanwhile loses all of that (tried with 9.1.2 and an fsync of 0.7 s: 51 to 165 writes), and its
replica, which has them, would throw them away to follow it again. With `no` each command is written before it is answered, but
nothing is ever fsynced, and a client that asks with WAITAOF waits for good. So the policy is `no`, and once a second the agent
sets it to `everysec` for the moment in which the engine begins its fsync. Without an agent the kernel writes it out, within half a minute.
"""

from __future__ import annotations

import asyncio
import contextlib

from herder.drivers.valkey.client import Lines
from herder.model.errors import HerderError
from herder.ports.driver import MemberSpec

POLICY = "appendfsync"
WRITTEN, BEGUN = "no", "everysec"

EVERY_S = 1.0
"""Seconds between two fsyncs: as often as the engine itself would, however seldom its agent's pulse is."""

ANSWER_S = 0.5


class Fsyncs:
    """A task for each member whose engine answers."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._tasks: dict[MemberSpec, asyncio.Task[None]] = {}

    def keep(self, spec: MemberSpec) -> None:
        """From now on until the engine does not answer: then the next reading that it answers calls this again."""
        task = self._tasks.get(spec)
        if task is None or task.done():
            self._tasks = {key: each for key, each in self._tasks.items() if not each.done()}
            self._tasks[spec] = asyncio.create_task(self._each_second(spec), name=f"fsyncs of {spec.member}")

    async def close(self) -> None:
        """No more."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _each_second(self, spec: MemberSpec) -> None:
        with contextlib.suppress(HerderError):  # its reading says more
            while True:
                await self._begin(spec)
                await asyncio.sleep(EVERY_S)

    async def _begin(self, spec: MemberSpec) -> None:
        """It has begun when the answer to the first is here, if a second has passed since the last and there is anything."""
        try:
            await self._lines.call(spec, "CONFIG", "SET", POLICY, BEGUN, timeout_s=ANSWER_S)
        finally:
            await self._lines.call(spec, "CONFIG", "SET", POLICY, WRITTEN, timeout_s=ANSWER_S)
