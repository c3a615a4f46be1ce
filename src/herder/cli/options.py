"""The options that many commands share, so that they are called and described alike everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from herder.cli.client import Client
from herder.directory import Directory
from herder.settings import resolve

Dir = Annotated[str, typer.Option("--dir", metavar="PATH", help="Data directory of the control plane (HERDER_DIR).")]
Config = Annotated[str, typer.Option("--config", metavar="FILE", help="Settings file instead of DIR/herder.toml.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON with stable fields.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the service.")]
Timeout = Annotated[float, typer.Option("--timeout", metavar="SECONDS", min=0, help="How long to wait at most.")]


def directory(path: str) -> Directory:
    """The data directory that `--dir`, the environment or the default names; settings besides are not looked at."""
    return Directory(Path(resolve({"dir": path} if path else {})["dir"].value))


def client(path: str) -> Client:
    """A client of the control plane in that directory."""
    return Client(directory(path).socket)
