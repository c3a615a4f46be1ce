"""Commands of people, as proposals: pure functions of the world of the moment that say what to put in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from herder.engine.decide import Input, claim_kind
from herder.engine.world import Machine, World
from herder.machines.service import is_without_data
from herder.machines.table import CREATE
from herder.model.errors import Conflict, Environment, NotFound, Refused
from herder.model.plans import Engine, Plan
from herder.ports.store import Claim
from herder.remedies.catalogue import could_lead

PORTS = {Engine.POSTGRES: 5432, Engine.VALKEY: 6379}


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person wants made. secrets: app, admin and replication password. key: idempotency key, '' = none."""

    name: str
    engine: Engine
    plan: Plan
    major: int
    secrets: tuple[str, str, str]
    subnet_prefix: str  # '10.77.3.'
    on_isolation: str
    key: str
    actor: str


def find_service(world: World, name: str) -> Machine:
    """The service of that name that is not gone; NotFound otherwise."""
    service = world.named("service", name)
    if service is None or service.state in ("retired", "archived", "terminated"):
        raise NotFound(f"there is no service '{name}'", "see what there is: herder list")
    return service


def create_service(world: World, wish: Wish) -> list[Input]:
    """The service, its members and a server for each, in one record; provision follows from the catalogue."""
    taken = world.named("service", wish.name)
    if taken is not None and taken.state not in ("retired", "archived", "terminated"):
        raise Conflict(f"the name '{wish.name}' is taken", "choose another, or destroy that service first")
    count = wish.plan.members
    addresses = free_addresses(world, wish.subnet_prefix, 2 * count)
    first = world.next_id
    members = list(range(first + 1, first + 1 + count))
    servers = list(range(first + 1 + count, first + 1 + 2 * count))
    service = _service_facts(wish, members, servers)
    claims = [Claim(claim_kind("service", "name"), wish.name, first)]
    if wish.key:
        claims.append(Claim("command", wish.key, first))
    inputs = [_made(first, "service", service, wish.actor, tuple(claims))]
    for slot in range(count):
        inputs.append(_member(wish, slot, first, members[slot], servers[slot], addresses[slot]))
        inputs.append(_server(wish, slot, first, members[slot], servers[slot], addresses[count + slot]))
    return inputs


def _service_facts(wish: Wish, members: list[int], servers: list[int]) -> dict[str, Any]:
    password, admin, replication = wish.secrets
    return {
        "name": wish.name, "engine": str(wish.engine), "plan": wish.plan.name, "major": wish.major, "term": 1,
        "sync": wish.plan.sync and wish.engine is Engine.POSTGRES, "primary": members[0], "members": members,
        "servers": servers, "voters": [], "port": PORTS[wish.engine], "database": "app", "user": "app",
        "password": password, "admin_password": admin, "replication_password": replication,
        "playbook": 0, "failovers": [], "on_isolation": wish.on_isolation, "key": wish.key,
    }  # fmt: skip


def _member(wish: Wish, slot: int, service: int, member: int, server: int, address: str) -> Input:
    port = PORTS[wish.engine]
    facts = {
        "name": f"{wish.name}-{slot}", "slot": slot, "service": service, "server": server,
        "role": "primary" if slot == 0 else "standby", "address": address, "port": port,
    }  # fmt: skip
    return _made(member, "member", facts, wish.actor, (Claim("address", address, member),))


def _server(wish: Wish, slot: int, service: int, member: int, server: int, address: str) -> Input:
    facts = {"name": f"srv-{server}", "address": address, "incarnation": 1, "member": member, "service": service}
    return _made(server, "server", facts, wish.actor, (Claim("address", address, server),))


def _made(ident: int, kind: str, facts: dict[str, Any], actor: str, claims: tuple[Claim, ...]) -> Input:
    return Input(ident, CREATE, facts, actor=actor, create=kind, claims=claims)


def free_addresses(world: World, prefix: str, count: int) -> list[str]:
    """`count` addresses that no machine ever had: one is never used again by another tenant. .1 is the controller's."""
    used = {machine.data.get("address") for kind in ("server", "member") for machine in world.of_kind(kind)}
    found = [address for last in range(2, 255) if (address := f"{prefix}{last}") not in used][:count]
    if len(found) < count:
        raise Environment(
            f"the subnet {prefix}0/24 has no {count} addresses left",
            "addresses are never reused; start another herder with --subnet for more services",
        )
    return found


def destroy_service(world: World, name: str, consent: str, actor: str) -> list[Input]:
    """Only with the very name typed as consent (S5)."""
    service = find_service(world, name)
    if consent != name:
        raise Refused(f"'{consent}' is not the name of the service", f"type its name to confirm: --consent {name}")
    if service.state == "retiring":
        return []
    ident = world.next_id
    facts = {
        "name": f"{name}/destroy-{ident}", "service": service.id, "members": service.data["members"],
        "servers": service.data["servers"], "consent": consent, "service_name": name, "term": service.data["term"] + 1,
    }  # fmt: skip
    return [Input(ident, CREATE, facts, why=f"{actor} typed its name", actor=actor, create="destroy")]


def switch_over(world: World, name: str, to: str, actor: str) -> list[Input]:
    """Move the primary to `to` (a member's name) or to whichever standby is closest."""
    service = idle_service(world, name, "switchover")
    standbys = [ident for ident in service.data["members"] if ident != service.data["primary"]]
    usable = [ident for ident in standbys if world.get(ident).state == "available"]
    if not standbys:
        raise Refused(f"'{name}' has one member only", "a standard or premium plan has standbys to move to")
    target = 0
    if to:
        target = next((ident for ident in standbys if world.get(ident).name == to), 0)
        if not target:
            raise NotFound(
                f"'{to}' is no standby of '{name}'", "choose one of: " + ", ".join(world.get(s).name for s in standbys)
            )
    if not usable or (target and target not in usable):
        raise Refused(f"{to or 'no standby'} is not available", f"herder show {name} tells why")
    if service.data["sync"]:
        usable = [ident for ident in usable if ident in service.data["voters"]]
    if not usable or (target and target not in usable):
        raise Refused(f"{to or 'every standby'} is not yet a voter", f"wait for its rebuild: herder show {name}")
    primary = world.get(service.data["primary"])
    ident = world.next_id
    facts = {
        "name": f"{name}/switchover-{ident}", "service": service.id, "old_primary": primary.id, "standbys": usable,
        "server": primary.data["server"], "voters": service.data["voters"], "sync": service.data["sync"],
        "term": service.data["term"] + 1, "to": target,
    }  # fmt: skip
    return [Input(ident, CREATE, facts, why=f"asked for by {actor}", actor=actor, create="switchover")]


def restart_service(world: World, name: str, actor: str) -> list[Input]:
    """Restart the primary's engine in place. Where its data was gone, this is a person's word that it is there again."""
    service = find_service(world, name)
    if not (service.state == "unavailable" and is_without_data(service.data, {}) and held_by(world, service) is None):
        service = idle_service(world, name, "restart")
    ident = world.next_id
    facts = {"name": f"{name}/restart-{ident}", "service": service.id, "member": service.data["primary"],
             "term": service.data["term"], "alone": not could_lead(world, service)}  # fmt: skip
    return [Input(ident, CREATE, facts, why=f"asked for by {actor}", actor=actor, create="restart")]


def allow_failover(world: World, name: str, actor: str) -> list[Input]:
    """A person gives the service its failover budget back."""
    service = find_service(world, name)
    return [Input(service.id, "allowed", {}, why=f"{actor} allows another automatic failover", actor=actor)]


def idle_service(world: World, name: str, wanted: str) -> Machine:
    """A service that is available and that no playbook holds; Conflict otherwise."""
    service = find_service(world, name)
    if (playbook := held_by(world, service)) is not None:
        raise Conflict(f"'{name}' is held by {playbook.name} ({playbook.state})", f"herder wait {name}, then try again")
    if service.state != "available":
        raise Conflict(f"'{name}' is {service.state}", f"a {wanted} needs it available; herder explain {name}")
    return service


def held_by(world: World, service: Machine) -> Machine | None:
    """The playbook that holds it now."""
    playbook = world.find(service.data.get("playbook", 0))
    return playbook if playbook is not None and playbook.live else None
