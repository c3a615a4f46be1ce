"""`herder exercise`: services whose primary is moved on a schedule, so that failover is the most ordinary thing there is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from herder.cli import options, say, wait_for
from herder.model.windows import length_text

if TYPE_CHECKING:
    from rich.console import RenderableType

app = typer.Typer(
    help="Exercises: who takes part, when each is due, how the last one went.",
    invoke_without_command=True, rich_markup_mode=None,
)  # fmt: skip

How = Annotated[
    str,
    typer.Option("--how", metavar="HOW", help="switchover | failover. Default: premium failover, standard switchover."),
]


@app.callback()
def exercise(
    context: typer.Context,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="How many services.")] = 50,
    path: options.Dir = "",
    as_json: options.Json = False,
) -> None:
    """Who takes part in exercises, when each is due, how the last one went."""
    if context.invoked_subcommand is not None:
        return
    told = options.client(path).get("/v1/exercise", limit=limit)
    if as_json:
        say.as_json(told)
        return
    say.console().print(exercise_view(told))


@app.command("on")
def on(
    name: options.Name,
    every: Annotated[
        str, typer.Option("--every", metavar="LENGTH", help="7d, 12h. Default: premium 7d, standard 30d.")
    ] = "",
    window: Annotated[
        str, typer.Option("--window", metavar="WINDOW", help="In UTC. Default: 'mon-fri 02:00-05:00'.")
    ] = "",
    how: How = "",
    path: options.Dir = "",
    as_json: options.Json = False,
) -> None:
    """Have a service exercised, inside its window."""
    told = options.client(path).put(f"/v1/exercise/{name}", {"every": every, "window": window, "how": how})
    if as_json:
        say.as_json(told)
        return
    print(f"{name}: a {told['how']} every {length_text(told['every_s'])} in {told['window']} UTC, next {_due(told)}")


@app.command("off")
def off(name: options.Name, path: options.Dir = "", as_json: options.Json = False) -> None:
    """Have a service exercised no more, also when its plan takes part."""
    told = options.client(path).delete(f"/v1/exercise/{name}", None)
    if as_json:
        say.as_json(told)
    else:
        print(f"{name} takes no part in exercises")


@app.command("now")
def now(
    name: options.Name,
    how: How = "",
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Return at once.")] = False,
    timeout: options.Timeout = 120.0,
    path: options.Dir = "",
    as_json: options.Json = False,
) -> None:
    """Exercise a service now, also outside of its window. Waits until its primary has moved."""
    client = options.client(path)
    told = client.post(f"/v1/exercise/{name}/now", {"how": how})
    if not no_wait:
        wait_for.calm(client, name, timeout, quiet=as_json)
    if as_json:
        say.as_json(told)
        return
    print(
        f"{name}: the exercise began"
        if no_wait
        else f"{name}: its primary moved; `herder exercise` tells when all is well"
    )


def exercise_view(told: dict[str, Any]) -> RenderableType:
    """The calendar, and above it whatever keeps everybody from being exercised."""
    from rich.console import Group
    from rich.text import Text

    lines: list[RenderableType] = []
    if told["held"]:
        lines.append(Text(f"No exercise begins now: {told['held']}.", style="yellow"))
    for plan in told["plans"]:
        if plan["stopped_by"]:
            why = f"Exercises of plan {plan['plan']} are stopped: that of {plan['stopped_by']} failed."
            hint = f"look at it, then: herder exercise now {plan['stopped_by']}"
            lines.append(Text.assemble((why, "bold red"), f"  {hint}"))
    if not told["services"]:
        lines.append(Text("Nobody takes part yet: herder exercise on NAME", style="dim"))
        return Group(*lines)
    table = say.table(
        "name", "plan", "how", "every", "window (UTC)", "next", "last", "took", "waits for", right=("took",)
    )
    for row in told["services"]:
        last = row["last"]
        table.add_row(
            Text(row["name"], style="bold"),
            row["plan"],
            row["how"],
            length_text(row["every_s"]) if row["every_s"] else "",
            row["window"],
            Text("under way", style="cyan") if row["running"] else _due(row),
            _result(last),
            f"{last['took_ms'] / 1000:.1f} s" if last else "",
            Text(row["waits_for"] or (last["why"] if last and last["result"] == "failed" else ""), style="dim"),
        )
    left = told["taking_part"] - sum(row["takes_part"] for row in told["services"])
    more = [Text(f"and {left} more: --limit", style="dim")] if left > 0 else []
    return Group(*lines, table, *more)


_RESULTS = {"well": ("went well", "green"), "gave_way": ("gave way", "yellow"), "failed": ("failed", "bold red")}


def _result(last: dict[str, Any]) -> Any:
    from rich.text import Text

    if not last:
        return Text("none yet", style="dim")
    word, style = _RESULTS[last["result"]]
    return Text.assemble((word, style), (f"  {say.lasted(last['at_ms'])} ago", "dim"))


def _due(row: dict[str, Any]) -> str:
    """In UTC as the window is, the weekday in front."""
    if not row["next_due_ms"]:
        return "never" if not row["takes_part"] else "when this one is over"
    return f"{datetime.fromtimestamp(row['next_due_ms'] / 1000, UTC):%a %m-%d %H:%M} UTC"
