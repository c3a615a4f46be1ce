"""The task that carries rollouts out: gives turns, counts what came of them, pauses when it does not go well.

What it must know stands in the log: the order's facts, and on each server the order that it was last rebooted by. The next
controller goes on where this one died; it only finds its pace anew.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from herder.engine.decide import Input
from herder.engine.world import Machine, World
from herder.fleet import rollout as pure
from herder.fleet.rollout import Due, Ground, Turn
from herder.governor.pace import FAILED_SHARE, kept, next_window
from herder.model.errors import HerderError, Refused
from herder.remedies.hands import Hands

log = logging.getLogger("herder.rollout")

LOOK_S = 1.0
FIRST_WINDOW = 8
WATCHED_MS = 60_000
"""Canaries are watched for so long before anybody else has a turn."""

AGAIN_MS = 60_000
"""One that could not go is looked at again after this."""

STALLED_MS = 1_800_000
"""Nobody had a turn for so long, and some are left: a person is told which."""

SAMPLE_MS = 10_000
REFRESH_MS = 60_000
STAGE_NAMES = {0: "canaries", pure.STANDBYS: "standbys", pure.PRIMARIES: "primaries"}

Propose = Callable[[Callable[[World], Sequence[Input]]], Awaitable[Any]]


@dataclass(slots=True)
class Going:
    """What is known of one rollout besides the log. under_way: servers; moving: service -> its primary's server when it began
    to move; rests: servers that are not tried before that moment (ms); well, failed: since the window last changed.
    """

    ground: Ground
    last_ms: int
    at: tuple[int, int] = (0, 0)
    under_way: set[int] = field(default_factory=set)
    moving: dict[int, int] = field(default_factory=dict)
    rests: dict[int, int] = field(default_factory=dict)
    window: int = 0
    well: int = 0
    failed: int = 0
    failed_ever: int = 0
    begun: int = 0
    shown: tuple[Any, ...] = ()

    @property
    def left(self) -> int:
        """Servers that are not done."""
        return int(np.count_nonzero(~self.ground.rolled))

    def next_window(self, most: int) -> int:
        """Doubled when a whole window came well, halved when too many failed."""
        if not self.window:
            self.window = min(FIRST_WINDOW, most)
        ended = self.well + self.failed
        if ended >= self.window or self.failed > max(2, self.window * FAILED_SHARE):
            well, failed, self.well, self.failed = self.well, self.failed, 0, 0
            self.window = next_window(self.window, well, failed, most)
        return self.window

    def ended(self, *, well: bool) -> None:
        """One is no longer under way."""
        self.well += well
        self.failed += not well
        self.failed_ever += not well


class Rollouts:
    """may: '' while this control plane may act, else why not. most: servers at once."""

    def __init__(self, hands: Hands, propose: Propose, may: Callable[[], str], most: int = pure.AT_ONCE) -> None:
        self._hands = hands
        self._propose = propose
        self._may = may
        self._most = most
        self._going: dict[int, Going] = {}

    async def order(self, scope: str, image: str, until_ms: int, why: str, actor: str) -> None:
        """Raises Refused where the provider cannot do it, and what `rollout.order_reboot` raises."""
        ground = await self._hands.provider.ground()
        if not ground.can_fence:
            raise Refused(f"{ground.name} cannot end a server for sure, so none is rebooted", "switch `fencing` on")
        if image and not ground.images:
            raise Refused(f"{ground.name} knows no images", "leave --image out: servers are rebooted as they are")
        await self._propose(lambda world: pure.order_reboot(world, scope, image, until_ms, why, actor))

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.look()
            await self._hands.clock.sleep(LOOK_S)

    async def look(self) -> None:
        """One round."""
        world = self._hands.world()
        live = world.ids_in("rollout", *pure.LIVE).tolist()
        for ident in live:
            await self._go_on(world, world.get(ident))
        for over in {*self._going} - {*live}:
            del self._going[over]
        self._resolve_pages(world)

    async def _go_on(self, world: World, rollout: Machine) -> None:
        now_ms = self._hands.clock.now_ms()
        going = self._known(world, rollout, now_ms)
        self._count(world, going, rollout, now_ms)
        if rollout.state == "running" and not self._over(rollout, going, now_ms):
            held = self._may() or pure.held_by(world)
            if held:
                going.last_ms = now_ms
            else:
                await self._turn(world, rollout, going, now_ms)
            self._tell(rollout, going, now_ms, held)
        elif rollout.state == "paused":
            going.window = going.well = going.failed = going.failed_ever = going.begun = 0
            going.last_ms = now_ms
            self._tell(rollout, going, now_ms, "")

    # what came of it

    def _known(self, world: World, rollout: Machine, now_ms: int) -> Going:
        """Made anew each minute, and by a new controller from the log alone."""
        going = self._going.get(rollout.id)
        there = len(world.ids("server")) + len(world.ids("member"))
        if going is None:
            going = Going(pure.ground_of(world, rollout, now_ms), now_ms)
            known = rollout.data
            going.failed_ever, going.begun = int(known.get("failed", 0)), int(known.get("begun", 0))
            stages = {name: stage for stage, name in STAGE_NAMES.items()}
            going.at = _place(going.ground, stages.get(known.get("stage", ""), 0), str(known.get("zone", "")))
            busy = world.ids_in("server", "upgrading", "restart")
            busy = busy[world.fact(busy, "rollout", 0, np.int64) == rollout.id]
            going.under_way = {*np.intersect1d(busy, going.ground.servers[~going.ground.rolled]).tolist()}
            self._going[rollout.id] = going
        elif now_ms - going.ground.at_ms >= REFRESH_MS or going.ground.known != there:
            zone = going.ground.zones[going.at[1]] if going.ground.zones else ""
            going.ground = pure.ground_of(world, rollout, now_ms)
            going.at = _place(going.ground, going.at[0], zone)
        return going

    def _count(self, world: World, going: Going, rollout: Machine, now_ms: int) -> None:
        states = {ident: world.get(ident) for ident in going.under_way}
        for ident, server in states.items():
            if server.state in ("upgrading", "restart"):
                continue
            going.under_way.discard(ident)
            well = server.data.get("rolled") == rollout.id
            going.ended(well=well)
            going.last_ms = now_ms
            if well:
                going.ground.rolled[np.searchsorted(going.ground.servers, ident)] = True
            else:
                going.rests[ident] = now_ms + AGAIN_MS
        for ident, before in list(going.moving.items()):
            service = world.get(ident)
            if service.live and service.state != "retired" and pure.service_unfit(world, service):
                continue
            del going.moving[ident]
            if world.get(service.data["primary"]).data["server"] == before:
                going.ended(well=False)
                going.rests[before] = now_ms + AGAIN_MS

    def _over(self, rollout: Machine, going: Going, now_ms: int) -> bool:
        """Done, or not to go on."""
        until_ms = int(rollout.data.get("until_ms", 0))
        if not going.left:
            self._say(rollout, "finished", {"done": len(going.ground.servers), "under_way": 0}, "")
        elif pure.fails_too_often(going.failed_ever, going.begun):
            why = f"{going.failed_ever} of {going.begun} reboots failed; {going.left} servers are left"
            self._say(rollout, "stopped", {}, why)
        elif until_ms and now_ms >= until_ms:
            self._say(rollout, "window_over", {}, f"its window of time is over, {going.left} servers are left")
        elif now_ms - going.last_ms >= STALLED_MS:
            self._say(rollout, "stopped", {}, f"nothing could be rebooted for half an hour; {self._stuck(going)}")
            going.last_ms = now_ms
        else:
            return False
        return True

    def _stuck(self, going: Going) -> str:
        world = self._hands.world()
        some = [world.get(int(ident)) for ident in going.ground.servers[~going.ground.rolled][:3]]
        whys = [pure.unfit(world, server) or f"{server.name} may go" for server in some]
        return f"{going.left} servers are left: {'; '.join(whys)}"

    # a turn

    async def _turn(self, world: World, rollout: Machine, going: Going, now_ms: int) -> None:
        due = pure.find_due(world, going.ground, pure.frozen_scopes(world))
        resting = [ident for ident, until_ms in going.rests.items() if until_ms > now_ms]
        due = Due(
            due.servers, due.stage, due.zone, due.rank, due.ready & ~np.isin(due.servers, np.array(resting, np.uint32))
        )
        due = self._after_canaries(rollout, due, now_ms)
        window = going.next_window(pure.at_once(going.ground, self._most))
        busy = len(going.under_way) + len(going.moving)
        moves = pure.moves_at_once(going.ground, window) - len(going.moving)
        turn = pure.choose(due, going.at, window - busy, moves, busy=busy > 0)
        going.at = turn.at
        if not len(turn.begin) and not len(turn.move):
            return
        try:
            await self._propose(lambda committed: pure.begin(committed, rollout, turn))
        except HerderError as error:
            log.warning("%s: a turn was not committed: %s", rollout.name, error.message)
            return
        self._took(going, turn, now_ms)

    def _took(self, going: Going, turn: Turn, now_ms: int) -> None:
        world = self._hands.world()
        begun = [ident for ident in turn.begin.tolist() if world.get(ident).state in ("upgrading", "restart")]
        for ident in turn.move.tolist():
            service = world.get(ident).service
            if any(playbook.kind == "switchover" for playbook in world.playbooks_of(service)):
                going.moving[service] = ident
                begun.append(ident)
            else:
                going.rests[ident] = now_ms + AGAIN_MS
        going.under_way.update(ident for ident in begun if ident not in going.moving.values())
        going.begun += len(begun)
        going.last_ms = now_ms

    def _after_canaries(self, rollout: Machine, due: Due, now_ms: int) -> Due:
        """Only canaries may go until all of them are done and were watched for a while."""
        known = rollout.data
        if "canaries" not in known:
            self._say(rollout, "progress", {"canaries": pure.canaries_of(due)}, "canaries go first")
            return due.only(())
        left = set(known["canaries"]) & set(due.servers.tolist())
        if left:
            return due.only(left)
        if known["canaries"] and not known.get("canaries_ms"):
            self._say(
                rollout, "progress", {"canaries_ms": now_ms}, "all canaries run again: they are watched for a minute"
            )
            return due.only(())
        return due.only(()) if now_ms < int(known.get("canaries_ms", 0)) + WATCHED_MS else due

    # what is told

    def _say(self, rollout: Machine, event: str, facts: dict[str, Any], why: str) -> None:
        self._hands.submit(Input(rollout.id, event, facts, why=why, actor=pure.ACTOR, entered=rollout.entered))

    def _tell(self, rollout: Machine, going: Going, now_ms: int, held: str) -> None:
        """Progress, when it says something new."""
        total, left = len(going.ground.servers), going.left
        samples = rollout.data.get("samples", [])
        sampled = not samples or now_ms - samples[-1][0] >= SAMPLE_MS
        stage, zone = going.at
        shown = (going.window, stage, zone, held, total, left == 0)
        if shown == going.shown and not (sampled and rollout.state == "running"):
            return
        going.shown = shown
        busy = len(going.under_way) + len(going.moving)
        facts = {
            "window": going.window, "total": total, "done": total - left, "under_way": busy, "failed": going.failed_ever,
            "begun": going.begun, "held": held, "stage": STAGE_NAMES[stage],
            "zone": going.ground.zones[zone] if going.ground.zones else "",
            "samples": kept(samples, now_ms, left) if sampled else samples,
        }  # fmt: skip
        self._say(
            rollout,
            "progress",
            facts,
            f"{total - left} of {total} done, {busy} under way" + (f"; held: {held}" if held else ""),
        )

    def _resolve_pages(self, world: World) -> None:
        """A page about a rollout is over when a person let it go on, or ended it."""
        for ident in world.ids_in("rollout", "running", "done", "aborted")[-5:].tolist():
            for page in world.open_pages(ident):
                state = world.get(ident).state
                if page.data["reason"] != "rollout_slow" or state != "running":
                    why = f"{world.get(ident).name} is {state}"
                    self._hands.submit(Input(page.id, "resolve", why=why, actor=pure.ACTOR))


def _place(ground: Ground, stage: int, zone: str) -> tuple[int, int]:
    """Where it is, by the zone's name; the beginning when nothing of it is there any more."""
    return (stage, ground.zones.index(zone)) if zone in ground.zones else (0, 0)
