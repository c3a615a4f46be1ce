"""Machines to a `Shelf` and back, and the least naming of its members."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from herder.engine.world import Machine
from herder.proof.product.shelf import (
    ASKS,
    BLANK,
    BOOTS_MOST,
    CALLED,
    EXERCISE,
    EXERCISED,
    FAILED,
    FAILOVERS_MOST,
    FIRST_NEAR_PAGE,
    FIRST_PAGE,
    FIRST_PLAYBOOK,
    INCARNATION,
    JOBS,
    LEASE_S,
    MEMBER_FACTS,
    MEMBERS_FACTS,
    NAME,
    NEAR,
    NEAR_FACTS,
    NOW_MS,
    OLDEST,
    PASSING,
    PLAIN_FACTS,
    ROLLOUT,
    SERVICE,
    SOME_PAGE,
    STEP,
    TERM,
    Cell,
    Kept,
    Kind,
    Near,
    Seen,
    Shelf,
    Unit,
    Work,
    member_name,
    turn_mask,
)


def machines_of(shelf: Shelf, kind: Kind, tables: Mapping[str, Seen]) -> dict[int, Cell]:
    """The machines of a value, as decisions know them."""
    made = _Making(kind, tables)
    for near in shelf.around:
        made.near(near)
    if shelf.blank:
        return made.cells
    made.service(shelf)
    for slot, (member, server) in enumerate(zip(shelf.members, shelf.servers, strict=True)):
        made.member(slot, member)
        made.server(slot, server)
    for place, work in enumerate(shelf.works):
        made.work(place, work)
    for place, reason in enumerate(shelf.pages):
        facts = {"subject": SERVICE, "service": SERVICE, "reason": reason, "times": 1}
        made.cell(FIRST_PAGE + place, "page", "open", facts)
    return made.cells


class _Making:
    """Builds the machines of one value."""

    def __init__(self, kind: Kind, tables: Mapping[str, Seen]) -> None:
        self.kind = kind
        self.tables = tables
        self.cells: dict[int, Cell] = {}

    def cell(self, ident: int, kind: str, state: str, data: dict[str, Any], rank: int = 0, since_ms: int = 0) -> None:
        cell = Cell(ident, kind, state, order=rank, since_ms=since_ms, data=Kept(data))
        cell.of = self.tables[kind]
        self.cells[ident] = cell

    def service(self, shelf: Shelf) -> None:
        kind = self.kind
        data = {
            "name": NAME, "engine": "postgres", "plan": kind.plan, "term": TERM, "sync": kind.sync,
            "primary": kind.member(shelf.primary), "members": kind.idents((1 << kind.members) - 1),
            "servers": [kind.server(slot) for slot in range(kind.members)], "voters": kind.idents(shelf.voters),
            "playbook": FIRST_PLAYBOOK + shelf.playbook if shelf.playbook >= 0 else 0,
            "failovers": [NOW_MS] * shelf.failovers, "on_isolation": kind.on_isolation, "timeline": shelf.timeline,
            "retry_ms": NOW_MS + 1 if shelf.retry else 0, "strike_retry_ms": NOW_MS + 1 if shelf.strike_retry else 0,
            "failed_playbook": FAILED if shelf.failed else 0, "no_data": kind.member(shelf.empty) if shelf.empty >= 0 else 0,
        }  # fmt: skip
        self.cell(SERVICE, "service", shelf.state, data | self.noted(shelf))
        if shelf.failed:
            over = next(state.name for state in self.tables[shelf.failed].states if state.final)
            self.cell(FAILED, shelf.failed, over, {})

    def member(self, slot: int, unit: Unit) -> None:
        kind = self.kind
        data = {
            "name": member_name(slot), "slot": slot, "service": SERVICE, "server": kind.server(slot), "role": unit.role,
            "deposed": unit.deposed, "rebuilds": int(unit.pending or unit.playbook >= 0), "rebuild_ms": NOW_MS if unit.pending else 0,
            "playbook": FIRST_PLAYBOOK + unit.playbook if unit.playbook >= 0 else 0, "leased": unit.leased,
            "lease_s": LEASE_S, "evidence": {"provider": False, "incarnation": INCARNATION} if unit.gone else {},
        }  # fmt: skip
        self.cell(kind.member(slot), "member", unit.state, data)

    def server(self, slot: int, unit: Unit) -> None:
        kind = self.kind
        data = {
            "name": f"server-{slot}", "service": SERVICE, "member": kind.member(slot), "incarnation": INCARNATION,
            "boots": unit.tries, "planned": unit.planned,
        }  # fmt: skip
        if ROLLOUT in self.kind.notes:
            data |= {"rolled": NEAR[ROLLOUT] * unit.rolled, ROLLOUT: NEAR[ROLLOUT] * unit.planned}
        self.cell(kind.server(slot), "server", unit.state, data, unit.rank, NOW_MS if unit.pending else 0)

    def work(self, place: int, work: Work) -> None:
        kind = self.kind
        data: dict[str, Any] = {
            "name": f"{work.kind}-{place}", "service": SERVICE, "term": TERM - work.behind,
            "members": kind.idents((1 << kind.members) - 1), "servers": [kind.server(s) for s in range(kind.members)],
        }  # fmt: skip
        for name, value in work.facts:
            if name in MEMBER_FACTS:
                data[name] = kind.member(value)
            elif name in MEMBERS_FACTS:
                data[name] = kind.idents(value)
            elif name == "server":
                data[name] = kind.server(value)
            else:
                data[name] = value
        self.cell(FIRST_PLAYBOOK + place, work.kind, work.state, data, work.rank, NOW_MS if work.pending else 0)

    def near(self, near: Near) -> None:
        ident = NEAR[near.kind]
        self.cell(ident, near.kind, near.state, {"name": f"{near.kind}-1"} | dict(near.facts))
        for reason in near.pages:
            facts = {"subject": ident, "service": ident, "reason": reason, "times": 1}
            self.cell(max(FIRST_NEAR_PAGE, *self.cells) + 1, "page", "open", facts)

    def noted(self, shelf: Shelf) -> dict[str, Any]:
        """What the service notes of the fleet; an exercise's playbook that is over is a machine of its own."""
        data = dict(shelf.notes)
        if EXERCISE in data:
            kind, state = data[EXERCISE]
            live = (FIRST_PLAYBOOK + place for place, work in enumerate(shelf.works) if work.kind == kind)
            ident = EXERCISED if state else next(live)
            if state:
                self.cell(EXERCISED, kind, state, {"name": kind})
            data[EXERCISE] = {"playbook": ident, "began_ms": NOW_MS, "how": kind}
        return data


Ranks = Mapping[int, tuple[int, int]]
"""What `ranks_of` says, by machine."""


def shelf_of(machines: Mapping[int, Machine], kind: Kind, ranks: Ranks) -> Shelf:
    """The value of machines."""
    service = machines.get(SERVICE)
    if service is None:
        return BLANK._replace(around=tuple(_around(machines)))
    found = sorted(
        (_work(machine, kind, service, ranks), machine.id) for machine in machines.values() if is_work(machine)
    )
    places = {ident: place for place, (_, ident) in enumerate(found)}
    data, failed = service.data, machines.get(service.data.get("failed_playbook", 0))
    pages = _pages(machines, SERVICE)
    units = range(kind.members)
    primary = kind.slot(data["primary"])
    return Shelf(
        service.state, primary, kind.mask(data["voters"]), places.get(data.get("playbook", 0), -1),
        failed.kind if failed is not None else "", min(len(data.get("failovers", ())), FAILOVERS_MOST),
        data.get("retry_ms", 0) > NOW_MS, data.get("strike_retry_ms", 0) > NOW_MS, int(data.get("timeline", 0)),
        kind.slot(data.get("no_data", 0)),
        tuple(_member(machines, kind, slot, places, leads=slot == primary) for slot in units),
        tuple(_server(machines[kind.server(slot)], ranks, rolls=NEAR[ROLLOUT] in machines) for slot in units),
        tuple(work for work, _ in found),
        tuple(sorted(CALLED & pages)) + ((SOME_PAGE,) if pages - CALLED and not pages & PASSING else ()),
        around=tuple(_around(machines)), notes=tuple(_notes(service, kind, machines)),
    )  # fmt: skip


def is_work(machine: Machine) -> bool:
    """A playbook of the service that is not over."""
    return machine.kind in JOBS and machine.live


def asked(machine: Machine, kind: Kind) -> int:
    """The members (mask) whose agents are asked in a machine's state."""
    effect = machine.at.effect
    mask = 0
    for fact in ASKS.get(effect.name, ()) if effect is not None else ():
        held = machine.data.get(fact)
        mask |= kind.mask(held if isinstance(held, list) else [held]) if held else 0
    return mask


def ranks_of(machines: Mapping[int, Machine], kind: Kind) -> dict[int, tuple[int, int]]:
    """Machines in whose state agents are asked: where that state's beginning stands, and the mask of those who are asked.

    8, 16, ...: later than all that began before it and ask one of the same; what asks nobody in common is not told apart.
    """
    asking = [
        (m.order, m.id, asked(m, kind)) for m in machines.values() if m.order and m.live and m.at.effect is not None
    ]
    found: dict[int, tuple[int, int]] = {}
    for order, ident, mask in sorted(asking):
        if mask:
            before = (found[other][0] for at, other, others in asking if at < order and others & mask)
            found[ident] = STEP + max(before, default=0), mask
    return found


def _pages(machines: Mapping[int, Machine], subject: int) -> set[str]:
    return {m.data["reason"] for m in machines.values() if m.kind == "page" and m.state == "open" and m.data["subject"] == subject}  # fmt: skip


def _around(machines: Mapping[int, Machine]) -> Iterator[Near]:
    """Those that are over are forgotten with their last page."""
    for kind, ident in NEAR.items():
        machine = machines.get(ident)
        pages = tuple(sorted(_pages(machines, ident)))
        if machine is not None and (machine.live or pages):
            yield Near(kind, machine.state, tuple(_near_facts(machine)), pages)


def _near_facts(machine: Machine) -> Iterator[tuple[str, Any]]:
    for fact in NEAR_FACTS[machine.kind]:
        value = machine.data.get(fact)
        if isinstance(value, list | tuple):
            value = tuple(value)
        elif fact.endswith("_ms") and value:
            value = NOW_MS
        if value is not None:
            yield fact, value


def _notes(service: Machine, kind: Kind, machines: Mapping[int, Machine]) -> Iterator[tuple[str, Any]]:
    for fact in kind.notes:
        value = service.data.get(fact)
        if fact == EXERCISE and value:
            playbook = machines[value["playbook"]]
            value = playbook.kind, "" if is_work(playbook) else playbook.state
        if value:
            yield fact, value


def _work(machine: Machine, kind: Kind, service: Machine, ranks: Ranks) -> Work:
    facts: list[tuple[str, Any]] = []
    for name, value in machine.data.items():
        if name in MEMBER_FACTS:
            facts.append((name, kind.slot(value)))
        elif name in MEMBERS_FACTS:
            facts.append((name, kind.mask(value)))
        elif name == "server":
            facts.append((name, kind.slot(value)))
        elif name in PLAIN_FACTS:
            facts.append((name, value))
    behind = min(max(int(service.data["term"]) - int(machine.data.get("term", service.data["term"])), 0), OLDEST)
    pending = machine.state == "repointing" and machine.since_ms == NOW_MS
    return Work(machine.kind, machine.state, behind, tuple(sorted(facts)), pending, *ranks.get(machine.id, (0, 0)))


def _member(machines: Mapping[int, Machine], kind: Kind, slot: int, places: Mapping[int, int], *, leads: bool) -> Unit:
    machine, server = machines[kind.member(slot)], machines[kind.server(slot)]
    data = machine.data
    evidence = data.get("evidence") or {}
    gone = evidence.get("provider") is False and evidence.get("incarnation") == server.data["incarnation"]
    held = places.get(data.get("playbook", 0), -1)
    waits = data.get("rebuilds", 0) > 0 and held < 0 and data.get("rebuild_ms", 0) == NOW_MS
    return Unit(
        machine.state, str(data.get("role", "")), bool(data.get("deposed")), held, 0, waits, bool(data.get("leased")),
        gone and leads and machine.state == "unavailable",
    )  # fmt: skip


def _server(machine: Machine, ranks: Ranks, *, rolls: bool) -> Unit:
    return Unit(
        machine.state, tries=min(int(machine.data.get("boots", 0)), BOOTS_MOST),
        pending=machine.state == "unavailable" and machine.since_ms == NOW_MS, planned=bool(machine.data.get("planned")),
        rank=ranks.get(machine.id, (0, 0))[0], rolled=rolls and machine.data.get("rolled") == NEAR[ROLLOUT],
    )  # fmt: skip


FIRST_TIMELINE = 2
"""Of the first promotion. 0 is one that is not known yet."""


def rebased(shelf: Shelf, *, sync: bool) -> tuple[Shelf, int]:
    """The same with its timelines counted from that of the present primary, and by how many they were told lower. Decisions
    compare them only, so that a service whose lead has moved three times is one whose lead has moved once. On an async plan
    none compares what the log has of them at all: nobody needs to have reached the primary's.
    """
    told = [value for work in shelf.works for name, value in work.facts if name == "timeline" and value]
    less = min([shelf.timeline - FIRST_TIMELINE, *(value - 1 for value in told)])
    if sync and less <= 0:
        return shelf, 0

    def lower(value: int) -> int:
        return (value - less if value else 0) if sync else 0

    works = tuple(
        work._replace(facts=tuple((name, lower(value) if name == "timeline" else value) for name, value in work.facts))
        for work in shelf.works
    )
    return shelf._replace(timeline=lower(shelf.timeline), works=works), less if sync else 0


def canonical(shelf: Shelf, count: int) -> tuple[Shelf, tuple[tuple[int, ...], ...]]:
    """The least of all namings of the members, and the turns that lead to it (more than one when members are alike)."""
    if shelf.blank:
        return shelf, (tuple(range(count)),)
    looks = [_looks(shelf, slot) for slot in range(count)]
    sorted_looks = sorted(looks)
    turned: list[tuple[Shelf, tuple[int, ...]]] = []
    for order in itertools.permutations(range(count)):
        if all(looks[slot] == sorted_looks[place] for place, slot in enumerate(order)):
            turn = tuple(order.index(slot) for slot in range(count))
            turned.append((turn_shelf(shelf, turn), turn))
    least = min(value for value, _ in turned)
    return least, tuple(turn for value, turn in turned if value == least)


def _looks(shelf: Shelf, slot: int) -> tuple[Any, ...]:
    """What can be said of a member without naming one."""
    told = tuple(
        (work.kind, work.state, tuple(_part(name, value, slot) for name, value in work.facts)) for work in shelf.works
    )
    leads = shelf.primary == slot, shelf.voters >> slot & 1, shelf.empty == slot
    return (*leads, shelf.members[slot]._replace(playbook=-1), shelf.servers[slot], sorted(told))


def _part(name: str, value: Any, slot: int) -> bool:
    return bool(value >> slot & 1) if name in MEMBERS_FACTS else name in MEMBER_FACTS and value == slot


def turn_shelf(shelf: Shelf, turn: tuple[int, ...]) -> Shelf:
    """The same with members in another order. turn: old slot -> new slot."""
    if shelf.blank:
        return shelf
    back = sorted(range(len(turn)), key=turn.__getitem__)
    works = sorted((_turn_work(work, turn), place) for place, work in enumerate(shelf.works))
    places = {old: new for new, (_, old) in enumerate(works)} | {-1: -1}
    members = (shelf.members[old] for old in back)
    return shelf._replace(
        primary=turn[shelf.primary], empty=turn[shelf.empty] if shelf.empty >= 0 else -1, voters=turn_mask(shelf.voters, turn), playbook=places[shelf.playbook],
        members=tuple(unit._replace(playbook=places[unit.playbook]) for unit in members),
        servers=tuple(shelf.servers[old] for old in back), works=tuple(work for work, _ in works),
    )  # fmt: skip


def _turn_work(work: Work, turn: tuple[int, ...]) -> Work:
    def turned(name: str, value: Any) -> Any:
        if name in MEMBERS_FACTS:
            return turn_mask(value, turn)
        single = name in MEMBER_FACTS or name == "server"
        return turn[value] if single and value >= 0 else value

    facts = tuple((name, turned(name, value)) for name, value in work.facts)
    return work._replace(facts=facts, asks=turn_mask(work.asks, turn))
