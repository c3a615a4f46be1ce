"""Where a server and a service stand, as people write it: 'fleet', 'zone:a', 'service:orders'. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from herder.engine.world import Machine
from herder.pulse.storm import FLEET

WHERE: dict[str, str] = {"zone": "local", "provider": "local", "version": "", "image": ""}
"""Fact of a server -> what a server that says nothing has. '' is no scope: it is not known."""


class Machines(Protocol):
    """A world, or a world as it would be."""

    def get(self, machine: int) -> Machine:
        """The machine of that id."""

    def find(self, machine: int) -> Machine | None:
        """The machine of that id, or None."""


def scopes_of(server: Machine) -> tuple[str, ...]:
    """Where a server stands, the fleet first."""
    said = ((fact, str(server.data.get(fact, default) or "")) for fact, default in WHERE.items())
    return (FLEET, *(f"{fact}:{value}" for fact, value in said if value))


def scopes_of_service(machines: Machines, service: Machine) -> set[str]:
    """All scopes that any of its servers stands in, and its own."""
    found = {FLEET, f"service:{service.name}"}
    for ident in service.data.get("servers", ()):
        server = machines.find(ident)
        if server is not None:
            found.update(scopes_of(server), (f"server:{server.name}",))
    return found


def touches(scopes: Collection[str], frozen: Collection[str]) -> bool:
    """Do they have one in common?"""
    return not set(scopes).isdisjoint(frozen)
