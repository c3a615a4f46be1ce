"""A rolling reboot, pure: which servers are due, whose turn comes, what the order and the log say of it.

By service: standbys first, then the primary moves by switchover once, to a member whose server is done, and its old server
follows. By place: canaries, then one zone at a time; two zones never lose servers at once, so that a second fault finds the
others whole. A service of one member is away with its server, in its turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from herder.engine.decide import Input
from herder.engine.world import Ids, Machine, World
from herder.fleet import orders
from herder.fleet.commands import switch_over
from herder.governor.pace import forecast
from herder.governor.scopes import codes_of, read_scope, stand_in
from herder.machines.dependency import What
from herder.machines.registry import BY_KIND
from herder.machines.table import CREATE
from herder.model.errors import Conflict, HerderError
from herder.pulse.storm import FLEET

ACTOR = "rollout"
LIVE = ("running", "paused")
STANDBYS, PRIMARIES = 1, 2
"""Stages of a zone: servers that can go as they are, then those whose member must hand its lead over first."""

CANARIES = 4
"""Rebooted first, in one zone, of dev and standard: an image that does not boot is found on four servers."""

AT_ONCE = 2000
SHARE = 0.02
"""At most so many servers at once, and this share of the fleet: a provider's boots a second times the seconds that each lasts,
and no more than a fleet of that size can miss."""

MOVES_SHARE = 0.005

FAILED_LEAST = 3
FAILED_SHARE = 0.05
"""A reboot in two hundred fails by itself; one in twenty is the image, or the order."""

Flags = NDArray[np.bool_]
_GONE = ("installing", "retiring", "terminated")
_AVAILABLE = {kind: BY_KIND[kind].state_codes["available"] for kind in ("server", "member", "service")}


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """Servers of an order, ascending, and by their side, shape (n,): member and service (ids, 0 = none), zone (place in
    zones), rank of the plan (0 premium), single (its service has no other member), rolled (done; kept up to date).
    home: by machine id, the service of every member and server there is. known: how many of them when it was made, at_ms.
    """

    servers: Ids
    member: Ids
    service: Ids
    zone: NDArray[np.int64]
    zones: tuple[str, ...]
    rank: NDArray[np.uint8]
    single: Flags
    rolled: Flags
    home: Ids
    known: int
    at_ms: int


def ground_of(world: World, rollout: Machine, now_ms: int) -> Ground:
    """Reads facts of all servers of the scope: a tenth of a second for a hundred thousand. Servers made since the order came
    are not part of it.
    """
    everything, members = world.ids("server"), world.ids("member")
    servers = everything[everything < rollout.id]
    codes = BY_KIND["server"].state_codes
    servers = servers[~np.isin(world.columns.state[servers], [codes[state] for state in _GONE])]
    scope = str(rollout.data["scope"])
    servers = servers if scope == FLEET else servers[stand_in(world, servers, [scope])]
    home = np.zeros(world.size, np.uint32)
    home[members], home[everything] = (world.fact(ids, "service", 0, np.uint32) for ids in (members, everything))
    names: dict[str, int] = {}
    zone = codes_of(world, servers, "zone", names)
    order = sorted(names)
    place = np.argsort(np.argsort(list(names))) if names else np.empty(0, np.int64)
    rolled = world.fact(servers, "rolled", 0, np.int64) == rollout.id
    if image := str(rollout.data.get("image", "")):
        rolled |= world.fact(servers, "image", "", object) == image
    mates = np.bincount(home[members], minlength=world.size)
    return Ground(
        servers, world.fact(servers, "member", 0, np.uint32), home[servers], place[zone], tuple(order),
        world.columns.priority[servers], mates[home[servers]] <= 1, rolled, home, len(everything) + len(members), now_ms,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Due:
    """Servers that are not done, shape (n,). ready: it runs, everything of its service is well, and nothing is frozen there.
    stage, zone, rank: the order of turns.
    """

    servers: Ids
    stage: NDArray[np.int64]
    zone: NDArray[np.int64]
    rank: NDArray[np.uint8]
    ready: Flags

    def only(self, servers: Iterable[int]) -> Due:
        """As if only these might go."""
        chosen = np.isin(self.servers, np.fromiter(servers, np.uint32))
        return replace(self, ready=self.ready & chosen)


def find_due(world: World, ground: Ground, frozen: Sequence[str]) -> Due:
    """Whoever is left, with flags by id: this is asked each second."""
    states = world.columns.state
    at = np.flatnonzero(~ground.rolled)
    servers, service, member = ground.servers[at], ground.service[at], ground.member[at]
    ready = (states[servers] == _AVAILABLE["server"]) & ~_ill(world, ground)[service]
    ready &= (service == 0) | (states[service] == _AVAILABLE["service"])
    if frozen:
        ready &= ~stand_in(world, servers, frozen)
    stage = np.full(len(at), STANDBYS)
    ask = np.flatnonzero(ready & ~ground.single[at])
    stage[ask[world.fact(member[ask], "role", "", "U7") == "primary"]] = PRIMARIES
    return Due(servers, stage, ground.zone[at], ground.rank[at], ready)


def _ill(world: World, ground: Ground) -> Flags:
    """By machine id: services of which a member or a server is not well."""
    found = np.zeros(len(ground.home), bool)
    for kind in ("member", "server"):
        ids = world.ids(kind)
        ids = ids[ids < len(ground.home)]
        found[ground.home[ids[world.columns.state[ids] != _AVAILABLE[kind]]]] = True
    found[0] = False
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """begin: servers to reboot now. move: servers whose service moves its primary first. at: (stage, zone), where it is."""

    begin: Ids
    move: Ids
    at: tuple[int, int]


_NOBODY: Ids = np.empty(0, np.uint32)


def choose(due: Due, at: tuple[int, int], room: int, moves: int, *, busy: bool) -> Turn:
    """Whose turn comes now, at most `room`, at most `moves` of them by moving a primary. The zone is left only when nothing is under way in it; plans of least
    consequence go first. at: where it was.
    """
    stage, zone = at
    here = due.ready & (due.zone == zone) & (due.stage <= stage)
    if not here.any():
        if busy or not due.ready.any():
            return Turn(_NOBODY, _NOBODY, at)
        lanes = due.stage * (int(due.zone.max()) + 1) + due.zone
        first = np.flatnonzero(due.ready)[np.argmin(lanes[due.ready])]
        stage, zone = int(due.stage[first]), int(due.zone[first])
        here = due.ready & (due.zone == zone) & (due.stage <= stage)
    chosen = np.flatnonzero(here)
    chosen = chosen[np.lexsort((due.servers[chosen], -due.rank[chosen].astype(np.int64), due.stage[chosen]))][
        : max(room, 0)
    ]
    leads = due.stage[chosen] == PRIMARIES
    return Turn(due.servers[chosen[~leads]], due.servers[chosen[leads]][: max(moves, 0)], (stage, zone))


def canaries_of(due: Due) -> list[int]:
    """A few servers of the lesser plans, in the first zone that has some: two of each of two plans."""
    able = due.ready & (due.stage == STANDBYS) & (due.rank > 0)
    if not able.any():
        return []
    able &= due.zone == due.zone[able].min()
    found: list[int] = []
    for rank in sorted({int(rank) for rank in due.rank[able]}, reverse=True)[:2]:
        found += due.servers[able & (due.rank == rank)][: CANARIES // 2].tolist()
    return found


def at_once(ground: Ground, most: int = AT_ONCE) -> int:
    """The most that may be under way at once."""
    return max(1, min(most, int(len(ground.servers) * SHARE)))


def moves_at_once(ground: Ground, window: int) -> int:
    """How many primaries may move at once: each leaves a rebuild behind, and those must not fill the slots of remedies."""
    return max(1, min(window, int(len(ground.servers) * MOVES_SHARE)))


def fails_too_often(failed: int, begun: int) -> bool:
    """More than the ordinary failures of many boots?"""
    return failed >= FAILED_LEAST and failed > begun * FAILED_SHARE


# ---- what keeps it


def held_by(world: World) -> str:
    """What keeps the whole order from going on, '' for nothing: an incident, or a provider that does not answer."""
    for ident in world.ids_in("incident", "verifying", "ours", "recovering", "paused").tolist():
        incident = world.get(ident)
        return f"{incident.name} is {incident.state}"
    for ident in world.ids_in("dependency", "uncertain", "unavailable").tolist():
        dependency = world.get(ident)
        if dependency.data["what"] in (What.PROVIDER, What.ZONE):
            return f"{dependency.name} does not answer"
    return ""


def frozen_scopes(world: World) -> list[str]:
    """Scopes in which a person, or an empty budget, lets nothing begin."""
    return [str(world.get(ident).data["scope"]) for ident in world.ids_in("freeze", "frozen").tolist()]


def unfit(world: World, server: Machine) -> str:
    """Why this server must not go now, by all that the log says of it; '' when it may. Asked as its turn is committed."""
    if server.state != "available":
        return f"{server.name} is {server.state}"
    service = world.find(server.service)
    if service is None or service.kind != "service":
        return ""
    return service_unfit(world, service)


def service_unfit(world: World, service: Machine) -> str:
    """Why none of its servers may go now: everything of it must be well, so that one fault more is one too many for nobody."""
    if playbooks := world.playbooks_of(service.id):
        return f"{playbooks[0].name} is under way"
    for ident in (service.id, *service.data["members"], *service.data["servers"]):
        machine = world.get(ident)
        if machine.state != "available":
            return f"{machine.name} is {machine.state}"
    enrolled = {*service.data["voters"], service.data["primary"]}
    if service.data["sync"] and (absent := set(service.data["members"]) - enrolled):
        return f"{world.get(min(absent)).name} is not a voter"
    return ""


def begin(world: World, rollout: Machine, turn: Turn) -> list[Input]:
    """What a turn puts in, checked against the world in which it is committed: one server of a service, and never one that
    leads others.
    """
    taken: set[int] = set()
    found: list[Input] = []
    for ident in turn.begin.tolist():
        server = world.get(ident)
        if server.service in taken or unfit(world, server) or _leads_others(world, server):
            continue
        taken.add(server.service or -ident)
        facts = {"rollout": rollout.id, "image_next": rollout.data.get("image", "")}
        found.append(Input(ident, "upgrade", facts, why=f"its turn in {rollout.name}", actor=ACTOR))
    for ident in turn.move.tolist():
        server = world.get(ident)
        if server.service not in taken and not unfit(world, server) and _leads_others(world, server):
            taken.add(server.service)
            found += _move(world, rollout, world.get(server.service))
    return found


def _leads_others(world: World, server: Machine) -> bool:
    service = world.find(server.service)
    if service is None or service.kind != "service":
        return False
    return len(service.data["members"]) > 1 and service.data["primary"] == server.data.get("member")


def _move(world: World, rollout: Machine, service: Machine) -> list[Input]:
    """Its primary moves, to a member whose server is done if there is one, so that it moves once."""
    standbys = [world.get(ident) for ident in service.data["members"] if ident != service.data["primary"]]
    done = [each for each in standbys if world.get(each.data["server"]).data.get("rolled") == rollout.id]
    to = done[0].name if 0 < len(done) < len(standbys) else ""
    try:
        (made,) = switch_over(world, service.name, to, ACTOR)
    except HerderError:
        return []
    facts = {key: value for key, value in made.facts.items() if key != "name"}  # its id is not known before the commit
    return [replace(made, machine=0, facts=facts, why=f"its server's turn in {rollout.name}")]


# ---- orders of people


def order_reboot(world: World, scope: str, image: str, until_ms: int, why: str, actor: str) -> list[Input]:
    """A new order. until_ms: when its window of time is over, 0 = never. Raises Conflict while another is live."""
    wanted = read_scope(world, scope)
    for ident in world.ids_in("rollout", *LIVE).tolist():
        raise Conflict(
            f"{world.get(ident).name} is {world.get(ident).state}", f"herder rollout abort {world.get(ident).name}"
        )
    facts = {"scope": wanted, "image": image, "until_ms": until_ms, "why": why, "by": actor}
    told = f"{actor} ordered it" + (f": {why}" if why else "")
    return [Input(0, CREATE, facts, why=told, actor=actor, create="rollout")]


def give_order(world: World, name: str, order: str, until_ms: int, actor: str) -> list[Input]:
    """until_ms: a new end of its window, with 'resume'; 0 = as it was. Raises NotFound, InvalidInput, Conflict."""
    facts = {"until_ms": until_ms} if order == "resume" and until_ms else {}
    return [orders.give(world, orders.ROLLOUT, name, order, actor, facts)]


# ---- views

SHOWN = 20


def rollouts_view(world: World, now_ms: int) -> dict[str, Any]:
    """`herder rollout --json`: the newest last."""
    return {"rollouts": [_view(world.get(ident), now_ms) for ident in world.ids("rollout")[-SHOWN:].tolist()]}


def _view(rollout: Machine, now_ms: int) -> dict[str, Any]:
    """One order. held: what keeps it; end_ms, early_ms, late_ms: the forecast, 0 = nobody can tell; per_s: servers a second."""
    known = rollout.data
    total, done = int(known.get("total", 0)), int(known.get("done", 0))
    seen = forecast(known.get("samples", []), total - done, now_ms) if rollout.state == "running" else None
    return {
        "id": rollout.name, "state": rollout.state, "scope": known["scope"], "image": known.get("image", ""),
        "by": known.get("by", ""), "why": known.get("why", ""), "since_ms": int(known.get("began_ms", 0)),
        "until_ms": int(known.get("until_ms", 0)), "total": total, "done": done, "left": total - done,
        "under_way": int(known.get("under_way", 0)), "window": int(known.get("window", 0)),
        "failed": int(known.get("failed", 0)), "held": str(known.get("held", "")), "stage": str(known.get("stage", "")),
        "zone": str(known.get("zone", "")), "per_s": round(seen.per_s, 2) if seen else 0.0,
        "end_ms": seen.end_ms if seen else 0, "early_ms": seen.early_ms if seen else 0, "late_ms": seen.late_ms if seen else 0,
    }  # fmt: skip
