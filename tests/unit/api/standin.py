"""A control plane with one service and no engines: what is tested here is how the API and the CLI pass its words on."""

from __future__ import annotations

import asyncio
from typing import Any

from herder.model.errors import Conflict, NotFound, Refused, TimedOut
from herder.settings import resolve

NOW_MS = 1_790_000_000_000

URL = "postgresql://herder:s3cret@10.1.0.11:5432,10.1.0.12:5432/orders?target_session_attrs=read-write"


def member(slot: int, role: str, state: str = "available", **facts: Any) -> dict[str, Any]:
    return {
        "id": f"orders-{slot}", "role": role, "state": state, "server": f"s{slot}", "address": f"10.1.0.1{slot}",
        "port": 5432, "pid": 4710 + slot, "data_dir": f"/var/lib/herder/servers/s{slot}/data/orders-{slot}",
        "timeline": 3, "lsn": "0/3000148", "lag_bytes": 0 if role == "primary" else 2048, "voter": role != "primary",
    } | facts  # fmt: skip


def service(**facts: Any) -> dict[str, Any]:
    return {
        "name": "orders", "kind": "service", "engine": "postgres", "plan": "premium", "state": "available",
        "since_ms": NOW_MS - 11_520_000, "url": URL, "read_url": URL.replace("read-write", "prefer-standby"), "term": 3,
        "voters": ["orders-2", "orders-3"], "doing": "",
        "members": [member(2, "standby"), member(1, "primary"), member(3, "standby")],
    } | facts  # fmt: skip


NOT_WELL = {
    "name": "orders", "kind": "service", "state": "unavailable", "since_ms": NOW_MS - 4_000, "doing": "failover: promoting",
    "waits_for": "orders-2 to take writes", "why": "no process of orders-1 is left",
}  # fmt: skip

MOVE = {
    "at_ms": NOW_MS - 4_000, "kind": "service", "name": "orders", "source": "available", "event": "primary_unavailable",
    "target": "unavailable", "why": "its primary is known not to serve", "actor": "herder", "seq": 42,
}  # fmt: skip

CHAIN = [
    {"at_ms": NOW_MS - 4_000, "text": "its primary orders-1 is known not to serve", "source": "log 42"},
    {"at_ms": NOW_MS - 4_100, "text": "server process was terminated by signal 9", "source": "s1 engine log"},
]


class StandIn:
    """Satisfies `herder.api.control.Control`."""

    def __init__(self) -> None:
        self.known: dict[str, dict[str, Any]] = {"orders": service()}
        self.keys: dict[str, str] = {}
        self.not_well: list[dict[str, Any]] = []
        self.asked: list[tuple[Any, ...]] = []
        self.changes: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.waiting = asyncio.Event()

    def _get(self, name: str) -> dict[str, Any]:
        if name not in self.known:
            raise NotFound(f"there is no service '{name}'", "herder list")
        return self.known[name]

    async def create_service(
        self, *, engine: str, name: str, plan: str, major: int = 0, key: str = ""
    ) -> dict[str, Any]:
        self.asked.append(("create", engine, name, plan, major))
        if key and key in self.keys:
            return self._get(self.keys[key])
        if name in self.known:
            raise Conflict(f"the name '{name}' is taken", "choose another")
        self.known[name] = service(name=name, engine=engine, plan=plan, state="installing", members=[])
        self.keys[key] = name
        return self.known[name]

    async def destroy_service(self, name: str, consent: str) -> dict[str, Any]:
        if consent != name:
            raise Refused("the consent is not its name", "type it")
        self._get(name)["state"] = "retiring"
        return self._get(name)

    async def switchover(self, name: str, *, to: str = "") -> dict[str, Any]:
        self.asked.append(("switchover", name, to))
        return self._get(name)

    async def restart(self, name: str) -> dict[str, Any]:
        self.asked.append(("restart", name))
        return self._get(name)

    async def allow_failover(self, name: str) -> dict[str, Any]:
        self.asked.append(("allow_failover", name))
        return self._get(name)

    async def services(self) -> list[dict[str, Any]]:
        return list(self.known.values())

    async def show(self, name: str) -> dict[str, Any]:
        return self._get(name)

    async def wait(self, name: str, state: str, timeout_s: float) -> dict[str, Any]:
        self.asked.append(("wait", name, state, timeout_s))
        found = self._get(name)
        if found["state"] == state:
            return found
        self.waiting.set()
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.Event().wait()
        except TimeoutError:
            raise TimedOut(f"{name} is {found['state']}", "wait more") from None
        raise AssertionError

    async def watch_url(self, name: str) -> Any:
        while True:
            yield await self.changes.get()
            self.changes.task_done()

    async def servers(self) -> list[dict[str, Any]]:
        return [
            {
                "id": "s1",
                "incarnation": 2,
                "address": "10.1.0.21",
                "namespace": "h-s1",
                "agent_pid": 900,
                "state": "available",
            }
        ]

    async def agents(self) -> list[dict[str, Any]]:
        return [{"server": "s1", "state": "available", "pid": 900, "rss_kb": 39_000, "silent_s": 0.4}]

    async def status(self) -> dict[str, Any]:
        counts = {"service": {"available": 1}, "member": {"available": 3}, "server": {"available": 3}}
        return {
            "state_counts": counts,
            "not_well": self.not_well,
            "pages": [],
            "controller": {"seq": 42, "epoch": 2},
            "us": "",
        }

    async def events(self, name: str = "", limit: int = 200) -> list[dict[str, Any]]:
        self.asked.append(("events", name, limit))
        return [MOVE]

    async def explain(self, name: str) -> dict[str, Any]:
        return {"name": name, "state": self._get(name)["state"], "chain": CHAIN}

    async def pages(self) -> list[dict[str, Any]]:
        return [{"id": "p1", "state": "open", "subject": "orders", "reason": "service_down", "text": "down for two minutes",
                 "times": 1, "since_ms": NOW_MS}]  # fmt: skip

    async def config(self) -> list[dict[str, Any]]:
        return [resolved.facts() for resolved in resolve({}, {}).values()]
