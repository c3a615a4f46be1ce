"""The wire inside one process, for simulation and tests: same frames, same codec, links that can be cut one way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from herder.model.errors import Unreachable
from herder.ports.clock import Clock
from herder.ports.wire import Job, JobReply, JobStatus, Pulse
from herder.wire.frame import FrameError, decode_job, decode_pulse, decode_reply, encode, relay_of

Handle = Callable[[Job], Awaitable[JobReply]]


class MemoryHub:
    """Stands where the NATS server stands. `down`: nothing passes. deaf/mute: servers that hear/say nothing."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.down = False
        self.deaf: set[str] = set()
        self.mute: set[str] = set()
        self.on_pulse: list[Callable[[str, bytes], None]] = []
        self.on_frame: list[Callable[[int, bytes], None]] = []
        self.on_gone: list[Callable[[str], None]] = []
        self.agents: dict[str, Handle] = {}

    def cut(self, server: str) -> None:
        """Lose both directions, silently, as a partition does."""
        self.deaf.add(server)
        self.mute.add(server)

    def heal(self, server: str) -> None:
        """Both directions work again."""
        self.deaf.discard(server)
        self.mute.discard(server)

    def gone(self, server: str) -> None:
        """The agent's connection closed (its process died): subscribers hear of it unless the hub is down."""
        self.agents.pop(server, None)
        if not self.down and server not in self.mute:
            for tell in self.on_gone:
                tell(server)


class MemoryWire:
    """The controller's side (ports.wire.Wire)."""

    def __init__(self, hub: MemoryHub) -> None:
        self._hub = hub
        self._subscribed: list[Callable[[str, bytes], None]] = []
        self._merged: list[Callable[[int, bytes], None]] = []
        self._watching: list[Callable[[str], None]] = []
        self._acting: set[asyncio.Future[bytes]] = set()
        self.refused: dict[str, int] = {}

    async def subscribe_pulses(self, on_pulse: Callable[[Pulse, bytes], None]) -> None:
        """See ports.wire."""

        def take(subject_server: str, data: bytes) -> None:
            try:
                pulse = decode_pulse(data)
            except FrameError as error:
                self._count(error.fault)
                return
            if pulse.server != subject_server:
                self._count("impostor")
                return
            on_pulse(pulse, data)

        self._subscribed.append(take)
        self._hub.on_pulse.append(take)

    async def subscribe_fleet(self, on_frame: Callable[[bytes], None]) -> None:
        """See ports.wire."""

        def take(subject_relay: int, data: bytes) -> None:
            if relay_of(data) == subject_relay:
                on_frame(data)
            else:
                self._count("impostor")

        self._merged.append(take)
        self._hub.on_frame.append(take)

    async def subscribe_disconnects(self, on_gone: Callable[[str], None]) -> None:
        """See ports.wire."""
        self._watching.append(on_gone)
        self._hub.on_gone.append(on_gone)

    async def ask(self, job: Job, timeout_s: float) -> JobReply:
        """See ports.wire. A cut link waits out the timeout; a missing agent is told at once, as NATS does."""
        hub = self._hub
        handle = hub.agents.get(job.server)
        if not hub.down and job.server not in hub.deaf and handle is None:
            raise Unreachable(f"the agent of server {job.server} did not answer: nobody listens")
        reply: JobReply | None = None
        if not hub.down and job.server not in hub.deaf and handle is not None:
            reply = await self._answer(handle, encode(job), timeout_s)
        else:
            await hub.clock.sleep(timeout_s)
        if reply is None:
            raise Unreachable(f"the agent of server {job.server} did not answer within {timeout_s:g} s")
        return reply

    async def echo(self, timeout_s: float) -> bool:
        """See ports.wire."""
        if self._hub.down:
            await self._hub.clock.sleep(timeout_s)
            return False
        return True

    async def close(self) -> None:
        """Let go."""
        for take in self._subscribed:
            self._hub.on_pulse.remove(take)
        for hear in self._merged:
            self._hub.on_frame.remove(hear)
        for tell in self._watching:
            self._hub.on_gone.remove(tell)
        self._subscribed.clear()
        self._merged.clear()
        self._watching.clear()

    async def _answer(self, handle: Handle, data: bytes, timeout_s: float) -> JobReply | None:
        """The agent goes on with the job when the asker has stopped waiting, as over a real wire."""
        job = decode_job(data)
        acting = asyncio.ensure_future(_handled(handle, job))
        self._acting.add(acting)
        acting.add_done_callback(self._acting.discard)
        waiting = asyncio.ensure_future(self._hub.clock.sleep(timeout_s))
        try:
            await asyncio.wait({acting, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if not acting.done():
                return None
            if self._hub.down or job.server in self._hub.mute:
                await waiting  # the answer is lost, and the asker cannot know
                return None
            return decode_reply(acting.result())
        finally:
            waiting.cancel()

    def _count(self, reason: str) -> None:
        self.refused[reason] = self.refused.get(reason, 0) + 1


class MemoryAgentWire:
    """The agent's side (ports.wire.AgentWire)."""

    def __init__(self, hub: MemoryHub, server: str) -> None:
        self._hub = hub
        self._server = server

    async def publish_pulse(self, pulse: Pulse) -> None:
        """See ports.wire."""
        if self._hub.down or self._server in self._hub.mute:
            return
        data = encode(pulse)
        for take in self._hub.on_pulse:
            take(self._server, data)

    async def serve(self, handle: Handle) -> None:
        """See ports.wire."""
        self._hub.agents[self._server] = handle

    async def close(self) -> None:
        """Let go."""
        self._hub.gone(self._server)


class MemoryRelayWire:
    """A relay's side (ports.wire.RelayWire)."""

    def __init__(self, hub: MemoryHub, relay: int) -> None:
        self._hub = hub
        self._relay = relay

    async def publish_fleet(self, frame: bytes) -> None:
        """See ports.wire."""
        if self._hub.down:
            return
        for take in self._hub.on_frame:
            take(self._relay, frame)

    async def close(self) -> None:
        """Let go."""


async def _handled(handle: Handle, job: Job) -> bytes:
    try:
        reply = await handle(job)
    except Exception as error:  # noqa: BLE001  a bug in an agent is an answer, as over NATS
        reply = JobReply(intent=job.intent, status=JobStatus.FAILED, error=f"{type(error).__name__}: {error}")
    return encode(reply)
