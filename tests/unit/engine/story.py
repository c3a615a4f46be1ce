"""A story for logs: a premium service is made, fails over, is rebuilt, moves, loses a server, and is destroyed.

Each step says what comes in at that moment; the real commands, catalogue and tables make of it what they make.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from herder.engine.bulk import due
from herder.engine.decide import Input
from herder.engine.world import Machine, World
from herder.fleet import commands
from herder.model.plans import PLANS, Engine
from herder.remedies.catalogue import Catalogue

BEGIN_MS = 1_700_000_000_000
STEP_MS = 250

WISH = commands.Wish(
    name="orders", engine=Engine.POSTGRES, plan=PLANS["premium"], major=18, secrets=("app-pw", "admin-pw", "repl-pw"),
    subnet_prefix="10.77.3.", on_isolation="serve", key="once", actor="ann",
)  # fmt: skip

review = Catalogue(failovers_per_hour=1).review


@dataclass(frozen=True)
class Step:
    """come: what comes in, from the world of the moment. command: it is looked at anew after a crash, as people ask
    again; else the same inputs come again, as an effect's outcome does. at_ms: when.
    """

    come: Callable[[World], Sequence[Input]]
    command: bool = False
    wait_ms: int = STEP_MS


def live(world: World, kind: str) -> Machine:
    """The newest of that kind that goes on."""
    return [machine for machine in world.of_kind(kind) if machine.live][-1]


def outcome(kind: str, event: str, why: str = "", facts: Callable[[World], dict[str, Any]] | None = None) -> Step:
    def come(world: World) -> list[Input]:
        machine = live(world, kind)
        told = facts(world) if facts else {}
        return [Input(machine.id, event, told, why=why, entered=machine.entered, actor=kind)]

    return Step(come)


def sign(pick: Callable[[World], Machine], event: str, why: str = "") -> Step:
    def come(world: World) -> list[Input]:
        machine = pick(world)
        evidence = {"evidence": {"why": why}}
        return [Input(machine.id, event, evidence, why=why, entered=machine.entered, actor="pulse")]

    return Step(come)


def service(world: World) -> Machine:
    return next(world.of_kind("service"))


def primary(world: World) -> Machine:
    return world.get(service(world).data["primary"])


def others(world: World) -> list[int]:
    return [ident for ident in service(world).data["members"] if ident != primary(world).id]


def standby_server(world: World) -> Machine:
    return world.get(world.get(others(world)[-1]).data["server"])


def each_server(event: str) -> Step:
    return Step(
        lambda world: [Input(s.id, event, {}, entered=s.entered, actor="launch") for s in world.of_kind("server")]
    )


def elected(world: World) -> dict[str, Any]:
    first, *rest = others(world)
    return {"candidate": first, "new_voters": rest, "fence": "pledges of 2 voters", "pledges": {"a": "1:0/30"}}


def moved(world: World) -> dict[str, Any]:
    first, *rest = [ident for ident in others(world) if ident in service(world).data["voters"]]
    return {"candidate": first, "new_voters": rest, "counts": False}


REBUILD = (
    outcome("rebuild", "placed"), outcome("rebuild", "rejoined", facts=lambda _: {"how": "rewound"}),
    outcome("rebuild", "caught_up"), outcome("rebuild", "enrolled"),
)  # fmt: skip

STORY: tuple[Step, ...] = (
    Step(lambda world: commands.create_service(world, WISH), command=True),
    each_server("up"),
    outcome("provision", "hired"),
    outcome("provision", "founded"),
    outcome("provision", "cloned", facts=lambda world: {"added": others(world)}),
    outcome("provision", "enrolled"),
    sign(primary, "exited", "PANIC: could not write to file 'base/16384': Größe überschritten"),
    outcome("failover", "pledged", "enough pledges", elected),
    outcome("failover", "promoted", facts=lambda _: {"timeline": 2}),
    outcome("failover", "followed"),
    *REBUILD,
    Step(lambda world: commands.switch_over(world, "orders", "", "ann"), command=True),
    outcome("switchover", "ready", facts=moved),
    outcome("switchover", "drained"),
    outcome("switchover", "promoted", facts=lambda _: {"timeline": 3}),
    outcome("switchover", "followed"),
    *REBUILD,
    sign(standby_server, "silent", "no pulse for 1.7 s"),
    sign(standby_server, "gone", "nothing of it runs"),
    outcome("strike", "shrunk"),
    Step(lambda world: [], wait_ms=2_000),
    sign(standby_server, "up", "its agent is back"),
    *REBUILD,
    Step(lambda world: commands.destroy_service(world, "orders", "orders", "ann"), command=True),
    outcome("destroy", "stopped"),
    outcome("destroy", "trashed"),
    each_server("destroyed"),
)


def times() -> list[int]:
    """When each step happens."""
    found, now_ms = [], BEGIN_MS
    for step in STORY:
        now_ms += step.wait_ms
        found.append(now_ms)
    return found


def inputs_of(step: Step, world: World, now_ms: int) -> list[Input]:
    """What comes in, and the deadlines that have passed by then."""
    return [*step.come(world), *due(world, now_ms)]
