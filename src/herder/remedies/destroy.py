"""Handlers of destroy: stop for sure, then move the data to the trash; nothing is deleted."""

from __future__ import annotations

from enum import StrEnum

from herder.engine.effects import Outcome
from herder.engine.world import Machine
from herder.remedies.hands import Hands, ask_each
from herder.remedies.silence import try_again_where_silent


class Stopped(StrEnum):
    """Outcomes of `stop_members`."""

    STOPPED = "stopped"
    FAILED = "failed"


class Trashed(StrEnum):
    """Outcomes of `trash_members`."""

    TRASHED = "trashed"
    FAILED = "failed"


async def stop_members(hands: Hands, work: Machine) -> Outcome:
    """Standbys and primary at once; one whose server is gone has nothing that runs."""

    async def stop(ident: int) -> None:
        member = hands.get(ident)
        if hands.server_of(member).state in ("available", "uncertain"):
            await hands.ask(work, member, "stop", {"fast": True}, answer_s=15.0)

    _, errors = await ask_each(work.data["members"], stop)
    if errors:
        try_again_where_silent(errors)
        return Outcome(Stopped.FAILED, why="; ".join(error.message for error in errors.values()))
    return Outcome(Stopped.STOPPED)


async def trash_members(hands: Hands, work: Machine) -> Outcome:
    """Each agent moves its member's directories beside; the provider later moves the server's directory as a whole."""
    service = hands.service(work)

    async def trash(ident: int) -> None:
        member = hands.get(ident)
        if hands.server_of(member).state in ("available", "uncertain"):
            directory = f"{hands.server_of(member).data['directory']}/trash/{service.name}-{service.id}"
            await hands.ask(work, member, "destroy", {"trash": directory}, answer_s=15.0)

    _, errors = await ask_each(work.data["members"], trash)
    if errors:
        try_again_where_silent(errors)
        return Outcome(Trashed.FAILED, why="; ".join(error.message for error in errors.values()))
    return Outcome(Trashed.TRASHED)
