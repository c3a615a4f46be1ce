"""What a playbook's handlers work with: the committed world, the board, agents, the provider. One object, passed in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from herder.engine.buckets import Buckets
from herder.engine.shard import Item
from herder.engine.world import Machine, World
from herder.model.errors import HerderError, Unreachable
from herder.model.plans import PLANS, Engine, Plan
from herder.ports.archive import ArchiveDriver
from herder.ports.clock import Clock
from herder.ports.driver import MemberSpec, Position, Reading, Source, SyncSet
from herder.ports.provider import Launch, Provider
from herder.ports.wire import Job, JobReply, JobStatus, Wire
from herder.pulse.board import Board
from herder.pulse.tracks import MemberTrack
from herder.remedies.last_read import note, stream_lag_s
from herder.remedies.tally import Tally

ANSWER_S = 5.0
"""An agent answers 'running' after this long at the latest, so silence past it (and a little) means unreachable."""


LATER = 0.05
"""What takes long is noticed so much later, as a share of how long it took."""


class JobFailed(HerderError):
    """An agent did the job and it did not succeed: its reason. cause: the stable word of the agent's own error, or ''."""

    code = "job_failed"

    def __init__(self, message: str, hint: str = "", cause: str = "") -> None:
        super().__init__(message, hint)
        self.cause = cause


class JobRefused(HerderError):
    """An agent would not: an older term, another incarnation, a disk that cannot keep promises."""

    code = "job_refused"


@dataclass(frozen=True, slots=True)
class Hands:
    """Everything a handler may use. probe: the controller's own look at an engine: (engine, address, port, timeout_s).

    mint_join: makes a one-use join token for (server, incarnation). sure: is the shard certainly ours? A controller
    that was frozen must not renew a lease that its successor waits out. dependency_probes: by a dependency's name, does it
    answer? drain_per_s: archives a second, once a drain is at full rate. buckets: None = no limits.
    """

    world: Callable[[], World]
    board: Board
    wire: Wire
    provider: Provider
    clock: Clock
    submit: Callable[[Item], None]
    probe: Callable[[str, str, int, float], Awaitable[str]]
    mint_join: Callable[[str, int], Awaitable[str]]
    nats_url: str
    engine_user: str
    agent_settings: dict[str, str]
    probe_timeout_s: float
    lease_s: float
    sure: Callable[[], bool]
    archive_driver: ArchiveDriver | None = None
    dependency_probes: Mapping[str, Callable[[], Awaitable[bool]]] = field(default_factory=dict)
    drain_per_s: float = 2000.0
    tally: Tally = field(default_factory=Tally)
    buckets: Buckets | None = None

    def get(self, machine: int) -> Machine:
        """A machine as committed."""
        return self.world().get(machine)

    def service(self, playbook: Machine) -> Machine:
        """The service that a playbook or a member belongs to."""
        return self.get(playbook.data["service"])

    def server_of(self, member: Machine) -> Machine:
        """The server that a member lives on."""
        return self.get(member.data["server"])

    def plan(self, service: Machine) -> Plan:
        """Its plan."""
        return PLANS[service.data["plan"]]

    def reading(self, member: Machine) -> Reading | None:
        """The last reading that its agent published."""
        return self.board.reading(self.server_of(member).name, member.name, member.id)

    def track(self, member: Machine) -> MemberTrack | None:
        """What was last heard of a member, and when."""
        return self.board.member(self.server_of(member).name, member.name, member.id)

    def room_bytes(self, member: Machine) -> int | None:
        """Free on the disk below its data, as its agent last told; None when it did not."""
        return self.board.room(self.server_of(member).name)

    def stream_lag_s(self, primary: Machine, standby: Machine) -> float:
        """See `last_read.stream_lag_s`."""
        return stream_lag_s(self.track, primary, standby)

    def last_read_note(self, primary: Machine) -> dict[str, Any]:
        """See `last_read.note`."""
        return note(self.world(), self.board, self.clock, primary)

    def spec(self, member: Machine) -> MemberSpec:
        """All that an agent needs to know of a member."""
        service, server = self.service(member), self.server_of(member)
        data = service.data
        # a peer connects from its server's own address, a client reaches it at its slot's
        peers = [self.get(ident).data["address"] for ident in (*data["members"], *data["servers"])]
        return MemberSpec(
            service=service.name, member=member.name, slot=member.data["slot"], engine=data["engine"], major=data["major"],
            address=member.data["address"], port=member.data["port"],
            data_dir=f"{server.data['directory']}/data/{member.name}", memory_mb=self.plan(service).memory_mb,
            database=data["database"], user=data["user"], password=data["password"], admin_password=data["admin_password"],
            replication_password=data["replication_password"], kept_days=self.plan(service).retired_days, peers=tuple(peers),
        )  # fmt: skip

    def source(self, member: Machine) -> Source:
        """A member as the upstream of others."""
        return Source(member.name, member.data["address"], member.data["port"])

    def sync_set(self, service: Machine, members: list[int], k: int = 1) -> SyncSet:
        """Member ids -> the set that goes into the engine's configuration."""
        return SyncSet(k if members else 0, tuple(self.get(member).name for member in members))

    def guard_set(self, service: Machine, leader: Machine, voters: list[int]) -> SyncSet:
        """What a new primary must be in touch with before it acknowledges. PostgreSQL: its voters. Valkey replicates
        asynchronously; with two replicas one must be in touch (min-replicas), which bounds an isolated primary's loss;
        with one replica that would stop writes whenever it is away.
        """
        if service.data["engine"] == Engine.VALKEY:
            others = [ident for ident in service.data["members"] if ident != leader.id]
            return self.sync_set(service, others if len(others) > 1 else [])
        return self.sync_set(service, voters)

    async def ask(
        self,
        work: Machine,
        member: Machine,
        name: str,
        args: dict[str, Any] | None = None,
        *,
        tag: str = "",
        answer_s: float = ANSWER_S,
    ) -> Any:
        """Have an agent do a job in the name of the machine `work` and return its result as plain data.

        The same work asks with the same intent, however often it is run: the agent runs it once. tag: tells several
        jobs of one name and member in one state apart. Raises Unreachable, JobFailed, JobRefused.
        """  # fmt: skip
        server = self.server_of(member)
        term = max(int(self.service(member).data["term"]), int(work.data.get("term", 0)))
        job = Job(
            intent=f"{work.id}.{work.entered}.{name}.{member.id}{tag}", name=name, server=server.name,
            incarnation=server.data["incarnation"], member=member.name, term=term, order=work.order, spec=self.spec(member),
            args=args or {}, wait_s=answer_s,
        )  # fmt: skip
        while True:
            reply = await self.wire.ask(job, answer_s + 1.0)
            if reply.status is not JobStatus.RUNNING:
                return _result(reply, member)

    async def look(self, member: Machine, name: str, args: dict[str, Any], answer_s: float) -> Any:
        """A read-only job (term 0): 'read' or 'probe', never refused for its age."""
        server = self.server_of(member)
        job = Job(
            intent=f"look.{self.clock.monotonic()}", name=name, server=server.name,
            incarnation=server.data["incarnation"], member=member.name, term=0, order=0, spec=self.spec(member),
            args=args, wait_s=answer_s,
        )  # fmt: skip
        return _result(await self.wire.ask(job, answer_s + 0.2), member)

    async def read(self, member: Machine, answer_s: float = 1.5) -> Reading:
        """A fresh reading by its agent."""
        return msgspec.convert(await self.look(member, "read", {}, answer_s), Reading)

    async def stamp(self, member: Machine, answer_s: float = 1.0) -> float:
        """Now, by the clock of the member's agent: a lease counts from it. Raises Unreachable."""
        if not self.sure():
            raise Unreachable("this controller is not sure of its shard", "it is renewed every few seconds")
        return float(await self.look(member, "stamp", {}, answer_s))

    async def position(
        self, work: Machine, member: Machine, name: str, args: dict[str, Any], answer_s: float
    ) -> Position:
        """A job that answers with a position (pledge, promote)."""
        return msgspec.convert(await self.ask(work, member, name, args, answer_s=answer_s), Position)

    def launch(self, server: Machine, join_token: str) -> Launch:
        """What the server's agent needs to begin."""
        return Launch(
            server=server.name, incarnation=server.data["incarnation"], nats_url=self.nats_url, join_token=join_token,
            engine_user=self.engine_user, settings=self.agent_settings,
            image=server.data.get("image_next") or server.data.get("image", ""),
        )  # fmt: skip

    async def until(self, ready: Callable[[], bool], timeout_s: float, step_s: float = 0.02) -> bool:
        """Wait for something that the world or the board will show; False when the time is over. The pause between two looks
        grows from `step_s` with what was waited, so that thousands of boots do not look fifty times a second each.
        """
        began = self.clock.monotonic()
        while not ready():
            waited_s = self.clock.monotonic() - began
            if waited_s >= timeout_s:
                return False
            await self.clock.sleep(max(step_s, min(waited_s * LATER, timeout_s - waited_s)))
        return True


def _result(reply: JobReply, member: Machine) -> Any:
    if reply.status is JobStatus.DONE:
        return reply.result
    if reply.status is JobStatus.REFUSED:
        raise JobRefused(f"{member.name}: {reply.error}", reply.hint)
    if reply.status is JobStatus.RUNNING:
        raise Unreachable(f"{member.name}: its agent has not finished looking")
    raise JobFailed(f"{member.name}: {reply.error}", reply.hint, reply.code)


async def ask_each(
    keys: Iterable[int], call: Callable[[int], Awaitable[Any]]
) -> tuple[dict[int, Any], dict[int, HerderError]]:
    """Call for each machine at once; answers and operating errors by machine."""
    idents = list(keys)
    results = await asyncio.gather(*(call(ident) for ident in idents), return_exceptions=True)
    answers: dict[int, Any] = {}
    errors: dict[int, HerderError] = {}
    for ident, result in zip(idents, results, strict=True):
        if isinstance(result, HerderError):
            errors[ident] = result
        elif isinstance(result, BaseException):
            raise result
        else:
            answers[ident] = result
    return answers, errors
