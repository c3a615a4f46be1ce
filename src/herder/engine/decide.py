"""Decisions, pure: a world and a batch of inputs in, moves out. Nothing is changed, nothing is read but the arguments."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from herder.engine.record import Move
from herder.engine.scopes import scopes_of, scopes_of_service, touches
from herder.engine.world import Machine, World
from herder.machines.table import CREATE, Emit, Row
from herder.ports.store import Claim

ROUNDS_MAX = 8
"""Reviews of one batch. Each may begin remedies whose first moves call for another look; more means a loop of rules."""


@dataclass(frozen=True, slots=True)
class Input:
    """An event for a machine. create: the kind, when the event makes it (its id is chosen by who proposes it).

    entered: what the sender saw (an outcome, a deadline); if the machine has entered another state since, the input is
    dropped. claims: UNIQUE rows that must be free, taken with the record.
    """

    machine: int
    event: str
    facts: dict[str, Any] = field(default_factory=dict)
    why: str = ""
    actor: str = "herder"
    entered: int | None = None
    create: str = ""
    claims: tuple[Claim, ...] = ()


@dataclass(slots=True)
class Decision:
    """What a batch comes to. after: the machines it changes, as they will be. at_rest: services that nobody need look at
    again until something of them moves. dropped: inputs that meant nothing, with the reason (counted, not logged). unsettled:
    what the review still wanted after its last round, a programmer's error; '' when it wanted nothing.
    """

    moves: list[Move] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    releases: list[tuple[str, str]] = field(default_factory=list)
    after: dict[int, Machine] = field(default_factory=dict)
    at_rest: list[int] = field(default_factory=list)
    dropped: list[tuple[Input, str]] = field(default_factory=list)
    unsettled: str = ""


class Draft:
    """The world as it would be: changed machines are copies, all others are read through."""

    def __init__(self, world: World, now_ms: int) -> None:
        self.world = world
        self.now_ms = now_ms
        self.next_id = world.next_id
        self.changed: dict[int, Machine] = {}
        self.at_rest: list[int] = []
        self.moved = False
        self._touched: dict[int, None] = {}
        self._new: dict[int, dict[int, None]] = {}  # playbooks and pages of this batch, by whom they are about

    def touch(self, machine: Machine) -> None:
        """It has moved: its service is to be reviewed."""
        self.moved = True
        if machine.service:
            self._touched.setdefault(machine.service)
        if not machine.table.unit and self.world.find(machine.id) is None:
            about = int(machine.data["subject"]) if machine.kind == "page" else machine.service
            self._new.setdefault(about, {})[machine.id] = None

    def take_touched(self) -> list[Machine]:
        """Services of what moved since this was asked last."""
        found = [self.find(ident) for ident in self._touched]
        self._touched = {}
        return [service for service in found if service is not None]

    def get(self, machine: int) -> Machine:
        """As it would be; KeyError when there is none."""
        return self.changed.get(machine) or self.world.get(machine)

    def find(self, machine: int) -> Machine | None:
        """As it would be, or None."""
        return self.changed.get(machine) or self.world.find(machine)

    def edit(self, machine: int) -> Machine:
        """A copy that may be changed."""
        if machine not in self.changed:
            self.changed[machine] = self.world.get(machine).copy()
        return self.changed[machine]

    def make(self, machine: int, kind: str) -> Machine:
        """A new machine in state `absent`. An id that is taken is a bug of who proposed it."""
        if self.find(machine) is not None:
            raise RuntimeError(f"machine {machine} exists already")
        self.next_id = max(self.next_id, machine + 1)
        self.changed[machine] = self.world.blank(machine, kind)
        return self.changed[machine]

    def allocate(self) -> int:
        """An id that no machine has."""
        self.next_id += 1
        return self.next_id - 1

    def of_kind(self, kind: str) -> Iterator[Machine]:
        """All machines of a kind as they would be. For kinds that are few."""
        for machine in self.world.of_kind(kind):
            yield self.changed.get(machine.id, machine)
        for machine in [*self.changed.values()]:
            if machine.kind == kind and self.world.find(machine.id) is None:
                yield machine

    def playbooks_of(self, service: int) -> list[Machine]:
        """Live playbooks that would work for a service."""
        return [found for found in self._over(self.world.playbooks_of(service), service) if _works_for(found, service)]

    def open_pages(self, subject: int) -> list[Machine]:
        """Pages about a subject that would be open."""
        found = self._over(self.world.open_pages(subject), subject)
        return [page for page in found if page.kind == "page" and page.state == "open"]

    def _over(self, known: list[Machine], about: int) -> list[Machine]:
        """What the world knows, as it would be, and what this batch makes besides."""
        made = (self.changed[ident] for ident in self._new.get(about, ()))
        return [*(self.changed.get(machine.id, machine) for machine in known), *made]


def _works_for(machine: Machine, service: int) -> bool:
    return not machine.table.unit and machine.kind != "page" and machine.live and machine.service == service


Review = Callable[[Draft], Sequence[Input]]
"""Looks at the world as it would be and proposes remedies; it sees `draft.changed` to know what was touched."""


def decide(world: World, inputs: Sequence[Input], now_ms: int, review: Review | None = None) -> Decision:
    """Step a batch: each input through its table, what rows emit after it, then the review, until nothing follows.

    A review that does not settle is given up, and what was decided until then stands: one service that its remedies cannot agree
    on may not keep all others from theirs.
    """
    draft = Draft(world, now_ms)
    decision = Decision()
    _step_all(draft, inputs, decision)
    rounds = 0
    while review is not None and (more := review(draft)):
        rounds += 1
        if rounds > ROUNDS_MAX:
            decision.unsettled = f"the review does not settle: {more[0].create or more[0].event}, {more[0].why}"
            break
        _step_all(draft, more, decision)
    decision.after, decision.at_rest = draft.changed, draft.at_rest
    return decision


def _step_all(draft: Draft, inputs: Sequence[Input], decision: Decision) -> None:
    queue: deque[tuple[Input, int]] = deque((item, 0) for item in inputs)
    while queue:
        item, _sender = queue.popleft()
        follow = _step(draft, item, decision)
        queue.extendleft(reversed([(emitted, item.machine) for emitted in follow]))


def _step(draft: Draft, item: Input, decision: Decision) -> list[Input]:
    """One input through its table; returns the inputs that its row emits."""
    if item.create and item.machine and draft.find(item.machine) is not None:
        decision.dropped.append((item, "a machine of that id exists"))
        return []
    if item.create:
        machine = draft.make(item.machine or draft.allocate(), item.create)
    elif draft.find(item.machine) is None:
        decision.dropped.append((item, "no such machine"))
        return []
    else:
        machine = draft.get(item.machine)
    if item.entered is not None and item.entered != machine.entered:
        decision.dropped.append((item, "it has moved on since"))
        return []
    row = machine.table.row(machine.state, item.event, machine.data, item.facts)
    if row is None:
        decision.dropped.append((item, f"means nothing in {machine.state}"))
        if item.create:
            del draft.changed[machine.id]
        return []
    machine = draft.edit(item.machine) if not item.create else machine
    move = _move(machine, row, item, draft.now_ms)
    decision.moves.append(move)
    draft.touch(machine)
    decision.claims.extend(item.claims)
    decision.releases.extend(
        (claim_kind(machine.kind, fact), str(machine.data[fact])) for fact in row.releases if fact in machine.data
    )
    return [*_emitted(draft, machine, row, move), *_paged(draft, machine, row, item)]


def _move(machine: Machine, row: Row, item: Input, now_ms: int) -> Move:
    """Fire `row` on a private copy and say what changed."""
    table = machine.table
    patch = {key: value for key, value in item.facts.items() if key != "sender"} if _brings_facts(item) else {}
    if row.update is not None:
        patch |= row.update(machine.data, item.facts, now_ms)
    target = table.by_name[row.target]
    deadline_ms = machine.deadline_ms
    if not row.keep:
        deadline_ms = now_ms + int(target.deadline.after_s * 1000) if target.deadline else 0
    source = machine.state
    machine.version += 1
    machine.deadline_ms = deadline_ms
    machine.data.update(patch)
    if not row.keep:
        if source != row.target:
            machine.since_ms = now_ms
        machine.state, machine.entered = row.target, machine.version
    return Move(
        machine.id, machine.version, deadline_ms, table.code, table.state_codes[source], table.event_codes[item.event],
        table.state_codes[row.target], row.keep, patch, item.why or row.why, item.actor,
    )  # fmt: skip


def _brings_facts(item: Input) -> bool:
    """Facts of commands and outcomes become the machine's own; those of an emitted event are for guards and updates."""
    return "sender" not in item.facts


def _emitted(draft: Draft, machine: Machine, row: Row, move: Move) -> list[Input]:
    found: list[Input] = []
    for emit in row.emits:
        for target in _targets(machine, emit):
            if draft.find(target) is None:
                continue
            facts = {"sender": machine.id, **{key: machine.data[key] for key in emit.carry if key in machine.data}}
            if "evidence" in machine.data:
                facts["evidence"] = machine.data["evidence"]
            why = f"{machine.name}: {move.why}" if move.why else ""
            found.append(Input(target, emit.event, facts, why=why, actor=move.actor))
    return found


def _targets(machine: Machine, emit: Emit) -> list[int]:
    held = machine.data.get(emit.to)
    if isinstance(held, list):
        return [int(ident) for ident in held]
    return [int(held)] if held else []


def _paged(draft: Draft, machine: Machine, row: Row, item: Input) -> list[Input]:
    if row.page is None:
        return []
    return [page_input(draft, machine, row.page.reason, item.why or row.why)]


def page_input(draft: Draft, machine: Machine, reason: str, text: str) -> Input:
    """One open page a (service or server, reason): a second one counts up."""
    subject = int(machine.data.get("service", 0)) or machine.id
    for page in draft.open_pages(subject):
        if page.data["reason"] == reason:
            return Input(page.id, "again", {"sender": machine.id}, why=text)
    if (covering := _covering(draft, subject, reason)) is not None:
        return Input(covering.id, "again", {"sender": machine.id}, why=text)
    facts = {"subject": subject, "raised_by": machine.id, "reason": reason, "text": text, "times": 1,
             "name": f"page-{draft.next_id}", "service": subject}  # fmt: skip
    return Input(draft.allocate(), CREATE, facts, why=text, create="page")


OF_ITS_OWN = frozenset({"exercise_failed", "durability_overridden", "failover_blocked", "rebuild_fails"})
"""Reasons that no incident explains, or whose page is looked for before it is raised again."""


def _covering(draft: Draft, subject: int, reason: str) -> Machine | None:
    """The open page of an incident that this subject's trouble is part of: a mass event has one page, not one a unit. Who
    is still ill when the incident is over has a page of its own when the next deadline passes.
    """
    world = draft.world
    incidents = world.ids_in("incident", "verifying", "ours", "recovering", "paused")
    machine = draft.find(subject)
    if not len(incidents) or machine is None or machine.kind not in ("service", "server") or reason in OF_ITS_OWN:
        return None
    scopes = scopes_of(machine) if machine.kind == "server" else scopes_of_service(draft, machine)
    for incident in (draft.get(int(ident)) for ident in incidents):
        pages = draft.open_pages(incident.id)
        if pages and touches(scopes, incident.data["scopes"]):
            return pages[0]
    return None


def claim_kind(kind: str, fact: str) -> str:
    """The kind of claim that keeps a fact unique among machines of a kind."""
    return f"{kind}.{fact}"
