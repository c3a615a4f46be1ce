"""Handlers of rebuild and of its enrolment: a member follows the primary again and is waited for again."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from herder.engine.effects import Outcome
from herder.engine.world import Machine
from herder.model.errors import HerderError
from herder.ports.driver import Role
from herder.remedies.enrolment import waited_for
from herder.remedies.hands import Hands, JobFailed, JobRefused, ask_each

PLACE_S = 50.0
CATCH_UP_S = 300.0
CLOSE_BYTES = 16 * 1024**2
"""A standby within one WAL segment is caught up: what is left is sent in a moment (a drain, a commit)."""

CALL_ANSWER_S = 1.0
"""Pointing a standby at another primary is a file and a signal; who does not answer by then is left to its own rebuild."""

ENROL_TRIES = 3
_LOOKS_WELL = ("available", "uncertain")


class Placed(StrEnum):
    """Outcomes of `place_member`."""

    PLACED = "placed"
    NO_PLACE = "no_place"


class Rejoined(StrEnum):
    """Outcomes of `rejoin_member`."""

    REJOINED = "rejoined"
    FAILED = "failed"


class CaughtUp(StrEnum):
    """Outcomes of `await_catch_up`."""

    CAUGHT_UP = "caught_up"
    FAILED = "failed"


class Enrolled(StrEnum):
    """Outcomes of `load_sync_set` and `load_first_sync_set`."""

    ENROLLED = "enrolled"
    FAILED = "failed"


async def place_member(hands: Hands, work: Machine) -> Outcome:
    """Wait for the member's server; its address follows it."""
    member = hands.get(work.data["member"])
    if not await hands.until(lambda: hands.server_of(member).state == "available", PLACE_S):
        return Outcome(Placed.NO_PLACE, why=f"{hands.server_of(member).name} does not run")
    await hands.provider.attach_address(hands.server_of(member).name, member.data["address"])
    return Outcome(Placed.PLACED)


async def rejoin_member(hands: Hands, work: Machine) -> Outcome:
    """A living standby is pointed at the primary; anything else is stopped for sure, then rewound or copied."""
    member, primary = hands.get(work.data["member"]), hands.get(work.data["primary"])
    source = {"source": msgspec.to_builtins(hands.source(primary))}
    try:
        if not member.data.get("deposed") and member.data.get("rebuilds", 0) <= 1 and await _stands_by(hands, member):
            await hands.ask(work, member, "follow", source)
            return Outcome(
                Rejoined.REJOINED, {"how": "followed"}, why=f"{member.name} was running: pointed at {primary.name}"
            )
        await hands.ask(work, member, "stop", {"fast": False}, answer_s=10.0)
        if member.data.get("deposed"):
            await call_back(hands, work, primary)
        rejoined = await hands.ask(work, member, "rejoin", source)
    except (JobFailed, JobRefused) as error:
        return Outcome(Rejoined.FAILED, why=error.message)
    words = [f"{member.name}: {rejoined['how']}"]
    words += [f"its divergent log is kept: {size >> 10} KiB in {path}" for path, size in rejoined["kept"].items()]
    return Outcome(Rejoined.REJOINED, {"how": rejoined["how"], "kept": rejoined["kept"]}, why="; ".join(words))


async def call_back(hands: Hands, work: Machine, primary: Machine) -> None:
    """Standbys that look well and do not stream from the primary are pointed at it. Who missed the order to follow a new one
    still asks the old one for its stream, and would get it as soon as that is a standby: two hops from the primary, and by its
    pulse it looks well. Who is being rebuilt, or cannot be reached now, is left as it is.
    """
    streaming = (await hands.read(primary)).streaming
    source = {"source": msgspec.to_builtins(hands.source(primary))}

    async def call(ident: int) -> None:
        if await _stands_by(hands, hands.get(ident)):
            await hands.ask(work, hands.get(ident), "follow", source, answer_s=CALL_ANSWER_S)

    others = (hands.get(each) for each in hands.service(work).data["members"] if each != primary.id)
    missed = (each for each in others if each.state in _LOOKS_WELL and not each.data.get("deposed"))
    await ask_each((each.id for each in missed if each.name not in streaming), call)


async def _stands_by(hands: Hands, member: Machine) -> bool:
    try:
        reading = await hands.read(member)
    except HerderError:
        return False
    return reading.alive and reading.role is Role.STANDBY


async def await_catch_up(hands: Hands, work: Machine) -> Outcome:
    """Until the primary sends to it and it has flushed to within a segment."""
    member, primary = hands.get(work.data["member"]), hands.get(work.data["primary"])
    end = hands.clock.monotonic() + (CATCH_UP_S if work.data.get("how") != "followed" else 5.0)
    while hands.clock.monotonic() < end:
        reading = await hands.read(primary)
        flushed = reading.streaming.get(member.name)
        if flushed is not None and reading.position is not None and reading.position.lsn - flushed <= CLOSE_BYTES:
            return Outcome(
                CaughtUp.CAUGHT_UP, {}, why=f"{member.name} streams, {reading.position.lsn - flushed} bytes behind"
            )
        await hands.clock.sleep(0.1)
    return Outcome(CaughtUp.FAILED, why=f"{member.name} does not stream from {primary.name}")


async def load_sync_set(hands: Hands, work: Machine) -> Outcome:
    """The log has it as a voter already; put all voters in force on the primary.

    Two rebuilds may do this at once: the later one's set holds both, and the earlier one's job gives way to it. So what
    counts is what the primary says is in force.
    """
    member = hands.get(work.data["member"])
    why = ""
    for attempt in range(ENROL_TRIES):
        service = hands.service(work)
        primary = hands.get(service.data["primary"])
        sync = hands.sync_set(service, waited_for(service.data["voters"], primary.id))
        try:
            await hands.ask(work, primary, "set_sync", {"sync": msgspec.to_builtins(sync)}, tag=f".{attempt}")
        except (JobFailed, JobRefused) as error:
            why = error.message
        in_force = (await hands.read(primary)).sync
        if in_force is not None and member.name in in_force.members:
            return Outcome(Enrolled.ENROLLED, {}, why=f"ANY {in_force.k} of {', '.join(in_force.members)}")
        await hands.clock.sleep(0.2)
    return Outcome(Enrolled.FAILED, why=why or f"{member.name} is not in the sync set in force")
