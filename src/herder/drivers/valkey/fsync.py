"""The append-only file reaches the disk once a second, and never waits in memory for it.

With `appendfsync everysec` the engine holds back what it acknowledges for as long as an fsync of it is under way, up to two
seconds: a process that is killed meanwhile loses all of that (tried with 9.1.2 and an fsync of 0.7 s: 51 to 165 writes), and its
replica, which has them, would throw them away to follow it again. With `no` each command is written before it is answered, but
nothing is ever fsynced, and a client that asks with WAITAOF waits for good. So the policy is `no`, and the beat of the agent sets
it to `everysec` for the moment in which the engine begins its fsync. Without an agent the kernel writes it out, within half a minute.
"""

from __future__ import annotations

import time

from herder.drivers.valkey.client import Lines
from herder.ports.driver import MemberSpec

POLICY = "appendfsync"
WRITTEN, BEGUN = "no", "everysec"

APART_S = 0.5
"""Seconds: half a beat. The engine itself begins one a second at most."""


class Fsyncs:
    """When each member's was last begun."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._begun_at: dict[str, float] = {}

    async def begin(self, spec: MemberSpec, timeout_s: float) -> None:
        """Have what was written since the last time fsynced in the background. Raises as `Lines.call` does."""
        now = time.monotonic()
        if now - self._begun_at.get(spec.data_dir, 0.0) < APART_S:
            return
        self._begun_at[spec.data_dir] = now
        try:
            # it begins before the answer to this comes, if a second has passed and there is anything
            await self._lines.call(spec, "CONFIG", "SET", POLICY, BEGUN, timeout_s=timeout_s)
        finally:
            await self._lines.call(spec, "CONFIG", "SET", POLICY, WRITTEN, timeout_s=timeout_s)
