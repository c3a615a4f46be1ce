"""Handler of restart in place: stopped cleanly and for sure, then started on the same data."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from herder.engine.effects import Outcome
from herder.engine.world import Machine
from herder.model.errors import NoData
from herder.remedies.hands import Hands, JobFailed, JobRefused


class Restarted(StrEnum):
    """Outcomes of `restart_primary`."""

    RESTARTED = "restarted"
    FAILED = "failed"
    NO_DATA = "no_data"


async def restart_primary(hands: Hands, work: Machine) -> Outcome:
    """One job: the agent sees that no process is left before it starts, whatever was there before."""
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
    return Outcome(Restarted.RESTARTED, {}, why=f"{member.name} answers again")
