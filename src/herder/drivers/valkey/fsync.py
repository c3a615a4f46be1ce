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
        self._specs: dict[str, MemberSpec] = {}  # by data directory: the newest, since peers and passwords change
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def keep(self, spec: MemberSpec) -> None:
        """From now on until the engine does not answer: then the next reading that it answers calls this again."""
        self._specs[spec.data_dir] = spec
        task = self._tasks.get(spec.data_dir)
        if task is None or task.done():
            each_second = self._each_second(spec.data_dir)
            self._tasks[spec.data_dir] = asyncio.create_task(each_second, name=f"fsyncs of {spec.member}")

    async def close(self) -> None:
        """No more."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _each_second(self, data_dir: str) -> None:
        with contextlib.suppress(HerderError):  # its reading says more
            while True:
                await self._begin(self._specs[data_dir])
                await asyncio.sleep(EVERY_S)

    async def _begin(self, spec: MemberSpec) -> None:
        """It has begun when the answer to the first is here, if a second has passed since the last and there is anything."""
        try:
            await self._lines.call(spec, "CONFIG", "SET", POLICY, BEGUN, timeout_s=ANSWER_S)
        finally:
            await self._lines.call(spec, "CONFIG", "SET", POLICY, WRITTEN, timeout_s=ANSWER_S)
