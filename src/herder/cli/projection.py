"""`herder rebuild-projection`: the rows that people query are derived from the log again, while serving goes on."""

from __future__ import annotations

from typing import Annotated

import typer

from herder.cli import options, say

WAIT_S = 24 * 3600.0
"""Of the answer: a fleet of millions takes minutes, and Ctrl-C leaves it running."""


def rebuild_projection(
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the new rows are read.")] = True,
    path: options.Dir = "",
    as_json: options.Json = False,
) -> None:
    """Derive the rows of SQL and of the event log's words from the log again; decisions and services go on."""
    client = options.client(path)
    told = client.post("/v1/projection/rebuild")
    if wait:
        told = client.get("/v1/projection", wait_s=WAIT_S, ended=True)
    if as_json:
        say.as_json(told)
        return
    lag = f"{told['lag_records']} records, {told['lag_s']:.1f} s behind the log"
    if told["rebuilding"]:
        say.console().print(f"being rebuilt; {lag}")
    else:
        say.console().print(f"{told['rebuilt']} machines written anew; {lag}")
