"""The options that many commands share, so that they are called and described alike everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from herder.cli.client import Client
from herder.directory import Directory
from herder.model.errors import InvalidInput
from herder.settings import resolve

Dir = Annotated[str, typer.Option("--dir", metavar="PATH", help="Data directory of the control plane (HERDER_DIR).")]
Config = Annotated[str, typer.Option("--config", metavar="FILE", help="Settings file instead of DIR/herder.toml.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON with stable fields.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the service.")]
Timeout = Annotated[float, typer.Option("--timeout", metavar="SECONDS", min=0, help="How long to wait at most.")]


def is_alone(context: typer.Context, path: str, *, as_json: bool) -> bool:
    """Was a group of commands called by itself? Its own options in front of a subcommand would be lost: InvalidInput."""
    if context.invoked_subcommand is None:
        return True
    if path or as_json:
        command = f"herder {context.info_name} {context.invoked_subcommand}"
        raise InvalidInput("options of a subcommand stand after it", f"{command} --help")
    return False


def directory(path: str) -> Directory:
    """The data directory that `--dir`, the environment or the default names; settings besides are not looked at."""
    return Directory(Path(resolve({"dir": path} if path else {})["dir"].value))


def client(path: str) -> Client:
    """A client of the control plane in that directory."""
    return Client(directory(path).socket)
