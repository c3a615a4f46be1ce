"""Handlers of a planned reboot: a server's incarnation is ended for sure, and its member comes back with the next one.

A boot that follows is `servers.boot_server`, the same as after a crash. What is planned about it: the engine stops cleanly
before, a primary that others could replace is never on the server by then, and the engine is started again with it.
"""

from __future__ import annotations

from enum import StrEnum

from herder.engine.effects import Outcome
from herder.engine.world import Machine
from herder.model.errors import HerderError, Unreachable
from herder.remedies.hands import Hands, JobFailed, JobRefused

STREAMS_S = 10.0
"""A standby that was away for half a minute streams within a second or two; past this its rebuild finds out why."""


class Ended(StrEnum):
    """Outcomes of `end_server`."""

    ENDED = "ended"
    KEPT = "kept"


async def end_server(hands: Hands, server: Machine) -> Outcome:
    """Stop its engine cleanly, then have the provider end every process of its incarnation.

    Kept when that cannot be done for sure, or when its member leads by now: others would lose it for no reason.
    """
    ground = await hands.provider.ground()
    if not ground.can_fence:
        return Outcome(Ended.KEPT, why=f"{ground.name} cannot end it for sure, so its next incarnation may not boot")
    if server.data.get("image_next") and not ground.images:
        return Outcome(Ended.KEPT, why=f"{ground.name} knows no images")
    member = hands.world().find(server.data.get("member", 0))
    if member is not None and member.live:
        if needed := needed_as_it_is(hands, member):
            return Outcome(Ended.KEPT, why=needed)
        try:
            await hands.ask(server, member, "stop", {"fast": True}, answer_s=10.0)
        except (JobFailed, JobRefused) as error:
            return Outcome(Ended.KEPT, why=error.message)
        except Unreachable:
            if (
                await hands.provider.alive(server.name) is not False
            ):  # it may have been ended, and we died before we said so
                raise
        if needed := needed_as_it_is(hands, member):
            return Outcome(Ended.KEPT, why=needed)
    proof = await hands.provider.fence(server.name, server.data["incarnation"])
    return Outcome(Ended.ENDED, why=proof)


def needed_as_it_is(hands: Hands, member: Machine) -> str:
    """Why this member must not go away now, '' when it may. By the log of this moment: it may have been elected since."""
    service = hands.service(member)
    if len(service.data["members"]) > 1 and service.data["primary"] == member.id:
        return f"{member.name} leads"
    if moves := _lead_moves(hands, member):
        return f"{moves[0].name} may need {member.name}"
    return ""


def _lead_moves(hands: Hands, member: Machine) -> list[Machine]:
    """Playbooks that are about to give the lead of its service to another."""
    live = hands.world().playbooks_of(hands.service(member).id)
    return [playbook for playbook in live if playbook.kind in ("failover", "switchover")]


async def bring_back(hands: Hands, server: Machine) -> bool:
    """Start the engine on a server that has just booted; does it do its work again? If not, the catalogue sees to it.

    Never one that led, or whose lead moves at this moment: as it is it would take writes beside the one that leads next.
    """
    member = hands.world().find(server.data.get("member", 0))
    if member is None or not member.live:
        return True
    if member.data.get("deposed") or (member.data["role"] == "primary" and _lead_moves(hands, member)):
        return False
    args: dict[str, float] = {}
    try:
        if hands.service(member).data.get("on_isolation") == "stop" and member.data["role"] == "primary":
            args["stamp"] = await hands.stamp(member)
        await hands.ask(server, member, "start", args, answer_s=20.0)
        return member.data["role"] == "primary" or await _streams(hands, member)
    except HerderError:
        return False


async def _streams(hands: Hands, member: Machine) -> bool:
    end = hands.clock.monotonic() + STREAMS_S
    while hands.clock.monotonic() < end:
        primary = hands.get(hands.service(member).data["primary"])
        if member.name in (await hands.read(primary)).streaming:
            return True
        await hands.clock.sleep(0.2)
    return False
