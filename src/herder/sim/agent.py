"""A simulated agent: the real one's protocol (promises, intents, turns, refusals, pulses) over modelled engines.

It mirrors `herder.agent`, which a simulator may not import: there, files and processes stand where a host and a cluster
stand here. What a job does to an engine is in `work`.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from herder.model.errors import HerderError
from herder.ports.driver import MemberSpec, Reading
from herder.ports.wire import FRAME_VERSION, Job, JobReply, JobStatus, MemberPulse, Pulse
from herder.sim.act import Act
from herder.sim.host import Disk, Ended, Entry, Host
from herder.sim.work import ACTIONS, LOOKS, Work, end_under_lease, look

if TYPE_CHECKING:
    from herder.sim.world import World

log = logging.getLogger("herder.sim.agent")

RENEW = "renew"
NUDGE_S = 0.002
PAUSE_FLOOR_S = 0.5
WAIT_CEILING_S = 60.0
DISK_FREE = 10 * 1024**3
DISK_CRAMPED = 8 * 1024**2
"""Bytes: half a segment of PostgreSQL's log."""


@dataclass(slots=True)
class _Rider:
    mark: tuple[int, int]
    restarts: bool
    task: asyncio.Task[Ended]


class Lane:
    """One member's turn: jobs act one at a time, newer ones push older ones out."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.riders: dict[str, _Rider] = {}
        self.acting = ""

    def push_out(self, mark: tuple[int, int] | None) -> None:
        """Cancel what is older than `mark`; None: all that does not start or end the engine itself (it has just ended)."""
        for rider in list(self.riders.values()):
            if (mark is None and not rider.restarts) or (mark is not None and rider.mark < mark):
                rider.task.cancel()


class SimAgent:
    """One life of a host's agent."""

    def __init__(self, world: World, host: Host, interval_s: float) -> None:
        self.world = world
        self.host = host
        self.interval_s = interval_s
        self.life = world.chance.token(8)
        self._loop = asyncio.get_running_loop()
        self.dead = False
        self._seq = 0
        self._lanes: dict[str, Lane] = {}
        self._running: dict[str, asyncio.Task[JobReply]] = {}
        self._tasks: dict[asyncio.Task[Any], None] = {}
        self._exited: dict[str, str] = {}
        self._gists: dict[str, tuple[object, ...]] = {}
        self._clearing: set[str] = set()
        self._nudged = False
        self._due = 0.0
        self._resting = False
        world.forget_heard(host)

    # --- life

    def begin(self, phase_s: float) -> None:
        """First beat after `phase_s`; members of an earlier life are looked after again."""
        self._due = asyncio.get_running_loop().time() + phase_s
        asyncio.get_running_loop().call_later(phase_s, self._tick)

    def die(self) -> None:
        """Its process is gone; engines are not touched."""
        self.dead = True
        if self.acts:
            self.world.saw("an agent died while it acted")
        for task in list(self._tasks):
            task.cancel()
        self._tasks.clear()

    def rest(self) -> None:
        """A relay speaks for it: no beats of its own until `rouse`; what happens is still told at once."""
        self._resting = True

    def rouse(self, phase_s: float, after: int = 0) -> None:
        """It speaks for itself again. after: the number of the last frame in which its relay told of it."""
        if self._resting:
            self._resting, self._seq = False, max(self._seq, after)
            self.begin(phase_s)

    def task(self, coroutine: Any) -> asyncio.Task[Any]:
        """A task that ends with this life."""
        task: asyncio.Task[Any] = asyncio.get_running_loop().create_task(coroutine)
        self._tasks[task] = None
        task.add_done_callback(lambda done: self._tasks.pop(done, None))
        return task

    # --- pulse

    def _tick(self) -> None:
        if not self.dead and not self._resting:
            self.host.when_awake(self._beat_as_planned)

    def _beat_as_planned(self) -> None:
        if self.dead:
            return
        loop = self._loop
        late_s = loop.time() - self._due
        self.beat(int(late_s * 1000) if late_s > PAUSE_FLOOR_S else 0)
        wait_s = self.host.clock.true_span(self.interval_s)
        self._due = self._due + wait_s if late_s < wait_s else loop.time() + wait_s
        loop.call_at(self._due, self._tick)

    def nudge(self) -> None:
        """A frame in a moment, besides the regular ones."""
        if not self._nudged and not self.dead:
            self._nudged = True
            asyncio.get_running_loop().call_later(NUDGE_S, self.host.when_awake, self._nudged_beat)

    def _nudged_beat(self) -> None:
        self._nudged = False
        if not self.dead and self.host.awake:
            self.beat(0)

    def beat(self, paused_ms: int) -> None:
        """Look at every member and send a frame."""
        self._seq += 1
        frame = Pulse(
            version=FRAME_VERSION, server=self.host.name, incarnation=self.host.incarnation, agent_pid=self._seq % 7 + 2,
            life=self.life, seq=self._seq, sent_ms=int(self.host.clock.read(self._loop.time()) * 1000), paused_ms=paused_ms, rss_kb=20_000,
            disk_free=_room(self.host.disk), members=tuple(self._members()),
        )  # fmt: skip
        self.world.publish(self.host, frame)

    def _members(self) -> list[MemberPulse]:
        frames = []
        for member, entry in self.host.disk.members.items():
            if entry.spec is None:
                continue
            reading = self.world.read(entry.spec)
            self._take(entry.spec, reading)
            lane, exit_line = self.lane(member), self._exited.get(member)
            said = self.host.fired.get(member, "") or (exit_line or "")
            remark = "the agent's ledger cannot be written: No space left on device" if self.host.disk.full else ""
            frames.append(
                MemberPulse(member=member, service=entry.spec.service, term=entry.term, reading=reading,
                            exited=exit_line is not None, exit_line=said if exit_line is not None else "",
                            busy=lane.acting or remark)
            )  # fmt: skip
        return frames

    def look_at(self, spec: MemberSpec) -> None:
        """Something happened to an engine: told at once when it is news."""
        reading = self.world.read(spec)
        old = self._gists.get(spec.member)
        self._take(spec, reading)
        if old != self._gists[spec.member]:
            self.nudge()

    def _take(self, spec: MemberSpec, reading: Reading) -> None:
        member = spec.member
        self._gists[member] = (reading.alive, reading.role, reading.pid, reading.upstream is False)
        if reading.pid:
            if self._exited.pop(member, None) is not None:
                self.nudge()
        elif member not in self._exited and member not in self._clearing:
            self._clearing.add(member)
            self.task(self._clear_up(spec))

    async def _clear_up(self, spec: MemberSpec) -> None:
        """End what is left and confirm it. A job that restarts the engine comes first."""
        lane = self.lane(spec.member)
        try:
            lane.push_out(None)
            async with lane.turn:
                if self.world.read(spec).pid:
                    return
                await self.host.pass_time(self.world.takes("clear_up"))
                reading = self.world.read(spec)
                if not reading.pid:
                    self._exited[spec.member] = reading.detail
                    self.nudge()
        finally:
            self._clearing.discard(spec.member)

    # --- jobs

    def lane(self, member: str) -> Lane:
        """The member's turn."""
        lane = self._lanes.get(member)
        if lane is None:
            lane = self._lanes[member] = Lane()
        return lane

    @property
    def acts(self) -> bool:
        """A job of its is at work on an engine now."""
        return any(lane.acting for lane in self._lanes.values())

    def free(self, member: str) -> bool:
        """Nothing acts on its engine now."""
        return not self.lane(member).turn.locked()

    def at_once(self, job: Job) -> JobReply | None:
        """The answer to what needs neither a turn nor time: a renewal. None: `handle` it."""
        if job.name != RENEW:
            return None
        wrong = self._misdirected(job)
        return self._reply(job, JobStatus.REFUSED, error=wrong) if wrong else self._renew(job)

    async def handle(self, job: Job) -> JobReply:
        """Answer within job.wait_s by this host's clock: the end of the job, or RUNNING. Asked again, it joins what runs."""
        await self.host.wait_awake()
        if wrong := self._misdirected(job):
            return self._reply(job, JobStatus.REFUSED, error=wrong)
        key = f"{job.member} {job.name} {job.intent}"
        task = self._running.get(key)
        if task is None:
            task = self.task(self._run(job))
            self._running[key] = task
            task.add_done_callback(lambda _: self._running.pop(key, None))
        await asyncio.wait((task,), timeout=min(max(0.0, job.wait_s), WAIT_CEILING_S))
        await self.host.wait_awake()
        return task.result() if task.done() else self._reply(job, JobStatus.RUNNING)

    def _misdirected(self, job: Job) -> str:
        if job.server != self.host.name:
            return f"this is the agent of {self.host.name}, not of {job.server}"
        if job.incarnation != self.host.incarnation:
            return f"this is incarnation {self.host.incarnation} of {self.host.name}, not {job.incarnation}"
        if job.term < 0 or job.order < 0 or (job.term and not (job.intent and job.member)):
            return "a job with a term needs an intent and a member"
        if job.name in LOOKS:
            return ""
        if job.name not in ACTIONS and job.name != RENEW:
            return f"this agent does not know the job '{job.name}': it may be older than the controller"
        return "" if job.term else f"'{job.name}' changes something: it needs a term"

    async def _run(self, job: Job) -> JobReply:
        try:
            if job.name in LOOKS:
                result = await look(self, job)
                return self._reply(job, JobStatus.DONE, result=msgspec.to_builtins(result))
        except HerderError as error:
            return self._reply(job, JobStatus.FAILED, error=error.message, hint=error.hint)
        admitted = self._admit(job)
        if isinstance(admitted, JobReply):
            return admitted
        outcome = await self._ride(job, admitted)
        return self._told(job, outcome)

    def _admit(self, job: Job) -> MemberSpec | JobReply:
        """Result known? mark lower? promise written? In this order."""
        disk = self.host.disk
        known = disk.outcomes.get(job.intent)
        if known is not None:
            if (known.member, known.name) != (job.member, job.name):
                return self._reply(job, JobStatus.REFUSED, error=f"intent {job.intent} was {known.name}")
            return self._told(job, known)
        entry, mark = disk.members.get(job.member), (job.term, job.order)
        if entry is not None and mark < entry.mark:
            self.world.saw("an agent refused an order of the past")
            error = f"term {job.term}, order {job.order} is older than what {job.member} was promised to: {entry.mark}"
            return self._reply(job, JobStatus.REFUSED, error=error)
        spec = job.spec or (entry.spec if entry is not None else None)
        if spec is None:
            return self._reply(job, JobStatus.REFUSED, error=f"{job.member} is not known here and the job has no spec")
        if spec.member != job.member:
            return self._reply(job, JobStatus.REFUSED, error=f"the spec is of {spec.member}, the job for {job.member}")
        new = Entry(job.term, job.order, spec, entry.lease_s if entry is not None else 0.0)
        self._step(job, "promising")
        disk.members[job.member] = new
        if disk.full and new != entry:
            self.world.saw("an agent could not write its promise")
            return self._reply(job, JobStatus.REFUSED, error="the agent's ledger cannot be written: No space left")
        self._step(job, "promised")
        self.lane(job.member).push_out(mark)
        return spec

    async def _ride(self, job: Job, spec: MemberSpec) -> Ended:
        lane = self.lane(job.member)
        acting = self.task(self._act(job, spec, lane))
        lane.riders[job.intent] = _Rider((job.term, job.order), ACTIONS[job.name].restarts, acting)
        try:
            await asyncio.wait((acting,))
        finally:
            lane.riders.pop(job.intent, None)
        outcome = self._pushed_out(job) if acting.cancelled() else acting.result()
        self._step(job, "acted")
        self.host.disk.keep(job.intent, outcome)
        self._step(job, "kept")
        if not ACTIONS[job.name].leaves:
            self.look_at(spec)
        return outcome

    async def _act(self, job: Job, spec: MemberSpec, lane: Lane) -> Ended:
        async with lane.turn:
            entry = self.host.disk.members.get(job.member)
            if entry is not None and (job.term, job.order) < entry.mark:
                return self._pushed_out(job)
            lane.acting = job.name
            self._step(job, "acting")
            try:
                result = await Work(self, job, spec).run()
            except HerderError as error:
                log.debug("%s of %s: %s", job.name, job.member, error.message)
                return Ended(job.member, job.name, JobStatus.FAILED, None, str(error), error.hint, error.code)
            finally:
                lane.acting = ""
            self._tell_of(job, spec)
            return Ended(job.member, job.name, JobStatus.DONE, msgspec.to_builtins(result))

    def _step(self, job: Job, step: str) -> None:
        """Whoever watches the world is told, in this order: 'promising', 'promised', 'acting', 'acted', 'kept' (its end is on
        disk). They may kill this agent there; then nothing more of it runs.
        """
        for tell in self.world.steps:
            tell(self.host, job, step)
        if self.dead:
            raise asyncio.CancelledError

    def _tell_of(self, job: Job, spec: MemberSpec) -> None:
        """Whoever watches the world is told what was done; nobody of herder is."""
        world = self.world
        if not world.acts:
            return
        leader = {"promote": job.member, "failover_to": str(job.args.get("source", {}).get("member", ""))}
        act = Act(world.now, job.name, spec.service, job.member, self.host.name, job.term, job.order, job.intent,
                  leader.get(job.name, ""))  # fmt: skip
        for tell in world.acts:
            tell(act)

    def _pushed_out(self, job: Job) -> Ended:
        entry = self.host.disk.members.get(job.member)
        if entry is not None and (job.term, job.order) < entry.mark:
            return Ended(job.member, job.name, JobStatus.REFUSED, None, f"'{job.name}' gave way to a newer job")
        return Ended(job.member, job.name, JobStatus.FAILED, None, f"the engine ended while '{job.name}' ran")

    def _renew(self, job: Job) -> JobReply:
        entry = self.host.disk.members.get(job.member)
        if entry is not None and job.term < entry.term:
            return self._reply(job, JobStatus.REFUSED, error=f"term {job.term} is older than {entry.term}")
        now, lease_s = self.host.now, entry.lease_s if entry is not None else 0.0
        if not lease_s:
            return self._reply(job, JobStatus.DONE, result={"stamp": now, "lease_s": 0.0, "left_s": 0.0})
        deadline, stamp = self.host.deadlines.get(job.member, 0.0), float(job.args["stamp"])
        if 0 < stamp <= now < deadline:
            deadline = self.host.deadlines[job.member] = max(deadline, stamp + lease_s)
        told = {"stamp": now, "lease_s": lease_s, "left_s": deadline - now}
        return self._reply(job, JobStatus.DONE, result=told)

    def watch_lease(self, member: str) -> None:
        """The watchdog: it outlives the agent (its timer is the host's) and ends the engine at the deadline."""
        end_under_lease(self.world, self.host, member)

    def _told(self, job: Job, outcome: Ended) -> JobReply:
        return self._reply(
            job, outcome.status, result=outcome.result, error=outcome.error, hint=outcome.hint, code=outcome.code
        )

    def _reply(
        self, job: Job, status: JobStatus, *, result: Any = None, error: str = "", hint: str = "", code: str = ""
    ) -> JobReply:
        entry = self.host.disk.members.get(job.member)
        term = entry.term if entry is not None else 0
        return JobReply(intent=job.intent, status=status, result=result, error=error, hint=hint, term=term, code=code)


def _room(disk: Disk) -> int:
    """Bytes."""
    return 0 if disk.full or disk.stuck else DISK_CRAMPED if disk.cramped else DISK_FREE
