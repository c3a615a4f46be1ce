"""`herder verify`: check the lifecycle tables, as the build does. Needs no running control plane."""

from __future__ import annotations

import typer

from herder.cli import options


def verify(as_json: options.Json = False) -> None:
    """Prove the safety rules over every state that the lifecycle tables can reach; exit code 1 when one fails."""
    from herder.machines.verify import main

    raise typer.Exit(main(["--json"] if as_json else []))
