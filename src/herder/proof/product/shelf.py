"""The half of a state that the log holds, as a value: machines to a `Shelf` and back, and one with its members turned round.

Times are kept as 'still waits' or 'is over', counts up to where a decision stops telling them apart, terms by how far they
lie behind the service's.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, NamedTuple

from herder.engine.world import Machine
from herder.machines.table import Facts, Row, State, Table
from herder.proof.product.report import Tables

SERVICE = 1
FAILED = 19
FIRST_PLAYBOOK = 20
FIRST_PAGE = 60
NOW_MS = 10_000_000_000
"""Steps happen at one moment: what is early waits until a step of its own says that its time is over."""

TERM = 100
"""The service's present term; those of playbooks are told by how far they lie behind it."""

INCARNATION = 50
LEASE_S = 5.0
NAME = "orders"
OLDEST = 3
"""Terms that lie farther back than this are not told apart."""

STEP = 8
"""Between the places of two states: marks of states that were left since lie between them."""

BOOTS_MOST = 4
FAILOVERS_MOST = 2

CALLED = frozenset({"failover_blocked", "rebuild_fails"})
"""Pages that decisions look for; of all others it is kept that one is open."""

SOME_PAGE = "another"

JOBS = frozenset({"failover", "switchover", "restart", "rebuild", "strike", "provision", "destroy"})
"""Kinds whose effects ask agents, so that the order of their states matters to what an agent has promised."""

ASKS: dict[str, tuple[str, ...]] = {
    "fence_primary": ("old_primary",), "await_lease": ("standbys",), "collect_pledges": ("standbys",),
    "promote_candidate": ("candidate", "standbys"), "repoint_standbys": ("standbys",), "end_primary": ("old_primary",),
    "prepare_switchover": (), "drain_primary": ("old_primary",), "promote_drained": ("candidate", "standbys"),
    "restart_primary": ("member",), "place_member": (), "rejoin_member": ("member",), "await_catch_up": (),
    "load_sync_set": ("primary",), "shrink_sync_set": ("primary",), "await_servers": (), "found_primary": ("primary",),
    "clone_standbys": ("members",), "load_first_sync_set": ("primary",), "stop_members": ("members",),
    "trash_members": ("members",), "boot_server": ("member",), "end_server": ("member",),
}  # fmt: skip
"""Effect -> facts that name the members whose agents it asks to do something, and who promise something by that."""

MEMBER_FACTS = ("old_primary", "candidate", "member", "primary", "to")
MEMBERS_FACTS = ("standbys", "voters", "new_voters", "keep", "added")
PLAIN_FACTS = ("sync", "on_isolation", "counts", "timeline", "tries", "how", "consent", "service_name", "rest", "alone")


class Unit(NamedTuple):
    """A member or a server. role, deposed, leased, gone: of members; boots, planned: of servers. pending: its pause lasts.

    playbook: place of the playbook that holds it, NOBODY without; gone: its provider said that nothing of it runs.
    """

    state: str
    role: str = ""
    deposed: bool = False
    playbook: int = -1
    tries: int = 0
    pending: bool = False
    leased: bool = False
    gone: bool = False
    planned: bool = False
    rank: int = 0


class Work(NamedTuple):
    """A live playbook. behind: terms that it lies behind the service's; facts: what of its own the handlers read, members
    as slots. rank, asks: `ranks_of`.
    """

    kind: str
    state: str
    behind: int
    facts: tuple[tuple[str, Any], ...]
    pending: bool
    rank: int
    asks: int

    def get(self, fact: str, default: Any = None) -> Any:
        """One fact."""
        for name, value in self.facts:
            if name == fact:
                return value
        return default


class Shelf(NamedTuple):
    """All machines of the service as a value. voters: a mask of slots. failed: the kind of the playbook that failed last.
    empty: the member that was found without data, -1 for none.
    """

    state: str
    primary: int
    voters: int
    playbook: int
    failed: str
    failovers: int
    retry: bool
    strike_retry: bool
    timeline: int
    empty: int
    members: tuple[Unit, ...]
    servers: tuple[Unit, ...]
    works: tuple[Work, ...]
    pages: tuple[str, ...]
    blank: bool = False


@dataclass(frozen=True, slots=True)
class Kind:
    """What does not change of a service: how many members, whether commits wait, what an isolated primary does."""

    members: int
    sync: bool
    on_isolation: str = "serve"
    plan: str = "premium"

    def member(self, slot: int) -> int:
        """The id of the member in a slot."""
        return SERVICE + 1 + slot

    def server(self, slot: int) -> int:
        """The id of its server."""
        return SERVICE + 1 + self.members + slot

    def slots(self, mask: int) -> list[int]:
        """The slots of a mask."""
        return [slot for slot in range(self.members) if mask >> slot & 1]

    def idents(self, mask: int) -> list[int]:
        """The members of a mask."""
        return [self.member(slot) for slot in self.slots(mask)]

    def slot(self, ident: Any) -> int:
        """The slot of a member or server, -1 for nobody."""
        place = int(ident or 0) - SERVICE - 1
        return place % self.members if 0 <= place < 2 * self.members else -1

    def mask(self, idents: Iterable[Any]) -> int:
        """Members as a mask."""
        return sum(1 << self.slot(ident) for ident in set(idents))


class Seen(Table):
    """A table that tells which of its rows fired."""

    def row(self, state: str, event: str, facts: Facts, brought: Facts) -> Row | None:
        """The row that fires, noted."""
        found = super().row(state, event, facts, brought)
        if found is not None:
            self.fired.append((self.kind, self.places[id(found)]))
        return found

    @cached_property
    def fired(self) -> list[tuple[str, int]]:
        """Kind and number of the rows that fired since it was emptied."""
        return []

    @cached_property
    def places(self) -> dict[int, int]:
        """Row -> its number."""
        return {id(row): place for place, row in enumerate(self.rows)}


def watched(tables: Tables) -> dict[str, Seen]:
    """The same tables, by kind."""
    return {table.kind: Seen(**{field.name: getattr(table, field.name) for field in fields(Table)}) for table in tables}


FORGOTTEN = frozenset({
    "failures",  # how long pauses are: each lasts as long as it likes here
    "parked", "parked_by",  # nothing is frozen, down or used up
    "zone", "provider", "version", "image", "image_next", "rollout",  # where a server stands, and on which image
    "counted",  # numbers of lives that never began: they are not used again
    "evidence", "cause",  # words for people, but for a server that is known to be gone
})  # fmt: skip
"""Facts that decisions read and that are left out on purpose."""


KEPT = frozenset((*MEMBER_FACTS, *MEMBERS_FACTS, *PLAIN_FACTS, "server", "boots", "planned", "term", "name", "service"))
"""Facts that are kept where there are any."""


class Kept(dict[str, Any]):
    """Facts of a machine. To read one that a state does not keep is an error: it would be forgotten between two steps."""

    def get(self, key: str, default: Any = None) -> Any:
        """One fact, or the default."""
        if key in self or key in KEPT or key in FORGOTTEN:
            return super().get(key, default)
        raise Forgotten(key)


class Forgotten(Exception):
    """A decision read a fact that the checker does not keep: add it to the shelf, or to FORGOTTEN with its reason."""


class Cell(Machine):
    """A machine of the tables that are checked, which need not be those that run."""

    __slots__ = ("of",)
    of: Table

    @property
    def table(self) -> Table:
        """Its lifecycle."""
        return self.of

    @property
    def at(self) -> State:
        """The definition of its present state."""
        return self.of.by_name[self.state]

    def copy(self) -> Cell:
        """A private copy to decide on."""
        made = Cell(self.id, self.kind, self.state, self.version, self.entered, self.order, self.since_ms,
                    self.deadline_ms, Kept(self.data))  # fmt: skip
        made.of = self.of
        return made


def machines_of(shelf: Shelf, kind: Kind, tables: Mapping[str, Seen]) -> dict[int, Cell]:
    """The machines of a value, as decisions know them."""
    if shelf.blank:
        return {}
    made = _Making(kind, tables)
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
        self.cell(SERVICE, "service", shelf.state, data)
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


def shelf_of(machines: Mapping[int, Machine], kind: Kind) -> Shelf:
    """The value of machines."""
    service = machines.get(SERVICE)
    if service is None:
        return BLANK
    ranks = ranks_of(machines, kind)
    found = sorted(
        (_work(machine, kind, service, ranks), machine.id) for machine in machines.values() if is_work(machine)
    )
    places = {ident: place for place, (_, ident) in enumerate(found)}
    data, failed = service.data, machines.get(service.data.get("failed_playbook", 0))
    pages = {m.data["reason"] for m in machines.values() if m.kind == "page" and m.state == "open"}
    units = range(kind.members)
    primary = kind.slot(data["primary"])
    return Shelf(
        service.state, primary, kind.mask(data["voters"]), places.get(data.get("playbook", 0), -1),
        failed.kind if failed is not None else "", min(len(data.get("failovers", ())), FAILOVERS_MOST),
        data.get("retry_ms", 0) > NOW_MS, data.get("strike_retry_ms", 0) > NOW_MS, int(data.get("timeline", 0)),
        kind.slot(data.get("no_data", 0)),
        tuple(_member(machines, kind, slot, places, leads=slot == primary) for slot in units),
        tuple(_server(machines[kind.server(slot)], ranks) for slot in units),
        tuple(work for work, _ in found),
        tuple(sorted(CALLED & pages)) + ((SOME_PAGE,) if pages - CALLED else ()),
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


def _work(machine: Machine, kind: Kind, service: Machine, ranks: Mapping[int, tuple[int, int]]) -> Work:
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


def _server(machine: Machine, ranks: Mapping[int, tuple[int, int]]) -> Unit:
    return Unit(
        machine.state, tries=min(int(machine.data.get("boots", 0)), BOOTS_MOST),
        pending=machine.state == "unavailable" and machine.since_ms == NOW_MS, planned=bool(machine.data.get("planned")),
        rank=ranks.get(machine.id, (0, 0))[0],
    )  # fmt: skip


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


def turn_mask(mask: int, turn: tuple[int, ...]) -> int:
    """A mask of old slots as one of new slots."""
    return sum(1 << turn[slot] for slot in range(len(turn)) if mask >> slot & 1)


def member_name(slot: int) -> str:
    """What a member is called in traces."""
    return "abcd"[slot]


BLANK = Shelf(
    state="absent", primary=0, voters=0, playbook=-1, failed="", failovers=0, retry=False, strike_retry=False, timeline=0,
    empty=-1, members=(), servers=(), works=(), pages=(), blank=True,
)  # fmt: skip
"""Nothing is made yet."""


def serving(kind: Kind) -> Shelf:
    """A service that is well, the first member its primary."""
    standbys = (1 << kind.members) - 2
    roles = ("primary", *("standby" for _ in range(kind.members - 1)))
    return BLANK._replace(
        state="available", voters=standbys if kind.sync else 0, members=tuple(Unit("available", role) for role in roles),
        servers=tuple(Unit("available") for _ in roles), blank=False,
    )  # fmt: skip
