"""Watches a running day and makes its result: counts every commit, looks at the fleet twice a minute, judges at the end."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec
import numpy as np

from herder.assembly import ControlPlane
from herder.engine.columns import FIELDS
from herder.engine.record import Move
from herder.engine.shard import Committed
from herder.engine.world import Ids, World
from herder.machines.registry import BY_CODE, BY_KIND
from herder.machines.table import CREATE
from herder.sim.controller import trace_hash
from herder.sim.drill import losses as truth
from herder.sim.drill.effects import Effects
from herder.sim.drill.manual import by_hand
from herder.sim.drill.moves import UNITS, Moves, by_words, under_way
from herder.sim.drill.orders import Reboots, blind, settled_from
from herder.sim.drill.pager import Pager, Pages, scope
from herder.sim.drill.result import DrillResult, Parked
from herder.sim.drill.sampling import Sample, Samples
from herder.sim.drill.types import Drill, OnProgress, Progress
from herder.sim.drill.waits import Archives, Incidents, Limits, Remedies, recovered
from herder.sim.drill.wellness import Wellness
from herder.sim.fleet import FleetWorld

LONG_DAY_S = 6 * 3600.0
SAMPLE_S, SAMPLE_OF_LONG_S = 30.0, 60.0
TICKS = 30
"""Looks at limits and orders in each interval of samples: each second, or every other one on a long day."""

PROGRESS_EVERY_S = 0.2
"""Of wall time: a screen shows five frames a second."""

FEW = 5000
"""As long as more services than this are ill, whether an engine of theirs has data is not asked one by one."""

CREATED = BY_KIND["page"].event_codes[CREATE]


@dataclass(frozen=True, slots=True)
class Ended:
    """What the observer cannot see. wall_s: of the day. lag_moves, lag_s: how far the projection was behind at the end.
    log_bytes: bodies of all records, 0 = as the observer counted them. ended_early: why, '' = run to its end. notes: what a
    reader must know of how it was run.
    """

    wall_s: float
    lag_moves: int = 0
    lag_s: float = 0.0
    log_bytes: int = 0
    ended_early: str = ""
    notes: tuple[str, ...] = ()


class Observer:
    """One day's. It reads the log's word from commits and the truth from the simulated world, and changes neither.

    A machine costs it seven bytes (and four more once an archive of the fleet stalls), a single move about a microsecond.
    """

    def __init__(self, drill: Drill, world: FleetWorld, on_progress: OnProgress) -> None:
        self.drill = drill
        self.world = world
        self._on_progress = on_progress
        scenario = drill.scenario
        self._every_s = SAMPLE_OF_LONG_S if scenario.seconds > LONG_DAY_S else SAMPLE_S
        self.moves = Moves()
        self.wellness = Wellness()
        self.pages = Pages(Pager(scenario, drill.seed))
        self.archives = Archives()
        self.remedies = Remedies()
        self.incidents = Incidents()
        self.limits = Limits()
        self.effects = Effects()
        self.samples = Samples()
        self.reboots = Reboots(scenario)
        self.sentence = ""
        self.wrong_promotions = 0
        self.destroyed_while_blind = 0
        self.log_bytes = 0
        self.well_ms: int | None = None
        self._well_at: int | None = None
        self._settled = False
        self._now_ms = self._began_ms = scenario.start_ms
        self._unasked: set[int] = set()  # failovers that were begun though their primary served
        self._plane: ControlPlane | None = None
        self._stop: Callable[[], None] | None = None
        self._versions: Ids = np.empty(0, np.uint32)
        self._made = 0
        self._began = self._shown = time.perf_counter()
        self._shown_moves = 0
        self._looks = {
            BY_KIND[kind].code: look
            for kind, look in (
                ("service", self._service), ("archive", self._archive), ("page", self._page), ("incident", self._incident),
                ("failover", self._failover), ("server", self._destroys), ("member", self._destroys), ("dependency", self._says),
            )
        }  # fmt: skip

    # --- what is told

    def begin(self, plane: ControlPlane) -> None:
        """The fleet is there; also called with the plane of a controller that was started again. What was made before is
        the fleet (machines of the result), and no transition of the day. Moves that were committed while nobody listened
        are counted by the machines' versions, though not by event.
        """
        if self._stop is not None:
            self._stop()
        first, self._plane = self._plane is None, plane
        world = plane.shard.world
        self._now_ms = self._clock_ms()
        if first:
            self._began_ms = self._now_ms
            self._versions = world.columns.version[: world.size].copy()
            self._made = int(np.count_nonzero(world.columns.kind[: world.size]))
            self._began = self._shown = time.perf_counter()
        self.effects.follow(plane.effects)
        self._rebase(world)
        if first:
            self._sample()
        self._stop = plane.loop.watch(self.on_commit)

    def say(self, sentence: str) -> None:
        """What happened last, for whoever watches."""
        self.sentence = sentence

    def on_commit(self, committed: Committed) -> None:
        """Counts. Called after the moves are in the world."""
        plane = self._plane
        assert plane is not None
        now_ms = self._now_ms = self._clock_ms()
        self.moves.take(committed)
        if (last := plane.shard._last) is not None:  # noqa: SLF001  a commit does not say how long its record is
            self.log_bytes += len(last.body)
        looks, world = self._looks, plane.shard.world
        for move in committed.moves:
            look = looks.get(move.kind)
            if look is not None:
                look(move, world)
        for span in committed.spans:
            self.wellness.span(span, world)
            if BY_CODE[span.kind].kind == "archive":
                self.archives.span(span, world, now_ms)
        self._watch_wellness()

    def _rebase(self, world: World) -> None:
        self.moves.rebase(world)
        self.wellness.rebase(world)
        self.archives.rebase(world, self._began_ms)
        self._watch_wellness()

    def _clock_ms(self) -> int:
        """The true time of the simulated world; a controller's own clock may jump."""
        return self.world.start_ms + round(self.world.now * 1000)

    def _watch_wellness(self) -> None:
        """The moment at which the last one came well: exact, since each commit is looked at."""
        if self.well_ms is not None:
            return
        if self.wellness.ill:
            self._well_at = None
        elif self._well_at is None:
            self._well_at = self._now_ms
        if self._settled:
            self.well_ms = self._well_at

    def _service(self, move: Move, world: World) -> None:
        self.wellness.service(move, world)
        event = BY_CODE[move.kind].events[move.event]
        if event == "parked":
            self.remedies.parked(move, world, self._now_ms)
        elif event == "unparked":
            self.remedies.unparked(move.machine, self._now_ms)

    def _archive(self, move: Move, world: World) -> None:
        self.wellness.single(move)
        self.archives.single(move, world, self._now_ms)
        self._destroys(move, world)

    def _page(self, move: Move, world: World) -> None:
        if move.event == CREATED:
            reason = self.pages.take(move, world, self._now_ms)
            about = scope(world, int(world.facts_of(move.machine).get("subject", 0)))
            self.say(f"page: {reason.replace('_', ' ')}, {about}")

    def _incident(self, move: Move, world: World) -> None:
        self.incidents.progress(move, world, self._now_ms)
        if move.source != move.target:
            self.say(f"{scope(world, move.machine)}: {move.why}")

    def _says(self, move: Move, world: World) -> None:
        if move.source != move.target:
            self.say(f"{world.get(move.machine).name}: {move.why}")

    def _failover(self, move: Move, world: World) -> None:
        """Was it needed? Asked when it begins: by the time of its promotion it has fenced the old primary itself."""
        event = BY_CODE[move.kind].events[move.event]
        if event == CREATE:
            facts = world.facts_of(move.machine)
            if not facts.get("exercise") and truth.serves(self.world, world, int(facts["old_primary"])):
                self._unasked.add(move.machine)
        elif event == "promoted" and move.machine in self._unasked:
            self._unasked.discard(move.machine)
            self.wrong_promotions += 1

    def _destroys(self, move: Move, world: World) -> None:
        if (move.kind, move.event) in truth.DESTROYS:
            zone = str(world.facts_of(move.machine).get("zone", ""))
            self.destroyed_while_blind += blind(self.drill.scenario, self._now_ms, zone)

    # --- what is looked at

    async def run(self) -> None:
        """Until cancelled: limits and orders each tick, a sample of everything twice a minute (once on a long day)."""
        tick_s, ticks = self._every_s / TICKS, 0
        while True:
            await asyncio.sleep(tick_s)
            ticks += 1
            self._tick(tick_s)
            if ticks % TICKS == 0:
                self._sample()

    def _tick(self, tick_s: float) -> None:
        self._now_ms = self._clock_ms()
        active = self.world.active
        plane = active.plane if active is not None else None
        if plane is not None and plane is not self._plane:
            self.begin(plane)  # another controller has the shard, or the same one began anew
        if plane is not None:
            self.limits.look(plane.effects, self.world.now, tick_s)
            self.limits.look_at_recovery(plane.shard.world, plane.parts.drain_per_s, tick_s)
        self.reboots.look(self.world, self._now_ms, round(tick_s * 1000))
        if not self._settled and self._now_ms >= settled_from(self.drill.scenario, self.reboots):
            self._settled = True
            self._excuse()
            self._watch_wellness()
        if time.perf_counter() - self._shown >= PROGRESS_EVERY_S:
            self._show()

    @property
    def _committed(self) -> World:
        assert self._plane is not None
        return self._plane.shard.world

    def _sample(self) -> None:
        world, now_ms = self._committed, self._clock_ms()
        if self._settled and self.well_ms is None:
            self._excuse()
            self._watch_wellness()
        total, done = recovered(world)
        wal_bytes_per_s = self.drill.scenario.fleet.archive.wal_bytes_per_s
        sample = Sample(
            now_ms, by_words(self.moves.states(), *UNITS), self.wellness.by_plan, self._backlog(world),
            self.archives.bytes_waiting(now_ms, wal_bytes_per_s), total + self.archives.begun, done + self.archives.ended,
        )  # fmt: skip
        self.samples.take(sample)

    def _excuse(self) -> None:
        """Services that only a restore brings back, and their archives: they do not keep a fleet from being well."""
        world, wellness = self._committed, self.wellness
        services = truth.without_data(self.world, world)
        self._excuse_those(services)
        if 0 < wellness.ill <= FEW:
            ill = wellness.not_excused(world.ids_in("service", "uncertain", "unavailable", "restart"))
            more = [ident for ident in ill.tolist() if truth.has_no_copy(self.world, world.get(ident))]
            if more:
                self._excuse_those(np.concatenate([services, np.array(more, np.uint32)]))

    def _excuse_those(self, services: Ids) -> None:
        archives = self._committed.fact(services, "archive", 0, np.uint32)
        self.wellness.excuse(self._committed, np.concatenate([services, archives[archives > 0]]))

    def _backlog(self, world: World) -> dict[str, int]:
        """What waits, by a name for people."""
        states = by_words(self.moves.states(), "archive").get("archive", {})
        effects = self._plane.effects.metrics() if self._plane is not None else {}
        return {
            "archives that wait": states.get("uncertain", 0) + states.get("unavailable", 0),
            "archives that drain": states.get("restart", 0),
            "remedies parked": self.remedies.waiting,
            "remedies whose turn has not come": self.incidents.turns,
            "effects that wait": sum(told["waiting"] for told in effects.values()),
        }

    def _show(self) -> None:
        """The only thing that goes by the wall's clock."""
        now = time.perf_counter()
        states, world = self.moves.states(), self._committed
        per_s = (self.moves.total - self._shown_moves) / max(now - self._shown, 1e-6)
        self._shown, self._shown_moves = now, self.moves.total
        going_on = world.count("incident", "recovering") > 0
        forecasts = self.incidents.forecasts
        progress = Progress(
            virtual_ms=self._now_ms, wall_s=now - self._began, services=self.drill.services, states=by_words(states, *UNITS),
            unavailable=self.wellness.by_plan, backlog=self._backlog(world), remedies=under_way(states),
            done={each.kind: each.ended_well for each in self.moves.remedies()}, pages=len(self.pages), moves=self.moves.total,
            moves_per_s=per_s, behind=self._behind(), sentence=self.sentence,
            forecast_ms=forecasts[-1].end_ms if going_on and forecasts else 0,
        )  # fmt: skip
        self._on_progress(progress)

    def _behind(self) -> int:
        lag = getattr(self._plane.shard.follower, "lag", None) if self._plane is not None else None
        return int(lag().machines) if lag is not None else 0

    # --- what came of it

    def result(self, ended: Ended) -> DrillResult:
        """Everything, judged at this moment. Inside the running loop, before the world is closed."""
        plane, drill = self._plane, self.drill
        assert plane is not None
        peak_rss_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        world, now_ms = plane.shard.world, self._clock_ms()
        self._now_ms = now_ms
        self.world.reckon()
        self._sample()
        self._show()
        self.reboots.close(self.world)
        lost, excused = truth.losses(self.world, world), truth.all_without_data(self.world, world)
        unwell = truth.not_well(world, excused)
        done, needed = self.effects.done_and_needed(plane.effects)
        counts = self._counts(world)
        return DrillResult(
            scenario=drill.scenario, seed=drill.seed, store=drill.store_name, services=drill.services,
            machines=int(np.count_nonzero(world.columns.kind[: world.size])), wall_s=ended.wall_s, peak_rss_mb=peak_rss_mb,
            trace_sha256=trace_hash(plane), transitions=self._transitions(world), units_touched=int(self._touched(world).sum()),
            effects_done=done, effects_needed=needed, lost_premium=lost.premium, lost_beyond_bound=lost.beyond,
            two_primaries=lost.doubled, wrong_promotions=self.wrong_promotions, not_well=unwell.left,
            destroyed_while_blind=self.destroyed_while_blind, without_data=len(excused), not_rebooted=self.reboots.left,
            lost_async_writes=lost.asynchronous, well_ms=self.well_ms, projection_lag_moves=ended.lag_moves,
            projection_lag_s=ended.lag_s, log_bytes=ended.log_bytes or self.log_bytes, machine_bytes=machine_bytes(world),
            hand=by_hand(drill.manual, counts), timeline=self.samples.timeline(), remedies=tuple(self.moves.remedies()),
            parked=tuple(self._parked(now_ms)), pages=tuple(self.pages.sent(world)), forecasts=tuple(self.incidents.forecasts),
            limits=tuple(self.limits.rows()), counts=counts, notes=(*ended.notes, *self._notes(world, unwell)),
            ended_early=ended.ended_early,
        )  # fmt: skip

    def _parked(self, now_ms: int) -> Iterator[Parked]:
        yield from self.archives.parked(now_ms, "the object store")
        yield from self.remedies.rows(now_ms)
        yield from self.incidents.rows(now_ms)

    def _before(self, world: World) -> Ids:
        """Versions at the beginning by machine id; 0 for what was made since."""
        before = np.zeros(world.size, np.uint32)
        before[: len(self._versions)] = self._versions
        return before

    def _transitions(self, world: World) -> int:
        """A version is one move: the sum misses none, also of those whose answer a killed controller never got."""
        versions = world.columns.version[: world.size]
        return int(versions.sum(dtype=np.int64)) - int(self._versions.sum(dtype=np.int64))

    def _touched(self, world: World) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """By machine id: a unit that moved in the day."""
        unit = np.zeros(256, bool)
        unit[[BY_KIND[kind].code for kind in UNITS]] = True
        moved = world.columns.version[: world.size] != self._before(world)
        touched: np.ndarray[tuple[int], np.dtype[np.bool_]] = moved & unit[world.columns.kind[: world.size]]
        return touched

    def _counts(self, world: World) -> dict[str, int]:
        """Of events, and what work by hand is counted by besides."""
        counts = self.moves.counts()
        touched = np.flatnonzero(self._touched(world)).astype(np.uint32)
        services = np.zeros(world.size, bool)
        kinds = world.columns.kind[touched]
        for kind in ("server", "member", "archive"):
            services[world.fact(touched[kinds == BY_KIND[kind].code], "service", 0, np.uint32)] = True
        services[touched[kinds == BY_KIND["service"].code]] = True
        services[0] = False
        return counts | {
            "drill.incidents": self.moves.begun("incident"), "drill.pages": len(self.pages),
            "drill.services_touched": int(services.sum()), "drill.services_unavailable": self.wellness.ever_down,
        }  # fmt: skip

    def _notes(self, world: World, unwell: truth.NotWell) -> Iterator[str]:
        yield f"{self._made:,} machines were made before the day began: they are counted as machines, not as transitions."
        if looked := self.effects.looks(self._plane.effects if self._plane is not None else None):
            yield looked
        if unwell.paged:
            yield f"{unwell.paged:,} services wait for a person, and a page says why: not counted as 'not well'."
        if unwell.left:
            yield f"Not well at the end: {', '.join(unwell.names)}{' and others' if unwell.left > len(unwell.names) else ''}."
        for bug in self.world.bugs[:3]:
            yield f"The simulated world found a broken invariant: {bug}."


def machine_bytes(world: World) -> int:
    """Of all machines: their columns, and their own documents as they are packed into a snapshot."""
    columns = sum(np.dtype(kind).itemsize for _, kind in FIELDS) * world.size
    encode = msgspec.msgpack.Encoder().encode
    own = np.flatnonzero(world.columns.own[: world.size]).tolist()
    return columns + sum(len(encode(world.document(machine))) for machine in own)
