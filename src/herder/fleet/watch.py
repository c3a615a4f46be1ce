"""Turns what the wire brings into events: frames, closed connections, silence. The judgement itself is the pulse's, pure."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable

import numpy as np

from herder.engine.bulk import Bulk
from herder.engine.decide import Input
from herder.engine.world import Machine, World
from herder.fleet.durability import overridden
from herder.fleet.merged import ArchivingHook, Merged, Words, state_codes
from herder.machines.member import disk_was_full
from herder.machines.registry import BY_KIND
from herder.machines.table import CREATE
from herder.ports.clock import Clock
from herder.ports.wire import MemberPulse, Pulse, Wire
from herder.pulse.board import Board
from herder.pulse.judge import Ages, Expected, Sign, judge
from herder.pulse.slots import Slots
from herder.pulse.tracks import MemberTrack
from herder.remedies.last_read import note
from herder.remedies.room import ROOM_BYTES

log = logging.getLogger("herder.pulse")

TICK_S = 0.05
TICKS_A_FLOOR = 30
LONGEST_TICK_S = 1.0
"""How often silence is looked for: every thirtieth of the shortest patience, within bounds. A scan of a small fleet costs
microseconds, of a million half a millisecond."""

CALM_TICKS = 5
"""While nobody's deadline is near, the pause is that many ticks: a fleet that is well is looked at four times a second."""

US_S = 0.4
"""A tick that comes this late means that *we* were stopped; that silence is not theirs. A longer pause has as much less to
be late in: who is stopped unseen is stopped for as short a time whichever it was.
"""

ECHO_S = 0.5
ECHO_EVERY_S = 0.25
"""How long our own pulse may take, and the pause between two: a broken wire shows in it before it shows in silence."""

ONE_BY_ONE = 64
"""As many servers that fall silent at once are told of one by one, each with its own seconds; more are one event."""

EXPECTED = ("available", "uncertain", "upgrading")
"""States of a server whose pulse should come, or may be told to have come all the while: a reboot that is called off."""

KNOWN = ("uncertain", "unavailable")
KNOWN_AGAIN_S = 2.0
"""States in which the log knows of a server's silence, so that it is no news. It may become some without a further pulse: what was
heard before it fell silent is committed when the store is back, minutes later.
"""

StormGate = Callable[[Words, float], Words]
"""Silent servers (machine ids) and the monotonic now in; those that may be told of now out."""


def all_of_them(servers: Words, now: float) -> Words:
    """The gate of a controller without a storm governor."""
    return servers


_MOVING = ("failover", "switchover", "restart")


def _deposes(moving: Machine | None) -> bool:
    """A failover that has promoted nobody yet."""
    return moving is not None and moving.kind == "failover" and moving.state != "repointing"


class Watch:
    """Listens to the wire and feeds the engine. It never decides what a silence means.

    storm: asked before silence is told. on_archiving: told of members (ids) whose archiving stalled or goes on again.
    """

    def __init__(
        self, world: Callable[[], World], board: Board, wire: Wire, clock: Clock, submit: Callable[[Input | Bulk], None],
        freeze: Callable[[str], None], *, storm: StormGate = all_of_them, on_archiving: ArchivingHook | None = None,
    ) -> None:  # fmt: skip
        self._world = world
        self._freeze = freeze
        self._told_back = False
        self._board = board
        self._wire = wire
        self._clock = clock
        self._submit = submit
        self._deaf_since: float | None = None
        self.echo_at = -math.inf  # when our own pulse last came back
        self._gathered: list[bytes] = []
        self._tick_s = min(max(board.limits.floor_s / TICKS_A_FLOOR, TICK_S), LONGEST_TICK_S)
        self._seen = 0  # machine ids below this were looked through for servers
        self.storm = storm
        self.merged = Merged(world, board, submit, self._judge, on_archiving)

    async def start(self) -> None:
        """Expect every server that should run from now on, then listen."""
        self._expect_new(self._clock.monotonic())
        await self._wire.subscribe_pulses(self.on_pulse)
        await self._wire.subscribe_fleet(self._gather)
        await self._wire.subscribe_disconnects(self.on_disconnect)

    def _expect_new(self, now: float) -> None:
        """Servers that came into the world as running ones (at start, or taken over in bulk) are expected from now on."""
        world, seen = self._world(), self._seen
        if world.size <= seen:
            return
        self._seen = world.size
        kinds, states = world.columns.kind[seen : world.size], world.columns.state[seen : world.size]
        running = (kinds == BY_KIND["server"].code) & np.isin(states, state_codes("server", *EXPECTED))
        servers = (np.flatnonzero(running) + seen).astype(np.uint32)
        if not len(servers):
            return
        incarnations = world.fact(servers, "incarnation", 1, np.uint32)
        members = world.fact(servers, "member", 0, np.uint32)
        named = world.columns.own[servers] == 1  # only a document can give one a name of its own
        for ident in servers[named].tolist():
            server = world.get(ident)
            self._board.expect(
                server.name, server.data.get("incarnation", 1), now, machine=ident, member=server.data.get("member", 0)
            )
        self._board.expect_many(servers[~named], None, incarnations[~named], now, members[~named])

    def on_pulse(self, pulse: Pulse, raw: bytes) -> None:
        """Fold an agent's frame, then judge what it says of each member."""
        now = self._clock.monotonic()
        if not self._board.fold(pulse, now):
            return
        server = self._world().named("server", pulse.server)
        if server is None:
            return
        # one whose launch was never answered has no place in the log yet: its next start gives it one
        if server.state in ("uncertain", "unavailable") and server.data.get("directory"):
            if (
                pulse.incarnation != server.data["incarnation"]
            ):  # its boot waited for this life and gave up: the log counts it out
                self._board.expect(server.name, server.data["incarnation"], now, machine=server.id)
                return
            self._submit(Input(server.id, "heard", {}, actor="pulse"))
        for heard in pulse.members:
            self._judge_member(server, heard, now)

    def on_fleet_frame(self, *frames: bytes) -> None:
        """Fold relays' frames, then judge the few members of whom they say what the log does not expect."""
        now = self._clock.monotonic()
        self._expect_new(now)  # a relay may tell of servers that came into the log since the last look for silence
        for folded in self._board.fold_frames(frames, now):
            self.merged.take(folded, now)

    def _gather(self, data: bytes) -> None:
        """Frames that one read of the wire brought are folded together: small ones cost a third then."""
        self._gathered.append(data)
        if len(self._gathered) == 1:
            asyncio.get_running_loop().call_soon(self._fold_gathered)

    def _fold_gathered(self) -> None:
        frames, self._gathered = self._gathered, []
        self.on_fleet_frame(*frames)

    def _judge_member(self, server: Machine, heard: MemberPulse, now: float) -> None:
        member = self._world().find(server.data.get("member", 0))
        track = self._board.told(server.name, heard.member)
        if member is None or member.name != heard.member or track is None:
            self._board.refused["not_its_member"] += 1
            return
        self._judge(member, track, now)

    def _judge(self, member: Machine, track: MemberTrack, now: float) -> None:
        """What one member's last reading says against the log."""
        world, heard = self._world(), track.pulse
        service = world.get(member.data["service"])
        if heard.term > service.data["term"]:
            self._store_went_back(member, heard.term, service)
            return
        primary = world.get(service.data["primary"])
        moving = self._moving(service)
        full_s = self._board.full_for(world.get(member.data["server"]).name, now) if member.id == primary.id else 0.0
        expected = Expected(
            member.id, member.state, member.data["role"], bool(member.data.get("deposed")), service.data["term"],
            held=moving is not None, full=disk_was_full(member.data, {}), deposing=_deposes(moving), primary_well=primary.state == "available",
            settled_s=(self._clock.now_ms() - primary.data.get("led_ms", 0)) / 1000,
            relief=self._relief(service) if full_s else "",
        )  # fmt: skip
        ages = Ages(deaf_s=now - track.alive_at, upstream_lost_s=now - track.upstream_at, full_s=full_s)
        for sign in judge(expected, heard, ages):
            self._tell(sign, member, service)
        for item in overridden(world, service, member, heard.reading):
            self._submit(item)

    def _store_went_back(self, member: Machine, term: int, service: Machine) -> None:
        """Terms are committed before any agent hears of them, so the log has lost what it once held (safety.md)."""
        why = (
            f"the agent of {member.name} has seen term {term} of {service.name}, the log knows {service.data['term']}: "
            "the store has gone back in time"
        )
        facts = {"name": f"page-{service.name}-store", "subject": service.id, "service": service.id, "raised_by": member.id,
                 "reason": "store_went_back", "text": why, "times": 1}  # fmt: skip
        open_pages = (page for page in self._world().of_kind("page") if page.state == "open")
        if not self._told_back and not any(page.data["reason"] == "store_went_back" for page in open_pages):
            self._told_back = True  # other members' frames come before this page is committed
            self._submit(Input(0, CREATE, facts, why=why, actor="pulse", create="page"))
        self._freeze(why)

    def _tell(self, sign: Sign, member: Machine, service: Machine) -> None:
        target = member.id
        if sign.about == "primary":
            target = service.data["primary"]
            if target == member.id or self._moving(service):
                return
        # judged against this state: when the machine has entered another since, the sign says nothing
        entered = self._world().get(target).entered
        evidence = {"evidence": sign.evidence | {"why": sign.why}}
        self._submit(Input(target, sign.event, evidence, why=sign.why, actor="pulse", entered=entered))

    def _relief(self, service: Machine) -> str:
        """A voter with room on its disk. Only a plan whose failover loses nothing changes its primary for want of room."""
        for voter in map(self._world().get, service.data["voters"] if service.data["sync"] else ()):
            room = self._board.room(self._world().get(voter.data["server"]).name)
            if voter.state == "available" and room is not None and room >= ROOM_BYTES:
                return voter.name
        return ""

    def _moving(self, service: Machine) -> Machine | None:
        """The playbook that is under way and changes who leads."""
        held = self._world().find(service.data.get("playbook", 0))
        return held if held is not None and held.live and held.kind in _MOVING else None

    def on_disconnect(self, server_name: str) -> None:
        """A closed connection is a hint: vantage points are asked at once instead of after a missed beat."""
        server = self._world().named("server", server_name)
        if server is None or server.state != "available" or not server.data.get("member"):
            return
        why = "its agent's connection closed"
        self._submit(Input(server.data["member"], "suspected", {"evidence": {"why": why}}, why=why, actor="wire"))
        self._note_last_read(server.data["member"])

    async def run(self) -> None:
        """Look for silence until cancelled."""
        echo = asyncio.create_task(self._listen_to_ourselves())
        try:
            before = self._clock.monotonic()
            while True:
                pause_s = self._pause_s(before)
                await self._clock.sleep(pause_s)
                now = self._clock.monotonic()
                late = now - before - pause_s
                before = now
                if late > US_S - (pause_s - self._tick_s):
                    log.warning("this controller did not run for %.1f s: that silence is ours", late)
                    self._board.hold(late)
                if self._deaf_since is None:
                    self._scan(now)
        finally:
            echo.cancel()

    def _pause_s(self, now: float) -> float:
        """A tick where a deadline could pass before the second next one, else several."""
        calm_s = self._tick_s + min((CALM_TICKS - 1) * self._tick_s, US_S / 2)
        if self._deaf_since is not None or self._board.nearest(now + calm_s) <= now + calm_s:
            return self._tick_s
        return calm_s

    def _scan(self, now: float) -> None:
        self._expect_new(now)
        slots = self._board.silent(now)
        if not len(slots):
            return
        self._board.look_again(slots, now)
        world = self._world()
        slots = slots[self._machines(slots) > 0]
        servers = self._machines(slots)
        states = world.columns.state[servers]
        running = states == state_codes("server", "available")[0]
        self._board.look_again(slots[np.isin(states, state_codes("server", *KNOWN))], now, KNOWN_AGAIN_S)
        slots, servers = slots[running], servers[running]
        if len(servers):
            allowed = np.isin(servers, self.storm(servers, now))
            self._tell_silent(slots[allowed], servers[allowed], now)

    def _machines(self, slots: Slots) -> Words:
        """The machine ids of servers in these slots; those expected by name alone are looked up once, 0 = not in the log."""
        board, found = self._board, self._board.of_servers.machine[slots]
        for slot in slots[found == 0].tolist():
            name = board.name(slot)
            server = self._world().named("server", name)
            if server is not None:
                board.expect(name, int(board.of_servers.incarnation[slot]), 0.0, machine=server.id)
        return board.of_servers.machine[slots]

    def _tell_silent(self, slots: Slots, servers: Words, now: float) -> None:
        if len(servers) > ONE_BY_ONE:
            why = f"no pulse from {len(servers)} servers at once, each for longer than its rhythm allows"
            self._submit(Bulk("server", "silent", servers, why=why, actor="detector"))
            return
        world = self._world()
        for slot, ident in zip(slots.tolist(), servers.tolist(), strict=True):
            name = self._board.name(slot)
            silence, patience = self._board.silent_for(name, now), self._board.patience(name)
            why = f"no pulse for {silence:.1f} s, its rhythm allows {patience:.1f} s"
            self._submit(Input(ident, "silent", {"evidence": {"why": why}}, why=why, actor="detector"))
            self._note_last_read(world.get(ident).data.get("member", 0))

    def _note_last_read(self, ident: int) -> None:
        """An asynchronous primary falls silent: in the same record, what its successor's bound is reckoned from."""
        member = self._world().find(ident)
        if member is not None and (told := note(self._world(), self._board, self._clock, member)):
            self._submit(Input(member.id, "last_read", told, actor="detector"))

    async def _listen_to_ourselves(self) -> None:
        """Our own pulse through the wire: while it does not come back, it is us, and nobody is judged."""
        while True:
            heard = await self._wire.echo(ECHO_S)
            now = self._clock.monotonic()
            if heard:
                self.echo_at = now
            if not heard and self._deaf_since is None:
                self._deaf_since = now
                log.error("our own pulse does not come back through the wire: it is us; nobody is judged")
            elif heard and self._deaf_since is not None:
                self._board.hold(now - self._deaf_since)
                log.warning("the wire is back after %.1f s", now - self._deaf_since)
                self._deaf_since = None
            await self._clock.sleep(ECHO_EVERY_S)

    @property
    def deaf(self) -> bool:
        """Is it us?"""
        return self._deaf_since is not None
