"""What really happened to data and primaries: the log's word held against the simulated truth. Reads, changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

import numpy as np

from herder.engine.world import Ids, Machine, World
from herder.machines.registry import BY_KIND
from herder.model.plans import PLANS, Engine, Plan
from herder.sim import hosts
from herder.sim.engine import Cluster, Data
from herder.sim.fleet import FleetWorld

WRITE_BYTES = 200
"""A small commit in the log: clients make a hundred of them of 20,000 bytes a second (sim.world)."""

SAYS_WHY = frozenset({
    "archive_buffer_full", "data_lost", "destroy_failed", "failover_blocked", "failover_stalled", "fence_unconfirmed",
    "loss_beyond_bound", "no_voter_follows", "pledges_short", "promotion_refused", "promotion_slow", "provision_failed",
    "restart_failed", "server_will_not_boot", "switchover_unknown",
})  # fmt: skip
"""Reasons of pages that say why automation may not go on. One that only says for how long (`service_down`) excuses nothing:
every service that is down for two minutes has it.
"""


@dataclass(slots=True)
class Losses:
    """premium, asynchronous: writes that were acknowledged and did not survive; the latter within their plan's bound.
    beyond: services that lost more than their plan allows. doubled: pairs of primaries that acknowledged at one time.
    """

    premium: int = 0
    asynchronous: int = 0
    beyond: int = 0
    doubled: int = 0


def losses(world: FleetWorld, committed: World) -> Losses:
    """Of all services that were ever touched: no other can have lost anything."""
    found = Losses()
    for name, cluster in world.clusters.items():
        found.doubled += len({(one, other) for _, one, other in cluster.tally.doubled})
        lost = lost_bytes(cluster, committed, name)
        service = committed.named("service", name) if lost else None
        if lost and service is not None:
            _judge(found, service, lost, cluster.bytes_per_s)
    return found


def _judge(found: Losses, service: Machine, lost: int, bytes_per_s: float) -> None:
    plan, writes = PLANS[str(service.data["plan"])], ceil(lost / WRITE_BYTES)
    if plan.name == "premium":
        found.premium += writes
    if not _within(plan, service, lost, bytes_per_s):
        found.beyond += 1
    elif plan.name != "premium":
        found.asynchronous += writes


def _within(plan: Plan, service: Machine, lost: int, bytes_per_s: float) -> bool:
    """A sync plan allows nothing; Valkey is asynchronous on every plan, within the same bounds."""
    if plan.sync and service.data["engine"] == Engine.POSTGRES:
        return False
    return lost <= plan.max_loss_bytes and (not bytes_per_s or lost / bytes_per_s <= plan.max_loss_s)


def lost_bytes(cluster: Cluster, committed: World, name: str) -> int:
    """Acknowledged bytes that are not in the primary's log; where the primary has no data, not in the best copy there is.
    A service without any copy has lost nothing yet: a restore will say what.
    """
    whole = [engine for engine in cluster.engines.values() if engine.data is Data.WHOLE and engine.branch is not None]
    reach = cluster.confirmed.reach
    if not whole or not reach or (len(reach) == 1 and all(engine.lsn >= max(reach.values()) for engine in whole)):
        return 0
    service = committed.named("service", name)
    primary = committed.find(int(service.data["primary"])) if service is not None else None
    leading = [engine for engine in whole if primary is not None and engine.member == primary.name]
    return min(
        cluster.confirmed.lost(engine.branch, engine.lsn) for engine in leading or whole if engine.branch is not None
    )


def without_data(world: FleetWorld, committed: World) -> Ids:
    """Services all of whose hosts are gone for good, ascending; those with engines are asked by `has_no_copy`."""
    size = len(world.hosts.ids)
    services = world.service_of[:size]
    if not size:
        return np.empty(0, np.uint32)
    gone = world.hosts.power[:size] == hosts.GONE
    if not gone.any():
        return np.empty(0, np.uint32)
    lost = np.bincount(services[gone], minlength=committed.size)
    had = np.bincount(services, minlength=committed.size)
    return np.flatnonzero((lost > 0) & (lost == had)).astype(np.uint32)


def has_no_copy(world: FleetWorld, service: Machine) -> bool:
    """No engine of it has whole data. A service that was never touched has all of its own."""
    cluster = world.clusters.get(service.name)
    if cluster is None or not cluster.engines or service.state == "installing":
        return False
    return all(engine.data is not Data.WHOLE for engine in cluster.engines.values())


def all_without_data(world: FleetWorld, committed: World) -> Ids:
    """The same with the engines of every service that was touched, ascending."""
    found = np.zeros(committed.size, bool)
    found[without_data(world, committed)] = True
    for name, cluster in world.clusters.items():
        if cluster.engines and all(engine.data is not Data.WHOLE for engine in cluster.engines.values()):
            service = committed.named("service", name)
            if service is not None and service.live and service.state != "installing":
                found[service.id] = True
    return np.flatnonzero(found).astype(np.uint32)


@dataclass(frozen=True, slots=True)
class NotWell:
    """Services that are not available. left: nobody says why; paged: a page says why; their names, a few of each."""

    left: int
    paged: int
    names: tuple[str, ...] = ()


def not_well(committed: World, excused: Ids) -> NotWell:
    """At the end. excused: services without data; they wait for a restore. An open page that says why excuses too."""
    excuse = np.zeros(committed.size, bool)
    excuse[excused] = True
    ill = committed.ids_in("service", "installing", "uncertain", "unavailable", "restart", "upgrading")
    left: list[str] = []
    paged = count = 0
    for service in ill[~excuse[ill]].tolist():
        if any(page.data.get("reason") in SAYS_WHY for page in _pages_about(committed, service)):
            paged += 1
            continue
        count += 1
        if len(left) < 5:
            machine = committed.get(service)
            left.append(f"{machine.name} is {machine.state}")
    return NotWell(count, paged, tuple(left))


def _pages_about(committed: World, service: int) -> Iterator[Machine]:
    yield from committed.open_pages(service)
    for server in committed.facts_of(service).get("servers", ()):
        yield from committed.open_pages(int(server))


def serves(world: FleetWorld, committed: World, member: int) -> bool:
    """Could this member confirm a write at this moment, in truth?"""
    machine = committed.get(member)
    service, server = committed.get(machine.service), committed.get(int(machine.data["server"]))
    cluster = world.clusters.get(service.name)
    if cluster is not None:
        return machine.name in cluster.confirms(world.now)
    slot = world.hosts.slot_of(server.name)
    if slot is None:
        return False
    touched = world.hosts.touched.get(slot)
    if touched is not None:
        return touched.awake
    return bool(world.hosts.power[slot] == hosts.RUNNING and world.hosts.frozen_until[slot] <= world.now)


DESTROYS = frozenset(
    (BY_KIND[kind].code, BY_KIND[kind].event_codes[event])
    for kind, event in (("server", "destroyed"), ("member", "trashed"), ("member", "purge"), ("archive", "purge"))
)
"""Moves, by (kind, event) code, that put data out of reach."""
