"""`herder pages`: what automation could not end, and told a person."""

from __future__ import annotations

from herder.cli import options, say


def pages(path: options.Dir = "", as_json: options.Json = False) -> None:
    """What a person was told, and whether it is well again."""
    found = options.client(path).get("/v1/pages")
    if as_json:
        say.as_json(found)
        return
    from herder.cli.views import facts_view

    say.console().print(facts_view(found, "Nobody was paged."))
