"""Handlers of switchover: prepare while writes go on, then stop the old primary cleanly and promote what has everything."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from herder.engine.effects import Outcome
from herder.engine.world import Machine
from herder.model.errors import Unreachable
from herder.model.lsn import format_lsn
from herder.model.plans import Engine
from herder.ports.driver import Position, Role
from herder.remedies.election import may_lead_drained
from herder.remedies.enrolment import successors
from herder.remedies.failover import Promoted, lead
from herder.remedies.hands import Hands, JobFailed, JobRefused, ask_each
from herder.remedies.rebuild import CLOSE_BYTES

MOVE_TIMEOUT_MS = 5000


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
    candidate = max(close, key=lambda ident: (close[ident], -ident))
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
