"""A dependency: something outside the fleet that remedies need. An object store, a provider's API, a zone, the pager.

While it is down, remedies that need it are parked: they wait, they are not tried again and again (failures.md 35, 48, 50).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from herder.machines.table import Deadline, Effect, Facts, Row, Spawn, State, Table, from_each


class What(StrEnum):
    """The sorts of dependency. The fact `what` of each holds one of these words."""

    OBJECT_STORE = "object_store"
    PROVIDER = "provider"
    ZONE = "zone"
    PAGER = "pager"


def not_told(facts: Facts, brought: Facts) -> bool:
    """Nobody was paged for this outage yet."""
    return not facts.get("told")


def told(facts: Facts, brought: Facts, now_ms: int) -> dict[str, Any]:
    """One page an outage, however long it is (failures.md 51)."""
    return {"told": True}


def fell(facts: Facts, brought: Facts, now_ms: int) -> dict[str, Any]:
    """A new outage, with what was seen of it."""
    return {"evidence": dict(brought.get("evidence", {})), "fell_ms": now_ms, "told": False}


def answers(facts: Facts, brought: Facts, now_ms: int) -> dict[str, Any]:
    """The outage is over; how long it was is kept. What waits for it may begin, slowly."""
    return {"answered_ms": now_ms, "told": False}


DEPENDENCY = Table(
    kind="dependency",
    code=5,
    unit=True,
    doc="Something outside the fleet that remedies need: an object store, a provider's API, a zone, the pager.",
    states=(
        State("available", "it answers"),
        State("uncertain", "calls to it fail; it is being asked by another way",
              Effect("probe_dependency", ("answered", "down")), Deadline(60, "overdue")),
        State("unavailable", "known not to answer: remedies that need it are parked, not tried again",
              Effect("watch_dependency", ("answering",)), Deadline(300, "overdue")),
        State("restart", "it answers again: what had to wait for it drains at a set rate, slowly at first",
              Effect("drain_backlog", ("drained",)), Deadline(3600, "overdue")),
    ),
    rows=(
        Row("absent", "create", "available", why="the fleet depends on it"),
        Row("available", "failing", "uncertain", update=fell, why="calls to it fail"),
        Row("uncertain", "answered", "available", update=answers, why="it answers when asked"),
        Row("uncertain", "down", "unavailable", why="it does not answer by any way"),
        Row("uncertain", "overdue", "unavailable", why="nothing answered for a minute"),
        Row("unavailable", "answering", "restart", update=answers, why="it answers again, several times in a row"),
        Row("unavailable", "overdue", "unavailable", guard=not_told, update=told, page=Spawn("dependency_down"),
            why="down for five minutes; what needs it waits"),
        Row("unavailable", "overdue", "unavailable", why="still down"),
        Row("restart", "failing", "uncertain", update=fell, why="calls to it fail again"),
        Row("restart", "drained", "available", why="nothing waits for it any more"),
        Row("restart", "overdue", "restart", guard=not_told, update=told, page=Spawn("drain_slow"),
            why="it answers, and what waited for it is not through after an hour"),
        Row("restart", "overdue", "restart", why="still draining"),
        # a person knows more: a notice of the provider, a store that nothing here can probe
        *from_each(("available", "restart"), "declared_down", "unavailable", update=fell, why="a person says that it is down"),
        Row("uncertain", "declared_down", "unavailable", why="a person says that it is down"),
        *from_each(("uncertain", "unavailable"), "declared_well", "restart", update=answers,
                   why="a person says that it answers"),
    ),
)  # fmt: skip
