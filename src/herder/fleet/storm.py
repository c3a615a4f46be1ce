"""Collects what fell, has the pure part judge it, and puts the verdict into the log: the storm governor at work.

What is silent is reported as silent even in a storm, and only the remedies are frozen. Holding facts back was rejected:
`uncertain` says exactly what is known, a fact kept in memory dies with the controller, and where it really is them the
vantage points have been asked already when the verdict comes. Held back are two things only: the moment until the
incident is in the log (so that the freeze is committed before the silence that it is about), and whatever would be said
while it is us (then nobody is judged).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np

from herder.engine.decide import Input
from herder.engine.world import Ids, Machine, World
from herder.fleet.falls import Falls
from herder.governor.budget import LIMITS as BUDGETS
from herder.governor.budget import Limits as BudgetLimits
from herder.governor.budget import spent
from herder.governor.scopes import ill
from herder.machines.registry import BY_CODE, BY_KIND
from herder.machines.table import CREATE
from herder.ports.clock import Clock
from herder.pulse.storm import FLEET, JUMP_S, Limits, Ourselves, Verdict, Word, base_rate, first_look, within

log = logging.getLogger("herder.storm")

TICK_S = 0.5
ENDED = {"incident": ("over", "aborted"), "freeze": ("released",)}
"""States in which what a page told of is over."""

SLOWLY_TICKS = 60
"""Ticks between looks at the budgets of the hour, and at recoveries, which `fleet.recovery` ends itself: half a minute."""

OURS_S = 5.0
"""Our own signs must last this long before they are an incident of their own: a NATS server that is started again takes
one or two seconds, is said in the log, and is nobody's incident."""

COMMIT_S = 5.0
"""An incident that was proposed and is not in the log after this long is proposed again (the store was away)."""

LIVE_INCIDENTS = ("verifying", "ours", "recovering", "paused")
NO_SERVERS: Ids = np.empty(0, np.uint32)


class Storm:
    """signs: what we know of ourselves at this moment. submit: into the engine's loop."""

    def __init__(
        self, world: Callable[[], World], clock: Clock, submit: Callable[[Input], None], signs: Callable[[], Ourselves],
        limits: Limits | None = None, budget: BudgetLimits = BUDGETS,
    ) -> None:  # fmt: skip
        self._world = world
        self._clock = clock
        self._submit = submit
        self._signs = signs
        self.limits = limits or Limits()
        self.budget = budget
        self.falls = Falls()
        self.verdict = Verdict(Word.CALM, "nothing fell")
        self.rate = 0.0
        self._new_falls = 0
        self._silent_at = -np.inf
        self._pending: tuple[float, tuple[str, ...]] = (-np.inf, ())
        self._faulty_since: float | None = None
        self._jump_s = 0.0
        self._took_at, self._log_ms = clock.monotonic(), 0
        self._clocks = (clock.monotonic(), clock.now_ms())
        self._ticks = 0

    def took_over(self) -> None:
        """The log was just read: its newest move, by the clock of whoever wrote it, is when we take it to have ended. Our own
        clock says nothing of how long before that something fell: one of the two may be wrong.
        """
        world = self._world()
        self._took_at, self._log_ms = self._clock.monotonic(), int(world.columns.since_ms[: world.size].max(initial=0))

    # what falls

    def __call__(self, silent: Ids, now: float) -> Ids:
        """Watch's hook. silent: servers whose pulse stopped and that the log has as available; returns those that may be
        reported now.
        """
        if not len(silent):
            return silent
        signs = self._ourselves()
        if signs.fault:
            self.verdict = Verdict(Word.US, signs.fault, (FLEET,))
        if signs.fault or not signs.hears:
            return silent[:0]
        self._silent_at = now
        world = self._world()
        self._follow(world, now)
        self._new_falls += self.falls.fall(silent, now, self.limits.window_s)
        self.falls.hush(silent, now)
        self._judge(world, now)
        hushed = list(self._hushed(world, now))
        if not hushed:
            return silent
        slots = self.falls.slots(silent)
        return self.falls.ids[slots[~self.falls.inside(slots, hushed)]]

    def on_commit(self, committed: Any) -> None:
        """Members and servers that went from available to ill, whoever told it: an engine that crashes everywhere falls
        without any silence. Give it to `Loop.watch`.
        """
        world, moves, spans = self._world(), committed.moves, getattr(committed, "spans", ())
        if any(move.kind == _INCIDENT for move in moves):
            self._pending = (-np.inf, ())  # what was proposed is in the log: what falls from now on is judged beside it
        fallen = [NO_SERVERS]
        fallen += [_servers_of(world, move.kind, np.array([move.machine], np.uint32))
                   for move in moves if (move.kind, move.source, move.target) in _FALLS and not _planned(world, move.machine)]  # fmt: skip
        fallen += [
            _servers_of(world, span.kind, span.machines)
            for span in spans
            if (span.kind, span.source, span.target) in _FALLS
        ]
        servers = np.unique(np.concatenate(fallen))
        if len(servers):
            now = self._clock.monotonic()
            self._follow(world, now)
            self._new_falls += self.falls.fall(servers, now, self.limits.window_s)
            self._judge(world, now)

    def _follow(self, world: World, now: float) -> None:
        """Servers that were made since; and at first what fell just before we took over, as the log has it, for whoever told of
        it was another controller: with half of a storm each, neither would see one.
        """
        began = len(self.falls.ids) == 0
        self.falls.follow(world, now)
        if not began:
            return
        for age_s, servers in _fallen_before(world, self._log_ms, self.limits.window_s):
            self.falls.fall(servers, self._took_at - age_s, self.limits.window_s)

    def _judge(self, world: World, now: float) -> None:
        """The first look; what already has its incident is not counted again."""
        explained = [scope for incident in self._incidents(world) for scope in incident.data["scopes"]]
        slots = self.falls.fallen(world, now, self.limits.window_s, explained)
        base = within(self.rate, self.limits.window_s)
        self.verdict = first_look(self._ourselves(), self.falls.dimensions(slots), base, self.limits)
        if self.verdict.word is Word.SUSPECT and now - self._pending[0] > COMMIT_S:
            self._open(world, self.verdict, now)

    def _open(self, world: World, verdict: Verdict, now: float) -> None:
        """One incident; what falls besides while it is verified is of the same storm."""
        self._pending = (now, verdict.scopes)
        log.warning("too much fell at once: %s; remedies there are frozen", verdict.why)
        for incident in self._incidents(world):
            if incident.state == "verifying":
                scopes = {*incident.data["scopes"], *verdict.scopes}
                found = [FLEET] if FLEET in scopes else sorted(scopes)
                self._submit(
                    Input(incident.id, "spread", incident_facts(found, verdict), why=verdict.why, actor="storm")
                )
                return
        facts = incident_facts(list(verdict.scopes), verdict)
        self._submit(Input(0, CREATE, facts, why=verdict.why, actor="storm", create="incident"))

    def _hushed(self, world: World, now: float) -> set[str]:
        """Scopes that nothing is said about now: an incident that is on its way into the log, and what is ours."""
        incidents = self._incidents(world)
        known = {scope for incident in incidents for scope in incident.data["scopes"]}
        ours = {scope for incident in incidents if incident.state == "ours" for scope in incident.data["scopes"]}
        since, waited_for = self._pending
        if now - since <= COMMIT_S and FLEET not in known:
            ours.update(set(waited_for) - known)
        return ours

    def _incidents(self, world: World) -> list[Machine]:
        return [world.get(int(ident)) for ident in world.ids_in("incident", *LIVE_INCIDENTS)]

    def _ourselves(self) -> Ourselves:
        signs = self._signs()
        return msgspec.structs.replace(signs, jump_s=signs.jump_s or self._jump_s) if self._jump_s else signs

    # what passes

    async def run(self) -> None:
        """Until cancelled: our own signs, the base rate, incidents and pages that are over, budgets that are empty."""
        while True:
            await self._clock.sleep(TICK_S)
            self.tick()

    def tick(self) -> None:
        """One look."""
        now, now_ms = self._clock.monotonic(), self._clock.now_ms()
        elapsed = now - self._clocks[0]
        jumped_s = (now_ms - self._clocks[1]) / 1000 - elapsed
        self._jump_s = jumped_s if abs(jumped_s) > JUMP_S else 0.0
        self._clocks = (now, now_ms)
        self._ticks += 1
        world = self._world()
        incidents = self._incidents(world)
        self._learn(elapsed, storm=bool(incidents))
        self._tell_ourselves(incidents, now)
        slowly = self._ticks % SLOWLY_TICKS == 0
        for incident in incidents:
            if slowly or incident.state == "verifying":
                self._end(world, incident, now_ms)
        self._resolve_pages(world)
        if slowly:
            self._check_budgets(world, now_ms)
        if slowly or self._ticks == 1:  # a million servers' scopes take half a second to read: not when they fall
            self._follow(world, now)

    def _learn(self, elapsed: float, *, storm: bool) -> None:
        """What falls in a storm is no everyday."""
        storm = storm or self.verdict.word in (Word.SUSPECT, Word.US)
        self.rate = base_rate(self.rate, 0 if storm else self._new_falls, self.falls.live, elapsed)
        self._new_falls = 0
        now = self._clock.monotonic()
        if self.verdict.word is not Word.CALM and now - self._silent_at > TICK_S:
            self._judge(self._world(), now)

    def _tell_ourselves(self, incidents: Sequence[Machine], now: float) -> None:
        """Our own signs, said once: an incident that touches nobody. A clock's jump is one by itself."""
        fault = self._ourselves().fault
        if not fault:
            self._faulty_since = None
            return
        if self._faulty_since is None:
            self._faulty_since = now
            log.error("%s: it is us; nobody is judged", fault)
        lasting = now - self._faulty_since >= OURS_S or self._ourselves().fault != self._signs().fault
        pending = now - self._pending[0] <= COMMIT_S
        if not lasting or pending or any(incident.state == "ours" for incident in incidents):
            return
        verdict = Verdict(Word.US, fault, (FLEET,))
        self._pending = (now, ())
        facts = incident_facts([FLEET], verdict)
        self._submit(Input(0, CREATE, facts, why=f"it is us: {fault}", actor="storm", create="incident"))

    def _end(self, world: World, incident: Machine, now_ms: int) -> None:
        """Over as soon as everything in its scope is well. What is ours ends by its own effect."""
        if incident.state == "ours" or now_ms - incident.since_ms < self.limits.window_s * 1000 / 2:
            return
        self._follow(world, self._clock.monotonic())
        servers = self.falls.standing_in([str(scope) for scope in incident.data["scopes"]])
        if not ill(world, servers).any():
            why = f"all {len(servers)} servers in {incident.data['scope']} and what they hold are well"
            self._submit(Input(incident.id, "recovered", why=why, actor="storm", entered=incident.entered))

    def _resolve_pages(self, world: World) -> None:
        """A page of an incident or a freeze is over when that is."""
        for ident in world.ids_in("page", "open").tolist():
            about = world.find(int(world.get(ident).data["subject"]))
            if about is not None and about.state in ENDED.get(about.kind, ()):
                self._submit(Input(ident, "resolve", why=f"{about.name} is {about.state}", actor="storm"))

    def _check_budgets(self, world: World, now_ms: int) -> None:
        frozen = {str(world.get(int(ident)).data["scope"]) for ident in world.ids_in("freeze", "frozen")}
        for left in spent(world, now_ms, self.budget):
            if left.scope not in frozen and FLEET not in frozen:
                why = f"{left.hour} remedies began in {left.scope} within the hour, of {left.hour_most}"
                facts = {"scope": left.scope, "by": "budget", "why": why, "name": f"freeze-{left.scope}"}
                self._submit(Input(0, CREATE, facts, why=why, actor="storm", create="freeze"))

    @property
    def says(self) -> str:
        """What `herder status` says of ourselves, '' for nothing."""
        world = self._world()
        ours = [incident for incident in self._incidents(world) if incident.state == "ours"]
        if ours:
            return f"{ours[0].name}: {ours[0].data.get('why', 'it is us')}; nobody is judged in {ours[0].data['scope']}"
        return ""


def incident_facts(scopes: list[str], verdict: Verdict) -> dict[str, Any]:
    """What an incident knows from its beginning."""
    fallen = sum(int(found.get("fallen", 0)) for found in verdict.evidence.values() if isinstance(found, dict))
    return {"scopes": scopes, "scope": ", ".join(scopes), "verdict": str(verdict.word), "why": verdict.why, "total": fallen,
            "evidence": {"first_look": dict(verdict.evidence)}}  # fmt: skip


_INCIDENT = BY_KIND["incident"].code
_FALLS = frozenset(
    (BY_KIND[kind].code, BY_KIND[kind].state_codes["available"], BY_KIND[kind].state_codes[target])
    for kind in ("server", "member")
    for target in ("uncertain", "unavailable")
)
"""Moves that are falls, as (kind, source, target) codes: a set, since every move of every commit is looked up in it."""


def _planned(world: World, machine: int) -> bool:
    """Did its engine stop because its lead moves, as planned? A rollout moves thousands, and that is no storm."""
    service = world.find(world.get(machine).service)
    playbook = world.find(service.data.get("playbook", 0)) if service is not None else None
    return playbook is not None and playbook.kind == "switchover" and playbook.live


def _fallen_before(world: World, at_ms: int, window_s: float) -> list[tuple[float, Ids]]:
    """Servers that are ill, or hold who is, since less than the window before `at_ms`: (how long, s; servers), the oldest first."""
    servers, members = (world.ids_in(kind, "uncertain", "unavailable") for kind in ("server", "member"))
    members = np.array([ident for ident in members.tolist() if not _planned(world, ident)], np.uint32)
    stand_on = np.concatenate([servers, _servers_of(world, BY_KIND["member"].code, members)])
    ago_s = (at_ms - world.columns.since_ms[np.concatenate([servers, members])]) / 1000
    ages = np.unique(ago_s[(ago_s >= 0) & (ago_s < window_s)])[::-1]
    return [(age_s, np.unique(stand_on[ago_s == age_s])) for age_s in ages.tolist()]


def _servers_of(world: World, kind: int, machines: Ids) -> Ids:
    if BY_CODE[kind].kind == "server":
        return machines
    servers: Ids = world.fact(machines, "server", 0, np.uint32)
    return servers
