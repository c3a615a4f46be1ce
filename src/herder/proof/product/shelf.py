"""The half of a state that the log holds, as a value.

Times are kept as 'still waits' or 'is over', counts up to where a decision stops telling them apart, terms by how far they
lie behind the service's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, NamedTuple

from herder.engine.world import Machine
from herder.machines.table import Facts, Row, State, Table
from herder.proof.product.report import Tables
from herder.remedies.catalogue import LASTING

SERVICE = 1
EXERCISED = 18
FAILED = 19
FIRST_PLAYBOOK = 20
FIRST_PAGE = 60
FIRST_NEAR_PAGE = 90
NOW_MS = 10_000_000_000
"""Steps happen at one moment: what is early waits until a step of its own says that its time is over."""

TERM = 100
"""The service's present term; those of playbooks are told by how far they lie behind it."""

INCARNATION = 50
LEASE_S = 5.0
NAME = "orders"
MEMBERS_MOST = 4
OLDEST = 3
"""Terms that lie farther back than this are not told apart."""

STEP = 8
"""Between the places of two states: marks of states that were left since lie between them."""

BOOTS_MOST = 4
FAILOVERS_MOST = 2

CALLED = frozenset({"failover_blocked", "rebuild_fails", "exercise_failed", "durability_overridden"})
"""Pages that decisions look for; of all others it is kept that one is open."""

PASSING = CALLED - LASTING
"""Those of them that end when all others do, so that of the others nothing need be kept beside one of these."""

SOME_PAGE = "another"

JOBS = frozenset({"failover", "switchover", "restart", "rebuild", "strike", "provision", "destroy"})
"""Kinds whose effects ask agents, so that the order of their states matters to what an agent has promised."""

ASKS: dict[str, tuple[str, ...]] = {
    "fence_primary": ("old_primary",), "await_lease": ("standbys",), "collect_pledges": ("standbys",),
    "promote_candidate": ("candidate", "standbys"), "withdraw_promotion": ("candidate",), "repoint_standbys": ("standbys",), "end_primary": ("old_primary",),
    "prepare_switchover": (), "drain_primary": ("old_primary", "candidate"),
    "look_who_leads": ("old_primary",), "promote_drained": ("candidate", "standbys"),
    "restart_primary": ("member", "members"), "place_member": (), "rejoin_member": ("member",), "await_catch_up": (),
    "load_sync_set": ("primary",), "shrink_sync_set": ("primary",), "await_servers": (), "found_primary": ("primary",),
    "clone_standbys": ("members",), "load_first_sync_set": ("primary",), "stop_members": ("members",),
    "trash_members": ("members",), "boot_server": ("member",), "end_server": ("member",),
}  # fmt: skip
"""Effect -> facts that name the members whose agents it asks to do something, and who promise something by that."""

MEMBER_FACTS = ("old_primary", "candidate", "member", "primary", "to")
MEMBERS_FACTS = ("standbys", "voters", "new_voters", "keep", "added")
PLAIN_FACTS = (
    "sync",
    "on_isolation",
    "counts",
    "timeline",
    "tries",
    "how",
    "consent",
    "service_name",
    "rest",
    "alone",
    "exercise",
)


class Unit(NamedTuple):
    """A member or a server. role, deposed, leased, gone: of members; boots, planned: of servers. pending: its pause lasts.

    playbook: place of the playbook that holds it, NOBODY without; gone: its provider said that nothing of it runs;
    rolled: the rollout that goes on has rebooted it.
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
    rolled: bool = False


class Near(NamedTuple):
    """A machine of the fleet's that has to do with the service. facts: what decisions read of it; pages: open ones about it."""

    kind: str
    state: str
    facts: tuple[tuple[str, Any], ...] = ()
    pages: tuple[str, ...] = ()

    def get(self, fact: str, default: Any = None) -> Any:
        """One fact."""
        return dict(self.facts).get(fact, default)


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
    empty: the member that was found without data, -1 for none. around: machines of the fleet's, by kind; notes: what the
    service notes of them (`Kind.notes`).
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
    around: tuple[Near, ...] = ()
    notes: tuple[tuple[str, Any], ...] = ()

    def near(self, kind: str) -> Near | None:
        """The machine of this kind of the fleet's, None when there is none."""
        return next((each for each in self.around if each.kind == kind), None)


@dataclass(frozen=True, slots=True)
class Kind:
    """What does not change of a service: how many members, whether commits wait, what an isolated primary does.

    notes: which of the facts that it notes about the fleet are kept; where nothing of the fleet is near, none are.
    """

    members: int
    sync: bool
    on_isolation: str = "serve"
    plan: str = "premium"
    notes: tuple[str, ...] = ()

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
    "exercise_run", "exercise_last", "exercise_set",  # the calendar of exercises: when one is asked for is anybody's guess
    "evidence", "cause",  # words for people, but for a server that is known to be gone
    "why", "window", "total", "admitted", "done",  # words and counts for people, of incidents, freezes and rollouts
    "times", "last_ms",  # how often a page was raised
})  # fmt: skip
"""Facts that decisions read and that are left out on purpose."""


EXERCISE, ROLLOUT = "exercise_run", "rollout"
"""Notes of the service: the exercise that is not recorded as over; of its servers: the rollout that reboots them."""

NEAR: dict[str, int] = {"dependency": 80, "archive": 81, "incident": 82, "freeze": 83, "rollout": 84}
"""Kinds of the fleet's machines -> the id of the one that there may be."""

FREE = 100
"""Ids from here on are nobody's where something of the fleet is near."""

NEAR_FACTS: dict[str, tuple[str, ...]] = {
    "dependency": ("what", "scope", "told"), "archive": ("store", "service"), "incident": ("scopes", "scope", "rounds", "began_ms", "upto"),
    "freeze": ("scope", "by"), "rollout": ("scope", "until_ms"),
}  # fmt: skip
"""What is kept of each."""

KEPT = frozenset((
    *MEMBER_FACTS, *MEMBERS_FACTS, *PLAIN_FACTS, "server", "boots", "planned", "term", "name", "service", "rolled",
    *(fact for facts in NEAR_FACTS.values() for fact in facts),
))  # fmt: skip
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
