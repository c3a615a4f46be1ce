"""Rules that are seen in one step of the log: what began on which word, what was dropped, what came back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from herder.engine.decide import Decision, Input
from herder.engine.world import Machine
from herder.machines.verify import MUST_LAND
from herder.proof.product.shelf import FIRST_PLAYBOOK, SERVICE

LEADING = ("failover", "switchover")
HELD = ("member", "server")

ONE_WORD = ("silent", "silent_long", "suspected", "recheck")
"""Events that say that somebody misses it, or nothing but time."""

Machines = Mapping[int, Machine]


def broken(before: Machines, after: Machines, decision: Decision, awaited: Sequence[Input]) -> str:
    """The first rule that a step breaks, in words that begin with its number; '' for none. awaited: outcomes of effects
    that were due, and deadlines: none may be dropped.
    """
    return next(_broken(before, after, decision, awaited), "")


def _broken(before: Machines, after: Machines, decision: Decision, awaited: Sequence[Input]) -> Iterator[str]:
    for item, reason in decision.dropped:
        kind = after[item.machine].kind if item.machine in after else ""
        if not reason.startswith("means nothing"):
            continue
        if item in awaited:
            yield f"outcomes: '{item.event}' of a {kind} that is {before[item.machine].state} has no row"
        for where, event, states, harm in MUST_LAND:
            if (kind, item.event) == (where, event) and after[item.machine].state in states:
                yield f"landing: '{event}' is dropped by a {kind} that is {after[item.machine].state}: {harm}"
    for move in decision.moves:
        table = after[move.machine].table
        source, target = table.state_names[move.source], table.state_names[move.target]
        if source == "terminated":
            yield f"S11: a {table.kind} leaves terminated for {target}"
        if source != target == "unavailable" and table.kind in HELD and table.events[move.event] in ONE_WORD:
            yield f"S6: a {table.kind} is known to be lost on one word, '{table.events[move.event]}'"
    if SERVICE in before and SERVICE in after:
        yield from _terms(before, after)
    for ident, machine in after.items():
        if ident >= FIRST_PLAYBOOK and ident not in before:
            yield from _begun(before, after, machine)


def _terms(before: Machines, after: Machines) -> Iterator[str]:
    was, now = int(before[SERVICE].data["term"]), int(after[SERVICE].data["term"])
    if now < was:
        yield f"S10: the service's term goes back from {was} to {now}"
    began = [m for ident, m in after.items() if ident not in before and m.kind in LEADING]
    if began and now <= was:
        yield f"S10: a {began[0].kind} begins without a term of its own"


def _begun(before: Machines, after: Machines, work: Machine) -> Iterator[str]:
    """Remedies that begin by themselves do so on known facts (S6), and not before their pause is over (S8)."""
    data, service = work.data, before.get(SERVICE)
    if service is None:
        return
    if work.kind == "failover" and "cause" in data and data.get("counts"):
        yield from _on_knowledge(after[data["old_primary"]], work)
    if work.kind == "strike":
        yield from _on_knowledge(after[data["member"]], work)
    if work.kind == "rebuild" and data["member"] in before and before[data["member"]].state == "uncertain":
        yield from _on_knowledge(after[data["member"]], work)
    if (
        work.kind in ("failover", "provision")
        and service.data["retry_ms"]
        and service.data["retry_ms"] == after[SERVICE].data["retry_ms"]
    ):
        yield f"S8: a {work.kind} begins while the service's pause after a failure lasts"


def _on_knowledge(member: Machine, work: Machine) -> Iterator[str]:
    if member.state in ("available", "uncertain"):
        yield f"S6: a {work.kind} begins against a member that is only {member.state}"
