"""From a service's state down to the raw line of the engine's log that caused it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from herder.engine.world import Machine, World
from herder.machines.service import is_without_data
from herder.ports.store import HistoryRow

ENOUGH = 40


def explain(world: World, service: Machine, history: Sequence[HistoryRow]) -> dict[str, Any]:
    """The chain, newest first: the state, the moves that led to it since the service was last well, the evidence.

    While all is well it tells of the last trouble, or just that there was none.
    """
    chain: list[dict[str, Any]] = []
    troubled = False
    for row in reversed(history):
        if row.kind in ("service", "member") or row.source != row.target:
            chain.append(_link(row))
        troubled = _beginning(row, chain)
        if troubled or len(chain) >= ENOUGH:
            break
    well = service.state == "available"
    if well and not troubled:
        chain = []
    chain.extend(_raw_lines(world, service))
    if not well and is_without_data(service.data, {}):
        chain.insert(0, {"at_ms": service.since_ms, "source": f"service {service.name}", "actor": "",
                         "text": without_data(world, service)})  # fmt: skip
    if well:
        chain.insert(0, {"at_ms": service.since_ms, "source": f"service {service.name}", "actor": "",
                         "text": "it is well since then" + (", after this trouble:" if troubled else "")})  # fmt: skip
    return {"name": service.name, "state": service.state, "since_ms": service.since_ms, "chain": chain}


def without_data(world: World, service: Machine) -> str:
    """What is known, and what a person may do: herder has no copy that it could start by itself."""
    primary = world.get(service.data["primary"])
    server = world.get(primary.data["server"])
    return (
        f"the data of {primary.name} is gone from {server.name}, and it is not started again by itself. Its volume is back: "
        f"`herder restart {service.name}`. It is not coming back: `herder destroy {service.name}`"
    )


def _beginning(row: HistoryRow, chain: list[dict[str, Any]]) -> bool:
    """The first sign of the last trouble: a member or server that left `available`."""
    return len(chain) > 1 and row.kind in ("member", "server") and row.source == "available"


def _link(row: HistoryRow) -> dict[str, Any]:
    moved = f"{row.source} -> {row.target}" if row.source != row.target else row.target
    return {
        "at_ms": row.at_ms,
        "source": f"{row.kind} {row.name}",
        "text": f"{moved} ({row.event}): {row.why}",
        "actor": row.actor,
    }


def _raw_lines(world: World, service: Machine) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for ident in service.data["members"]:
        member = world.get(ident)
        evidence = member.data.get("evidence", {})
        line = evidence.get("exit_line") or evidence.get("detail") or evidence.get("verdict")
        if line:
            found.append({"at_ms": member.data.get("since_ill_ms", 0), "source": f"log of {member.name}", "text": str(line),
                          "actor": "agent"})  # fmt: skip
    return sorted(found, key=lambda link: -int(link["at_ms"]))
