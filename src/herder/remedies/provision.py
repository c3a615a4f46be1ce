"""Handlers of provision: servers, primary, standbys, sync set."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from herder.engine.effects import Outcome
from herder.engine.world import Machine
from herder.ports.driver import SyncSet
from herder.remedies.hands import Hands, JobFailed, JobRefused, ask_each
from herder.remedies.rebuild import Enrolled
from herder.remedies.silence import try_again_where_silent

HIRE_S = 60.0


class Hired(StrEnum):
    """Outcomes of `await_servers`."""

    HIRED = "hired"
    FAILED = "failed"


class Founded(StrEnum):
    """Outcomes of `found_primary`."""

    FOUNDED = "founded"
    FAILED = "failed"


class Cloned(StrEnum):
    """Outcomes of `clone_standbys`."""

    CLONED = "cloned"
    FAILED = "failed"


async def await_servers(hands: Hands, work: Machine) -> Outcome:
    """All servers run; each slot's address goes to its server."""
    servers = [hands.get(ident) for ident in work.data["servers"]]
    ready = await hands.until(lambda: all(hands.get(server.id).state == "available" for server in servers), HIRE_S)
    if not ready:
        late = [server.name for server in servers if hands.get(server.id).state != "available"]
        return Outcome(Hired.FAILED, why=f"{', '.join(late)} did not come up")
    members = [hands.get(ident) for ident in work.data["members"]]
    for member in members:
        await hands.provider.attach_address(hands.server_of(member).name, member.data["address"])
    return Outcome(Hired.HIRED)


async def found_primary(hands: Hands, work: Machine) -> Outcome:
    """The first primary, asynchronous until its standbys are there."""
    primary = hands.get(work.data["primary"])
    try:
        await hands.ask(work, primary, "create_primary", {"sync": msgspec.to_builtins(SyncSet())}, tag=_try(work))
    except (JobFailed, JobRefused) as error:
        return Outcome(Founded.FAILED, why=error.message)
    return Outcome(Founded.FOUNDED, {}, why=f"{primary.name} answers")


async def clone_standbys(hands: Hands, work: Machine) -> Outcome:
    """All standbys at once."""
    source = {"source": msgspec.to_builtins(hands.source(hands.get(work.data["primary"])))}
    standbys = [ident for ident in work.data["members"] if ident != work.data["primary"]]

    async def clone(ident: int) -> None:
        await hands.ask(work, hands.get(ident), "create_standby", source, tag=_try(work))

    _, errors = await ask_each(standbys, clone)
    if errors:
        try_again_where_silent(errors)
        return Outcome(Cloned.FAILED, why="; ".join(error.message for error in errors.values()))
    primary = hands.get(work.data["primary"])
    guard = hands.guard_set(hands.service(work), primary, [])
    if guard.k:
        await hands.ask(work, primary, "set_sync", {"sync": msgspec.to_builtins(guard)}, tag=_try(work))
    return Outcome(Cloned.CLONED, {"added": standbys}, why=f"{len(standbys)} standby(s) stream")


async def load_first_sync_set(hands: Hands, work: Machine) -> Outcome:
    """The standbys are voters in the log: from now on a commit waits for one of them."""
    sync = hands.sync_set(hands.service(work), work.data["added"])
    try:
        await hands.ask(
            work, hands.get(work.data["primary"]), "set_sync", {"sync": msgspec.to_builtins(sync)}, tag=_try(work)
        )
    except (JobFailed, JobRefused) as error:
        return Outcome(Enrolled.FAILED, why=error.message)
    return Outcome(Enrolled.ENROLLED, {}, why=f"ANY {sync.k} of {', '.join(sync.members)}")


def _try(work: Machine) -> str:
    """A second try is another job."""
    return f".{work.data.get('tries', 0)}"
