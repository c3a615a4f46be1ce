"""A rollout: every server of a scope is rebooted, in waves, because a person ordered it. A playbook of the fleet."""

from __future__ import annotations

from typing import Any

from herder.machines.table import Deadline, Facts, Row, Spawn, State, Table, from_each, noted_in


def began(facts: Facts, brought: Facts, now_ms: int) -> dict[str, Any]:
    """Nothing is done yet."""
    return {"began_ms": now_ms, "window": 0, "done": 0, "failed": 0, "begun": 0}


def resumed(facts: Facts, brought: Facts, now_ms: int) -> dict[str, Any]:
    """It begins slowly again, and what failed before is a person's answer already."""
    return {"window": 0, "failed": 0, "begun": 0, "held": ""}


ROLLOUT = Table(
    kind="rollout",
    code=24,
    doc="Servers of a scope are rebooted onto an image in waves, within a window of time that a person gave.",
    states=(
        State("running", "canaries first, then zone by zone; never two members of one service at once", None,
              Deadline(86_400, "overdue")),
        State("paused", "no server's turn begins; those under way end", None, Deadline(3600, "overdue")),
        State("done", "every server of the scope was rebooted", final=True),
        State("aborted", "a person ended it; servers stay as they are", final=True),
    ),
    rows=(
        Row("absent", "create", "running", update=began, why="a person ordered it"),
        *noted_in(("running", "paused"), "progress", why="how far it is"),
        Row("running", "finished", "done", why="every server of the scope was rebooted"),
        Row("running", "stopped", "paused", page=Spawn("rollout_stopped"), why="it does not go well: a person has the word"),
        Row("running", "window_over", "paused", page=Spawn("rollout_window_over"), why="its window of time is over and it is not done"),
        Row("running", "overdue", "running", page=Spawn("rollout_slow"), why="it goes on for a day"),
        Row("running", "pause", "paused", why="a person holds it"),
        Row("paused", "resume", "running", update=resumed, why="a person lets it go on"),
        Row("paused", "overdue", "paused", page=Spawn("rollout_paused_long"), why="it has been held for long"),
        *from_each(("running", "paused"), "abort", "aborted", why="a person ended it"),
    ),
)  # fmt: skip
