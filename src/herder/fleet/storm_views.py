"""What people see of the storm governor, and what they say to it. Plain dicts with stable fields."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from herder.engine.decide import Input
from herder.engine.world import Machine, World
from herder.fleet.storm import LIVE_INCIDENTS, Storm
from herder.governor.budget import budgets
from herder.governor.scopes import ill, read_scope
from herder.machines.table import CREATE
from herder.model.errors import Conflict, InvalidInput, NotFound
from herder.pulse.storm import FLEET, within

SCOPES_SHOWN = 50
"""Of each kind, those with the most ill servers; a fleet may have thousands of images."""

ENDED_SHOWN = 5


def storm_view(storm: Storm, world: World, now: float, now_ms: int) -> dict[str, Any]:
    """`herder storm --json`. base: the probability that a unit falls by itself within window_s."""
    storm.falls.follow(world, now)
    live = [world.get(ident) for ident in world.ids_in("incident", *LIVE_INCIDENTS).tolist()]
    ended = [world.get(ident) for ident in world.ids_in("incident", "over", "aborted")[-ENDED_SHOWN:].tolist()]
    freezes = [world.get(ident) for ident in world.ids_in("freeze", "frozen").tolist()]
    verdict, limits = storm.verdict, storm.limits
    return {
        "verdict": str(verdict.word), "why": verdict.why, "us": storm.says, "window_s": limits.window_s,
        "least": limits.least, "share": limits.share, "base": within(storm.rate, limits.window_s),
        "scopes": _scopes(storm, world, now),
        "incidents": [incident_view(incident) for incident in (*ended, *live)],
        "freezes": [_freeze(freeze) for freeze in freezes],
        "budgets": [asdict(left) | {"empty": left.empty} for left in budgets(world, now_ms, storm.budget)],
    }  # fmt: skip


def _scopes(storm: Storm, world: World, now: float) -> list[dict[str, Any]]:
    """Of each scope: its servers, how many of them are ill now, and how many fell within the window and are still ill."""
    everything = np.arange(len(storm.falls.ids))
    ill_now = storm.falls.dimensions(everything[ill(world, storm.falls.ids) & storm.falls.alive])
    fallen = storm.falls.dimensions(storm.falls.fallen(world, now, storm.limits.window_s))
    rows: list[dict[str, Any]] = []
    for down, fell in zip(ill_now, fallen, strict=True):
        order = np.argsort(-down.fallen, kind="stable")[:SCOPES_SHOWN]
        rows += [{"scope": down.scope(code), "servers": int(down.total[code]), "ill": int(down.fallen[code]),
                  "fell": int(fell.fallen[code])} for code in order.tolist() if down.total[code]]  # fmt: skip
    return rows


def incident_view(incident: Machine) -> dict[str, Any]:
    """One incident with the evidence of its verdict."""
    known = incident.data
    return {
        "id": incident.name, "state": incident.state, "scope": known["scope"], "since_ms": incident.since_ms,
        "verdict": known.get("verdict", ""), "why": known.get("why", ""), "total": int(known.get("total", 0)),
        "done": int(known.get("done", 0)), "evidence": known.get("evidence", {}),
    }  # fmt: skip


def _freeze(freeze: Machine) -> dict[str, Any]:
    return {"id": freeze.name, "scope": freeze.data["scope"], "by": freeze.data.get("by", ""),
            "why": freeze.data.get("why", ""), "since_ms": freeze.since_ms}  # fmt: skip


def freeze_scope(world: World, text: str, why: str, actor: str) -> list[Input]:
    """No remedy begins in the scope. Raises InvalidInput, NotFound, or Conflict when it is frozen already."""
    scope = read_scope(world, text)
    if not why.strip():
        raise InvalidInput("a freeze needs a reason", 'say it for whoever finds it tonight: --why "..."')
    if _of_scope(world, scope):
        raise Conflict(f"{scope} is frozen already", f"herder storm release {scope}")
    facts = {"scope": scope, "by": actor, "why": why.strip()}
    return [Input(0, CREATE, facts, why=f"{actor} froze {scope}: {why.strip()}", actor=actor, create="freeze")]


def release_scope(world: World, text: str, actor: str) -> list[Input]:
    """Remedies may begin again. Raises NotFound when nobody froze that scope."""
    found = _of_scope(world, text.strip())
    if not found:
        raise NotFound(f"{text} is not frozen by hand or by its budget", _released_otherwise(world, text.strip()))
    return [Input(freeze.id, "release", {}, why=f"{actor} released {text.strip()}", actor=actor) for freeze in found]


def _of_scope(world: World, scope: str) -> list[Machine]:
    freezes = (world.get(ident) for ident in world.ids_in("freeze", "frozen").tolist())
    return [freeze for freeze in freezes if freeze.data["scope"] == scope]


def _released_otherwise(world: World, scope: str) -> str:
    for ident in world.ids_in("incident", *LIVE_INCIDENTS).tolist():
        incident = world.get(ident)
        if scope in incident.data["scopes"] or FLEET in incident.data["scopes"]:
            return f"it stands in {incident.name} ({incident.state}): herder storm abort {incident.name} ends that"
    return "see what is: herder storm"
