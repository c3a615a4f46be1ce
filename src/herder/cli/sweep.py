"""`herder sweep`: the controller, or an agent, is killed at every point of every playbook, and the end must be the same."""

from __future__ import annotations

from typing import Annotated

import typer

from herder.cli import options, say
from herder.model.errors import InvalidInput


def sweep(
    playbook: Annotated[
        str, typer.Option("--playbook", metavar="NAME,...", help="Only these; all when left out.")
    ] = "",
    *,
    plan: Annotated[str, typer.Option("--plan", metavar="PLAN", help="Only services of this plan.")] = "",
    engine: Annotated[str, typer.Option("--engine", metavar="ENGINE", help="Only services of this engine.")] = "",
    again: Annotated[
        str,
        typer.Option("--again", metavar="N|all", help="Second kills a scene: drawn by the seed, or all there are."),
    ] = "200",
    seed: Annotated[int, typer.Option("--seed", metavar="S", help="Draws the second kills, and a sample.")] = 1,
    jobs: Annotated[int, typer.Option("--jobs", metavar="N", min=1, help="Processes.")] = 1,
    real: Annotated[
        bool, typer.Option("--real", help="kill -9 of a real `herder up` over real PostgreSQL, on a sample.")
    ] = False,
    sample: Annotated[int, typer.Option("--sample", metavar="N", min=1, help="With --real: how many kills.")] = 10,
    as_json: options.Json = False,
) -> None:
    """Kill herder at every write and effect of every playbook; exit code 1 when one run ends otherwise than undisturbed."""
    names = [name.strip() for name in playbook.split(",") if name.strip()]
    if real:
        from herder.lab.sweep import main

        raise typer.Exit(main(sample, seed, names, as_json=as_json))
    from herder.sim.sweep.campaign import EVERY, Wish, facts, sweep_all
    from herder.sim.sweep.scenes import chosen
    from herder.sim.sweep.summary import line, summary

    if again != "all" and not again.isdigit():
        raise InvalidInput(f"--again takes a number or 'all', not '{again}'")
    scenes = chosen(names, plan, engine)
    wish = Wish(scenes, EVERY if again == "all" else int(again), seed, jobs)
    swept, wall_s = sweep_all(wish, lambda each: None if as_json else say.note(line(each)))
    if as_json:
        say.as_json(facts(wish, swept, wall_s))
    else:
        say.console().print(summary(swept, wall_s))
    raise typer.Exit(0 if all(each.passed for each in swept) else 1)
