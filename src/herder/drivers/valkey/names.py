"""Which member a replica is. INFO shows its address only, and a member's spec does not carry its peers' names.

So the replica is asked once, as the replication user: HELLO shows the `availability-zone` line of its configuration,
which holds the member's name. Names are remembered only while the replica stays connected (a slot's address may pass to
a successor). One that cannot be asked is called 'address:port'.
"""

from __future__ import annotations

import asyncio
import time

from herder.drivers.valkey.client import Look, connection_to, hang_up
from herder.drivers.valkey.config import REPLICATION_USER
from herder.ports.driver import MemberSpec

ASK_S = 0.25
"""Seconds for one question; a reading waits for it at most this long."""

AGAIN_S = 5.0
"""Seconds before a replica that did not answer is asked again, so that a silent one does not slow every reading."""


class ReplicaNames:
    """Member names by replica address."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], str] = {}
        self._failed: dict[tuple[str, str], float] = {}

    async def streaming(self, spec: MemberSpec, look: Look) -> dict[str, int]:
        """Member -> acknowledged offset, for each replica that is online."""
        online = {address: offset for address, (state, offset) in look.replicas.items() if state == "online"}
        for key in [key for key in self._known if key[0] == spec.data_dir and key[1] not in online]:
            del self._known[key]
        names = await asyncio.gather(*(self._name(spec, address) for address in online))
        return dict(zip(names, online.values(), strict=True))

    async def _name(self, spec: MemberSpec, address: str) -> str:
        key = (spec.data_dir, address)
        if key in self._known:
            return self._known[key]
        if time.monotonic() - self._failed.get(key, -AGAIN_S) < AGAIN_S:
            return address
        name = await _ask(address, spec.replication_password)
        if name:
            self._known[key] = name
        else:
            self._failed[key] = time.monotonic()
        return name or address


async def _ask(address: str, password: str) -> str:
    host, _, port = address.rpartition(":")
    line = connection_to(host, int(port), REPLICATION_USER, password, ASK_S)
    try:
        async with asyncio.timeout(ASK_S):
            await line.send_command("HELLO")
            answer = await line.read_response()
    except Exception:  # noqa: BLE001  whatever the library raises: then it is called by its address
        return ""
    finally:
        await hang_up(line)
    words = dict(zip(answer[::2], answer[1::2], strict=False))
    return str(words.get("availability_zone", ""))
