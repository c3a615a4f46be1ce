"""Rules that are seen in one step of the log: what began on which word, what was dropped, what came back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from herder.engine.decide import Decision, Input
from herder.engine.world import Machine
from herder.machines.verify import MUST_LAND
from herder.proof.product.shelf import FIRST_PLAYBOOK, NEAR, SERVICE

LEADING = ("failover", "switchover")
HELD = ("member", "server")

ONE_WORD = ("silent", "silent_long", "suspected", "recheck")
"""Events that say that somebody misses it, or nothing but time."""

AUTOMATION = "herder"
HOLDING = ("incident", "freeze", "dependency")
FREEZING = ("verifying", "ours", "paused", "frozen")
DOWN = ("uncertain", "unavailable")
ENDS_SOMETHING = ("failover", "rebuild", "strike", "restart", "boot")
TAKES_TURNS = ("failover", "restart", "rebuild")
ASKS_PROVIDER = ("rebuild", "provision", "boot")
"""What may hold remedies back, and which: said here once more, since the gate's own lists are what is checked."""

Machines = Mapping[int, Machine]


def broken(before: Machines, after: Machines, decision: Decision, awaited: Sequence[Input]) -> str:
    """The first rule that a step breaks, in words that begin with its number; '' for none. awaited: outcomes of effects
    that were due, and deadlines: none may be dropped.
    """
    return next(_broken(before, after, decision, awaited), "")


def _broken(before: Machines, after: Machines, decision: Decision, awaited: Sequence[Input]) -> Iterator[str]:
    yield from _dropped(after, decision, awaited)
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
    if any(NEAR[kind] in before for kind in HOLDING):
        yield from _held_back(before, after, decision)


def _held_back(before: Machines, after: Machines, decision: Decision) -> Iterator[str]:
    """What herder begins by itself: nothing where remedies are frozen, out of turn (S7), or without what it needs (S8)."""
    for move in decision.moves:
        machine = after[move.machine]
        begun = machine.kind if move.machine not in before else "boot" if _is_boot(machine, move.event) else ""
        if not begun or move.actor != AUTOMATION:
            continue
        for kind in HOLDING:
            was, now = before.get(NEAR[kind]), after.get(NEAR[kind])
            if was is None or now is None or was.state != now.state:
                continue
            if begun in ENDS_SOMETHING and was.state in FREEZING:
                yield f"S7: a {begun} begins while remedies are frozen: the {kind} is {was.state}"
            turn = max(now.data.get("upto") or (0,)) >= SERVICE or (begun == "rebuild" and _waited_for(before))
            if begun in TAKES_TURNS and was.state == "recovering" and not turn:
                yield f"S7: a {begun} begins, and its turn in the recovery has not come"
            if begun in ASKS_PROVIDER and kind == "dependency" and was.state in DOWN and was.data["what"] == "provider":
                yield f"S8: a {begun} begins while its provider is {was.state}"


def _waited_for(before: Machines) -> bool:
    """Does one that had its turn wait for a follower? A rebuild that waited for a turn of its own would keep it waiting for ever."""
    return any(machine.kind in LEADING and machine.state == "repointing" for machine in before.values())


def _is_boot(machine: Machine, event: int) -> bool:
    return machine.kind == "server" and machine.table.events[event] == "boot"


def _dropped(after: Machines, decision: Decision, awaited: Sequence[Input]) -> Iterator[str]:
    for item, reason in decision.dropped:
        kind = after[item.machine].kind if item.machine in after else ""
        if item.create and reason.endswith("exists"):
            yield f"landing: a {item.create} is not made, since its id was given away in the same record"
        _, means_nothing, state = reason.partition("means nothing in ")
        if not means_nothing:
            continue
        if item in awaited:
            yield f"outcomes: '{item.event}' of a {kind} that is {state} has no row"
        for where, event, states, harm in MUST_LAND:
            if (kind, item.event) == (where, event) and state in states:
                yield f"landing: '{event}' is dropped by a {kind} that is {state}: {harm}"


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
