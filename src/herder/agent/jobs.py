"""Jobs: refused when they are older than what is promised, promised durably before acting, run once per intent.

Every job with a term goes through the same door: result known? mark lower? promise written? Then it takes its member's
turn, acts through the driver, and its end is stored before it is told.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Protocol

import msgspec

from herder.agent.actions import ACTIONS, Action, Args, Bond, argument
from herder.agent.drivers import Drivers
from herder.agent.lane import Lane, Rider
from herder.agent.lease import Leases, stamp
from herder.agent.ledger import Ledger, LedgerBroken, Outcome
from herder.model.errors import HerderError, InvalidInput
from herder.ports.driver import MemberSpec
from herder.ports.wire import Job, JobReply, JobStatus

log = logging.getLogger(__name__)

LOOKS = ("read", "probe", "stamp")
"""Jobs that change nothing: no promise, no turn, any term."""

RENEW = "renew"
"""Several a second over a fleet: it promises nothing new, so it writes nothing durably and waits for nobody's turn."""

LOOK_TIMEOUT_S = 2.0
WAIT_CEILING_S = 60.0
"""A controller that asks for more gets RUNNING and asks again."""


class Watcher(Protocol):
    """What jobs need of the supervisor."""

    leases: Leases

    def lane(self, member: str) -> Lane:
        """The member's turn."""

    def watch(self, spec: MemberSpec) -> None:
        """Look after it from now on, or with this newer spec."""

    def unwatch(self, member: str) -> None:
        """Look after it no more."""

    def poke(self, member: str) -> None:
        """Look at it now: something was done to it."""


class Jobs:
    """Answers jobs of one incarnation of one server."""

    def __init__(self, server: str, incarnation: int, ledger: Ledger, drivers: Drivers, watcher: Watcher) -> None:
        self._server = server
        self._incarnation = incarnation
        self._ledger = ledger
        self._drivers = drivers
        self._watcher = watcher
        self._running: dict[str, asyncio.Task[JobReply]] = {}

    async def handle(self, job: Job) -> JobReply:
        """Answer within job.wait_s: the end of the job, or RUNNING. Asked again, it joins what runs."""
        if wrong := self._misdirected(job):
            return self._reply(job, JobStatus.REFUSED, error=wrong)
        key = f"{job.member} {job.name} {job.intent}"
        task = self._running.get(key)
        if task is None:
            task = asyncio.create_task(self._run(job), name=f"job {key}")
            self._running[key] = task
            task.add_done_callback(lambda _: self._running.pop(key, None))
        done, _ = await asyncio.wait({task}, timeout=min(max(0.0, job.wait_s), WAIT_CEILING_S))
        return task.result() if done else self._reply(job, JobStatus.RUNNING)

    async def close(self) -> None:
        """End what runs; its promise is stored, so the next agent can be asked again."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _misdirected(self, job: Job) -> str:
        if job.server != self._server:
            return f"this is the agent of {self._server}, not of {job.server}"
        if job.incarnation != self._incarnation:
            return f"this is incarnation {self._incarnation} of {self._server}, not {job.incarnation}"
        if job.term < 0 or job.order < 0 or (job.term and not (job.intent and job.member)):
            return "a job with a term needs an intent and a member"
        if job.name in LOOKS:
            return ""
        if job.name not in ACTIONS and job.name != RENEW:
            return f"this agent does not know the job '{job.name}': it may be older than the controller"
        if not job.term:
            return f"'{job.name}' changes something: it needs a term"
        return ""

    async def _run(self, job: Job) -> JobReply:
        try:
            if job.name in LOOKS:
                return await self._look(job)
            if job.name == RENEW:
                return self._renew(job)
            admitted = await self._admit(job)
            if isinstance(admitted, JobReply):
                return admitted
            outcome = await self._ride(job, admitted)
        except asyncio.CancelledError:
            return self._reply(job, JobStatus.REFUSED, error="the agent is ending")
        except Exception as error:
            log.exception("job %s of %s (%s)", job.name, job.member, job.intent)
            return self._reply(job, JobStatus.FAILED, error=f"{type(error).__name__}: {error}")
        return self._told(job, outcome)

    async def _admit(self, job: Job) -> MemberSpec | JobReply:
        """Let a job in: the spec to act on, or the answer when there is nothing to do or it may not."""
        lane = self._watcher.lane(job.member)
        async with lane.admission:
            known = self._ledger.outcome(job.intent)
            if known is not None:
                return self._again(job, known)
            entry = self._ledger.entry(job.member)
            if entry is not None and (job.term, job.order) < entry.mark:
                return self._reply(
                    job,
                    JobStatus.REFUSED,
                    error=f"term {job.term}, order {job.order} is older than what {job.member} was promised to: {entry.mark}",
                )
            spec = job.spec or (entry.spec if entry is not None else None)
            if spec is None:
                return self._reply(
                    job, JobStatus.REFUSED, error=f"{job.member} is not known here and the job has no spec"
                )
            if spec.member != job.member:
                return self._reply(
                    job, JobStatus.REFUSED, error=f"the spec is of {spec.member}, the job for {job.member}"
                )
            try:
                await self._ledger.admit(job.member, job.term, job.order, spec)
            except LedgerBroken as error:
                return self._reply(
                    job, JobStatus.REFUSED, error=str(error), hint="make room or replace the disk; it mends itself"
                )
            lane.push_out_older((job.term, job.order))
            return spec

    async def _ride(self, job: Job, spec: MemberSpec) -> Outcome:
        """Take the turn and act; being pushed out is an end like any other."""
        lane = self._watcher.lane(job.member)
        acting = asyncio.create_task(self._act(job, spec, lane), name=f"{job.name} {job.member}")
        lane.enter(job.intent, Rider((job.term, job.order), job.name, ACTIONS[job.name].restarts, acting))
        try:
            await asyncio.wait({acting})
        except asyncio.CancelledError:
            acting.cancel()
            await asyncio.wait({acting}, timeout=1.0)
            raise
        finally:
            lane.leave(job.intent)
        outcome = self._pushed_out(job) if acting.cancelled() else acting.result()
        await self._store(job, outcome)
        if outcome.status is not JobStatus.DONE or not ACTIONS[job.name].leaves:
            self._watcher.poke(job.member)
        return outcome

    async def _act(self, job: Job, spec: MemberSpec, lane: Lane) -> Outcome:
        async with lane.turn(job.name):
            entry = self._ledger.entry(job.member)
            if entry is not None and (job.term, job.order) < entry.mark:
                return self._pushed_out(job)  # it was let in, and overtaken before its turn came
            action = ACTIONS[job.name]
            try:
                driver = self._drivers.of(spec.engine)
                self._watcher.watch(spec)
                await self._bind(action, spec, job.args)
                result = await action.run(driver, spec, job.args)
                plain = msgspec.to_builtins(result)
                if action.leaves:
                    await self._watcher.leases.left(job.member)
                    self._watcher.unwatch(job.member)
                    await self._ledger.forget(job.member)
            except (HerderError, LedgerBroken) as error:
                log.warning("job %s of %s: %s", job.name, job.member, error)
                return self._failed(job, str(error), getattr(error, "hint", ""), getattr(error, "code", ""))
            except Exception as error:
                log.exception("job %s of %s (%s)", job.name, job.member, job.intent)
                return self._failed(job, f"{type(error).__name__}: {error}")
            log.info("job %s of %s done (%s, term %d)", job.name, job.member, job.intent, job.term)
            return Outcome(member=job.member, name=job.name, status=JobStatus.DONE, result=plain)

    async def _bind(self, action: Action, spec: MemberSpec, args: Args) -> None:
        """Before the action: what it means for the lease. Raises HerderError when the lease forbids it."""
        leases = self._watcher.leases
        if action.bond is Bond.SETS:
            await leases.set(spec, argument(args, "lease_s", float))
        elif action.bond is Bond.REVIVES:
            await leases.revive(spec, argument(args, "stamp", float) if "stamp" in args else 0.0)
        elif action.bond is Bond.ENDS:
            await leases.end(spec)

    def _renew(self, job: Job) -> JobReply:
        """The controller says again that this member leads; refused when another term was promised meanwhile."""
        entry = self._ledger.entry(job.member)
        if entry is not None and job.term < entry.term:
            error = f"term {job.term} is older than what {job.member} was promised to: {entry.term}"
            return self._reply(job, JobStatus.REFUSED, error=error)
        try:
            told = self._watcher.leases.renew(job.member, argument(job.args, "stamp", float))
        except (HerderError, OSError) as error:
            return self._reply(job, JobStatus.FAILED, error=str(error))
        return self._reply(job, JobStatus.DONE, result=told)

    async def _store(self, job: Job, outcome: Outcome) -> None:
        try:
            await self._ledger.keep(job.intent, outcome)
        except LedgerBroken as error:
            # It is done all the same, and drivers find work done when asked again: told, not hidden.
            log.warning("the result of %s (%s) is kept in memory only: %s", job.name, job.intent, error)

    async def _look(self, job: Job) -> JobReply:
        """Jobs without a term: they change nothing and wait for nobody's turn."""
        try:
            async with asyncio.timeout(LOOK_TIMEOUT_S + job.wait_s):
                result = await self._looked(job)
        except HerderError as error:
            return self._reply(job, JobStatus.FAILED, error=error.message, hint=error.hint)
        except TimeoutError:
            return self._reply(job, JobStatus.FAILED, error=f"{job.name} took too long")
        return self._reply(job, JobStatus.DONE, result=msgspec.to_builtins(result))

    async def _looked(self, job: Job) -> Any:
        if job.name == "stamp":
            return stamp()
        return await (self._probe(job) if job.name == "probe" else self._read(job))

    async def _read(self, job: Job) -> Any:
        entry = self._ledger.entry(job.member)
        spec = job.spec or (entry.spec if entry is not None else None)
        if spec is None:
            raise InvalidInput(f"{job.member} is not known here and the job has no spec")
        return await self._drivers.of(spec.engine).read(spec)

    async def _probe(self, job: Job) -> str:
        probe = self._drivers.probe(argument(job.args, "engine", str))
        timeout_s = argument(job.args, "timeout_s", float)
        return await probe(argument(job.args, "address", str), argument(job.args, "port", int), timeout_s)

    def _again(self, job: Job, known: Outcome) -> JobReply:
        if (known.member, known.name) != (job.member, job.name):
            return self._reply(job, JobStatus.REFUSED, error=f"intent {job.intent} was {known.name} of {known.member}")
        return self._told(job, known)

    def _told(self, job: Job, outcome: Outcome) -> JobReply:
        return self._reply(
            job, outcome.status, result=outcome.result, error=outcome.error, hint=outcome.hint, code=outcome.code
        )

    def _pushed_out(self, job: Job) -> Outcome:
        entry = self._ledger.entry(job.member)
        older = entry is not None and (job.term, job.order) < entry.mark
        if not older:
            return self._failed(job, f"the engine ended while '{job.name}' ran")
        error = f"'{job.name}' gave way to a newer job"
        return Outcome(member=job.member, name=job.name, status=JobStatus.REFUSED, error=error)

    def _failed(self, job: Job, error: str, hint: str = "", code: str = "") -> Outcome:
        return Outcome(member=job.member, name=job.name, status=JobStatus.FAILED, error=error, hint=hint, code=code)

    def _reply(
        self, job: Job, status: JobStatus, *, result: Any = None, error: str = "", hint: str = "", code: str = ""
    ) -> JobReply:
        entry = self._ledger.entry(job.member)
        term = entry.term if entry is not None else 0
        return JobReply(intent=job.intent, status=status, result=result, error=error, hint=hint, term=term, code=code)
