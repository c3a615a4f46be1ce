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

RECOVERY = {
    "id": "incident-12", "scope": "zone:a", "state": "recovering", "since_ms": NOW_MS - 90_000, "total": 3000, "done": 1200,
    "left": 1800, "admitted": 1500, "parked": 1500, "waiting": 7, "window": 128, "per_s": 13.3, "end_ms": NOW_MS + 135_000,
    "early_ms": NOW_MS + 120_000, "late_ms": NOW_MS + 180_000,
}  # fmt: skip

ROLLOUT = {
    "id": "rollout-42", "state": "running", "scope": "zone:a", "image": "mended", "by": "ann", "why": "a hole in the kernel",
    "since_ms": NOW_MS - 90_000, "until_ms": NOW_MS + 21_600_000, "total": 3000, "done": 1200, "left": 1800, "under_way": 37,
    "window": 64, "failed": 2, "held": "incident-12 is recovering", "stage": "standbys", "zone": "a", "per_s": 13.3,
    "end_ms": NOW_MS + 135_000, "early_ms": NOW_MS + 120_000, "late_ms": 0,
}  # fmt: skip

STORE = {
    "name": "object-store:eu-1", "what": "object_store", "state": "restart", "since_ms": NOW_MS - 4_000, "why": "",
    "backlog": 900, "draining": 50,
}  # fmt: skip

STORM_INCIDENT = {
    "id": "incident-12", "state": "recovering", "scope": "zone:a", "since_ms": NOW_MS - 90_000, "verdict": "mass",
    "why": "6 of 6 that were looked at are down, by another vantage point than us", "total": 3000, "done": 1200,
    "evidence": {"silent": 3000, "asked": 6, "down": 6},
}  # fmt: skip

PROJECTION = {
    "seq": 41,
    "lag_records": 2,
    "lag_s": 0.25,
    "lag_machines": 7,
    "behind": False,
    "rebuilding": False,
    "rebuilt": 12,
}
STORM = {
    "verdict": "calm", "why": "nothing fell", "us": "", "window_s": 10.0, "least": 5, "share": 0.05, "base": 0.0001,
    "scopes": [{"scope": "fleet", "servers": 9000, "ill": 3000, "fell": 0}], "incidents": [STORM_INCIDENT], "freezes": [],
    "budgets": [{"scope": "fleet", "in_flight": 3, "in_flight_most": 40, "hour": 720, "hour_most": 720, "empty": True}],
}  # fmt: skip

PARKED = {"reason": "wave", "by": "incident-12", "count": 1500, "since_ms": NOW_MS - 90_000}


FAILOVERS = {
    "playbook": "failover", "exercised": True, "began": 12, "running": 1, "well": 10, "gave_way": 0, "failed": 1,
    "needed_person": 1, "success": 10 / 11, "success_low": 0.623, "success_high": 0.984, "p50_s": 0.21, "p90_s": 0.4,
    "max_s": 130.0,
}  # fmt: skip


class StandIn:
    """Satisfies `herder.api.control.Control`."""

    def __init__(self) -> None:
        self.known: dict[str, dict[str, Any]] = {"orders": service()}
        self.keys: dict[str, str] = {}
        self.not_well: list[dict[str, Any]] = []
        self.asked: list[tuple[Any, ...]] = []
        self.changes: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.waiting = asyncio.Event()
        self.exercised: dict[str, dict[str, Any]] = {}
        self.held = ""
        self.frozen: dict[str, dict[str, Any]] = {}
        self.stopped_by = ""

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

    async def recovery(self) -> dict[str, Any]:
        return {"incidents": [RECOVERY], "dependencies": [STORE], "parked": [PARKED]}

    async def order_recovery(self, incident: str, order: str) -> dict[str, Any]:
        self.asked.append(("order_recovery", incident, order))
        return await self.recovery()

    async def rollout(self) -> dict[str, Any]:
        return {"rollouts": [ROLLOUT]}

    async def rollout_reboot(self, *, scope: str, image: str = "", until: str = "", why: str = "") -> dict[str, Any]:
        self.asked.append(("rollout_reboot", scope, image, until, why))
        return await self.rollout()

    async def order_rollout(self, name: str, order: str, *, until: str = "") -> dict[str, Any]:
        self.asked.append(("order_rollout", name, order, until))
        return await self.rollout()

    async def storm(self) -> dict[str, Any]:
        return STORM | {"freezes": list(self.frozen.values())}

    async def freeze_scope(self, scope: str, why: str) -> dict[str, Any]:
        if scope in self.frozen:
            raise Conflict(f"{scope} is frozen already", f"herder storm release {scope}")
        self.frozen[scope] = {"id": "freeze-14", "scope": scope, "by": "person", "why": why, "since_ms": NOW_MS}
        return await self.storm()

    async def release_scope(self, scope: str) -> dict[str, Any]:
        if scope not in self.frozen:
            raise NotFound(f"{scope} is not frozen by hand or by its budget", "see what is: herder storm")
        del self.frozen[scope]
        return await self.storm()

    async def projection(self, *, ended: bool = False) -> dict[str, Any]:
        self.asked.append(("projection", ended))
        return PROJECTION

    async def rebuild_projection(self) -> dict[str, Any]:
        self.asked.append(("rebuild_projection",))
        return PROJECTION | {"rebuilding": True, "rebuilt": None}

    async def dependencies(self) -> list[dict[str, Any]]:
        return [STORE]

    async def say_of_dependency(self, name: str, word: str) -> list[dict[str, Any]]:
        self.asked.append(("say_of_dependency", name, word))
        return [STORE]

    async def exercise(self, limit: int = 50) -> dict[str, Any]:
        self.asked.append(("exercise", limit))
        plans = [{"plan": "premium", "takes_part": False, "every_s": 604_800, "window": "mon-fri 02:00-05:00",
                  "how": "failover", "stopped_by": self.stopped_by}]  # fmt: skip
        rows = list(self.exercised.values())
        return {
            "taking_part": len(rows),
            "running": 0,
            "at_once": 1,
            "held": self.held,
            "plans": plans,
            "services": rows,
        }

    async def exercise_on(self, name: str, *, every: str = "", window: str = "", how: str = "") -> dict[str, Any]:
        self._get(name)
        self.asked.append(("exercise_on", name, every, window, how))
        self.exercised[name] = {
            "name": name, "plan": "premium", "state": "available", "takes_part": True, "by": "person", "every_s": 604_800,
            "window": "mon-fri 02:00-05:00", "how": how or "failover", "next_due_ms": NOW_MS, "running": False,
            "waits_for": "", "last": {},
        }  # fmt: skip
        return self.exercised[name]

    async def exercise_off(self, name: str) -> dict[str, Any]:
        return self.exercised.pop(self._get(name)["name"]) | {"takes_part": False}

    async def exercise_now(self, name: str, *, how: str = "") -> dict[str, Any]:
        if self.held:
            raise Refused(f"'{name}' is not exercised now: {self.held}", "herder status")
        self.asked.append(("exercise_now", name, how))
        return self._get(name)

    async def playbooks(self, days: float = 30.0) -> dict[str, Any]:
        self.asked.append(("playbooks", days))
        return {"since_ms": NOW_MS, "days": days, "playbooks": [] if days < 1 else [FAILOVERS]}

    async def config(self) -> list[dict[str, Any]]:
        return [resolved.facts() for resolved in resolve({}, {}).values()]
