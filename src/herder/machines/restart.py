"""Restart in place: the same data is started again on the same server, at most three tries; its standbys follow it again."""

from __future__ import annotations

from typing import Any

from herder.machines.table import Deadline, Effect, Emit, Facts, Row, Spawn, State, Table

MAX_TRIES = 3
"""failures.md 12: with backoff at most three, then failover or a person."""


def tries_left(facts: Facts, brought: Facts) -> bool:
    """May it be tried again?"""
    return int(facts.get("tries", 0)) + 1 < MAX_TRIES


def is_alone(facts: Facts, brought: Facts) -> bool:
    """No other member could lead when it began."""
    return bool(facts.get("alone"))


def count_try(facts: Facts, brought: Facts, now_ms: int) -> dict[str, Any]:
    """One more try."""
    return {"tries": int(facts.get("tries", 0)) + 1}


_FAILED = (Emit("member", "restart_failed"), Emit("service", "playbook_failed"))
_NO_DATA = (Emit("member", "restart_failed"), Emit("service", "no_data"))

RESTART = Table(
    kind="restart",
    code=12,
    doc="The primary's engine is started again on its own data.",
    states=(
        State("restarting", "the engine is stopped for sure, then started",
              Effect("restart_primary", ("restarted", "failed", "no_data")), Deadline(60, "overdue")),
        State("done", "it serves again", final=True),
        State("paged", "three tries failed, or there is nothing to start on and nobody else could lead", final=True),
        State("abandoned", "there is nothing to start on: another member is to lead", final=True),
    ),
    rows=(
        Row("absent", "create", "restarting",
            emits=(Emit("service", "restart_began", ("term",)), Emit("member", "restarting"))),
        Row("restarting", "restarted", "done", emits=(Emit("member", "restored"), Emit("service", "restored")),
            why="its engine answers"),
        Row("restarting", "failed", "restarting", guard=tries_left, update=count_try, why="the start failed; once more"),
        Row("restarting", "failed", "paged", emits=_FAILED, page=Spawn("restart_failed"), why="three starts failed"),
        Row("restarting", "overdue", "paged", emits=_FAILED, page=Spawn("restart_failed"), why="the start takes too long"),
        # failures.md 8: what came back empty is never tried again, and never leads
        Row("restarting", "no_data", "paged", guard=is_alone, emits=_NO_DATA, page=Spawn("data_lost"),
            why="its data is gone, and no other member has a copy that could lead"),
        Row("restarting", "no_data", "abandoned", emits=_NO_DATA, why="its data is gone"),
    ),
)  # fmt: skip
