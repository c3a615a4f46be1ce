"""A freeze: no remedy begins in a scope, because a person said so or because the scope's budget is used up (S8)."""

from __future__ import annotations

from herder.machines.table import Deadline, Facts, Row, Spawn, State, Table


def by_budget(facts: Facts, brought: Facts) -> bool:
    """No person made it: the budget of the scope was empty."""
    return "budget" in (facts.get("by"), brought.get("by"))


FREEZE = Table(
    kind="freeze",
    code=23,
    doc="No remedy begins in a scope until the freeze is released.",
    states=(
        State("frozen", "no remedy begins in its scope; data services go on", None, Deadline(3600, "overdue")),
        State("released", "remedies may begin again", final=True),
    ),
    rows=(
        Row("absent", "create", "frozen", guard=by_budget, page=Spawn("budget_empty"), why="the budget of remedies is used up"),
        Row("absent", "create", "frozen", why="a person froze it"),
        Row("frozen", "release", "released", why="a person released it"),
        Row("frozen", "overdue", "released", guard=by_budget, why="the hour is over: there is budget again"),
        Row("frozen", "overdue", "frozen", page=Spawn("freeze_forgotten"), why="frozen for long; nothing heals there by itself"),
    ),
)  # fmt: skip
