"""`herder agent`: run the agent of one server. Providers start it; a person seldom does."""

from __future__ import annotations

import sys
from typing import Annotated

import typer


def agent(
    home: Annotated[
        str, typer.Argument(metavar="DIRECTORY", help="The server's directory with what it needs to begin.")
    ],
) -> None:
    """Run the agent of one server until it is stopped; engines keep running without it."""
    from herder.agent.main import main

    sys.argv = ["herder agent", home]  # its own command line, as a provider starts it without the CLI
    raise typer.Exit(main())
