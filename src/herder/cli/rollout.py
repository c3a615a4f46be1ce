"""`herder rollout`: servers are rebooted in waves, because a person ordered it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from herder.cli import options, say

if TYPE_CHECKING:
    from rich.console import RenderableType

app = typer.Typer(
    help="Reboot servers in waves: how far it is, and orders to it.", invoke_without_command=True, rich_markup_mode=None
)

Rollout = Annotated[str, typer.Argument(metavar="ROLLOUT", help="Like rollout-42; `herder rollout` lists them.")]
Until = Annotated[str, typer.Option("--until", metavar="LENGTH", help="Its window of time, like 6h; then it pauses.")]


@app.callback()
def rollout(context: typer.Context, path: options.Dir = "", as_json: options.Json = False) -> None:
    """Rolling reboots: how far each is, what keeps it, and when it will be over."""
    if options.is_alone(context, path, as_json=as_json):
        _show(options.client(path).get("/v1/rollout"), as_json=as_json)


@app.command()
def reboot(
    scope: Annotated[str, typer.Option("--scope", metavar="SCOPE", help="fleet, zone:NAME, service: or server:NAME.")],
    image: Annotated[str, typer.Option("--image", metavar="IMAGE", help="Boot onto it. Default: as they are.")] = "",
    until: Until = "12h",
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason, for whoever reads the log.")] = "",
    path: options.Dir = "",
    as_json: options.Json = False,
) -> None:
    """Reboot every server of a scope: canaries, then zone by zone, standbys before primaries, never two of one service."""
    wanted = {"scope": scope, "image": image, "until": until, "why": why}
    _show(options.client(path).post("/v1/rollout", wanted), as_json=as_json)


@app.command()
def pause(name: Rollout, path: options.Dir = "", as_json: options.Json = False) -> None:
    """Let no server's turn begin; those under way end."""
    _order(name, "pause", "", path, as_json=as_json)


@app.command()
def resume(name: Rollout, until: Until = "", path: options.Dir = "", as_json: options.Json = False) -> None:
    """Let it go on, slowly at first; --until gives it a new window of time."""
    _order(name, "resume", until, path, as_json=as_json)


@app.command()
def abort(name: Rollout, path: options.Dir = "", as_json: options.Json = False) -> None:
    """End it: servers stay as they are."""
    _order(name, "abort", "", path, as_json=as_json)


def _order(name: str, order: str, until: str, path: str, *, as_json: bool) -> None:
    given = {"until": until}
    _show(options.client(path).post(f"/v1/rollout/{quote(name, safe='')}/{order}", given), as_json=as_json)


def _show(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        say.as_json(found)
    else:
        say.console().print(rollouts_view(found))


COLOURS = {"running": "cyan", "paused": "yellow", "done": "green", "aborted": "dim"}


def rollouts_view(found: dict[str, Any]) -> RenderableType:
    """A line for each, with what it does now."""
    from rich.console import Group
    from rich.text import Text

    if not found["rollouts"]:
        return Text("● nothing is rolled out", style="bold green")
    return Group(*(_line(row) for row in found["rollouts"]))


def _line(row: dict[str, Any]) -> RenderableType:
    from rich.text import Text

    style = COLOURS.get(row["state"], "")
    told = Text.assemble(
        ("● ", style), (row["id"], "bold"), f"  {row['scope']}", f" onto {row['image']}" if row["image"] else "",
        (f"  {row['state']}", style), f"  {row['done']:,} of {row['total']:,} servers",
        (f"  since {say.clock(row['since_ms'])[:-4]}", "dim"),
    )  # fmt: skip
    if row["why"]:
        told.append(f"\n  {row['why']} ({row['by']})", style="dim")
    if row["state"] == "running":
        told.append(
            f"\n  {row['stage']} in zone {row['zone']}, {row['under_way']:,} under way of {row['window']:,} at once"
        )
        told.append(f"\n  done about {_forecast(row)}")
    if row["failed"]:
        told.append(f"\n  {row['failed']:,} failed", style="yellow")
    if row["held"]:
        told.append(f"\n  held: {row['held']}", style="yellow")
    return told


def _forecast(row: dict[str, Any]) -> str:
    """'21:54:10 (21:53:58 to 21:55:30)', or that nobody can tell."""
    if not row["end_ms"]:
        return "not known yet"
    late = say.clock(row["late_ms"])[:-4] if row["late_ms"] else "nobody can tell"
    return f"{say.clock(row['end_ms'])[:-4]} ({say.clock(row['early_ms'])[:-4]} to {late})"
