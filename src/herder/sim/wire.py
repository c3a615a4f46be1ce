"""The controller's side of the wire in the simulator: frames and jobs pass the real codec and the modelled network."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from herder.model.errors import Unreachable
from herder.ports.wire import Job, JobReply, JobStatus, Pulse
from herder.sim.host import Host
from herder.wire.frame import FrameError, decode_job, decode_pulse, decode_reply, encode

if TYPE_CHECKING:
    from herder.sim.agent import SimAgent
    from herder.sim.controller import Controller
    from herder.sim.world import World

NATS = "nats"
LATE = b""
"""In the place of an answer that did not come in time: no frame is empty."""


class SimWire:
    """ports.wire.Wire of one controller."""

    def __init__(self, world: World, controller: Controller) -> None:
        self._world = world
        self._controller = controller
        self._on_pulse: list[Callable[[Pulse, bytes], None]] = []
        self._on_fleet: list[Callable[[bytes], None]] = []
        self._on_gone: list[Callable[[str], None]] = []
        self.refused: dict[str, int] = {}

    @property
    def subscribed(self) -> bool:
        """Does NATS pass pulses on to it? To a controller that waits for its shard it does not."""
        return bool(self._on_pulse)

    async def subscribe_pulses(self, on_pulse: Callable[[Pulse, bytes], None]) -> None:
        """See the port."""
        self._on_pulse.append(on_pulse)

    async def subscribe_fleet(self, on_frame: Callable[[bytes], None]) -> None:
        """See the port."""
        self._on_fleet.append(on_frame)

    def take_fleet(self, frame: bytes) -> None:
        """A relay's frame has come, with many servers' pulses in it."""
        self._controller.when_awake(lambda: [tell(frame) for tell in self._on_fleet])

    async def subscribe_disconnects(self, on_gone: Callable[[str], None]) -> None:
        """See the port."""
        self._on_gone.append(on_gone)

    def take(self, server: str, data: bytes) -> None:
        """A frame has come; a stopped controller reads it when it goes on, a dead one never."""
        if self._controller.runs:
            self._take(server, data)
        else:
            self._controller.when_awake(lambda: self._take(server, data))

    def _take(self, server: str, data: bytes) -> None:
        try:
            pulse = decode_pulse(data)
        except FrameError as error:
            self.refused[error.fault] = self.refused.get(error.fault, 0) + 1
            return
        if pulse.server != server:
            self.refused["impostor"] = self.refused.get("impostor", 0) + 1
            return
        for tell in self._on_pulse:
            tell(pulse, data)

    def gone(self, server: str) -> None:
        """NATS says that an agent's connection closed."""
        self._controller.when_awake(lambda: [tell(server) for tell in self._on_gone])

    async def ask(self, job: Job, timeout_s: float) -> JobReply:
        """See the port."""
        await self._controller.gate()
        world, node = self._world, self._controller.name
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bytes | None] = loop.create_future()

        def come(data: bytes | None) -> None:
            if not answer.done():
                answer.set_result(data)

        late = loop.call_later(timeout_s, come, LATE)  # asyncio.timeout costs three times as much
        if not world.listens(job.server):
            world.network.send((node, NATS, node), come, None)
        else:
            world.network.send((node, NATS, job.server), world.deliver, job.server, encode(job), node, come)
        try:
            data = await answer
        finally:
            late.cancel()
        await self._controller.gate()
        if data == LATE:
            raise Unreachable(f"the agent of server {job.server} did not answer within {timeout_s:g} s")
        if data is None:
            raise Unreachable(f"the agent of server {job.server} did not answer: nobody listens")
        return decode_reply(data)

    async def echo(self, timeout_s: float) -> bool:
        """See the port."""
        node = self._controller.name
        fate = self._world.network.fate(node, NATS, node)
        await self._controller.clock.sleep(min(fate[0], timeout_s) if fate else timeout_s)
        return bool(fate) and fate[0] < timeout_s

    async def close(self) -> None:
        """See the port."""
        self._on_pulse.clear()
        self._on_fleet.clear()
        self._on_gone.clear()


def take_job(world: World, host: Host, agent: SimAgent, data: bytes, node: str, come: Callable[[bytes], None]) -> None:
    """The agent's side of a job. A renewal is answered at once, everything else by a task of its life."""
    job = decode_job(data)
    reply = agent.at_once(job)
    if reply is None:
        agent.task(_answer_job(world, host, agent, job, node, come))
    else:
        world.network.send((host.name, NATS, node), come, encode(reply))


async def _answer_job(
    world: World, host: Host, agent: SimAgent, job: Job, node: str, come: Callable[[bytes], None]
) -> None:
    """Whoever asked may have stopped waiting, the job goes on all the same."""
    try:
        reply = await agent.handle(job)
    except Exception as error:  # noqa: BLE001  a bug in an agent is an answer, as over NATS
        world.bugs.append(f"{job.name} of {job.member}: {type(error).__name__}: {error}")
        reply = JobReply(intent=job.intent, status=JobStatus.FAILED, error=f"{type(error).__name__}: {error}")
    if not agent.dead:
        world.network.send((host.name, NATS, node), come, encode(reply))
