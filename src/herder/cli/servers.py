"""servers, agents: what services run on, and who watches there."""

from __future__ import annotations

from herder.cli import options, say


def servers(path: options.Dir = "", as_json: options.Json = False) -> None:
    """All servers: address, life (incarnation), state and agent."""
    found = options.client(path).get("/v1/servers")
    if as_json:
        say.as_json(found)
        return
    from herder.cli.views import servers_view

    say.console().print(servers_view(found))


def agents(path: options.Dir = "", as_json: options.Json = False) -> None:
    """All agents with what their last pulse said."""
    found = options.client(path).get("/v1/agents")
    if as_json:
        say.as_json(found)
        return
    from herder.cli.views import facts_view

    say.console().print(facts_view(found, "There are no agents yet."))
