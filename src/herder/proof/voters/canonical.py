"""Symmetry: fleets that differ only in who is called 1, 2, 3 are one, and orders count only by which comes first."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import cache
from typing import Any

from herder.proof.voters.engines import stopped
from herder.proof.voters.fleet import SERVICE, Facts, Fleet, Late, Node, Work, fact, frozen

_OF_MEMBERS = frozenset({
    "primary", "old_primary", "candidate", "member", "members", "standbys", "voters", "new_voters", "keep", "added",
})  # fmt: skip
"""Facts that hold ids of members."""

Names = tuple[int, ...]
"""names[old id] -> new id; 0, and what is no member, stays."""


def canonical(fleet: Fleet) -> Fleet:
    """The one fleet that stands for all that are the same but for names. Late jobs that an agent would refuse are gone."""
    fleet = ranked(fleet)
    namings = _namings(fleet)
    if len(namings) == 1:
        return _renamed(fleet, namings[0])
    return min(_renamed(fleet, names) for names in namings)


def ranked(fleet: Fleet) -> Fleet:
    """Orders as their ranks, so that only what is older than what remains.

    What an agent promised is told as far as it decides about jobs that may still reach it: which of them it refuses, and, of
    those who look for their own mark on one that leads or was stopped, whether it
    is theirs. Every later job belongs to a state that is entered later, whose
    order is above all of these. Works have even ranks; a promise between two of them has the odd one.
    """
    term = fleet.fact("term")
    late = tuple(each for each in fleet.late if each.mark >= fleet.node(each.target).mark)
    orders = sorted({work.order for work in fleet.works} | {each.mark[1] for each in late})
    rank = {order: 2 * at for at, order in enumerate(orders, 1)}
    due = [((max(term, fact(work.facts, "term")), work.order), _looked_at(work)) for work in fleet.works]
    strikes = [work for work in fleet.works if work.kind == "strike"]
    # that nothing is confirmed is the same as no word, but to a strike whose moment lies before the first commit
    empty_counts = any(0 in work.memory for work in strikes) or (
        (bool(strikes) or fleet.left.strikes > 0) and any(not node.log for node in fleet.nodes)
    )
    nodes = []
    for ident, node in enumerate(fleet.nodes, 1):
        marks = due + [(each.mark, ()) for each in late if each.target == ident] if late else due
        told = _told(node, ident, marks, rank)
        heard = node.heard if empty_counts else tuple(each for each in node.heard if each[1])
        nodes.append(node if told == node.mark and heard == node.heard else node._replace(mark=told, heard=heard))
    works = sorted((work._replace(order=rank[work.order]) for work in fleet.works), key=_when)
    works = [
        work if work.ident == ident else work._replace(ident=ident) for ident, work in enumerate(works, SERVICE + 1)
    ]
    idents = {old.ident: new.ident for old, new in zip(sorted(fleet.works, key=_when), works, strict=True)}
    service = fleet.service
    holder = fleet.fact("playbook")
    if holder != idents.get(holder, 0):
        service = service._replace(facts=frozen(service.facts.of | {"playbook": idents.get(holder, 0)}))
    moved = tuple(sorted(Late(it.target, it.waits, (it.mark[0], rank[it.mark[1]])) for it in late))
    return fleet._replace(nodes=tuple(nodes), works=tuple(works), late=moved, service=service)


def _told(
    node: Node, ident: int, marks: list[tuple[tuple[int, int], tuple[int, ...]]], rank: dict[int, int]
) -> tuple[int, int]:
    """What an agent promised. marks: of jobs that may reach it, with the members of whom each asks whether it is theirs."""
    told = (0, 0)
    for at, looks in sorted(marks):
        if at < node.mark:
            told = at[0], rank[at[1]] + 1
        elif at == node.mark and (node.leads or stopped(node)) and ident in looks:
            told = at[0], rank[at[1]]
    return told


def _looked_at(work: Work) -> tuple[int, ...]:
    """Members of whom its effects ask whether what they promised last was its own: has it been promoted, has it stopped?"""
    if work.kind not in ("failover", "switchover"):
        return ()
    return fact(work.facts, "candidate"), fact(work.facts, "old_primary")


def _when(work: Work) -> tuple[int, str, str, int]:
    return work.order, work.kind, work.state, work.ident


def _namings(fleet: Fleet) -> list[Names]:
    """Members in the order of what can be said of them without names; all orders of those of whom the same is said."""
    roles = [fleet.service.facts, *(work.facts for work in fleet.works)]
    said = sorted(
        (tuple(_part(facts, ident) for facts in roles), _alone(node), fleet.members[ident - 1], ident)
        for ident, node in enumerate(fleet.nodes, 1)
    )
    groups = [[each[3] for each in group] for _, group in itertools.groupby(said, key=lambda each: each[:3])]
    return [_numbered(tuple(itertools.chain(*choice))) for choice in itertools.product(*map(_orders, groups))]


def _orders(group: list[int]) -> Iterator[tuple[int, ...]]:
    return itertools.permutations(group)


@cache
def _numbered(order: tuple[int, ...]) -> Names:
    names = [0] * (len(order) + 1)
    for new, old in enumerate(order, 1):
        names[old] = new
    return tuple(names)


@cache
def _part(facts: Facts, ident: int) -> tuple[bool, ...]:
    """In which facts a member is named."""
    return tuple(
        ident not in (value if isinstance(value, tuple) else (value,))
        for key, value in facts.of.items()
        if key in _OF_MEMBERS
    )


@cache
def _alone(node: Node) -> tuple[Any, ...]:
    """All of an engine but the names of others."""
    reach = tuple(sorted(far for _, far in node.heard))
    return (*node[:5], len(node.waits), (node.upstream > 0) - (node.upstream < 0), node.mark, reach)


def _renamed(fleet: Fleet, names: Names) -> Fleet:
    if _stay(names):
        return fleet
    nodes, members = [*fleet.nodes], [*fleet.members]
    for old, node in enumerate(fleet.nodes, 1):
        nodes[names[old] - 1] = _node(node, names)
        members[names[old] - 1] = fleet.members[old - 1]
    works = tuple(
        Work(it.ident, it.kind, it.state, _facts(it.facts, names), it.order, _memory(it.memory, names))
        for it in fleet.works
    )
    late = fleet.late
    if late:
        late = tuple(sorted(Late(names[it.target], tuple(sorted(names[w] for w in it.waits)), it.mark) for it in late))
    service = fleet.service._replace(facts=_facts(fleet.service.facts, names))
    return Fleet(tuple(nodes), service, tuple(members), works, late, fleet.acked, fleet.era, fleet.left)


@cache
def _stay(names: Names) -> bool:
    return names == tuple(range(len(names)))


@cache
def _node(node: Node, names: Names) -> Node:
    return node._replace(
        waits=tuple(sorted(names[it] for it in node.waits)),
        upstream=names[node.upstream] if node.upstream > 0 else node.upstream,
        heard=tuple(sorted((names[it], reach) for it, reach in node.heard)),
    )


@cache
def _facts(facts: Facts, names: Names) -> Facts:
    return frozen({key: _value(value, names) if key in _OF_MEMBERS else value for key, value in facts.of.items()})


def _value(value: Any, names: Names) -> Any:
    return tuple(sorted(names[it] for it in value)) if isinstance(value, tuple) else names[value]


def _memory(memory: tuple[Any, ...], names: Names) -> tuple[Any, ...]:
    """Pledges name a member first; a position names nobody."""
    if memory and isinstance(memory[0], tuple):
        return tuple(sorted((names[it[0]], *it[1:]) for it in memory))
    return memory
