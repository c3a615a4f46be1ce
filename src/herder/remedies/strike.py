"""Handler of strike: the primary stops waiting for a lost voter, and the others are seen to hold everything."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from herder.engine.effects import Outcome
from herder.engine.world import Machine
from herder.remedies.enrolment import flushed
from herder.remedies.hands import Hands, JobFailed, JobRefused

FLUSH_S = 15.0


class Shrunk(StrEnum):
    """Outcomes of `shrink_sync_set`."""

    SHRUNK = "shrunk"
    FAILED = "failed"


async def shrink_sync_set(hands: Hands, work: Machine) -> Outcome:
    """Shrink W, end the struck one's walsender (the driver does both), then wait until every remaining voter has
    flushed past the primary's position of that moment: only then may the log forget the struck one.
    """
    primary = hands.get(work.data["primary"])
    keep: list[int] = work.data["keep"]
    sync = hands.sync_set(hands.service(work), keep)
    try:
        position = int(await hands.ask(work, primary, "set_sync", {"sync": msgspec.to_builtins(sync)}))
    except (JobFailed, JobRefused) as error:
        return Outcome(Shrunk.FAILED, why=error.message)
    end = hands.clock.monotonic() + FLUSH_S
    while hands.clock.monotonic() < end:
        streaming = (await hands.read(primary)).streaming
        if flushed(streaming, sync.members, position):
            return Outcome(Shrunk.SHRUNK, {}, why=f"{', '.join(sync.members)} flushed past that moment")
        await hands.clock.sleep(0.05)
    return Outcome(Shrunk.FAILED, why=f"not all of {', '.join(sync.members)} flushed past that moment")
