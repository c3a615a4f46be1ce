"""Handlers of a server's own life: launched, watched while silent, started again, given back."""

from __future__ import annotations

import logging
from enum import StrEnum

from herder.engine.effects import Outcome
from herder.engine.world import Machine
from herder.model.errors import Conflict, Environment, HerderError, NotFound, Refused
from herder.ports.provider import ServerHandle
from herder.remedies.hands import Hands
from herder.remedies.ours import OURS_PAUSE_S, is_ours
from herder.remedies.reboot import bring_back

FIRST_PULSE_S = 30.0
WATCH_PAUSE_S = 0.5
REVIVE_EVERY = 4
"""Looks between tries to start a silent server's agent again: every two seconds at first."""

TENTH = 0.1
SLOWEST_S = 5.0
"""The pause grows to a tenth of how long it has been silent: what takes long may take a tenth longer, and a hundred
thousand that stay silent do not ask their provider as often as one does."""

log = logging.getLogger("herder.servers")


class Up(StrEnum):
    """Outcomes of `launch_server` and `boot_server`."""

    UP = "up"
    FAILED = "failed"


class Watched(StrEnum):
    """Outcomes of `watch_server`. Running or unknown is none: we look on."""

    GONE = "gone"


class Destroyed(StrEnum):
    """Outcomes of `destroy_server`. A failure is none: it is tried again with backoff, and its deadline pages."""

    DESTROYED = "destroyed"


async def launch_server(hands: Hands, server: Machine) -> Outcome:
    """Make it and wait for its agent's first pulse in this incarnation. Its provider's name is a scope of what falls
    together, and names the bucket that its starts draw from.
    """
    token = await hands.mint_join(server.name, server.data["incarnation"])
    handle = await hands.provider.create(hands.launch(server, token), server.data["address"])
    return await _await_pulse(hands, server, handle)


async def boot_server(hands: Hands, server: Machine) -> Outcome:
    """Start it as its new incarnation (the row that led here counted it up). A place that lacks something (power, room)
    says so at once and will not have it in a second: the catalogue's growing pauses try it again, and nobody else.

    The life before it may run after all: it came back by itself, or was only out of reach. The log has counted it out, so
    it is heard no more from here on, and it is ended: else it would stand in its successor's way for ever. Where nothing may
    be fenced it is taken back as it is: it was never fenced, so it may be heard again.
    """
    token = await hands.mint_join(server.name, server.data["incarnation"])
    _expect(hands, server)
    try:
        handle = await _boot(hands, server, token)
    except Conflict:
        try:
            await hands.provider.fence(server.name, server.data["incarnation"] - 1)
        except Refused:
            return await _take_back(hands, server)
        handle = await hands.provider.boot(hands.launch(server, token))
    except Environment as error:
        return Outcome(Up.FAILED, why=error.message)
    outcome = await _await_pulse(hands, server, handle)
    if outcome.event is Up.UP and server.data.get("planned"):
        outcome.facts["member_back"] = await bring_back(hands, server)
    return outcome


async def _boot(hands: Hands, server: Machine, token: str) -> ServerHandle:
    """One that never came up may not even be there: its launch failed. It is made then; what held data never is."""
    try:
        return await hands.provider.boot(hands.launch(server, token))
    except NotFound:
        if server.data.get("directory"):
            raise
        return await hands.provider.create(hands.launch(server, token), server.data["address"])


async def _take_back(hands: Hands, server: Machine) -> Outcome:
    """A life before it runs and cannot be ended: the log goes on with that one. Perhaps the last that was heard, perhaps that of
    a start whose answer was lost: asked for it by its very number the provider adopts it, by a higher one it says Conflict.
    Numbers that were counted are not used again, since a boot may still be on its way.
    """
    counted, older = server.data["incarnation"], server.copy()
    for before in range(counted - 1, 0, -1):
        older.data["incarnation"] = before
        try:
            handle = await hands.provider.boot(hands.launch(older, await hands.mint_join(server.name, before)))
        except Conflict:
            continue
        outcome = await _await_pulse(hands, older, handle)
        outcome.facts.update(incarnation=before, counted=counted)
        return outcome
    return Outcome(Up.FAILED, why="an earlier incarnation still runs, and nothing here may fence it")


async def _await_pulse(hands: Hands, server: Machine, handle: ServerHandle) -> Outcome:
    incarnation = server.data["incarnation"]
    _expect(hands, server)

    def heard() -> bool:
        track = hands.board.servers.get(server.name)
        return track is not None and track.incarnation == incarnation and track.frames > 0

    if not await hands.until(heard, FIRST_PULSE_S):
        return Outcome(Up.FAILED, why=f"no pulse within {FIRST_PULSE_S:.0f} s of its start")
    ground = await hands.provider.ground()
    facts = {"namespace": handle.namespace, "directory": handle.directory, "provider": ground.name}
    return Outcome(Up.UP, facts, why="its agent sends its pulse")


def _expect(hands: Hands, server: Machine) -> None:
    now = hands.clock.monotonic()
    hands.board.expect(
        server.name, server.data["incarnation"], now, machine=server.id, member=server.data.get("member", 0)
    )


async def watch_server(hands: Hands, server: Machine) -> Outcome:
    """Gone only when the provider says twice that nothing of it runs and its pulse is still missing."""
    denials, looks, began = 0, 0, hands.clock.monotonic()
    while True:
        try:
            alive = await hands.provider.alive(server.name)
        except HerderError:
            alive = None
        silent = hands.board.silent_for(server.name, hands.clock.monotonic()) >= hands.board.patience(server.name)
        denials = denials + 1 if alive is False and silent else 0
        if denials >= 2:
            return Outcome(Watched.GONE, why="silent, and its provider says twice that nothing of it runs")
        looks += 1
        if alive and looks % REVIVE_EVERY == 0 and not is_ours(hands, server, perhaps=True):
            await _revive_agent(hands, server)
        asked_s = hands.clock.monotonic() - began
        await hands.clock.sleep(
            OURS_PAUSE_S if is_ours(hands, server) else min(max(WATCH_PAUSE_S, asked_s * TENTH), SLOWEST_S)
        )


async def _revive_agent(hands: Hands, server: Machine) -> None:
    """The server runs and says nothing: its agent may be gone while its engines serve. Starting the same incarnation
    again adopts an agent that runs (frozen, or cut off) and starts one that does not; engines are not touched.
    """
    token = await hands.mint_join(server.name, server.data["incarnation"])
    try:
        await hands.provider.boot(hands.launch(server, token))
    except HerderError as error:
        log.info("%s: its agent was not started again: %s", server.name, error.message)


async def destroy_server(hands: Hands, server: Machine) -> Outcome:
    """Give it back; its directory goes to the provider's trash."""
    await hands.provider.destroy(server.name)
    hands.board.forget(server.name)
    return Outcome(Destroyed.DESTROYED)
