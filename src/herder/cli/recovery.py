"""`herder recovery`: mass recoveries, how far they are and when they will be over; dependencies; what is parked."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import typer

from herder.cli import options, say
from herder.model.errors import InvalidInput


def recovery(
    pause: Annotated[str, typer.Option("--pause", metavar="ID", help="Hold a recovery; its scope stays frozen.")] = "",
    resume: Annotated[str, typer.Option("--resume", metavar="ID", help="Let a held recovery go on.")] = "",
    abort: Annotated[
        str, typer.Option("--abort", metavar="ID", help="End the waves; ordinary remedies and budgets go on.")
    ] = "",
    down: Annotated[str, typer.Option("--down", metavar="NAME", help="Say that a dependency does not answer.")] = "",
    well: Annotated[str, typer.Option("--well", metavar="NAME", help="Say that a dependency answers again.")] = "",
    path: options.Dir = "",
    as_json: options.Json = False,
) -> None:
    """Recoveries in waves with their forecast, what the fleet depends on, and which remedies wait for what."""
    given = {"pause": pause, "resume": resume, "abort": abort, "down": down, "well": well}
    told = [(word, name) for word, name in given.items() if name]
    if len(told) > 1:
        raise InvalidInput("one order at a time", "herder recovery --help")
    client = options.client(path)
    for word, name in told:
        noun = "dependencies" if word in ("down", "well") else "recovery"
        client.post(f"/v1/{noun}/{quote(name, safe='')}/{word}")
    found = client.get("/v1/recovery")
    if as_json:
        say.as_json(found)
        return
    from herder.cli.recovery_view import recovery_view

    say.console().print(recovery_view(found))
