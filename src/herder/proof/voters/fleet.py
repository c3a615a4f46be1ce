"""What the search of voters and pledges looks at: engines with their logs, and what the controller has recorded.

Everything is a value. An engine is what safety.md speaks of; what the log says are machines of the production tables,
reduced to the facts that concern voters (`KEPT`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple


class Facts:
    """Facts as a value. There is one object for each value, so that comparing and hashing cost nothing."""

    __slots__ = ("of", "plain", "serial")
    _all: ClassVar[dict[tuple[tuple[str, Any], ...], Facts]] = {}

    def __init__(self, pairs: tuple[tuple[str, Any], ...], serial: int) -> None:
        self.of = dict(pairs)
        self.plain = {key: list(value) if isinstance(value, tuple) else value for key, value in pairs}
        self.serial = serial

    def __lt__(self, other: Facts) -> bool:
        return self.serial < other.serial

    @classmethod
    def known(cls, pairs: tuple[tuple[str, Any], ...]) -> Facts:
        """The object of these sorted pairs, lists as tuples."""
        found = cls._all.get(pairs)
        if found is None:
            found = cls._all[pairs] = cls(pairs, len(cls._all))
        return found


SERVICE = 100
"""The service's id; members have 1, 2, ..., playbooks 101, 102, ..."""

KEPT: dict[str, frozenset[str]] = {
    "service": frozenset({"sync", "primary", "members", "voters", "term", "timeline", "playbook"}),
    "member": frozenset({"role", "deposed", "service"}),
}
"""Facts that are kept of units; counts, times and evidence are left out. Of playbooks all are kept."""


class Node(NamedTuple):
    """An engine with its data and its agent's promise.

    log: for each commit that it holds, in order, the era it was written in (an era is one promotion: who leads for the
    how-manieth time). timeline: what it reports with a pledge. leads: the era in which it takes writes, 0 = a standby.
    fork: how many commits lie before its timeline. waits: W, whose confirmation it waits for. upstream: whom it streams
    from, 0 = nobody. mark: (term, order) that its agent promised. heard: member -> how far that one has confirmed to it.
    """

    log: tuple[int, ...]
    timeline: int = 1
    up: bool = True
    leads: int = 0
    fork: int = 0
    waits: tuple[int, ...] = ()
    upstream: int = 0
    mark: tuple[int, int] = (1, 0)
    heard: tuple[tuple[int, int], ...] = ()


class Machine(NamedTuple):
    """A unit as the log has it."""

    kind: str
    state: str
    facts: Facts


class Work(NamedTuple):
    """A playbook under way. order: when its state was entered. memory: what its handler knows and a crash forgets:
    pledges (member, timeline, commits), or the position of a strike.
    """

    ident: int
    kind: str
    state: str
    facts: Facts
    order: int
    memory: tuple[Any, ...] = ()


class Late(NamedTuple):
    """A sync set on its way to a primary, sent by work that has moved on since."""

    target: int
    waits: tuple[int, ...]
    mark: tuple[int, int]


class Left(NamedTuple):
    """How much more may happen. commits, crashes of an engine, crashes of the controller, attempts to lead (failovers,
    switchovers), strikes, rebuilds.
    """

    commits: int
    crashes: int
    takeovers: int
    leads: int
    strikes: int
    rebuilds: int


class Fleet(NamedTuple):
    """One state of the search. acked: the longest log that a client was told is safe. era: promotions so far."""

    nodes: tuple[Node, ...]
    service: Machine
    members: tuple[Machine, ...]
    works: tuple[Work, ...]
    late: tuple[Late, ...]
    acked: tuple[int, ...]
    era: int
    left: Left

    def node(self, ident: int) -> Node:
        """A member's engine."""
        return self.nodes[ident - 1]

    def with_node(self, ident: int, **changes: Any) -> Fleet:
        """The same with one engine changed."""
        at = ident - 1
        return self._replace(nodes=(*self.nodes[:at], self.nodes[at]._replace(**changes), *self.nodes[at + 1 :]))

    def fact(self, name: str) -> Any:
        """A fact of the service."""
        return fact(self.service.facts, name)

    def spend(self, what: str) -> Fleet:
        """One less of it."""
        return self._replace(left=self.left._replace(**{what: getattr(self.left, what) - 1}))

    @property
    def active(self) -> Work | None:
        """The playbook that holds the service."""
        held = self.fact("playbook")
        return next((work for work in self.works if work.ident == held), None)


def fact(facts: Facts, name: str, default: Any = 0) -> Any:
    """One fact of many."""
    return facts.of.get(name, default)


def frozen(facts: Mapping[str, Any]) -> Facts:
    """Plain facts as a value."""
    return Facts.known(tuple(sorted((key, _still(value)) for key, value in facts.items())))


def _still(value: Any) -> Any:
    return tuple(_still(each) for each in value) if isinstance(value, list | tuple | set) else value


def first(members: int, voters: int, left: Left) -> Fleet:
    """A sync service at rest: member 1 leads, the next `voters` of the others are voters, all stream."""
    others = tuple(range(2, members + 1))
    chosen = others[:voters]
    leader = Node((), leads=1, waits=chosen, heard=tuple((member, 0) for member in others))
    service = {
        "sync": True, "primary": 1, "members": [1, *others], "voters": list(chosen), "term": 1, "timeline": 1, "playbook": 0,
    }  # fmt: skip
    units = tuple(
        Machine("member", "available", frozen({"role": role, "deposed": False, "service": SERVICE}))
        for role in ("primary", *("standby" for _ in others))
    )
    nodes = (leader, *(Node((), upstream=1) for _ in others))
    return Fleet(nodes, Machine("service", "available", frozen(service)), units, (), (), (), 1, left)
