"""What the fleet and its people give a service's log: symptoms of what it depends on, storms and turns, freezes, rollouts, exercises.

Who may say what, and when, is the production functions' answer wherever they are pure: this only asks them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from herder.engine.decide import Input
from herder.engine.world import Machine
from herder.fleet import dependencies, exercise, rollout, storm_views
from herder.fleet.durability import overridden
from herder.fleet.orders import RECOVERY, give
from herder.fleet.recovery import Ill, next_turns
from herder.fleet.storm import ENDED, incident_facts
from herder.governor.gate import lane_of
from herder.machines.dependency import What
from herder.machines.table import ADOPT, CREATE
from herder.model.errors import HerderError
from herder.model.plans import priority_of
from herder.ports.driver import Reading, Role
from herder.proof.product.log import LogWorld
from herder.proof.product.shelf import NAME, NEAR, NOW_MS, SERVICE
from herder.proof.product.small import DEAF, OVERRIDES, PROVIDER, STORE, STORM
from herder.pulse.storm import FLEET, Dimension, Limits, Ourselves, Verdict, Word, first_look, whole, within

PERSON = "a person"
OTHERS = 100
"""The zone has so many servers, and what befalls this service in a storm befalls them alike; another zone is as large."""


class Given(NamedTuple):
    """One step. needs, lacks: what must, and must not, be wrong outside. serves: the slot that must be in reach and serve as a
    primary, -1 = none. order: it takes one of a person's; harm: one of the faults. fair, late: as in `causes.Cause`.
    """

    who: str
    words: str
    inputs: tuple[Input, ...]
    needs: int = 0
    lacks: int = 0
    serves: int = -1
    order: bool = False
    harm: bool = False
    fair: bool = True
    late: bool = False


Gives = Callable[[LogWorld], Iterator[Given]]


def given(world: LogWorld, near: Iterable[str]) -> Iterator[Given]:
    """Whatever these parts of the fleet may give now."""
    for part in near:
        for each in PARTS[part](world):
            yield each._replace(inputs=tuple(map(_named, each.inputs)))


def _named(item: Input) -> Input:
    """One of the fleet's machines has always the same id here."""
    return replace(item, machine=NEAR[item.create]) if item.create in NEAR else item


def _said(who: str, words: str, say: Callable[[], Sequence[Input]], *, order: bool = False) -> Iterator[Given]:
    """What a command makes; what it refuses is not asked."""
    try:
        inputs = say()
    except HerderError:
        return
    if inputs:
        yield Given(who, words, tuple(inputs), order=order, fair=not order)


def _asked(words: str, say: Callable[[], Sequence[Input]]) -> Iterator[Given]:
    return _said(PERSON, words, say, order=True)


def _near(world: LogWorld, kind: str) -> Machine | None:
    return world.find(NEAR[kind])


def _resolved(world: LogWorld, machine: Machine, who: str) -> Iterator[Given]:
    for page in world.open_pages(machine.id):
        yield Given(who, f"the page '{page.data['reason']}' is over", (Input(page.id, "resolve"),))


# ---- what it depends on


def provider(world: LogWorld) -> Iterator[Given]:
    """The provider."""
    return _dependency(world, What.PROVIDER, PROVIDER)


def store(world: LogWorld) -> Iterator[Given]:
    """The object store, and the service's archive in it. An archive is taken over; nothing here makes one yet."""
    yield from _dependency(world, What.OBJECT_STORE, STORE)
    held, archive = _near(world, "dependency"), _near(world, "archive")
    if held is None or world.find(SERVICE) is None:
        return
    if archive is None:
        facts = {"store": held.id, "service": SERVICE}
        yield Given("cohort", "its archive is taken over", (Input(NEAR["archive"], ADOPT, facts, create="archive"),))
    elif archive.state == "available":
        yield Given("pulse", "its log is not archived", (Input(archive.id, "stalled"),), needs=STORE)
    elif archive.state in ("uncertain", "unavailable"):
        yield Given("pulse", "its log is archived again", (Input(archive.id, "drained"),), lacks=STORE)
        if held.state == "available":
            yield Given("symptoms", "a straggler has its turn", (Input(archive.id, "drain"),))


def _dependency(world: LogWorld, what: What, bit: int) -> Iterator[Given]:
    held = _near(world, "dependency")
    if held is None:
        yield from _said("fleet", f"it depends on a {what}", lambda: dependencies.declare(world, what, ""))
        return
    if held.state in ("available", "restart"):
        evidence = {"evidence": {"why": "calls fail"}}
        yield Given("symptoms", "calls to it fail", (Input(held.id, "failing", evidence),), needs=bit)
    if held.state == "available":
        yield from _resolved(world, held, "symptoms")


def said(world: LogWorld) -> Iterator[Given]:
    """A person's word on it."""
    held = _near(world, "dependency")
    if held is None:
        return
    for word in dependencies.WORDS:
        yield from _asked(f"says: {word}", lambda word=word: dependencies.say(world, held.name, word, PERSON))  # type: ignore[misc]


# ---- storms


def storm(world: LogWorld) -> Iterator[Given]:
    """The storm watch, the recovery, and the people who hold it."""
    incident, service = _near(world, "incident"), world.find(SERVICE)
    if service is None:
        return
    fallen = sum(world.get(ident).state != "available" for ident in service.data["servers"])
    if incident is None:
        ours = Ourselves(deaf=True)
        yield _opened(Verdict(Word.US, ours.fault, (FLEET,)), DEAF)
        if (seen := _first_look(fallen / len(service.data["servers"]), 0.0)).word is Word.SUSPECT:
            yield _opened(seen, STORM)._replace(lacks=DEAF)
        return
    if not incident.live:
        if incident.state in ENDED["incident"]:
            yield from _resolved(world, incident, "storm")
        return
    scopes = tuple(incident.data["scopes"])
    if incident.state == "verifying" and FLEET not in scopes and fallen:
        wider = _first_look(1.0, 1.0)
        facts = incident_facts([*wider.scopes], wider)
        yield Given("storm", wider.why, (Input(incident.id, "spread", facts),), needs=STORM, harm=True)
    if incident.state != "ours" and not _ill(world, service):
        yield Given("storm", "everything in its scope is well", (Input(incident.id, "recovered"),))
    if incident.state == "recovering":
        yield from _turns(world, service, incident)
    for order in ("pause", "resume", "abort"):
        yield from _asked(
            f"says: {order} the recovery", lambda order=order: [give(world, RECOVERY, incident.name, order, PERSON)]  # type: ignore[misc]
        )  # fmt: skip


def _opened(verdict: Verdict, bit: int) -> Given:
    facts = incident_facts([*verdict.scopes], verdict)
    made = Input(NEAR["incident"], CREATE, facts, create="incident")
    return Given("storm", f"an incident: {verdict.why}", (made,), needs=bit)


def _first_look(here: float, there: float) -> Verdict:
    """By the production look over two zones of which these shares fell."""
    falls = np.array([int(OTHERS * here), int(OTHERS * there)])
    zones = Dimension("zone", ("local", "other"), np.array([OTHERS, OTHERS]), falls)
    return first_look(Ourselves(), (whole(2 * OTHERS, int(falls.sum())), zones), within(0.0, 10.0), Limits())


def _ill(world: LogWorld, service: Machine) -> bool:
    units = (service.id, *service.data["members"], *service.data["servers"])
    return any(world.get(ident).state != "available" for ident in units)


def _turns(world: LogWorld, service: Machine, incident: Machine) -> Iterator[Given]:
    """It is ill, something of it runs, and there is room: whose turn it is says the production function."""
    members = [world.get(ident) for ident in service.data["members"]]
    lost = service.state in ("uncertain", "unavailable", "restart")
    fallen = [member for member in members if member.state in ("uncertain", "unavailable", "installing")]
    looked_at = members if lost else fallen
    ready = any(world.get(member.data["server"]).state == "available" for member in looked_at)
    if not (lost or fallen):
        return
    lane = lane_of(priority_of(str(service.data["plan"])), "failover" if lost else "rebuild")
    ill = Ill(np.array([SERVICE], np.uint32), np.array([lane], np.uint8), np.array([ready]))
    upto, chosen = next_turns(ill, incident.data.get("upto", ()), 1)
    if len(chosen):
        told = Input(incident.id, "progress", {"upto": upto})
        yield Given("recovery", "its turn comes", (told, Input(SERVICE, "admitted")))


# ---- freezes


def freeze(world: LogWorld) -> Iterator[Given]:
    """A person's, and that of an hour's budget which all others have used up."""
    held = _near(world, "freeze")
    if held is None:
        yield from _asked("freezes the fleet", lambda: storm_views.freeze_scope(world, FLEET, "to look", PERSON))
        facts = {"scope": FLEET, "by": "budget", "why": "the hour is used up"}
        made = Input(NEAR["freeze"], CREATE, facts, create="freeze")
        yield Given("storm", "the hour's budget of remedies is used up", (made,), harm=True, fair=False)
    elif held.live:
        yield from _asked("releases the fleet", lambda: storm_views.release_scope(world, FLEET, PERSON))
    elif held.state in ENDED["freeze"]:
        yield from _resolved(world, held, "storm")


# ---- rolling reboots


def rolling(world: LogWorld) -> Iterator[Given]:
    """The rollout, its turns, and the people who hold it."""
    order, service = _near(world, "rollout"), world.find(SERVICE)
    if service is None:
        return
    if order is None:
        for until_ms, words in ((0, ""), (NOW_MS, ", inside of a window of time")):
            yield from _asked(
                f"orders a rolling reboot{words}",
                lambda until_ms=until_ms: rollout.order_reboot(world, FLEET, "", until_ms, "", PERSON),  # type: ignore[misc]
            )
        return
    if order.state != "paused" and (order.state != "running" or world.open_pages(order.id)):
        yield from _resolved(world, order, "rollout")
    if not order.live:
        return
    yield Given("rollout", "tells how far it is", (Input(order.id, "progress", {"done": 0}),))
    if order.state == "running":
        yield from _going_on(world, order, service)
    for word in ("pause", "resume", "abort"):
        yield from _asked(
            f"says: {word} the rollout", lambda word=word: rollout.give_order(world, order.name, word, 0, PERSON)  # type: ignore[misc]
        )  # fmt: skip


def _going_on(world: LogWorld, order: Machine, service: Machine) -> Iterator[Given]:
    left = [ident for ident in service.data["servers"] if world.get(ident).data.get("rolled") != order.id]
    if not left:
        yield Given("rollout", "all are done", (Input(order.id, "finished"),))
    if rollout.fails_too_often(rollout.FAILED_LEAST, rollout.FAILED_LEAST):
        yield Given("rollout", "reboots of others fail", (Input(order.id, "stopped"),), harm=True, fair=False)
    if order.data.get("until_ms"):
        yield Given("time", "its window of time is over", (Input(order.id, "window_over"),), fair=False)
    if rollout.held_by(world) or rollout.frozen_scopes(world):
        return
    nobody = np.empty(0, np.uint32)
    for ident in left:
        one = np.array([ident], np.uint32)
        for turn in (rollout.Turn(one, nobody, (0, 0)), rollout.Turn(nobody, one, (0, 0))):
            inputs = tuple(_new(world, item) for item in rollout.begin(world, order, turn))
            if inputs:
                yield Given("rollout", f"the turn of server {ident}, by {inputs[0].event}", inputs)


def _new(world: LogWorld, item: Input) -> Input:
    """A switchover that it begins gets its id and its name when it is committed."""
    if not item.create:
        return item
    return replace(item, machine=world.next_id, facts=item.facts | {"name": f"{NAME}/{item.create}-{world.next_id}"})


# ---- exercises, and what a role's setting breaks


def calendar(world: LogWorld) -> Iterator[Given]:
    """Who takes part is a person's word; how one ended is recorded by the production rule."""
    service = world.find(SERVICE)
    if service is None:
        return
    yield from _asked("has it exercised", lambda: exercise.take_part(world, NAME, "", "", "", PERSON, NOW_MS))
    yield from _asked("has it exercised no more", lambda: exercise.take_no_part(world, NAME, PERSON))
    if not service.data.get("exercise_run") or service.state not in exercise.LIVE:
        return
    if ended := exercise.ended(world, service, NOW_MS + 1):
        yield Given("exercises", f"record: {ended[0].why}", tuple(ended))
    elif late := exercise.ended(world, service, NOW_MS + exercise.WELL_WITHIN_MS + 1):
        yield Given("exercises", f"record: {late[0].why}", tuple(late), late=True)


def durability(world: LogWorld) -> Iterator[Given]:
    """What a reading of the primary says of its roles' settings."""
    service = world.find(SERVICE)
    if service is None or not service.live:
        return
    primary = world.get(service.data["primary"])
    slot = int(primary.data["slot"])
    for bit, overrides in ((OVERRIDES, ("role app: synchronous_commit = local",)), (0, ())):
        reading = Reading(alive=True, role=Role.PRIMARY, overrides=overrides)
        inputs = tuple(overridden(world, service, primary, reading))
        lacks = 0 if bit else OVERRIDES
        if inputs:
            yield Given("pulse", "settings of a role are read", inputs, needs=bit, lacks=lacks, serves=slot)


PARTS: dict[str, Gives] = {
    "provider": provider, "store": store, "word": said, "storm": storm, "freeze": freeze, "rollout": rolling, "calendar": calendar,
    "durability": durability,
}  # fmt: skip
"""Part of the fleet -> what it gives."""
