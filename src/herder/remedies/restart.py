"""Handler of restart in place: stopped cleanly and for sure, then started on the same data, and followed again."""

from __future__ import annotations

from contextlib import suppress
from enum import StrEnum
from typing import Any

from herder.engine.effects import Outcome
from herder.engine.world import Machine
from herder.model.errors import HerderError, NoData
from herder.ports.driver import Role
from herder.remedies.hands import Hands, JobFailed, JobRefused
from herder.remedies.rebuild import call_back


class Restarted(StrEnum):
    """Outcomes of `restart_primary`."""

    RESTARTED = "restarted"
    FAILED = "failed"
    NO_DATA = "no_data"


async def restart_primary(hands: Hands, work: Machine) -> Outcome:
    """One job: the agent sees that no process is left before it starts, whatever was there before. Standbys that pledged to a
    failover which came to nothing stream from nobody: they are pointed at it again, or commits would wait until they are rebuilt.
    """
    member = hands.get(work.data["member"])
    args: dict[str, Any] = {}
    try:
        if hands.service(member).data.get("on_isolation") == "stop":
            # Under a lease an agent starts an engine only by a word this fresh: one from before a freeze is refused.
            args["stamp"] = await hands.stamp(member)
        await hands.ask(work, member, "restart", args)
    except JobFailed as error:
        return Outcome(Restarted.NO_DATA if error.cause == NoData.code else Restarted.FAILED, why=error.message)
    except JobRefused as error:
        return Outcome(Restarted.FAILED, why=error.message)
    if await _follows(hands, member):
        return Outcome(Restarted.FAILED, why=f"{member.name} runs again and follows another: its lead was handed over")
    with suppress(HerderError):  # it serves, whoever follows
        await call_back(hands, work, member)
    return Outcome(Restarted.RESTARTED, {}, why=f"{member.name} answers again")


async def _follows(hands: Hands, member: Machine) -> bool:
    """It came up as a standby, as after a hand-over that nobody learnt the end of. No start makes it lead: taken for done, it
    would be started for ever. One that cannot be read now is judged by its pulse.
    """
    with suppress(HerderError):
        reading = await hands.read(member)
        return reading.alive and reading.role is Role.STANDBY
    return False
