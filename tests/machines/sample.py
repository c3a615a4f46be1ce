"""A small world for tests: a premium service with three members on three servers, and what may be made besides."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from herder.engine.world import Machine, World

SERVICE = 1
MEMBERS = [2, 3, 4]
SERVERS = [5, 6, 7]
PLAYBOOK = 8
NOW_MS = 1_000_000_000


def put(world: World, ident: int, kind: str, state: str, **facts: Any) -> Machine:
    """A machine as if the log had made it: it entered its state with its third move."""
    machine = Machine(
        ident, kind, state, version=3, entered=3, order=1, since_ms=NOW_MS - 1000, deadline_ms=0, data=facts
    )
    world.put(machine)
    return machine


def change(world: World, ident: int, **fields: Any) -> Machine:
    """Set fields of a machine (state, times, data)."""
    machine = replace(world.get(ident), **fields)
    world.put(machine)
    return machine


def member_facts(slot: int) -> dict[str, Any]:
    return {
        "name": f"orders-{slot}", "slot": slot, "service": SERVICE, "server": SERVERS[slot], "port": 5432,
        "role": "primary" if slot == 0 else "standby", "address": f"10.0.0.{slot + 2}",
    }  # fmt: skip


def server_facts(slot: int) -> dict[str, Any]:
    return {
        "name": f"srv-{SERVERS[slot]}", "address": f"10.0.0.{slot + 12}", "incarnation": 1, "member": MEMBERS[slot],
        "service": SERVICE, "directory": f"/srv/{SERVERS[slot]}",
    }  # fmt: skip


def service_facts(**changes: Any) -> dict[str, Any]:
    return {
        "name": "orders", "engine": "postgres", "plan": "premium", "major": 18, "term": 1, "sync": True,
        "primary": MEMBERS[0], "members": list(MEMBERS), "servers": list(SERVERS), "voters": MEMBERS[1:], "port": 5432,
        "database": "app", "user": "app", "password": "p", "admin_password": "a", "replication_password": "r",
        "playbook": 0, "failovers": [], "on_isolation": "serve", "key": "",
    } | changes  # fmt: skip


def playbook_facts(**changes: Any) -> dict[str, Any]:
    """What any playbook of the service may have to know."""
    return {
        "name": f"orders/playbook-{PLAYBOOK}", "service": SERVICE, "member": MEMBERS[1], "members": list(MEMBERS),
        "servers": list(SERVERS), "primary": MEMBERS[0], "old_primary": MEMBERS[0], "candidate": MEMBERS[1],
        "new_voters": [MEMBERS[2]], "counts": True, "added": [MEMBERS[1]], "standbys": MEMBERS[1:],
        "voters": MEMBERS[1:], "server": SERVERS[0], "keep": [MEMBERS[2]], "term": 2, "sync": True,
    } | changes  # fmt: skip


def well(slots: int = 3, **changes: Any) -> World:
    """Everything is available. slots: how many members there are. changes: facts of the service."""
    world = World()
    put(world, SERVICE, "service", "available", **service_facts(**changes))
    for slot in range(slots):
        put(world, MEMBERS[slot], "member", "available", **member_facts(slot))
        put(world, SERVERS[slot], "server", "available", **server_facts(slot))
    world.seq, world.epoch = 1, 1
    return world


def small(engine: str = "postgres", plan: str = "standard", members: int = 2, **changes: Any) -> World:
    """The same with fewer members and no sync set."""
    return well(
        members, engine=engine, plan=plan, sync=False, voters=[], members=MEMBERS[:members], servers=SERVERS[:members],
        **changes,
    )  # fmt: skip
