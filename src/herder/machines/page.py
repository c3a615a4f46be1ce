"""A page: something automation could not end. One page a service and reason; it is a machine so that no state must keep it."""

from __future__ import annotations

from typing import Any

from herder.machines.table import Facts, Row, State, Table


def again(facts: Facts, brought: Facts, now_ms: int) -> dict[str, Any]:
    """The same reason again: count, do not send."""
    return {"times": int(facts.get("times", 1)) + 1, "last_ms": now_ms}


PAGE = Table(
    kind="page",
    code=20,
    doc="A person was told. It is resolved when the thing is well again.",
    states=(
        State("open", "told, and not yet well"),
        State("resolved", "the thing is well again", final=True),
    ),
    rows=(
        Row("absent", "create", "open", why="automation may not or cannot end this"),
        Row("open", "again", "open", keep=True, update=again, why="the same again"),
        Row("open", "resolve", "resolved", why="well again"),
    ),
)
