"""Destroy: with its owner's typed consent a service is stopped and its data moved to the trash, never deleted."""

from __future__ import annotations

from herder.machines.table import Deadline, Effect, Emit, Facts, Row, State, Table


def consented(facts: Facts, brought: Facts) -> bool:
    """The owner typed the name of the very service (S5, failures.md 58)."""
    return bool(brought.get("consent")) and brought.get("consent") == brought.get("service_name")


_FAILED = (Emit("service", "playbook_failed"),)

DESTROY = Table(
    kind="destroy",
    code=16,
    doc="Stop every member for sure, move its data to retired trash, give the servers back (S5).",
    states=(
        State("stopping", "every member's engine is stopped, confirmed",
              Effect("stop_members", ("stopped", "failed")), Deadline(120, "overdue")),
        State("trashing", "the data directories move to the trash",
              Effect("trash_members", ("trashed", "failed")), Deadline(120, "overdue")),
        State("done", "the data rests in the trash", final=True),
        State("failed", "it is tried again after a pause", final=True),
    ),
    rows=(
        Row("absent", "create", "stopping", guard=consented, emits=(Emit("service", "retire", ("term",)),),
            why="its owner asked, and typed its name", proves=("consent",)),
        Row("stopping", "stopped", "trashing", why="nothing of it runs"),
        Row("stopping", "failed", "failed", emits=_FAILED, why="a member did not stop"),
        Row("stopping", "overdue", "failed", emits=_FAILED, why="stopping takes too long"),
        Row("trashing", "trashed", "done", emits=(Emit("service", "trashed"),), why="the data rests in the trash"),
        Row("trashing", "failed", "failed", emits=_FAILED, why="a data directory could not be moved"),
        Row("trashing", "overdue", "failed", emits=_FAILED, why="moving takes too long"),
    ),
)  # fmt: skip
