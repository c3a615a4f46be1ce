"""`herder create ENGINE NAME`: ask for a service, and with --wait see it made."""

from __future__ import annotations

import time
import uuid
from typing import Annotated

import typer

from herder.cli import options, say, wait_for
from herder.model.names import service_name
from herder.model.plans import PLANS, Engine, engine_named, plan_named

_PLANS = "; ".join(f"{plan.name}: {plan.summary}" for plan in PLANS.values())


ON_ISOLATION_STOP = (
    "warning: on_isolation is 'stop': its primary stops when no controller renews its lease, so it does not outlive "
    "herder's control plane by more than lease_s"
)


def create(
    engine: Annotated[str, typer.Argument(metavar="ENGINE", help=f"What it runs: {' or '.join(Engine)}.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Lower-case letters, digits and '-'.")],
    plan: Annotated[str, typer.Option("--plan", metavar="PLAN", help=_PLANS + ".")] = "dev",
    major: Annotated[
        int, typer.Option("--major", metavar="N", min=0, help="Engine version; the newest found.", show_default=False)
    ] = 0,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it takes writes, then print its URL.")] = False,
    timeout: options.Timeout = 120.0,
    path: options.Dir = "",
    as_json: options.Json = False,
) -> None:
    """Make a service. Returns at once, or with --wait when it takes writes."""
    engine_named(engine)
    service_name(name)
    plan_named(plan)
    client = options.client(path)
    began = time.monotonic()
    wanted = {"engine": engine, "name": name, "plan": plan, "major": major}
    # The key makes a request that was sent twice one service; a name that is taken is still a Conflict.
    service = client.post("/v1/services", wanted, key=str(uuid.uuid4()))
    if wait:
        service = wait_for.state(client, name, "available", timeout, quiet=as_json)
    if service.get("on_isolation") == "stop":
        say.note(ON_ISOLATION_STOP)
    if as_json:
        say.as_json(service)
    elif wait:
        say.note(f"{name} is available after {time.monotonic() - began:.1f} s")
        print(service["url"])
    else:
        print(f"{name} is {service['state']}; `herder wait {name}` waits for it, `herder url {name}` prints its URL")
