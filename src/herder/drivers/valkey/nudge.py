"""Ask replicas to tell their offset at once.

A replica tells its primary how far it is once a second; FAILOVER and SHUTDOWN pause all writes until they have heard
it. `REPLCONF GETACK` sent to a replica makes it tell now, and that turns a pause of up to a second into milliseconds.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

from herder.drivers.valkey.client import connection_to, hang_up
from herder.drivers.valkey.config import REPLICATION_USER

_SEND_S = 0.5


class Nudge:
    """Connections to some replicas as the replication user. Best effort: without it all still works, slower."""

    def __init__(self, addresses: Iterable[tuple[str, int]], password: str) -> None:
        self._lines = [connection_to(host, port, REPLICATION_USER, password, _SEND_S) for host, port in addresses]

    async def send(self) -> None:
        """One request to each; a replica that cannot be reached is passed over."""
        for line in list(self._lines):
            try:
                async with asyncio.timeout(_SEND_S):
                    await line.send_command("REPLCONF", "GETACK", "*")  # has no reply
            except Exception:  # noqa: BLE001  whatever the library raises, the primary's own second is the fallback
                self._lines.remove(line)
                await hang_up(line)

    async def close(self) -> None:
        for line in self._lines:
            with contextlib.suppress(OSError):
                await hang_up(line)
