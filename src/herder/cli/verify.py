"""`herder verify`: check the lifecycle tables, as the build does. Needs no running control plane."""

from __future__ import annotations

from typing import Annotated

import typer

from herder.cli import options
from herder.model.errors import InvalidInput

Mutants = Annotated[bool, typer.Option("--mutants", help="Break tables and arithmetic in turn: who notices?")]
MutantsFile = Annotated[str, typer.Option("--mutants-file", metavar="FILE", help="Your own mutants, in TOML.")]
Traces = Annotated[bool, typer.Option("--traces", help="With the way to what was noticed.")]
Playbook = Annotated[str, typer.Option("--playbook", metavar="FILE", help="A playbook of your own, in TOML.")]
Quick = Annotated[
    bool, typer.Option("--quick", help="Seconds instead of minutes: small scenes, the first states of each aspect.")
]
Diagrams = Annotated[
    str,
    typer.Option(
        "--diagrams", metavar="DIR", help="Violations, or how mutants were noticed, as sequence diagrams (Mermaid)."
    ),
]
PlaybookOf = Annotated[str, typer.Option("--playbook-of", metavar="KIND", help="One of herder's, as such a file.")]


def verify(
    as_json: options.Json = False,
    *,
    mutants: Mutants = False,
    mutants_file: MutantsFile = "",
    traces: Traces = False,
    playbook: Playbook = "",
    playbook_of: PlaybookOf = "",
    quick: Quick = False,
    diagrams: Diagrams = "",
) -> None:
    """Prove the safety rules over every state that the lifecycle tables can reach; exit code 1 when one fails."""
    if mutants or mutants_file:
        from herder.cli import proofs

        raise typer.Exit(proofs.mutants(mutants_file, as_json=as_json, traces=traces, directory=diagrams))
    if playbook or playbook_of:
        from herder.cli import proofs

        raise typer.Exit(
            proofs.show_playbook(playbook_of) if playbook_of else proofs.playbook(playbook, as_json=as_json)
        )
    if traces:
        raise InvalidInput("--traces belongs to --mutants", "herder verify --mutants --traces")
    from herder.cli.everything import everything

    raise typer.Exit(everything(quick=quick, as_json=as_json, directory=diagrams))
