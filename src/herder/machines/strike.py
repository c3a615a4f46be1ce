"""Strike: a lost standby is taken out of the sync set, so that the rest can be promoted without its pledge."""

from __future__ import annotations

from herder.machines.table import Deadline, Effect, Emit, Row, State, Table

_ENDED = (Emit("service", "strike_ended"),)
_FAILED = (Emit("service", "strike_failed"),)

STRIKE = Table(
    kind="strike",
    code=14,
    doc="Remove a voter: shrink W, wait until every other voter has flushed past that moment, then record the smaller V.",
    states=(
        State("shrinking", "the primary no longer waits for it; the others flush past the present position",
              Effect("shrink_sync_set", ("shrunk", "failed")), Deadline(20, "overdue")),
        State("done", "the smaller set of voters is in the log", final=True),
        State("failed", "the set of voters stays as it was, which is safe", final=True),
    ),
    rows=(
        Row("absent", "create", "shrinking", emits=(Emit("service", "strike_began"),), why="a voter is known to be lost"),
        Row("shrinking", "shrunk", "done", emits=(Emit("service", "voter_removed", ("member",)), *_ENDED),
            why="the remaining voters hold everything that was acknowledged", proves=("quorum",)),
        Row("shrinking", "failed", "failed", emits=_FAILED, why="it could not be done"),
        Row("shrinking", "overdue", "failed", emits=_FAILED, why="it took too long"),
        Row("shrinking", "overtaken", "failed", emits=_ENDED, why="the primary itself is lost"),
    ),
)  # fmt: skip
