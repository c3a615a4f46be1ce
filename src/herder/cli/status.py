"""`herder status`: what a person wants to know at 3 am."""

from __future__ import annotations

from herder.cli import options, say


def status(path: options.Dir = "", as_json: options.Json = False) -> None:
    """What is not well, since when, what is being done about it, and what it waits for."""
    found = options.client(path).get("/v1/status")
    if as_json:
        say.as_json(found)
        return
    from herder.cli.views import status_view

    say.console().print(status_view(found))
