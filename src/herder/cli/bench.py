"""`herder bench`: how long a failover and a create take on this machine, measured from the client's side."""

from __future__ import annotations

from typing import Annotated

import typer

from herder.cli import options
from herder.model.errors import InvalidInput

PLANS = ("premium", "standard", "valkey")
FAULTS = ("engine_killed", "host_killed", "host_silent", "host_frozen", "switchover", "control_plane_killed")

app = typer.Typer(
    help="Measure this machine: failovers and provisioning, from the client's side.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Runs = Annotated[int, typer.Option("--runs", metavar="N", min=1, help="How often each is measured.")]
Plan = Annotated[
    list[str] | None,
    typer.Option(
        "--plan", metavar="PLAN", help=f"{', '.join(PLANS)}; repeat for more; all when left out", show_default=False
    ),
]
Fault = Annotated[
    list[str] | None,
    typer.Option(
        "--fault", metavar="FAULT", help=f"{', '.join(FAULTS)}; repeat for more; all when left out", show_default=False
    ),
]


@app.command()
def failover(
    runs: Runs = 10, plan: Plan = None, fault: Fault = None, path: options.Dir = "", as_json: options.Json = False
) -> None:
    """Time without writes, writes lost and doubled, for each plan and fault."""
    _run("failover", runs, _among("plan", plan, PLANS), _among("fault", fault, FAULTS), path, as_json=as_json)


@app.command()
def provision(runs: Runs = 10, plan: Plan = None, path: options.Dir = "", as_json: options.Json = False) -> None:
    """From `create` to the first write through the URL, for each plan."""
    _run("provision", runs, _among("plan", plan, ("dev", *PLANS)), (), path, as_json=as_json)


@app.command()
def soak(
    minutes: Annotated[float, typer.Option("--minutes", metavar="M", min=0.1, help="How long.")] = 30.0,
    seed: Annotated[int, typer.Option("--seed", metavar="S", help="Draws who stalls when.")] = 1,
    path: options.Dir = "",
    as_json: options.Json = False,
) -> None:
    """Lossy cables and stalling hosts; nobody may be failed over."""
    from herder.bench import main_soak

    raise typer.Exit(main_soak(minutes, seed, directory=path, as_json=as_json))


@app.command()
def engine(
    machines: Annotated[
        int,
        typer.Option("--machines", metavar="N", min=10_000, help="How many; the growth is measured from half of them."),
    ] = 1_000_000,
    peer: Annotated[bool, typer.Option("--peer/--no-peer", help="Measure DBOS in the same run.")] = True,
    path: options.Dir = "",
    as_json: options.Json = False,
) -> None:
    """Durable transitions, projection, latency, cold start and memory, beside the hand-written limit and DBOS."""
    from herder.bench import main_engine

    raise typer.Exit(main_engine(machines, directory=path, peer=peer, as_json=as_json))


@app.command()
def pulse(
    members: Annotated[
        int, typer.Option("--members", metavar="N", min=1000, help="Members of the fleet, one a server.")
    ] = 1_000_000,
    seconds: Annotated[
        float, typer.Option("--seconds", metavar="S", min=0.3, help="How long each size goes over NATS.")
    ] = 3.0,
    size: Annotated[
        list[int] | None,
        typer.Option(
            "--size",
            metavar="N",
            min=1,
            max=31_000,
            help="Members a frame over NATS; repeat for more; 1, 10, 100 and 1000 when left out",
            show_default=False,
        ),
    ] = None,
    path: options.Dir = "",
    as_json: options.Json = False,
) -> None:
    """Heartbeats that one controller takes in, and the scan for silence, beside the raw limits."""
    from herder.bench import main_pulse

    raise typer.Exit(main_pulse(members, seconds, size or (1, 10, 100, 1000), directory=path, as_json=as_json))


@app.command()
def recovery(
    services: Annotated[int, typer.Option("--services", metavar="N", min=50, help="Services of the fleet.")] = 3_000,
    seed: Annotated[int, typer.Option("--seed", metavar="S", help="Draws the fleet's chance.")] = 7,
    as_json: options.Json = False,
) -> None:
    """A lost zone and a drained backlog of a simulated fleet, beside what the provider's rates alone would need."""
    from herder.bench import main_recovery

    raise typer.Exit(main_recovery(services, seed, as_json=as_json))


def _among(noun: str, given: list[str] | None, known: tuple[str, ...]) -> tuple[str, ...]:
    for word in given or ():
        if word not in known:
            raise InvalidInput(f"there is no {noun} '{word}' to measure", f"choose from: {', '.join(known)}")
    return tuple(given) if given else known


def _run(bench: str, runs: int, plans: tuple[str, ...], faults: tuple[str, ...], path: str, *, as_json: bool) -> None:
    from herder.bench import main

    raise typer.Exit(main(bench, runs=runs, plans=plans, faults=faults, directory=path, as_json=as_json))
