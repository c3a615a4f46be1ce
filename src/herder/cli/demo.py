"""`herder demo`: real services, real faults, healed in front of you."""

from __future__ import annotations

import typer

from herder.cli import options


def demo(path: options.Dir = "", as_json: options.Json = False) -> None:
    """Break real databases and watch them heal; ends by itself in under 3 minutes and leaves nothing running."""
    from herder.lab.demo import main

    raise typer.Exit(main(directory=path, as_json=as_json))
