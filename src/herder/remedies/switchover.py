"""Handlers of switchover: prepare while writes go on, then stop the old primary cleanly and promote what has everything."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from herder.engine.effects import Outcome
from herder.engine.world import Machine
from herder.model.errors import HerderError, Unreachable
from herder.model.lsn import format_lsn
from herder.model.plans import Engine
from herder.ports.driver import Position, Role
from herder.remedies.election import may_lead_drained
from herder.remedies.enrolment import successors
from herder.remedies.failover import Promoted, lead
from herder.remedies.hands import Hands, JobFailed, JobRefused, ask_each
from herder.remedies.rebuild import CLOSE_BYTES
from herder.remedies.room import NEEDED, cramped

MOVE_TIMEOUT_MS = 5000
RUNNING = ("available", "uncertain")
"""States of a server that may run; in any other its life is known to have ended."""


class Prepared(StrEnum):
    """Outcomes of `prepare_switchover`."""

    READY = "ready"
    NOT_READY = "not_ready"


class Drained(StrEnum):
    """Outcomes of `drain_primary`."""

    DRAINED = "drained"
    MOVED = "moved"
    DRAIN_FAILED = "drain_failed"


async def prepare_switchover(hands: Hands, work: Machine) -> Outcome:
    """Checkpoint both sides, so that stopping and promoting are short, and make sure the candidate is close."""
    old = hands.get(work.data["old_primary"])
    wanted = [work.data["to"]] if work.data.get("to") else work.data["standbys"]
    await ask_each([old.id, *wanted], lambda ident: hands.ask(work, hands.get(ident), "checkpoint", answer_s=20.0))
    reading = await hands.read(old)
    reach = {ident: reading.streaming.get(hands.get(ident).name) for ident in wanted}
    close = {ident: at for ident, at in reach.items() if at is not None and _lag(reading.position, at) <= CLOSE_BYTES}
    if not close:
        names = ", ".join(hands.get(ident).name for ident in wanted)
        return Outcome(Prepared.NOT_READY, why=f"none of {names} streams within {CLOSE_BYTES >> 20} MiB of {old.name}")
    full = cramped(hands, close)
    roomy = {ident: at for ident, at in close.items() if ident not in full}
    if not roomy:
        names = ", ".join(hands.get(ident).name for ident in full)
        return Outcome(Prepared.NOT_READY, why=f"the disk of {names} is full: {NEEDED}")
    candidate = max(roomy, key=lambda ident: (roomy[ident], -ident))
    voters = successors(work.data["standbys"], candidate, old.id)
    facts = {"candidate": candidate, "new_voters": voters if hands.service(work).data["sync"] else [], "counts": False}
    return Outcome(Prepared.READY, facts, why=f"{hands.get(candidate).name} is caught up")


def _lag(position: Position | None, at: int) -> int:
    return position.lsn - at if position is not None else 0


async def drain_primary(hands: Hands, work: Machine) -> Outcome:
    """PostgreSQL: a clean stop sends every standby all there is. Valkey hands over by itself (FAILOVER)."""
    service, old = hands.service(work), hands.get(work.data["old_primary"])
    candidate = hands.get(work.data["candidate"])
    if service.data["engine"] == Engine.VALKEY:
        args = {"source": msgspec.to_builtins(hands.source(candidate)), "timeout_ms": MOVE_TIMEOUT_MS}
        try:
            await hands.ask(work, old, "failover_to", args)
            guard = hands.guard_set(service, candidate, [])
            await hands.ask(work, candidate, "promote", {"sync": msgspec.to_builtins(guard)})
        except (JobFailed, JobRefused) as error:
            return Outcome(Drained.DRAIN_FAILED, why=error.message)
        return Outcome(Drained.MOVED, {"fence": "FAILOVER: the engine paused its writes and handed over"})
    try:
        drained = await hands.ask(work, old, "drain", answer_s=10.0)
    except (JobFailed, JobRefused) as error:
        return Outcome(Drained.DRAIN_FAILED, why=error.message)
    facts = {"fence": f"stopped, confirmed by its agent: {drained['how']}", "rest": drained["rest"]}
    return Outcome(Drained.DRAINED, facts)


class Looked(StrEnum):
    """Outcomes of `look_who_leads`. As long as it cannot be told there is none: it is looked at again."""

    MOVED = "moved"
    STAYED = "stayed"


class Seen(StrEnum):
    """What a look at a member's engine showed. ended: its agent says that it does not run; unseen: nobody could look."""

    LEADS = "leads"
    FOLLOWS = "follows"
    ENDED = "ended"
    UNSEEN = "unseen"


def who_leads(old: Seen, candidate: Seen, *, gone: bool) -> Looked | None:
    """Did an engine that hands over by itself do so? None: it cannot be told. Pure.

    gone: the old primary's server is known not to run, so nothing is handed over there any more. The candidate leads only by
    the old primary's word, and the old one follows only after the candidate had everything. Two that lead are for a person.
    """
    if candidate is Seen.LEADS:
        return None if old is Seen.LEADS else Looked.MOVED
    if old is Seen.LEADS:
        return Looked.STAYED
    if old is Seen.FOLLOWS:
        return Looked.MOVED if candidate is Seen.ENDED else None
    if old is Seen.ENDED:
        return Looked.STAYED if candidate is not Seen.UNSEEN else None
    return Looked.STAYED if gone and candidate is not Seen.UNSEEN else None


async def look_who_leads(hands: Hands, work: Machine) -> Outcome:
    """After a drain of which nobody learnt the end. An order to hand over may still be on its way to the old primary, so one
    that leads is told to go on: its agent lets in nothing older from then on, and its driver ends a hand-over under way.
    """
    service, old = hands.service(work), hands.get(work.data["old_primary"])
    candidate = hands.get(work.data["candidate"])
    if service.data["engine"] != Engine.VALKEY:
        return Outcome(Looked.STAYED, why="only a promotion moves its lead, and none was asked for")
    seen = {member.id: await _seen(hands, member) for member in (old, candidate)}
    gone = hands.server_of(old).state not in RUNNING
    found = who_leads(seen[old.id], seen[candidate.id], gone=gone)
    told = f"{old.name} {seen[old.id]}, {candidate.name} {seen[candidate.id]}"
    if found is None:
        raise Unreachable(f"who leads {service.name} cannot be told: {told}")
    if found is Looked.STAYED and seen[old.id] is Seen.LEADS:
        guard = hands.guard_set(service, old, [])
        await hands.ask(work, old, "set_sync", {"sync": msgspec.to_builtins(guard)})
    facts = {"fence": "FAILOVER: the engine paused its writes and handed over"} if found is Looked.MOVED else {}
    return Outcome(found, facts, why=told)


async def _seen(hands: Hands, member: Machine) -> Seen:
    try:
        reading = await hands.read(member)
    except HerderError:
        return Seen.UNSEEN
    if not reading.alive:
        return Seen.UNSEEN if reading.pid else Seen.ENDED  # one that starts or hangs says nothing yet
    return Seen.LEADS if reading.role is Role.PRIMARY else Seen.FOLLOWS


async def _has_everything(hands: Hands, work: Machine, candidate: Machine) -> bool:
    """The old primary was stopped cleanly, so nothing can follow its shutdown checkpoint. Or the candidate leads already: it
    is asked again, and says so.
    """
    reading = await hands.read(candidate)
    if reading.alive and reading.role is Role.PRIMARY:
        return True
    if work.data.get("rest") is None:
        return False
    rest = msgspec.convert(work.data["rest"], Position)
    return (
        reading.alive
        and reading.position is not None
        and reading.position.timeline == rest.timeline
        and (reading.received or 0) > rest.lsn
    )


async def promote_drained(hands: Hands, work: Machine) -> Outcome:
    """The candidate leads when it has everything: it received the old primary's shutdown checkpoint, or, where that is
    not known, it and the others pledge and nobody reaches farther. Only one that has just pledged is known not to lead: one
    that does not pledge may have been promoted before, by an ask whose answer (or whose controller) was lost.
    """
    service, candidate = hands.service(work), hands.get(work.data["candidate"])
    if not await _has_everything(hands, work, candidate):
        pledges, errors = await ask_each(
            work.data["standbys"], lambda ident: hands.position(work, hands.get(ident), "pledge", {}, 2.0)
        )
        if candidate.id in errors:
            if isinstance(errors[candidate.id], JobFailed):
                # it may lead, and have ended since (its host was booted again): nobody else starts it while this holds the service
                await hands.ask(work, candidate, "start")
            raise Unreachable(f"{candidate.name} may lead or not: {errors[candidate.id].message}")
        voters = service.data["voters"] if service.data["sync"] else []
        if reason := may_lead_drained(candidate.id, voters, pledges, service.data.get("timeline", 0)):
            return Outcome(Promoted.REFUSED, why=f"{candidate.name} does not lead: {reason}")
    try:
        now = await lead(hands, work, candidate)
    except JobRefused as error:  # any other failure: it may lead already, so it is asked again
        return Outcome(Promoted.REFUSED, why=error.message)
    why = f"{candidate.name} leads from {now.timeline}:{format_lsn(now.lsn)}"
    return Outcome(Promoted.PROMOTED, {"timeline": now.timeline}, why=why)
