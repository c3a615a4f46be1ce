"""Handlers of an incident: is it them, or is it us? Canaries, a second vantage point and the provider are asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Any

import numpy as np

from herder.engine.effects import Outcome
from herder.engine.world import Ids, Machine
from herder.governor.scopes import LIVE, ill, in_doubt, in_scope
from herder.model.errors import HerderError
from herder.pulse.storm import Asked, Canary, Limits, Ourselves, Sample, Verdict, Word, second_look
from herder.remedies.hands import Hands

SAMPLES = 6
CANARIES = 4
WITNESSES = 3
"""Fallen units asked about, known-good ones looked at, and agents outside of the scope that look: enough that one odd
unit decides nothing, few enough that a region's outage costs thirty small questions."""

PAUSE_S = 1.0
"""Between two looks. A verdict needs two that agree: a frame that was late is back by then."""

TOLD_S = 0.3
"""What fell is told in the batches after the one that made the incident."""

OURS_PAUSE_S = 2.0
ECHO_S = 0.5


class Checked(StrEnum):
    """Outcomes of `check_canaries`."""

    US = "us"
    MASS = "mass"
    LOCAL = "local"


class Heard(StrEnum):
    """Outcomes of `watch_ourselves`. Still us is none: we look on."""

    HEARING = "hearing"
    THEIRS = "theirs"


_OUTCOME = {Word.US: Checked.US, Word.MASS: Checked.MASS, Word.LOCAL: Checked.LOCAL}


async def check_canaries(hands: Hands, incident: Machine) -> Outcome:
    """Look around until two looks in a row agree; the state's deadline pages when they never do."""
    before: Word | None = None
    await hands.clock.sleep(TOLD_S)
    while True:
        verdict = await _look(hands, incident)
        if verdict.word is before:
            facts = _found(verdict) | {"total": verdict.evidence["silent"]}
            return Outcome(_OUTCOME[verdict.word], facts, why=verdict.why)
        before = verdict.word
        await hands.clock.sleep(PAUSE_S)


async def watch_ourselves(hands: Hands, incident: Machine) -> Outcome:
    """Until we hear them again, or until two looks in a row say that it is them after all.

    Only who is in doubt may speak against us. One that is known to be down was shown to be by others before this began, and is
    not heard until a remedy starts it, which waits for the end of this: counted, it would keep an incident open for ever.
    """
    theirs = 0
    while True:
        await hands.clock.sleep(OURS_PAUSE_S)
        verdict = await _look(hands, incident, doubted=True)
        facts = _found(verdict)
        if verdict.word is Word.LOCAL:
            return Outcome(Heard.HEARING, facts, why="we hear them again")
        theirs = theirs + 1 if verdict.word is Word.MASS else 0
        if theirs >= 2:
            return Outcome(Heard.THEIRS, facts, why=verdict.why)


def _found(verdict: Verdict) -> dict[str, Any]:
    """What the incident learns."""
    return {"verdict": str(verdict.word), "why": verdict.why, "evidence": dict(verdict.evidence)}


async def _look(hands: Hands, incident: Machine, *, doubted: bool = False) -> Verdict:
    """doubted: count as silent only whom nobody has shown to be down."""
    scopes = [str(scope) for scope in incident.data["scopes"]]
    deaf = not await hands.wire.echo(ECHO_S)
    asked = await ask_around(hands, scopes)
    if doubted:
        world = hands.world()
        asked = replace(asked, silent=int(np.count_nonzero(in_doubt(world, in_scope(world, scopes)))))
    return second_look(Ourselves(deaf=deaf), asked, Limits(), scopes)


async def ask_around(hands: Hands, scopes: Sequence[str]) -> Asked:
    """Who is asked is chosen by the ids alone, so that a replay asks the same."""
    world = hands.world()
    inside = in_scope(world, scopes)
    down = ill(world, inside)
    others = np.setdiff1d(world.ids_in("server", *LIVE), inside, assume_unique=True)
    far, near = _good(hands, others), _good(hands, inside[~down])
    witnesses = (far or near)[:WITNESSES]
    good = [*far[:CANARIES], *near[: max(CANARIES - len(far), 1)]]
    fallen = [member for server in spread(inside[down], SAMPLES) if (member := _member(hands, server)) is not None]
    samples, looks = await asyncio.gather(
        asyncio.gather(*(_sample(hands, member, witnesses) for member in fallen)),
        asyncio.gather(*(_our_look(hands, member) for member in good)),
    )
    far_ids = {member.id for member in far}
    canaries = [Canary(m.name, saw, m.id not in far_ids) for m, saw in zip(good, looks, strict=True)]
    return Asked(tuple(samples), tuple(canaries), int(np.count_nonzero(down)), len(inside))


def spread(ids: Ids, count: int) -> list[int]:
    """`count` of them, evenly spread, so that neighbours (one rack, one batch) do not speak for all."""
    if len(ids) <= count:
        return [int(ident) for ident in ids]
    return [int(ids[at * len(ids) // count]) for at in range(count)]


def _member(hands: Hands, server: int) -> Machine | None:
    member = hands.world().find(hands.get(server).data.get("member", 0))
    return member if member is not None and member.kind == "member" else None


def _good(hands: Hands, servers: Ids) -> list[Machine]:
    """Members whose server and engine are well and whose pulse is fresh."""
    now = hands.clock.monotonic()
    found: list[Machine] = []
    for ident in spread(servers, CANARIES + WITNESSES):
        server, member = hands.get(ident), _member(hands, ident)
        fresh = hands.board.silent_for(server.name, now) < hands.board.patience(server.name)
        if member is not None and server.state == member.state == "available" and fresh:
            found.append(member)
    return found


async def _sample(hands: Hands, member: Machine, witnesses: Sequence[Machine]) -> Sample:
    service = hands.service(member)
    args: dict[str, Any] = {"address": member.data["address"], "port": member.data["port"], "engine": service.data["engine"],
                            "timeout_s": hands.probe_timeout_s}  # fmt: skip
    ours, provider, seen = await asyncio.gather(
        _our_look(hands, member),
        _provider_says(hands, hands.server_of(member).name),
        asyncio.gather(*(_their_look(hands, witness, args) for witness in witnesses)),
    )
    return Sample(member.name, ours, _together(seen), provider)


def _together(seen: Sequence[str]) -> str:
    """What several saw: one who saw it serve outweighs those who did not reach it."""
    for word in ("serving", "starting", "refused", "silent"):
        if word in seen:
            return word
    return ""


async def _our_look(hands: Hands, member: Machine) -> str:
    engine = hands.service(member).data["engine"]
    try:
        return await hands.probe(engine, member.data["address"], member.data["port"], hands.probe_timeout_s)
    except HerderError:
        return ""


async def _their_look(hands: Hands, witness: Machine, args: dict[str, Any]) -> str:
    try:
        return str(await hands.look(witness, "probe", args, hands.probe_timeout_s + 0.3))
    except HerderError:
        return ""


async def _provider_says(hands: Hands, server: str) -> bool | None:
    try:
        return await hands.provider.alive(server)
    except HerderError:
        return None
