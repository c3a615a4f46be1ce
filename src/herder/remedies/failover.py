"""Handlers of failover: fence, pledges, promotion, repointing. The order and the proofs are the table's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from enum import StrEnum
from math import inf
from typing import Any

import msgspec

from herder.engine.decide import Input
from herder.engine.effects import Outcome
from herder.engine.world import Machine
from herder.model.errors import HerderError, Refused, Unreachable
from herder.model.lsn import format_lsn
from herder.ports.driver import Position, Role
from herder.remedies.election import Bound, Elected, Loss, Short, elect_async, elect_sync, loss
from herder.remedies.hands import Hands, JobFailed, JobRefused, ask_each
from herder.remedies.last_read import LastRead, noted, remembered
from herder.remedies.room import NEEDED, cramped

PLEDGE_ANSWER_S = 2.0
PATIENCE_S = 8.0
"""How long agents that are not in reach are asked again for their pledge; the state's deadline is 20 s."""

PROMOTE_ANSWER_S = 5.0
FENCE_ANSWER_S = 1.0
CALL_BACK_S = 2.5
CALL_BACK_PAUSE_S = 0.2
"""How long, and how often, an agent that does not listen is called back. After 1.5 s its silence is in the log, and that ends it."""

LAST_WRITES_S = 1.0
"""A primary whose stream was up when it was last read may have written for a beat more; not for as long as it was silent."""

FRESH_STREAM_S = 2.5
"""Two beats and a half: a stream seen up this recently was the old primary's present one."""


class Fenced(StrEnum):
    """Outcomes of `fence_primary`."""

    FENCED = "fenced"
    UNCONFIRMED = "unconfirmed"


class Pledged(StrEnum):
    """Outcomes of `collect_pledges`."""

    PLEDGED = "pledged"
    SHORT = "short"
    BEYOND_BOUND = "beyond_bound"


class Promoted(StrEnum):
    """Outcomes of `promote_candidate` and `promote_drained`."""

    PROMOTED = "promoted"
    REFUSED = "refused"


class Withdrawn(StrEnum):
    """Outcomes of `withdraw_promotion`."""

    WITHDRAWN = "withdrawn"
    PROMOTED = "promoted"


class Repointed(StrEnum):
    """Outcomes of `repoint_standbys`. Nobody following yet is none: it looks on until the state's deadline pages."""

    FOLLOWED = "followed"


class Stopped(StrEnum):
    """Outcomes of `end_primary`."""

    ENDED = "ended"
    NOT_ENDED = "not_ended"


END_ANSWER_S = 10.0
"""A clean stop waits until the standbys have everything; asked again until it has ended."""


async def end_primary(hands: Hands, work: Machine) -> Outcome:
    """Exercise: the agent ends the primary's engine, cleanly, so that its standbys have everything: an exercise may not
    cost a write, not even of a session that does not wait for voters. The checkpoint comes first, while it serves.
    """
    old = hands.get(work.data["old_primary"])
    try:
        await hands.ask(work, old, "checkpoint", answer_s=END_ANSWER_S)
        how = await hands.ask(work, old, "stop", {"fast": True}, answer_s=END_ANSWER_S)
    except (JobFailed, JobRefused) as error:
        return Outcome(Stopped.NOT_ENDED, why=error.message)
    why = f"{old.name} is stopped by its agent ({how})"
    return Outcome(Stopped.ENDED, {"fence": f"stopped, confirmed by its agent: {how}"}, why=why)


async def fence_primary(hands: Hands, work: Machine) -> Outcome:
    """Prove that the old primary acknowledges nothing more: its agent stops it and sees no process left, or the
    provider ends its incarnation. Both are tried; either one confirmed is enough.
    """
    old, server = hands.get(work.data["old_primary"]), hands.get(work.data["server"])
    known = hands.last_read_note(old)
    tried: list[str] = []
    if hands.board.silent_for(server.name, hands.clock.monotonic()) < hands.board.patience(server.name):
        try:
            how = await hands.ask(work, old, "stop", {"fast": False}, answer_s=FENCE_ANSWER_S)
        except HerderError as error:
            tried.append(f"its agent: {error.message}")
        else:
            why = f"{old.name} is fenced: stopped by its agent ({how})"
            return Outcome(Fenced.FENCED, {"fence": f"stopped, confirmed by its agent: {how}"} | known, why=why)
    try:
        how = await hands.provider.fence(server.name, server.data["incarnation"])
    except (Refused, Unreachable) as error:
        tried.append(f"provider: {error.message}")
        return Outcome(Fenced.UNCONFIRMED, {"fence": "none"} | known, why=f"no fence is confirmed ({'; '.join(tried)})")
    hands.submit(Input(server.id, "fenced", why=f"fenced for the failover of {hands.service(work).name}"))
    why = f"{old.name} is fenced by its provider: {how}"
    return Outcome(Fenced.FENCED, {"fence": f"provider: {how}"} | known, why=why)


async def collect_pledges(hands: Hands, work: Machine) -> Outcome:
    """Ask every standby to stop streaming for good under the new term and to tell how far it reaches; then elect."""
    standbys: list[int] = work.data["standbys"]
    end = hands.clock.monotonic() + PATIENCE_S
    pledges: dict[int, Position] = {}
    while True:
        # an agent that is not in reach may be on its way back to NATS, as all are when NATS was started again
        left = [ident for ident in standbys if ident not in pledges]
        more, errors = await ask_each(left, lambda ident: _pledge(hands, work, ident))
        pledges |= more
        known = await _knowledge(hands, work, pledges)
        full = cramped(hands, pledges)
        elected = _elect(hands, work, pledges, known, full)
        absent = any(isinstance(error, Unreachable) for error in errors.values())
        if isinstance(elected, Elected) or not absent or hands.clock.monotonic() > end:
            break
        await hands.clock.sleep(0.2)
    names = {ident: hands.get(ident).name for ident in standbys}
    evidence = {names[ident]: f"{at.timeline}:{format_lsn(at.lsn)}" for ident, at in pledges.items()}
    if isinstance(elected, Short):
        missing = ", ".join(f"{names.get(ident, ident)} ({_reason(errors.get(ident))})" for ident in elected.missing)
        why = f"{elected.had} of {elected.needed} pledges needed; missing: {missing or 'all'}"
        return Outcome(Pledged.SHORT, {"pledges": evidence}, why=why)
    if elected.candidate in full:
        why = f"{names[elected.candidate]} reaches farthest, but its disk is full: {NEEDED}"
        return Outcome(Pledged.SHORT, {"pledges": evidence}, why=why)
    return _within_bound(hands, work, elected, evidence, known.get(elected.candidate))


def _elect(
    hands: Hands, work: Machine, pledges: dict[int, Position], known: Knowledge, full: list[int]
) -> Elected | Short:
    if work.data["sync"]:
        timeline = hands.service(work).data.get("timeline", 0)
        return elect_sync(work.data["voters"], work.data["standbys"], pledges, timeline, full)
    return elect_async(pledges, _history(hands, work, pledges, known), full)


Knowledge = dict[int, LastRead]
"""Candidate -> what is known of the old primary, as far as it bounds what its promotion loses."""


def _history(hands: Hands, work: Machine, pledges: dict[int, Position], known: Knowledge) -> str:
    """The replication id that a candidate must share. What was last read of the old primary tells it, but a Valkey primary
    takes a new one when its first replica attaches, so a reading without replicas does not; then the id of the standby
    whose stream was up last does, unless it had been lost for a while.
    """
    old = hands.get(work.data["old_primary"])
    for each in known.values():
        if each.streams:
            return each.position.history
    fresh = [ident for ident in pledges if hands.stream_lag_s(old, hands.get(ident)) <= FRESH_STREAM_S]
    return pledges[fresh[0]].history if fresh else "none is known"


async def _knowledge(hands: Hands, work: Machine, pledges: Iterable[int]) -> Knowledge:
    """What this controller last read of the old primary; else the newest note of one before; else what the candidate's agent
    remembers. That agent also knows since when it lacks its stream, which a controller that began to listen later does not.
    """
    if work.data["sync"]:
        return {}
    found = {ident: known for ident in pledges if (known := _last_read(hands, work, ident)) is not None}
    track = hands.track(hands.get(work.data["old_primary"]))
    nothing = not found and (track is None or track.pulse.reading.position is None)
    ask = [ident for ident in pledges if nothing or (ident in found and found[ident].lag_s == inf)]
    if ask:
        timeline = hands.service(work).data.get("timeline", 0)
        readings, _ = await ask_each(ask, lambda ident: hands.read(hands.get(ident)))
        for ident, each in readings.items():
            told = remembered(each.heard, timeline)
            if told is not None:
                found[ident] = replace(found[ident], lag_s=told.lag_s) if ident in found else told
    return found


def _last_read(hands: Hands, work: Machine, candidate: int) -> LastRead | None:
    old = hands.get(work.data["old_primary"])
    notes = [noted(machine.data, old, candidate, hands.clock.now_ms()) for machine in (work, old)]
    track = hands.track(old)
    at = track.pulse.reading.position if track is not None else None
    if track is not None and at is not None:
        # whoever began to listen after the stream was lost knows no bound of its own, and one before it may have noted it
        lags = [hands.stream_lag_s(old, hands.get(candidate)), *(each.lag_s for each in notes if each is not None)]
        lag_s = min(lags)
        age_s = max(hands.clock.monotonic() - track.alive_at, 0.0)
        streams = bool(track.pulse.reading.streaming) or not at.history
        return LastRead(at, track.bytes_per_s, age_s, min(age_s, lag_s + LAST_WRITES_S), lag_s, streams)
    return min((each for each in notes if each is not None), key=lambda each: each.age_s, default=None)


def _reason(error: HerderError | None) -> str:
    return error.message if error is not None else "it never followed the present primary"


async def _pledge(hands: Hands, work: Machine, ident: int) -> Position:
    return await hands.position(work, hands.get(ident), "pledge", {}, PLEDGE_ANSWER_S)


def _within_bound(
    hands: Hands, work: Machine, elected: Elected, evidence: dict[str, str], known: LastRead | None
) -> Outcome:
    """S4: on an async plan the loss is estimated against what was last read of the old primary."""
    facts: dict[str, Any] = {
        "candidate": elected.candidate,
        "new_voters": list(elected.new_voters),
        "pledges": evidence,
    }
    name = hands.get(elected.candidate).name
    if work.data["sync"]:
        fence = f"pledges of {len(evidence)} voters"
        return Outcome(Pledged.PLEDGED, facts | {"fence": fence}, why=f"enough pledges; {name} reaches farthest")
    may_lose = _estimated_loss(hands, work, elected, known)
    plan = hands.plan(hands.service(work))
    facts |= {"loss_bytes": may_lose.bytes}
    read_s = known.age_s if known is not None else 0.0
    behind = f"about {may_lose.bytes} bytes behind (the old primary was last read {read_s:.1f} s before)"
    if known is not None and known.position.history and elected.position.history != known.position.history:
        behind = (
            "not of the history that was last read of the old primary (it was started again since, or it was read before"
            f" a replica attached), so behind by what was written in {may_lose.lag_s:.1f} s at most"
        )
    if not may_lose.within(Bound(plan.max_loss_bytes, plan.max_loss_s)):
        why = f"{name} is {behind} and {may_lose.lag_s:.1f} s; the plan allows {plan.max_loss_bytes} and {plan.max_loss_s:.0f}"
        return Outcome(Pledged.BEYOND_BOUND, facts, why=why)
    return Outcome(Pledged.PLEDGED, facts, why=f"{name} reaches farthest, {behind}")


def _estimated_loss(hands: Hands, work: Machine, elected: Elected, known: LastRead | None) -> Loss:
    """What promotion may lose. Between the last reading of the old primary and the fence it is taken to have written at the
    rate it wrote before.
    """
    if known is not None:
        return loss(known.reached, elected.position, known.lag_s)
    old = hands.get(work.data["old_primary"])
    return loss(None, elected.position, hands.stream_lag_s(old, hands.get(elected.candidate)))


async def promote_candidate(hands: Hands, work: Machine) -> Outcome:
    """Promote the candidate that the record names, its sync set put in force first.

    Refused means that its agent did not act, and that no earlier ask was heard whose answer was lost (`lead` looks). After
    any other failure it may have been promoted or may still be: it is asked again, and the old primary is never opened in
    its place (failures.md 26).
    """
    candidate = hands.get(work.data["candidate"])
    try:
        at = await lead(hands, work, candidate)
    except JobRefused as error:
        return Outcome(Promoted.REFUSED, why=error.message)
    why = f"{candidate.name} leads from {at.timeline}:{format_lsn(at.lsn)}"
    return Outcome(Promoted.PROMOTED, {"timeline": at.timeline}, why=why)


async def lead(hands: Hands, work: Machine, candidate: Machine) -> Position:
    """Promote the candidate, and have the others stream from it meanwhile: it has no upstream any more, so all they can
    get is what it holds, and they are there when it leads. What they did not get done is asked again in `repointing`.
    """
    sync = hands.guard_set(hands.service(work), candidate, work.data["new_voters"])
    others = _others(work, candidate)
    following = asyncio.create_task(_follow_each(hands, work, others, candidate))
    try:
        return await hands.position(work, candidate, "promote", {"sync": msgspec.to_builtins(sync)}, PROMOTE_ANSWER_S)
    except JobRefused:
        if (led := await leads_already(hands, candidate)) is not None:
            return led
        await ask_each(others, lambda ident: _pledge(hands, work, ident))  # it does not lead: nobody follows it
        raise
    except JobFailed:
        # its engine may have ended since it pledged (its host was booted again): while this holds the service nobody else starts it
        await hands.ask(work, candidate, "start")
        raise
    finally:
        following.cancel()


async def leads_already(hands: Hands, candidate: Machine) -> Position | None:
    """Where it leads from when it was promoted before: by an ask whose answer, or whose controller, was lost. None: it is a
    standby. Raises Unreachable when that cannot be seen, so that it is asked again: an agent that refuses (its disk is full,
    it is another life's) says nothing of what was done before, and the old primary would be opened beside the new one.
    """
    try:
        reading = await hands.read(candidate)
    except HerderError as error:
        raise Unreachable(f"{candidate.name} may lead or not: {error.message}") from error
    if not reading.alive or reading.position is None:
        raise Unreachable(f"{candidate.name} may lead or not: {reading.detail or 'its engine does not answer'}")
    return reading.position if reading.role is Role.PRIMARY else None


async def withdraw_promotion(hands: Hands, work: Machine) -> Outcome:
    """Make a promotion that was given up void where it could still be taken. Its order may be on its way yet, from a controller
    that does not know that it lost its shard: a pledge to this newer state is on the agent's disk before anything else may
    lead, and the agent lets in nothing older from then on. One that leads by now has been promoted.
    """
    candidate = hands.get(work.data["candidate"])
    while True:
        tag = f".{hands.clock.now_ms()}"  # an agent does an intent once, also one that failed
        try:
            at = msgspec.convert(
                await hands.ask(work, candidate, "pledge", tag=tag, answer_s=PLEDGE_ANSWER_S), Position
            )
        except (JobFailed, JobRefused) as error:
            if isinstance(error, JobFailed):  # its engine may have ended, and nobody else starts it meanwhile
                await hands.ask(work, candidate, "start", tag=tag)
            if (led := await leads_already(hands, candidate)) is not None:
                why = f"{candidate.name} leads already, from {led.timeline}:{format_lsn(led.lsn)}"
                return Outcome(Withdrawn.PROMOTED, {"timeline": led.timeline}, why=why)
        else:
            why = f"{candidate.name} pledged at {at.timeline}:{format_lsn(at.lsn)}: it lets in no older order"
            return Outcome(Withdrawn.WITHDRAWN, why=why)
        await hands.clock.sleep(CALL_BACK_PAUSE_S)


def _others(work: Machine, candidate: Machine) -> list[int]:
    return [ident for ident in work.data["standbys"] if ident not in (candidate.id, work.data["old_primary"])]


async def _follow_each(hands: Hands, work: Machine, standbys: list[int], candidate: Machine) -> dict[int, HerderError]:
    source = {"source": msgspec.to_builtins(hands.source(candidate))}
    asked = ask_each(
        standbys, lambda ident: hands.ask(work, hands.get(ident), "follow", source, answer_s=PLEDGE_ANSWER_S)
    )
    return (await asked)[1]


async def repoint_standbys(hands: Hands, work: Machine) -> Outcome:
    """The other pledgers stream from the new primary; on a sync plan commits wait until one of them does."""
    candidate = hands.get(work.data["candidate"])
    others = _others(work, candidate)
    streaming = await _streaming_voters(hands, work, candidate) if work.data["sync"] else set()
    if not streaming:
        errors = await _follow_each(hands, work, others, candidate)
        if not work.data["sync"]:
            await _call_back(hands, work, candidate, [ident for ident in others if ident in errors])
            why = "; ".join(error.message for error in errors.values())
            return Outcome(Repointed.FOLLOWED, {}, why=why or "asynchronous: it takes writes at once")
    while not streaming:
        await hands.clock.sleep(0.01)
        streaming = await _streaming_voters(hands, work, candidate)
    await _call_back(hands, work, candidate, [ident for ident in others if hands.get(ident).name not in streaming])
    return Outcome(Repointed.FOLLOWED, {}, why=f"{', '.join(sorted(streaming))} follows")


async def _call_back(hands: Hands, work: Machine, candidate: Machine, missed: Sequence[int]) -> None:
    """Once more those whose agent may have missed the order, and whose server is there; and again while nobody listens, for an
    agent that died is back within a second or two. Such a one streams from the old primary when that follows: it looks well,
    and no commit of the new primary can wait for it.
    """
    end = hands.clock.monotonic() + CALL_BACK_S
    while there := [ident for ident in missed if hands.server_of(hands.get(ident)).state == "available"]:
        errors = await _follow_each(hands, work, there, candidate)
        missed = [ident for ident, error in errors.items() if isinstance(error, Unreachable)]
        if hands.clock.monotonic() > end:
            return
        if missed:
            await hands.clock.sleep(CALL_BACK_PAUSE_S)


async def _streaming_voters(hands: Hands, work: Machine, candidate: Machine) -> set[str]:
    """By the log's voters of this moment: one that was rebuilt meanwhile counts as well."""
    wanted = {hands.get(ident).name for ident in hands.service(work).data["voters"]}
    return wanted & (await hands.read(candidate)).streaming.keys()


class Leased(StrEnum):
    """Outcomes of `await_lease`."""

    LEASE_OVER = "lease_over"
    LEASE_VOID = "lease_void"


SKEW_S = 1.0
"""How far two machines' clocks may drift apart over a lease; one second besides for the watchdog's work (safety.md)."""


async def await_lease(hands: Hands, work: Machine) -> Outcome:
    """The standbys pledge, then lease + skew + 1 s pass; the lease's enforcer outlives the agent.

    Nobody renews while this failover holds the service, and a renewal counts from a stamp that the primary's agent made
    before it asked. So the last moment that any lease can count from lies before the pledges, however late a message is.
    """
    old = hands.get(work.data["old_primary"])
    if not old.data.get("leased"):
        return Outcome(Leased.LEASE_VOID, why=f"no lease of {old.name} is on record")
    _, errors = await ask_each(work.data["standbys"], lambda ident: _pledge(hands, work, ident))
    if len(errors) == len(work.data["standbys"]):
        raise next(iter(errors.values()))
    wait_s = float(old.data["lease_s"]) + SKEW_S + 1.0
    await hands.clock.sleep(wait_s)
    return Outcome(Leased.LEASE_OVER, {"fence": f"lease run out: {wait_s:.1f} s since the pledge"})
