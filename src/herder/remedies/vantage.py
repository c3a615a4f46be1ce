"""Ask several vantage points about a member that is uncertain, round after round, until they agree that it is dead."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from enum import StrEnum
from typing import Any

from herder.engine.decide import Input
from herder.engine.effects import Outcome
from herder.engine.world import Machine
from herder.model.errors import HerderError
from herder.remedies.hands import Hands
from herder.remedies.ours import OURS_PAUSE_S, is_ours
from herder.remedies.verdict import Looks, judge_looks

PAUSE_S = 0.2
SETTLE_S = 0.1
"""In which what ends together has ended."""

AGAIN = 0.3
"""Of a look's time, when nothing but silence was seen before it: what was lost is asked for again, nobody is waited for anew."""

TENTH = 0.1
"""The pause grows to a tenth of how long it has been asked (three seconds, since `recheck` asks anew twice a minute)."""


class Seen(StrEnum):
    """Outcomes of `ask_vantages`. Seen alive is no outcome: the pulse brings it back, and until then we ask on."""

    SEEN_DEAD = "seen_dead"


async def ask_vantages(hands: Hands, member: Machine) -> Outcome:
    """Standbys' streams, probes by the other members' agents and by this controller, the provider: all at once."""
    began, silent = hands.clock.monotonic(), 0
    while True:
        timeout_s = hands.probe_timeout_s * (AGAIN if silent else 1)
        looks = replace(await _look(hands, member, timeout_s), silent=silent)
        verdict = judge_looks(looks)
        silent = silent + 1 if verdict.silent else 0
        if verdict.dead:
            if looks.provider:
                # The processes of a host that dies end one after the other, and a look in their midst finds some. Taken for a
                # server that runs, it would be waited for until it has booted, though a standby could lead at once.
                await hands.clock.sleep(SETTLE_S)
                looks = replace(looks, provider=await _provider_says(hands, hands.server_of(member).name))
            evidence: dict[str, Any] = {
                "looks": dict(looks.probes), "provider": looks.provider, "verdict": verdict.why,
                "incarnation": hands.server_of(member).data["incarnation"],
            }  # fmt: skip
            if looks.provider is False:
                server = hands.server_of(member)
                hands.submit(Input(server.id, "gone", why=verdict.why, actor="ask_vantages", entered=server.entered))
            return Outcome(Seen.SEEN_DEAD, {"evidence": evidence}, why=verdict.why)
        if verdict.silent:
            continue  # the looks in which it was silent took their time
        pause_s = max(PAUSE_S, (hands.clock.monotonic() - began) * TENTH)
        await hands.clock.sleep(OURS_PAUSE_S if is_ours(hands, hands.server_of(member)) else pause_s)


async def _look(hands: Hands, member: Machine, timeout_s: float) -> Looks:
    service, server = hands.service(member), hands.server_of(member)
    engine, address, port = service.data["engine"], member.data["address"], member.data["port"]
    witnesses = _witnesses(hands, service, member)
    args = {"address": address, "port": port, "engine": engine, "timeout_s": timeout_s}
    answers = await asyncio.gather(
        hands.probe(engine, address, port, timeout_s),
        _provider_says(hands, server.name),
        *(hands.look(witness, "probe", args, timeout_s + 0.3) for witness in witnesses),
        return_exceptions=True,
    )
    probes: dict[str, str] = {}
    for vantage, saw in zip(["controller", *(w.name for w in witnesses)], [answers[0], *answers[2:]], strict=True):
        if isinstance(saw, str):
            probes[vantage] = saw
        elif not isinstance(saw, HerderError) and isinstance(saw, BaseException):
            raise saw
    now = hands.clock.monotonic()
    ages: dict[str, float] = {}
    for witness in witnesses:
        heard = hands.track(witness)
        if heard is not None and heard.pulse.reading.upstream and heard.pulse.reading.upstream_age_s is not None:
            ages[witness.name] = heard.pulse.reading.upstream_age_s + (now - heard.heard_at)
    provider = answers[1] if isinstance(answers[1], bool) else None
    return Looks(probes, ages, provider, hands.board.silent_for(server.name, now), hands.board.patience(server.name))


def _witnesses(hands: Hands, service: Machine, member: Machine) -> list[Machine]:
    """Members of the service whose servers are known to be well."""
    others = (hands.get(ident) for ident in service.data["members"] if ident != member.id)
    return [other for other in others if hands.server_of(other).state == "available"]


async def _provider_says(hands: Hands, server: str) -> bool | None:
    try:
        return await hands.provider.alive(server)
    except HerderError:
        return None
