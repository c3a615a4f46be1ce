"""Messages between controllers and agents, and what an agent says on them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any, Protocol

import msgspec

from herder.ports.driver import MemberSpec, Reading

FRAME_VERSION = 1


class MemberPulse(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One member in a pulse. term: the highest its agent has stored. exited: its processes are all gone, confirmed.

    exit_line: the engine's last log line that says why it went (evidence for `herder explain`). pid 0 = not running.
    """

    member: str
    service: str
    term: int
    reading: Reading
    exited: bool = False
    exit_line: str = ""
    busy: str = ""  # the job that runs on it now


class Pulse(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One frame of one server. seq counts frames of this agent's life; sent_ms is its own clock (never trusted for
    order). paused_ms: how long the agent itself did not run before this frame (a frozen host that thawed).
    """

    version: int
    server: str
    incarnation: int
    agent_pid: int
    life: str  # random per agent process
    seq: int
    sent_ms: int
    paused_ms: int
    rss_kb: int
    disk_free: int
    members: tuple[MemberPulse, ...] = ()


class JobStatus(StrEnum):
    """How a job stands. refused: an older term, a wrong incarnation, a disk that cannot keep promises."""

    DONE = "done"
    RUNNING = "running"
    FAILED = "failed"
    REFUSED = "refused"


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A named idempotent command. intent: the same intent asked twice runs once and gives the stored result.

    (term, order): an agent refuses a lower one than it has stored for the member (rule S10); term 0 = read-only, always
    allowed. order: the log sequence number at which the controller entered the state that wants this.
    """

    intent: str
    name: str
    server: str
    incarnation: int
    member: str
    term: int
    order: int
    spec: MemberSpec | None = None
    args: dict[str, Any] = {}
    wait_s: float = 5.0  # answer 'running' after this long; ask again with the same intent


class JobReply(msgspec.Struct, frozen=True, kw_only=True):
    """An agent's answer. result: the driver's return value as plain data; error, hint: for people.

    code: the error's stable word (`model.errors`), '' where there is none or the agent is older and does not tell.
    """

    intent: str
    status: JobStatus
    result: Any = None
    error: str = ""
    hint: str = ""
    term: int = 0  # the term the agent has stored
    code: str = ""


class Wire(Protocol):
    """The controller's side."""

    async def subscribe_pulses(self, on_pulse: Callable[[Pulse, bytes], None]) -> None:
        """Call `on_pulse` for every frame that decodes; frames that do not are counted in `refused`."""

    async def subscribe_fleet(self, on_frame: Callable[[bytes], None]) -> None:
        """Call `on_frame` for every frame of a relay (many servers' pulses in one). What is in it is not this side's
        business; only that the relay it names is the one that sent it.
        """

    async def subscribe_disconnects(self, on_gone: Callable[[str], None]) -> None:
        """Call with the server's name when its agent's connection closes: a hint, never a proof."""

    async def ask(self, job: Job, timeout_s: float) -> JobReply:
        """Send a job to its server's agent. Raises Unreachable when nobody answers within timeout_s."""

    async def echo(self, timeout_s: float) -> bool:
        """The controller's own pulse through the wire: False means it is us."""

    async def close(self) -> None:
        """Let go."""


class AgentWire(Protocol):
    """The agent's side: it may speak and answer for its own server only."""

    async def publish_pulse(self, pulse: Pulse) -> None:
        """Send one frame; drops it silently when not connected (the next one will do)."""

    async def serve(self, handle: Callable[[Job], Awaitable[JobReply]]) -> None:
        """Answer jobs until closed."""

    async def close(self) -> None:
        """Let go."""


class RelayWire(Protocol):
    """A relay's side: it may send fleet frames in its own name and nothing else."""

    async def publish_fleet(self, frame: bytes) -> None:
        """Send one frame; drops it silently when not connected (the next one will do)."""

    async def close(self) -> None:
        """Let go."""
