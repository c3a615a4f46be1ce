"""list, show, wait, switchover, restart, destroy, allow-failover: what is done with a service that is there."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from herder.cli import options, say, wait_for
from herder.model.errors import Refused


def list_services(path: options.Dir = "", as_json: options.Json = False) -> None:
    """All services: state, plan, and since when."""
    services = options.client(path).get("/v1/services")
    if as_json:
        say.as_json(services)
        return
    from herder.cli.views import services_view

    say.console().print(services_view(services))


def show(name: options.Name, path: options.Dir = "", as_json: options.Json = False) -> None:
    """One service with its members: who leads, who follows, how far behind."""
    service = options.client(path).get(f"/v1/services/{name}")
    if as_json:
        say.as_json(service)
        return
    from herder.cli.views import service_view

    screen = say.console()
    screen.print(service_view(service, screen.width))


def wait(
    name: options.Name,
    state: Annotated[str, typer.Option("--for", metavar="STATE", help="The state to wait for.")] = "available",
    timeout: options.Timeout = 60.0,
    path: options.Dir = "",
    as_json: options.Json = False,
) -> None:
    """Wait until a service is in a state; exit code 7 when the time is over first."""
    service = wait_for.state(options.client(path), name, state, timeout, quiet=as_json)
    if as_json:
        say.as_json(service)
    else:
        print(f"{name} is {service['state']}")


def switchover(
    name: options.Name,
    to: Annotated[str, typer.Option("--to", metavar="MEMBER", help="Who is to lead; herder chooses otherwise.")] = "",
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Return at once.")] = False,
    timeout: options.Timeout = 60.0,
    path: options.Dir = "",
    as_json: options.Json = False,
) -> None:
    """Move a service's primary to another member, as planned: clients lose a moment, no write is lost."""
    client = options.client(path)
    before = client.get(f"/v1/services/{name}")
    service = client.post(f"/v1/services/{name}/switchover", {"to": to})
    if not no_wait:
        service = wait_for.calm(client, name, timeout, quiet=as_json)
    if as_json:
        say.as_json(service)
        return
    print(f"{name}: {_primary(before)} led, {_primary(service)} leads" if not no_wait else f"{name}: the move began")


def restart(
    name: options.Name,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Return at once.")] = False,
    timeout: options.Timeout = 60.0,
    path: options.Dir = "",
    as_json: options.Json = False,
) -> None:
    """Start a service's engines again on the same data."""
    client = options.client(path)
    service = client.post(f"/v1/services/{name}/restart")
    if not no_wait:
        service = wait_for.calm(client, name, timeout, quiet=as_json)
    if as_json:
        say.as_json(service)
        return
    print(f"{name}: the restart began" if no_wait else f"{name} is {service['state']}")


def destroy(
    name: options.Name,
    consent: Annotated[
        str, typer.Option("--consent", metavar="NAME", help="The name again, instead of typing it.")
    ] = "",
    path: options.Dir = "",
    as_json: options.Json = False,
) -> None:
    """Stop a service and move its data to the trash, where it rests for the plan's days. Asks for its name."""
    client = options.client(path)
    service = client.get(f"/v1/services/{name}")
    if not consent:
        if not sys.stdin.isatty():
            raise Refused(f"destroying {name} needs its name typed", f"add --consent {name} when that is meant")
        say.note(f"This stops {name} ({service['engine']}, plan {service['plan']}) and its clients fail.")
        consent = typer.prompt("Type its name to go on", err=True)
    if consent != name:
        raise Refused(f"'{consent}' is not '{name}': nothing was destroyed")
    service = client.delete(f"/v1/services/{name}", {"consent": consent})
    if as_json:
        say.as_json(service)
    else:
        print(f"{name} is {service['state']}; its data goes to the trash")


def allow_failover(name: options.Name, path: options.Dir = "", as_json: options.Json = False) -> None:
    """Allow one more automatic failover of a service whose budget is used up (it shows as blocked)."""
    service = options.client(path).post(f"/v1/services/{name}/allow-failover")
    if as_json:
        say.as_json(service)
    else:
        print(f"{name} may fail over again")


def _primary(service: dict[str, object]) -> str:
    members = service.get("members")
    assert isinstance(members, list)
    return next((str(member["id"]) for member in members if member["role"] == "primary"), "nobody")
