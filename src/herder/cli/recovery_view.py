"""How recoveries and dependencies look on a terminal. Facts in, something that Rich prints out."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from herder.cli import say

Facts = dict[str, Any]


def recovery_view(found: Facts) -> RenderableType:
    """Three short tables; what is empty is left out."""
    parts: list[RenderableType] = []
    if found["incidents"]:
        parts.append(_incidents(found["incidents"]))
    else:
        parts.append(Text("● nothing is in recovery", style="bold green"))
    if found["dependencies"]:
        parts.extend([Text(), _dependencies(found["dependencies"])])
    if found["parked"]:
        parts.extend([Text(), _parked(found["parked"])])
    return Group(*parts)


def _incidents(rows: list[Facts]) -> RenderableType:
    table = say.table(
        "incident",
        "scope",
        "state",
        "for",
        "well",
        "ill",
        "at once",
        "well again about",
        right=("well", "ill", "at once"),
    )
    for row in rows:
        table.add_row(
            Text(row["id"], style="bold"), row["scope"], row["state"], say.lasted(row["since_ms"]),
            f"{row['done']:,} of {row['total']:,}", f"{row['left']:,}", f"{row['window']:,}", _forecast(row),
        )  # fmt: skip
    return table


def _forecast(row: Facts) -> str:
    """'21:54:10 (21:53:58 to 21:55:30)', or that nobody can tell."""
    if not row["end_ms"]:
        return "not known yet"
    late = _clock(row["late_ms"]) if row["late_ms"] else "nobody can tell"
    return f"{_clock(row['end_ms'])} ({_clock(row['early_ms'])} to {late})"


def _clock(at_ms: int) -> str:
    """A forecast has no milliseconds."""
    return say.clock(at_ms)[:-4]


def _dependencies(rows: list[Facts]) -> RenderableType:
    table = say.table("depends on", "state", "for", "backlog", "draining", "why", right=("backlog", "draining"))
    for row in rows:
        table.add_row(
            Text(row["name"], style="bold"), say.state(row["state"]), say.lasted(row["since_ms"]),
            f"{row['backlog']:,}", f"{row['draining']:,}", row["why"] or "-",
        )  # fmt: skip
    return table


def _parked(rows: list[Facts]) -> RenderableType:
    table = say.table("remedies that wait", "for", "number", "since", right=("number",))
    for row in rows:
        table.add_row(row["reason"], row["by"] or "-", f"{row['count']:,}", say.lasted(row["since_ms"]))
    return table
