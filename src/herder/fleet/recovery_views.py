"""What people see and say of recoveries and dependencies. Plain dicts with stable fields; pure."""

from __future__ import annotations

from typing import Any

import numpy as np

from herder.engine.decide import Input
from herder.engine.world import Machine, World
from herder.fleet import orders
from herder.governor.gate import Reason
from herder.governor.pace import forecast
from herder.machines.dependency import What
from herder.remedies.dependency import STALLED, count_of

GOING_ON = ("recovering", "paused")


def recovery_view(world: World, now_ms: int) -> dict[str, Any]:
    """`herder recovery --json`: incidents in recovery, dependencies, and what is parked for which reason."""
    incidents = [world.get(ident) for ident in world.ids_in("incident", *GOING_ON).tolist()]
    return {
        "incidents": [incident_view(incident, now_ms) for incident in incidents],
        "dependencies": dependencies_view(world),
        "parked": parked_reasons(world),
    }


def incident_view(incident: Machine, now_ms: int) -> dict[str, Any]:
    """One recovery. left: services that are ill; parked: those whose turn has not come; waiting: those that wait for a
    server. end_ms, early_ms, late_ms: the forecast from measured rates, 0 = nobody can tell; per_s: services a second.
    """
    known = incident.data
    left = int(known.get("left", known.get("total", 0)))
    seen = forecast(known.get("samples", []), left, now_ms) if incident.state == "recovering" else None
    return {
        "id": incident.name, "scope": known["scope"], "state": incident.state, "since_ms": incident.since_ms,
        "total": int(known.get("total", 0)), "done": int(known.get("done", 0)), "left": left,
        "admitted": int(known.get("admitted", 0)), "parked": int(known.get("parked", 0)),
        "waiting": int(known.get("waiting", 0)), "window": int(known.get("window", 0)),
        "per_s": round(seen.per_s, 2) if seen else 0.0, "end_ms": seen.end_ms if seen else 0,
        "early_ms": seen.early_ms if seen else 0, "late_ms": seen.late_ms if seen else 0,
    }  # fmt: skip


def dependencies_view(world: World) -> list[dict[str, Any]]:
    """All of them. backlog: archives that wait for a store; draining: those that drain now."""
    return [_dependency(world, dependency) for dependency in world.of_kind("dependency")]


def not_well(world: World) -> list[dict[str, Any]]:
    """The dependencies that `herder status` must speak of."""
    return [row for row in dependencies_view(world) if row["state"] != "available"]


def _dependency(world: World, dependency: Machine) -> dict[str, Any]:
    store = dependency.data["what"] == What.OBJECT_STORE
    return {
        "name": dependency.name, "what": dependency.data["what"], "state": dependency.state,
        "since_ms": dependency.since_ms, "why": str(dependency.data.get("evidence", {}).get("why", "")) if dependency.state != "available" else "",
        "backlog": count_of(world, dependency.id, *STALLED) if store else 0,
        "draining": count_of(world, dependency.id, "restart") if store else 0,
    }  # fmt: skip


def parked_reasons(world: World) -> list[dict[str, Any]]:
    """Why remedies wait, and how many for each reason; the largest number first. since_ms: of the longest wait."""
    found = [*_noted(world), *_unturned(world)]
    return sorted(found, key=lambda row: (-row["count"], row["reason"], row["by"]))


def _noted(world: World) -> list[dict[str, Any]]:
    """Reasons that each service has noted itself."""
    services = world.ids_in("service", "installing", "available", "uncertain", "unavailable", "restart", "upgrading")
    own = services[world.columns.own[services] > 0]
    reasons = world.fact(own, "parked", 0, np.uint8)
    own, reasons = own[reasons > 0], reasons[reasons > 0]
    by, since = world.fact(own, "parked_by", 0, np.uint32), world.fact(own, "parked_ms", 0, np.int64)
    rows: list[dict[str, Any]] = []
    for code in np.unique(by.astype(np.int64) << 8 | reasons).tolist():
        at = (by == code >> 8) & (reasons == code & 255)
        holder = world.find(code >> 8)
        rows.append(_row(Reason(code & 255), holder.name if holder else "", int(at.sum()), int(since[at].min())))
    return rows


def _unturned(world: World) -> list[dict[str, Any]]:
    """Reasons that the incident has noted for all of its scope."""
    rows: list[dict[str, Any]] = []
    for ident in world.ids_in("incident", "recovering", "verifying", "paused").tolist():
        incident = world.get(ident)
        reason = Reason.WAVE if incident.state == "recovering" else Reason.FROZEN
        count = int(incident.data.get("parked" if reason is Reason.WAVE else "left", incident.data.get("total", 0)))
        if count:
            rows.append(_row(reason, incident.name, count, incident.since_ms))
    return rows


def _row(reason: Reason, by: str, count: int, since_ms: int) -> dict[str, Any]:
    return {"reason": reason.name.lower(), "by": by, "count": count, "since_ms": since_ms}


def give_order(world: World, name: str, order: str, actor: str) -> list[Input]:
    """Pause, resume or abort a recovery. Raises InvalidInput, NotFound, or Conflict where the order means nothing."""
    return [orders.give(world, orders.RECOVERY, name, order, actor)]
