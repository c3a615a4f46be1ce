"""`herder storm`: is it them, or is it us? What fell where, what is frozen, and who said so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from herder.cli import options, say

if TYPE_CHECKING:
    from rich.console import RenderableType

app = typer.Typer(
    help="Is it them, or is it us? What fell where, incidents, freezes and budgets.",
    invoke_without_command=True,
    rich_markup_mode=None,
)

Scope = Annotated[
    str, typer.Argument(metavar="SCOPE", help="fleet, zone:NAME, provider:, version:, image:, service: or server:NAME.")
]
Incident = Annotated[str, typer.Argument(metavar="INCIDENT", help="Like incident-42; `herder storm` lists them.")]


@app.callback()
def storm(context: typer.Context, path: options.Dir = "", as_json: options.Json = False) -> None:
    """What fell where, the verdict with its evidence, what is frozen, and the budgets that are left."""
    if options.is_alone(context, path, as_json=as_json):
        _show(options.client(path).get("/v1/storm"), as_json=as_json)


@app.command()
def freeze(
    scope: Scope,
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason, for whoever finds it tonight.")],
    path: options.Dir = "",
    as_json: options.Json = False,
) -> None:
    """Let no remedy begin in a scope until it is released; what is under way goes on, services keep serving."""
    _show(options.client(path).post("/v1/storm/freezes", {"scope": scope, "why": why}), as_json=as_json)


@app.command()
def release(scope: Scope, path: options.Dir = "", as_json: options.Json = False) -> None:
    """Let remedies begin again in a scope that was frozen by hand or by an empty budget."""
    _show(options.client(path).delete("/v1/storm/freezes", {"scope": scope}), as_json=as_json)


@app.command()
def pause(incident: Incident, path: options.Dir = "", as_json: options.Json = False) -> None:
    """Hold the recovery of an incident; remedies in its scope are frozen meanwhile."""
    _order(incident, "pause", path, as_json=as_json)


@app.command()
def resume(incident: Incident, path: options.Dir = "", as_json: options.Json = False) -> None:
    """Let the recovery of an incident go on."""
    _order(incident, "resume", path, as_json=as_json)


@app.command()
def abort(incident: Incident, path: options.Dir = "", as_json: options.Json = False) -> None:
    """End an incident: ordinary remedies within their budgets go on in its scope."""
    _order(incident, "abort", path, as_json=as_json)


def _order(incident: str, order: str, path: str, *, as_json: bool) -> None:
    answer = options.client(path).post(f"/v1/storm/incidents/{quote(incident, safe='')}/{order}")
    _show(answer, as_json=as_json)


def _show(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        say.as_json(found)
    else:
        say.console().print(storm_view(found))


VERDICTS = {
    "calm": ("green", "calm"),
    "local": ("cyan", "them, local: ordinary remedies go on"),
    "suspect": ("yellow", "too many at once: frozen until it is known whether it is them or us"),
    "us": ("yellow", "us: nobody is judged"),
    "mass": ("bold red", "them, mass"),
}


def storm_view(found: dict[str, Any]) -> RenderableType:
    """The verdict, then what is not ordinary, then the tables."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    style, words = VERDICTS.get(found["verdict"], ("", found["verdict"]))
    parts: list[RenderableType] = [Text.assemble(("● ", style), (words, style), (f"  {found['why']}", "dim"))]
    if found["us"]:
        parts.append(Text(f"  ourselves: {found['us']}", style="yellow"))
    parts += [Padding(_incident(incident), (1, 0, 0, 0)) for incident in found["incidents"]]
    parts += [_freeze(freeze) for freeze in found["freezes"]]
    parts += [Padding(_scopes(found), (1, 0, 0, 0)), Padding(_budgets(found["budgets"]), (1, 0, 0, 0))]
    return Group(*parts)


def _freeze(freeze: dict[str, Any]) -> RenderableType:
    from rich.text import Text

    by = f"  by {freeze['by']} for {say.lasted(freeze['since_ms'])}"
    return Text.assemble(("frozen  ", "yellow"), (freeze["scope"], "bold"), f"  {freeze['why']}", (by, "dim"))


def _incident(incident: dict[str, Any]) -> RenderableType:
    from rich.text import Text

    from herder.cli.views import in_words

    over = incident["state"] in {"over", "aborted"}
    told = Text.assemble(
        (f"{incident['id']}  ", "dim" if over else "bold"), (incident["state"], "dim" if over else "yellow"),
        f"  {incident['scope']}", (f"  for {say.lasted(incident['since_ms'])}", "dim"),
    )  # fmt: skip
    if incident["why"]:
        told.append(f"\n  {incident['why']}", style="dim" if over else "")
    evidence = {key: value for key, value in incident["evidence"].items() if not isinstance(value, dict)}
    if evidence:
        told.append(f"\n  {in_words(evidence)}", style="dim")
    return told


def _scopes(found: dict[str, Any]) -> RenderableType:
    from rich.text import Text

    if not found["scopes"]:
        return Text("There are no servers yet.", style="dim")
    table = say.table("scope", "servers", "ill", f"fell in {found['window_s']:g} s", right=("servers", "ill"))
    for row in found["scopes"]:
        table.add_row(
            Text(row["scope"], style="bold" if row["fell"] else ""), str(row["servers"]),
            Text(str(row["ill"]), style="yellow" if row["ill"] else ""), str(row["fell"]),
        )  # fmt: skip
    table.caption = f"usual: {found['base'] * 100:.3g} % of the units of a scope in {found['window_s']:g} s"
    table.caption_justify = "left"
    return table


def _budgets(rows: list[dict[str, Any]]) -> RenderableType:
    from rich.text import Text

    table = say.table("budget", "under way", "begun within the hour")
    for row in rows:
        style = "bold red" if row["empty"] else ""
        table.add_row(
            row["scope"], f"{row['in_flight']} of {row['in_flight_most']}",
            Text(f"{row['hour']} of {row['hour_most']}", style=style),
        )  # fmt: skip
    return table
