"""Waiting with something to look at: a live line on a terminal, nothing elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from herder.cli import say
from herder.cli.client import Client
from herder.model.errors import TimedOut

GLANCE_S = 0.25
"""Seconds between looks while a person watches; the wait itself ends by a signal, not by a look."""

SLICE_S = 20.0
"""Seconds of one long poll while nobody watches."""


def state(client: Client, name: str, wanted: str, timeout_s: float, *, quiet: bool = False) -> dict[str, Any]:
    """`show` of the service once it is in that state. Raises TimedOut with where it stands."""
    give_up = time.monotonic() + timeout_s
    with _line(name, quiet=quiet) as update:
        while True:
            slice_s = max(0.0, min(SLICE_S if update is None else GLANCE_S, give_up - time.monotonic()))
            try:
                found: dict[str, Any] = client.get(
                    f"/v1/services/{name}/wait", state=wanted, timeout_s=round(slice_s, 3), wait_s=slice_s
                )
            except TimedOut as late:
                service = client.get(f"/v1/services/{name}")
                if time.monotonic() >= give_up:
                    raise _late(service, wanted, timeout_s) from late
                if update is not None:
                    update(service)
            else:
                return found


def calm(client: Client, name: str, timeout_s: float, *, quiet: bool = False) -> dict[str, Any]:
    """`show` of the service once no playbook runs and it is available: a switchover or restart is over."""
    give_up = time.monotonic() + timeout_s
    with _line(name, quiet=quiet) as update:
        while True:
            service: dict[str, Any] = client.get(f"/v1/services/{name}")
            if service["state"] == "available" and not service["doing"]:
                return service
            if time.monotonic() >= give_up:
                raise _late(service, "available", timeout_s)
            if update is not None:
                update(service)
            time.sleep(0.1)


def _late(service: dict[str, Any], wanted: str, timeout_s: float) -> TimedOut:
    doing = f" ({service['doing']})" if service.get("doing") else ""
    return TimedOut(
        f"{service['name']} is not {wanted} after {timeout_s:g} s; it is {service['state']}{doing}",
        f"it goes on; `herder wait {service['name']}` waits more, `herder events {service['name']}` says what happens",
    )


@contextmanager
def _line(name: str, *, quiet: bool) -> Iterator[Callable[[dict[str, Any]], None] | None]:
    """One line on a terminal's stderr that tells state and step; None where nobody looks."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.text import Text

    began = time.monotonic()
    with say.console(stderr=True).status(Text(name)) as live:

        def update(service: dict[str, Any]) -> None:
            parts: list[Any] = [(f"{name}  ", "bold"), say.state(service["state"])]
            if service.get("doing"):
                parts.append((f"  {service['doing']}", "dim"))
            parts.append((f"  {time.monotonic() - began:.0f} s", "dim"))
            live.update(Text.assemble(*parts))

        yield update
