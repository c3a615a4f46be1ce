"""Scopes: parts of the fleet that fall together. A scope is a text, 'zone:a', so that people type what the log holds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from herder.engine.scopes import WHERE, scopes_of, scopes_of_service, touches
from herder.engine.world import Ids, World
from herder.machines.registry import BY_KIND
from herder.model.errors import InvalidInput, NotFound
from herder.pulse.storm import FLEET

__all__ = [
    "LIVE",
    "WHERE",
    "codes_of",
    "ill",
    "in_scope",
    "read_scope",
    "scopes_of",
    "scopes_of_service",
    "stand_in",
    "touches",
]

LIVE = ("available", "uncertain", "unavailable", "restart")
"""Servers in these states are counted: one that is being made or given back cannot fall."""


def in_scope(world: World, scopes: Sequence[str]) -> Ids:
    """Servers in any of these scopes that could fall, ascending."""
    servers = world.ids_in("server", *LIVE)
    return servers if FLEET in scopes else servers[stand_in(world, servers, scopes)]


def stand_in(world: World, servers: Ids, scopes: Sequence[str]) -> NDArray[np.bool_]:
    """Which of these servers stand in any of the scopes: a mask, shape (n,)."""
    chosen = np.full(len(servers), FLEET in scopes)
    for scope in scopes:
        kind, _, name = scope.partition(":")
        if kind in WHERE:
            chosen |= world.fact(servers, kind, WHERE[kind], object) == name
        elif kind in ("service", "server"):
            chosen |= np.isin(servers, _held_by(world, kind, name))
    return chosen


def _held_by(world: World, kind: str, name: str) -> list[int]:
    machine = world.named(kind, name) if kind in ("service", "server") else None
    if machine is None:
        return []
    return [int(ident) for ident in machine.data["servers"]] if kind == "service" else [machine.id]


def read_scope(world: World, text: str) -> str:
    """A scope as a person typed it. Raises InvalidInput when it is none, NotFound when nothing stands in it."""
    kind, colon, name = text.strip().partition(":")
    if text.strip() == FLEET:
        return FLEET
    known = (*WHERE, "service", "server")
    if kind not in known or not colon or not name:
        raise InvalidInput(f"'{text}' is no scope", "fleet, or one of " + ", ".join(f"{each}:NAME" for each in known))
    if not len(in_scope(world, [f"{kind}:{name}"])):
        raise NotFound(f"no server stands in {kind}:{name}", "see which scopes there are: herder storm")
    return f"{kind}:{name}"


def codes_of(world: World, servers: Ids, fact: str, names: dict[str, int]) -> NDArray[np.int64]:
    """The code of each one's scope of a kind, shape (n,). names: value -> code, taken further for new values; '' has one."""

    def code(value: object) -> int:
        return names.setdefault(str(value or ""), len(names))

    shapes = world.columns.shape[servers]
    known = np.flatnonzero(np.bincount(shapes, minlength=1)).tolist()
    by_shape = np.zeros(max(known, default=0) + 1, np.int64)  # a cohort's servers share their facts: asked once a shape
    for shape in known:
        by_shape[shape] = code(world.shapes[shape].facts.get(fact, WHERE[fact]))
    codes: NDArray[np.int64] = by_shape[shapes]
    for at in np.flatnonzero(world.columns.own[servers]).tolist():
        codes[at] = code(world.facts_of(int(servers[at])).get(fact, WHERE[fact]))
    return codes


def ill(world: World, servers: Ids) -> NDArray[np.bool_]:
    """Which of these are not well, or hold a member that is not: a mask, shape (n,)."""
    states, members = world.columns.state, world.fact(servers, "member", 0, np.uint32)
    held = states[members]
    bad = (held == _MEMBER["uncertain"]) | (held == _MEMBER["unavailable"])
    member_ill = bad & (world.columns.kind[members] == BY_KIND["member"].code)
    found: NDArray[np.bool_] = (states[servers] != _SERVER_WELL) | member_ill
    return found


def in_doubt(world: World, servers: Ids) -> NDArray[np.bool_]:
    """Which of these are uncertain, or hold a primary that is: silent, and nobody has shown that they are down. A mask, shape (n,).

    Not a standby: without its stream it is uncertain as long as its primary is known to be down.
    """
    states, members = world.columns.state, world.fact(servers, "member", 0, np.uint32)
    leads = world.fact(world.fact(members, "service", 0, np.uint32), "primary", 0, np.uint32) == members
    held = (states[members] == _MEMBER["uncertain"]) & (world.columns.kind[members] == BY_KIND["member"].code) & leads
    found: NDArray[np.bool_] = (states[servers] == _SERVER_UNCERTAIN) | held
    return found


_SERVER_UNCERTAIN = BY_KIND["server"].state_codes["uncertain"]
_MEMBER = BY_KIND["member"].state_codes
_SERVER_WELL = BY_KIND["server"].state_codes["available"]
