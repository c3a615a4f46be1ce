"""Rebuild: a member that fell out follows the primary again and, on a sync plan, is waited for again."""

from __future__ import annotations

from herder.machines.table import Deadline, Effect, Emit, Facts, Row, State, Table, from_each


def is_sync(facts: Facts, brought: Facts) -> bool:
    """Commits of this plan wait for standbys, so it must be enrolled among the voters."""
    return bool(facts.get("sync"))


_FAILED = (Emit("member", "rebuild_failed"),)
_STEPS = ("placing", "copying", "catching_up", "enrolling")

REBUILD = Table(
    kind="rebuild",
    code=13,
    doc="A member follows the primary again: rewound with its divergent log kept, or copied afresh.",
    states=(
        State("placing", "a server that runs is found for its slot",
              Effect("place_member", ("placed", "no_place")), Deadline(60, "overdue")),
        State("copying", "rewound or copied, then started as a standby",
              Effect("rejoin_member", ("rejoined", "failed")), Deadline(1800, "overdue")),
        State("catching_up", "it streams; its lag must become small",
              Effect("await_catch_up", ("caught_up", "failed")), Deadline(600, "overdue")),
        State("enrolling", "it is a voter in the log; now the primary waits for it too",
              Effect("load_sync_set", ("enrolled", "failed")), Deadline(60, "overdue")),
        State("done", "it follows", final=True),
        State("failed", "it did not succeed; the member's next try waits", final=True),
    ),
    rows=(
        Row("absent", "create", "placing", emits=(Emit("member", "rebuild_began"),), why="it does not follow the primary"),
        Row("placing", "placed", "copying", why="its server runs"),
        Row("copying", "rejoined", "catching_up", why="its engine answers as a standby"),
        Row("catching_up", "caught_up", "enrolling", guard=is_sync, emits=(Emit("service", "voter_added", ("added",)),),
            why="caught up: recorded as a voter before the primary waits for it"),
        Row("catching_up", "caught_up", "done", emits=(Emit("member", "followed"),), why="caught up"),
        Row("enrolling", "enrolled", "done", emits=(Emit("member", "followed"),), why="the primary waits for it"),
        Row("placing", "no_place", "failed", emits=_FAILED, why="no server for it runs"),
        *from_each(("copying", "catching_up", "enrolling"), "failed", "failed", emits=_FAILED, why="the step failed"),
        *from_each(_STEPS, "overdue", "failed", emits=_FAILED, why="the step took too long"),
        *from_each(_STEPS, "overtaken", "failed", emits=_FAILED, why="another member leads now: begun anew"),
    ),
)  # fmt: skip
