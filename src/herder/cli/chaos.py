"""`herder chaos`: real services under load, broken at random for a while, and what that cost."""

from __future__ import annotations

from typing import Annotated

import typer

from herder.cli import options


def chaos(
    *,
    minutes: Annotated[float, typer.Option("--minutes", metavar="M", min=0.2, help="How long things break.")] = 3.0,
    services: Annotated[int, typer.Option("--services", metavar="K", min=1, max=60, help="How many services.")] = 3,
    seed: Annotated[
        int, typer.Option("--seed", metavar="S", help="Draws the faults: the same seed, the same day.")
    ] = 1,
    plan: Annotated[str, typer.Option("--plan", metavar="PLAN", help="premium, standard or mix.")] = "premium",
    engine: Annotated[str, typer.Option("--engine", metavar="ENGINE", help="postgres, valkey or mix.")] = "postgres",
    faults: Annotated[
        str, typer.Option("--faults", metavar="KIND,...", help="Only these kinds of fault; all when left out.")
    ] = "",
    keep: Annotated[bool, typer.Option("--keep", help="Leave the directory with its logs; nothing runs on.")] = False,
    path: options.Dir = "",
    as_json: options.Json = False,
) -> None:
    """Break real databases under load at random, and account for every write; exit code 1 when one is lost."""
    from herder.lab.chaos.main import Options, main

    kinds = tuple(name.strip() for name in faults.split(",") if name.strip())
    raise typer.Exit(main(Options(minutes, services, seed, plan, engine, kinds, path, as_json, keep)))
