"""The `herder` command: its commands by what they are about, and one place where errors become exit codes."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Annotated

import typer

from herder import __version__
from herder.cli import (
    agent,
    bench,
    chaos,
    config,
    create,
    demo,
    drill,
    exercise,
    history,
    pages,
    playbooks,
    projection,
    recovery,
    rollout,
    say,
    servers,
    services,
    sim,
    status,
    storm,
    sweep,
    up,
    urls,
    verify,
)
from herder.cli.shape import Grouped
from herder.model.errors import HerderError

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it: 128 + SIGINT."""

app = typer.Typer(
    name="herder",
    cls=Grouped,
    rich_markup_mode=None,
    help="Fleets of PostgreSQL and Valkey that heal themselves.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_PLANE = "The control plane"
_SERVICES = "Services"
_NIGHT = "When something is wrong"
_LAB = "Try it, measure it, check it"

for _name, _command, _heading, _short in (
    ("up", up.up, _PLANE, "Start it and serve until Ctrl-C, or --detach"),
    ("down", up.down, _PLANE, "Stop it; services keep serving"),
    ("config", config.config, _PLANE, "Settings in force, and where each came from"),
    ("servers", servers.servers, _PLANE, "What services run on"),
    ("agents", servers.agents, _PLANE, "Who watches there"),
    ("agent", agent.agent, _PLANE, "Run the agent of one server"),
    ("create", create.create, _SERVICES, "Make a service; --wait until it takes writes"),
    ("list", services.list_services, _SERVICES, "All services"),
    ("show", services.show, _SERVICES, "One service with its members"),
    ("url", urls.url, _SERVICES, "Its URL, the same for its whole life"),
    ("watch-url", urls.watch_url, _SERVICES, "Its primary's URL, now and at each change"),
    ("psql", urls.psql, _SERVICES, "Open psql on it"),
    ("wait", services.wait, _SERVICES, "Wait until it is in a state"),
    ("switchover", services.switchover, _SERVICES, "Move its primary, as planned"),
    ("restart", services.restart, _SERVICES, "Start its engines again on the same data"),
    ("destroy", services.destroy, _SERVICES, "Stop it and move its data to the trash"),
    ("status", status.status, _NIGHT, "What is not well, and what is done about it"),
    ("events", history.events, _NIGHT, "What happened, in words"),
    ("explain", history.explain, _NIGHT, "Why, down to the line of the engine's log"),
    ("pages", pages.pages, _NIGHT, "What a person was told"),
    ("recovery", recovery.recovery, _NIGHT, "Recoveries in waves, and what remedies wait for"),
    ("allow-failover", services.allow_failover, _NIGHT, "One more failover for a blocked service"),
    ("playbooks", playbooks.playbooks, _NIGHT, "How often each remedy ran, and how it ended"),
    ("demo", demo.demo, _LAB, "Break real databases and watch them heal"),
    ("chaos", chaos.chaos, _LAB, "Break real databases at random, account for every write"),
    ("drill", drill.drill, _LAB, "Run a region's bad day over a simulated fleet"),
    ("sweep", sweep.sweep, _LAB, "Kill herder at every point of every playbook"),
    ("sim", sim.sim, _LAB, "Hurt small simulated fleets, judge them from outside"),
    ("rebuild-projection", projection.rebuild_projection, _PLANE, "Derive the rows of SQL from the log again"),
    ("verify", verify.verify, _LAB, "Prove the safety rules over the tables"),
):
    app.command(_name, rich_help_panel=_heading, short_help=_short)(_command)
app.add_typer(
    storm.app, name="storm", rich_help_panel=_NIGHT, short_help="Is it them, or is it us? Freezes and budgets"
)
app.add_typer(rollout.app, name="rollout", rich_help_panel=_PLANE, short_help="Reboot servers in waves, onto an image")
app.add_typer(
    exercise.app, name="exercise", rich_help_panel=_SERVICES, short_help="Services whose primary moves on a schedule"
)
app.add_typer(bench.app, name="bench", rich_help_panel=_LAB, short_help="Measure failovers and provisioning here")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"herder {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def run() -> None:
    """The console script."""
    try:
        app()
    except HerderError as problem:
        with contextlib.suppress(BrokenPipeError):
            say.error(problem)
        sys.exit(problem.exit_code)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # Whoever read us has seen enough. The interpreter flushes once more at its end: give it somewhere to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    run()
