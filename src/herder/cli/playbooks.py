"""`herder playbooks`: how often each ran, ended well, needed a person, and how long it took."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from herder.cli import options, say

if TYPE_CHECKING:
    from rich.console import RenderableType


def playbooks(
    days: Annotated[float, typer.Option("--days", min=0.01, max=3660, help="How far back.")] = 30.0,
    path: options.Dir = "",
    as_json: options.Json = False,
) -> None:
    """Each playbook that ran: how often, how it ended, how long it took. Exercises stand apart from real ones."""
    told = options.client(path).get("/v1/playbooks", days=days)
    if as_json:
        say.as_json(told)
        return
    say.console().print(playbooks_view(told))


def playbooks_view(told: dict[str, Any]) -> RenderableType:
    """One line a playbook; the interval says how sure the share is."""
    from rich.text import Text

    if not told["playbooks"]:
        return Text(f"No playbook ran in the last {told['days']:g} days.", style="dim")
    numbers = ("ran", "well", "gave way", "failed", "needed a person", "p50", "p90", "max")
    table = say.table("playbook", "", *numbers[:5], "success", "95 % sure of", *numbers[5:], right=numbers)
    for row in told["playbooks"]:
        known = row["success"] is not None
        table.add_row(
            Text(row["playbook"], style="bold"),
            Text("exercise" if row["exercised"] else "real", style="dim" if row["exercised"] else ""),
            str(row["began"]),
            str(row["well"]),
            str(row["gave_way"]),
            Text(str(row["failed"]), style="bold red" if row["failed"] else ""),
            Text(str(row["needed_person"]), style="yellow" if row["needed_person"] else ""),
            f"{row['success']:.1%}" if known else "",
            f"{row['success_low']:.1%} to {row['success_high']:.1%}" if known else "",
            *(_took(row[name]) for name in ("p50_s", "p90_s", "max_s")),
        )
    return table


def _took(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds:.2f} s" if seconds < 100 else f"{seconds / 60:.1f} min"
