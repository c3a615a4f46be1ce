"""Routine exercises, pure: who takes part, when each is due, who may begin now and what keeps the others, how one ended.

What a service was told and how its last exercise went are facts of the service in the log: a controller that takes over
goes on with the same calendar.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from herder.engine.decide import Input
from herder.engine.world import Machine, World
from herder.fleet import commands
from herder.machines.table import CREATE
from herder.model.errors import InvalidInput, Refused
from herder.model.plans import PLANS
from herder.model.windows import Window, first_spot, occurrence, parse_length, parse_window
from herder.ports.driver import Reading

ACTOR = "exercise"
"""Who makes a playbook that is an exercise: the event log and `herder playbooks` tell it apart by this word."""

CANNOT = "standard and premium can be exercised"
HOWS = ("switchover", "failover")
LIVE = ("available", "uncertain", "unavailable", "restart", "upgrading")
PLAN_WINDOW = "mon-fri 02:00-05:00"

SHORTEST_S = 3600
"""An exercise costs clients a moment: more often than hourly it would be a fault of its own."""

SLACK_MS = 43_200_000
"""A weekly exercise may come up to half a day early, so that it stays in its window and at its hour."""

AGAIN_MS = 3_600_000
"""After one that gave way without changing anything."""

BUDGET_MS = 3_600_000
"""A service that failed over by itself within the hour has no automatic failover left, should the exercise find a fault."""

WELL_WITHIN_MS = 900_000
"""All members serve again this long after the begin; a rewound member takes seconds, a copied one its size."""

CLOSE_BYTES = 16 * 1024**2
"""A standby within one WAL segment is caught up; the same bound that a switchover asks for."""

Readings = Callable[[Machine], Reading | None]
"""The last reading of a member."""


@dataclass(frozen=True, slots=True)
class Part:
    """How a service takes part. since_ms: 0 when it does by its plan (`exercise_plans`) and nobody said so by hand."""

    every_s: int
    window: Window
    how: str
    since_ms: int = 0


PLAN_PARTS: dict[str, Part] = {
    # nothing acknowledged can be lost by a failover there, so the real path is what is exercised
    "premium": Part(7 * 86_400, parse_window(PLAN_WINDOW), "failover"),
    # asynchronous: the planned move loses nothing whatever its standby lacks
    "standard": Part(30 * 86_400, parse_window(PLAN_WINDOW), "switchover"),
}
"""What a plan does when nothing else is said. `dev` has nobody to move to."""


@dataclass(frozen=True, slots=True)
class Policy:
    """plans: which take part without being told. at_once: exercises under way in the whole fleet at most."""

    plans: frozenset[str] = frozenset()
    at_once: int = 1


def policy(plans: str, at_once: int) -> Policy:
    """The settings `exercise_plans` ('premium,standard') and `exercises_at_once`. Raises InvalidInput."""
    names = frozenset(name.strip() for name in plans.split(",") if name.strip())
    unknown = sorted(names - PLAN_PARTS.keys())
    if unknown:
        raise InvalidInput(f"exercise_plans: '{unknown[0]}' cannot", f"name some of: {', '.join(PLAN_PARTS)}")
    return Policy(names, max(at_once, 1))


def part_of(service: Machine, plans: frozenset[str]) -> Part | None:
    """How it takes part, None when it does not. What a person said of this service comes before its plan."""
    told = service.data.get("exercise")
    if told:
        if told.get("off"):
            return None
        return Part(int(told["every_s"]), parse_window(told["window"]), told["how"], int(told["since_ms"]))
    plan = str(service.data["plan"])
    return PLAN_PARTS[plan] if plan in plans and plan in PLAN_PARTS else None


# ---- when


def spread(name: str) -> float:
    """0 up to 1, the same for a name at any time: so that not all begin at the same minute."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=6).digest()) / 2**48


def next_due(service: Machine, part: Part, now_ms: int) -> int:
    """The first moment from now on at which it may be exercised, in ms: inside its window, at its own spot in it.

    One period after the last, the first as soon as the window opens. Where a whole plan takes part, the firsts are spread
    over the period: each name has its own phase in it.
    """
    name_spread, every_ms = spread(service.name), part.every_s * 1000
    last = service.data.get("exercise_last") or {}
    if last or part.since_ms:
        earliest = _after(last, every_ms) if last else part.since_ms
        return first_spot(part.window, max(earliest, now_ms), name_spread, every_ms)
    phase = int(spread(f"phase of {service.name}") * every_ms)
    turn = (now_ms - phase) // every_ms * every_ms + phase
    spot = first_spot(part.window, turn, name_spread, every_ms)
    if now_ms >= occurrence(part.window, spot)[1]:  # it was missed
        spot = first_spot(part.window, turn + every_ms, name_spread, every_ms)
    return max(spot, now_ms)


def _after(last: dict[str, Any], every_ms: int) -> int:
    """The earliest moment for the next one."""
    if last["result"] == "gave_way":
        return int(last["at_ms"]) + min(AGAIN_MS, every_ms)
    return int(last["at_ms"]) + every_ms - (SLACK_MS if every_ms >= 2 * SLACK_MS else 0)


# ---- who


@dataclass(frozen=True, slots=True)
class Standing:
    """What goes on. running: service -> zones that its exercise touches. failed: plan -> the service whose exercise did."""

    running: dict[int, frozenset[str]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Chosen:
    """begin: whom to exercise now. waits: of the others that are due, what for."""

    begin: tuple[int, ...]
    waits: dict[int, str]


def choose(
    world: World, due: Iterable[Machine], now_ms: int, standing: Standing, rules: Policy, readings: Readings
) -> Chosen:
    """Who of those that are due begins now. One at a time in a zone, and not more than the budget in the fleet: an exercise
    that finds a fault shall find it once, and a real fault meanwhile shall find the rest of its zone calm.
    """
    zones = {zone for touched in standing.running.values() for zone in touched}
    begin: list[int] = []
    waits: dict[int, str] = {}
    stopped = trouble(world)
    for service in due:
        part = part_of(service, rules.plans)
        if part is None:
            continue
        touched = zones_of(world, service)
        why = stopped or _no_turn(service, part, now_ms, standing)
        if not why and len(standing.running) + len(begin) >= rules.at_once:
            why = f"{rules.at_once} exercise(s) at once in the fleet, as exercises_at_once says"
        if not why and touched & zones:
            why = f"another exercise is under way in zone {min(touched & zones)}"
        why = why or unfit(world, service, now_ms, readings)
        if why:
            waits[service.id] = why
            continue
        begin.append(service.id)
        zones |= touched
    return Chosen(tuple(begin), waits)


def _no_turn(service: Machine, part: Part, now_ms: int, standing: Standing) -> str:
    plan = str(service.data["plan"])
    if plan in standing.failed:
        return f"exercises of plan {plan} are stopped: that of {standing.failed[plan]} failed"
    begin_ms, _ = occurrence(part.window, now_ms)
    return "its window is not open" if now_ms < begin_ms else ""


def trouble(world: World) -> str:
    """What keeps the whole fleet from being exercised, '' for nothing."""
    for incident in world.of_kind("incident"):
        if incident.live:
            return f"{incident.name} is {incident.state}"
    for freeze in world.of_kind("freeze"):
        if freeze.state == "frozen":
            return f"{freeze.name} holds a scope frozen"
    for ident in world.ids_in("rollout", "running").tolist():
        return f"{world.get(ident).name} reboots servers"
    return ""


def zones_of(world: World, service: Machine) -> frozenset[str]:
    """Where its primary is: that is the zone which loses it for a moment. A server without a zone is in 'local'."""
    primary = world.get(service.data["primary"])
    return frozenset({str(world.get(primary.data["server"]).data.get("zone") or "local")})


def unfit(world: World, service: Machine, now_ms: int, readings: Readings) -> str:
    """Why this service must not be exercised now, '' when it may: everything of it is well, and nothing could be lost."""
    data = service.data
    if service.state != "available":
        return f"it is {service.state}"
    if not_well := _not_well(world, service):
        return not_well
    pages = [page.data["reason"] for page in world.open_pages(service.id) if page.data["reason"] != "exercise_failed"]
    if pages:
        return f"a person was told of it: {pages[0]}"
    if any(at > now_ms - BUDGET_MS for at in data.get("failovers", ())):
        return "it failed over by itself within the hour: a fault now would have to wait for a person"
    return _behind(world, service, readings)


def _behind(world: World, service: Machine, readings: Readings) -> str:
    """Which standby has not everything, as its primary was last read."""
    primary = world.get(service.data["primary"])
    standbys = [world.get(ident) for ident in service.data["members"] if ident != primary.id]
    if not standbys:
        return "it has no standby"
    reading = readings(primary)
    if reading is None or reading.position is None:
        return f"{primary.name} has not been heard yet"
    for standby in standbys:
        flushed = reading.streaming.get(standby.name)
        if flushed is None:
            return f"{standby.name} does not stream from {primary.name}"
        if reading.position.lsn - flushed > CLOSE_BYTES:
            return f"{standby.name} is {(reading.position.lsn - flushed) >> 20} MiB behind"
    return ""


def _not_well(world: World, service: Machine) -> str:
    """What of it is not as it should be; a playbook that holds any of it counts."""
    for ident in (service.id, *service.data["members"]):
        machine = world.get(ident)
        held = machine.data.get("playbook", 0)
        if machine.state != "available":
            return f"{machine.name} is {machine.state}"
        if held and world.get(held).live:
            return f"{world.get(held).name} is under way"
    for ident in service.data["servers"]:
        if world.get(ident).state != "available":
            return f"{world.get(ident).name} is {world.get(ident).state}"
    absent = [
        ident for ident in service.data["members"] if ident not in (*service.data["voters"], service.data["primary"])
    ]
    if service.data["sync"] and absent:
        return f"{world.get(absent[0]).name} is not a voter"
    return ""


# ---- what is asked for


def take_part(world: World, name: str, every: str, window: str, how: str, actor: str, now_ms: int) -> list[Input]:
    """`herder exercise on`. Empty texts mean the plan's own. Raises InvalidInput, Refused for a plan without standby."""
    service = commands.find_service(world, name)
    plan = PLANS[service.data["plan"]]
    if plan.members < 2:
        raise Refused(f"'{name}' is on plan {plan.name}, which has no standby", CANNOT)
    default = PLAN_PARTS[plan.name]
    every_s = parse_length(every) if every else default.every_s
    if every_s < SHORTEST_S:
        raise InvalidInput(f"every {every} is too often", "an exercise costs clients a moment: 1h is the least")
    wanted = str(parse_window(window) if window else default.window)
    if (how or default.how) not in HOWS:
        raise InvalidInput(f"'{how}' is no way to exercise", f"choose one of: {', '.join(HOWS)}")
    told = {"every_s": every_s, "window": wanted, "how": how or default.how, "since_ms": now_ms}
    facts: dict[str, Any] = {"exercise": told} | _forgiven(service)
    why = f"{actor} has it exercised"
    return [Input(service.id, "exercise_set", facts, why=why, actor=actor), *_resolved(world, service, why)]


def take_no_part(world: World, name: str, actor: str) -> list[Input]:
    """`herder exercise off`: also when its plan takes part."""
    service = commands.find_service(world, name)
    facts: dict[str, Any] = {"exercise": {"off": True}} | _forgiven(service)
    why = f"{actor} has it exercised no more"
    return [Input(service.id, "exercise_off", facts, why=why, actor=actor), *_resolved(world, service, why)]


def _forgiven(service: Machine) -> dict[str, Any]:
    """A person has seen to it: an exercise that failed stops its plan no longer."""
    last = service.data.get("exercise_last") or {}
    return {"exercise_last": last | {"forgiven": True}} if last.get("result") == "failed" else {}


def _resolved(world: World, service: Machine, why: str) -> list[Input]:
    """The page of an exercise that failed stands until somebody has seen to it, also when all is well again."""
    pages = (page for page in world.open_pages(service.id) if page.data["reason"] == "exercise_failed")
    return [Input(page.id, "resolve", why=why) for page in pages]


def begin(
    world: World, name: str, how: str, why: str, now_ms: int, readings: Readings, actor: str = ACTOR
) -> list[Input]:
    """The playbook and the note on its service, in one record. Raises Conflict or Refused when it may not be now.

    It consumes nothing of the service's budget of automatic failovers: a person, or the calendar, wanted it.
    """
    service = commands.idle_service(world, name, "exercise")
    before = ended(world, service, now_ms) if service.data.get("exercise_run") else []
    reason = "one is under way" if service.data.get("exercise_run") and not before else trouble(world)
    if reason := reason or unfit(world, service, now_ms, readings):
        raise Refused(f"'{name}' is not exercised now: {reason}", f"herder show {name}; herder status")
    (made,) = commands.switch_over(world, name, "", actor) if how == "switchover" else [_failover(world, service)]
    made = replace(made, facts=made.facts | {"exercise": True, "counts": False}, why=f"exercise: {why}", actor=ACTOR)
    run = {"playbook": made.machine, "began_ms": now_ms, "how": how}
    began = Input(service.id, "exercise_began", {"exercise_run": run}, why=f"exercise: {why}", actor=actor)
    # the playbook first: the page of one that failed would take the id that it was given, and nothing would begin
    return [made, *before, began]


def how_of(service: Machine, how: str, plans: frozenset[str]) -> str:
    """The way that a person named, else the one that it takes part by, else its plan's. Raises InvalidInput, Refused."""
    part = part_of(service, plans) or PLAN_PARTS.get(service.data["plan"])
    if part is None:
        raise Refused(f"'{service.name}' is on plan {service.data['plan']}, which has no standby", CANNOT)
    if (how or part.how) not in HOWS:
        raise InvalidInput(f"'{how}' is no way to exercise", f"choose one of: {', '.join(HOWS)}")
    return how or part.how


def _failover(world: World, service: Machine) -> Input:
    """As the catalogue makes one, but nothing is wrong: its first step is that the agent ends the primary's engine."""
    data = service.data
    primary = world.get(data["primary"])
    ident = world.next_id
    facts = {
        "name": f"{service.name}/failover-{ident}", "service": service.id, "old_primary": primary.id,
        "server": primary.data["server"], "term": data["term"] + 1, "voters": data["voters"], "sync": data["sync"],
        "standbys": [member for member in data["members"] if member != primary.id],
        "on_isolation": data.get("on_isolation", "serve"), "cause": {},
    }  # fmt: skip
    return Input(ident, CREATE, facts, create="failover")


# ---- how it ended


def ended(world: World, service: Machine, now_ms: int) -> list[Input]:
    """What to record of an exercise that is under way, nothing while it goes on."""
    run = service.data["exercise_run"]
    playbook = world.get(run["playbook"])
    took_ms = now_ms - int(run["began_ms"])
    wrong = _not_well(world, service)
    over = not playbook.live
    if over and playbook.state in ("paged", "failed"):
        return [_record(service, playbook, "failed", f"{playbook.name} is {playbook.state}", took_ms, now_ms)]
    if over and not wrong:
        done = playbook.state == "done"
        why = "its primary moved, and everything of it is well" if done else f"{playbook.name} gave way; all is well"
        item = _record(service, playbook, "well" if done else "gave_way", why, took_ms, now_ms)
        return [item, *(_resolved(world, service, why) if done else ())]
    if took_ms > WELL_WITHIN_MS:
        why = wrong or f"{playbook.name} is still {playbook.state}"
        return [_record(service, playbook, "failed", why, took_ms, now_ms)]
    return []


def _record(service: Machine, playbook: Machine, result: str, why: str, took_ms: int, now_ms: int) -> Input:
    last = {
        "at_ms": now_ms,
        "result": result,
        "why": why,
        "how": playbook.kind,
        "playbook": playbook.id,
        "took_ms": took_ms,
    }
    event = "exercise_failed" if result == "failed" else "exercise_ended"
    facts = {"exercise_run": {}, "exercise_last": last}
    return Input(service.id, event, facts, why=f"exercise after {took_ms / 1000:.1f} s: {why}", actor=ACTOR)


def failed(service: Machine) -> bool:
    """Its last exercise failed, and nobody has seen to it: its plan's exercises are stopped."""
    last = service.data.get("exercise_last") or {}
    return last.get("result") == "failed" and not last.get("forgiven") and service.state in LIVE


def view(service: Machine, part: Part | None, now_ms: int, waits_for: str) -> dict[str, Any]:
    """One line of `herder exercise --json`. part: None for one that has been exercised and takes part no more."""
    run = service.data.get("exercise_run") or {}
    return {
        "name": service.name, "plan": service.data["plan"], "state": service.state, "takes_part": part is not None,
        "by": "" if part is None else "person" if part.since_ms else "plan",
        "every_s": part.every_s if part else 0, "window": str(part.window) if part else "",
        "how": part.how if part else "", "next_due_ms": next_due(service, part, now_ms) if part and not run else 0,
        "running": bool(run), "waits_for": waits_for, "last": service.data.get("exercise_last") or {},
    }  # fmt: skip


def plan_view(plan: str, *, takes_part: bool, stopped_by: str) -> dict[str, Any]:
    """A plan in `herder exercise --json`: what holds where nothing else was said. stopped_by: the service that failed."""
    part = PLAN_PARTS[plan]
    return {"plan": plan, "takes_part": takes_part, "every_s": part.every_s, "window": str(part.window), "how": part.how,
            "stopped_by": stopped_by}  # fmt: skip


def sorted_by_due(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What runs first, then by when it is due, then what takes no part."""
    return sorted(rows, key=lambda row: (not row["running"], not row["takes_part"], row["next_due_ms"], row["name"]))
