"""events, explain: what happened, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from herder.cli import options, say
from herder.cli.client import Client

if TYPE_CHECKING:
    from rich.console import RenderableType

ROOMY_COLUMNS = 120
"""From here on a move has room for its event and its actor."""

DEEPEST = 8
"""Steps that a cause moves in; a longer chain goes on straight down, or it would leave the screen."""

MaybeName = Annotated[str, typer.Argument(metavar="[NAME]", help="A service; everything when left out.")]


def events(
    name: MaybeName = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="How many of the newest.")] = 50,
    path: options.Dir = "",
    as_json: options.Json = False,
) -> None:
    """The log in words: when, what, from, event, to, why with the evidence, and who did it."""
    moves = options.client(path).get("/v1/events", name=name, limit=limit)
    if as_json:
        say.as_json(moves)
        return
    screen = say.console()
    screen.print(events_view(moves, screen.width))


def explain(name: options.Name, path: options.Dir = "", as_json: options.Json = False) -> None:
    """From a service's state down to the raw line of the engine's log that caused it."""
    client: Client = options.client(path)
    told = client.get(f"/v1/services/{name}/explain")
    if as_json:
        say.as_json(told)
        return
    say.console().print(explain_view(told))


def events_view(moves: list[dict[str, Any]], width: int = say.WIDTH_WHEN_PIPED) -> RenderableType:
    """One line a move; its event and who did it where there is room. A move that stays in its state shows no arrow."""
    from rich.text import Text

    if not moves:
        return Text("Nothing has happened yet.", style="dim")
    table = say.table("time", "what", "move", "why")
    for move in moves:
        target = (str(move["target"]), say.STYLE.get(move["target"], ""))
        came = move["source"] not in {move["target"], "absent", ""}
        table.add_row(
            Text(say.clock(move["at_ms"]), style="dim"),
            Text.assemble((f"{move['kind']} ", "dim"), str(move["name"])),
            Text.assemble((f"{move['source']} → ", "dim"), target) if came else Text.assemble(target),
            Text.assemble(
                str(move["why"]), (f"  {move['event']} · {move['actor']}" if width >= ROOMY_COLUMNS else "", "dim")
            ),
        )
    return table


def explain_view(told: dict[str, Any]) -> RenderableType:
    """Each cause a step further in, so that the root is the last line."""
    from rich.text import Text

    lines = [Text.assemble((told["name"], "bold"), " is ", say.state(told["state"]))]
    for depth, link in enumerate(told["chain"]):
        when = f"{say.clock(link['at_ms'])}  " if link["at_ms"] else ""
        source = f"  [{link['source']}]" if link["source"] else ""
        indent = "  " * min(depth, DEEPEST)
        lines.append(Text.assemble((f"{indent}└─ ", "dim"), (when, "dim"), str(link["text"]), (source, "dim")))
    return Text("\n").join(lines)
