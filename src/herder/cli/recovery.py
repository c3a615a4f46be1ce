"""`herder recovery`: mass recoveries, how far they are and when they will be over; dependencies; what is parked."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import typer

from herder.cli import options, say
from herder.model.errors import InvalidInput


def recovery(
    down: Annotated[str, typer.Option("--down", metavar="NAME", help="Say that a dependency does not answer.")] = "",
    well: Annotated[str, typer.Option("--well", metavar="NAME", help="Say that a dependency answers again.")] = "",
    path: options.Dir = "",
    as_json: options.Json = False,
) -> None:
    """Recoveries in waves with their forecast, what the fleet depends on, and which remedies wait for what."""
    given = {"down": down, "well": well}
    told = [(word, name) for word, name in given.items() if name]
    if len(told) > 1:
        raise InvalidInput("one word at a time", "herder recovery --help")
    client = options.client(path)
    for word, name in told:
        client.post(f"/v1/dependencies/{quote(name, safe='')}/{word}")
    found = client.get("/v1/recovery")
    if as_json:
        say.as_json(found)
        return
    from herder.cli.recovery_view import recovery_view

    say.console().print(recovery_view(found))
