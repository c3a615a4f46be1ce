"""One host: power, freezing, its own clock, its disk. A frozen host does nothing, and then everything that was queued."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from herder.ports.driver import MemberSpec
from herder.ports.wire import JobStatus
from herder.sim.clock import HostClock

if TYPE_CHECKING:
    from herder.sim.agent import SimAgent

OUTCOMES_KEPT = 256


@dataclass(frozen=True, slots=True)
class Entry:
    """What an agent promised for a member. spec None: forgotten, the mark stays."""

    term: int
    order: int
    spec: MemberSpec | None
    lease_s: float = 0.0

    @property
    def mark(self) -> tuple[int, int]:
        """What a job must not be lower than."""
        return (self.term, self.order)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a job ended."""

    member: str
    name: str
    status: JobStatus
    result: Any = None
    error: str = ""
    hint: str = ""
    code: str = ""


@dataclass(slots=True)
class Disk:
    """What survives a restart of the host: promises and results. full: nothing can be written. cramped: a standby finds room
    for what it receives, and nobody for a new timeline. stuck: no data can be written, and engines that run live on.
    """

    members: dict[str, Entry] = field(default_factory=dict)
    outcomes: dict[str, Ended] = field(default_factory=dict)
    full: bool = False
    cramped: bool = False
    stuck: bool = False

    def keep(self, intent: str, outcome: Ended) -> None:
        """Store how a job ended; on a full disk it is kept in memory, as the agent does."""
        self.outcomes[intent] = outcome
        while len(self.outcomes) > OUTCOMES_KEPT:
            self.outcomes.pop(next(iter(self.outcomes)))


class Host:
    """A server's machine. deadlines: of leases, in its own clock's seconds, in memory only (a boot forgets them)."""

    def __init__(self, name: str, slot: int, clock: HostClock) -> None:
        self.name = name
        self.slot = slot
        self.clock = clock
        self.disk = Disk()
        self.alive = False
        self.frozen = False
        self.lies = False  # what it says of others' engines is the opposite of what it saw
        self.incarnation = 0
        self.fenced = 0
        self.address = ""
        self.agent: SimAgent | None = None
        self.deadlines: dict[str, float] = {}
        self.fired: dict[str, str] = {}
        self._thaw: asyncio.Event | None = None
        self._at_thaw: list[Callable[[], None]] = []

    @property
    def awake(self) -> bool:
        """It runs and is not frozen."""
        return self.alive and not self.frozen

    @property
    def now(self) -> float:
        """Its own clock, in seconds."""
        return self.clock.read(asyncio.get_running_loop().time())

    def freeze(self) -> None:
        """Nothing of it runs any more until `thaw`."""
        if self.alive and not self.frozen:
            self.frozen = True
            self._thaw = asyncio.Event()

    def thaw(self) -> None:
        """Everything that waited goes on."""
        self.frozen = False
        if self._thaw is not None:
            self._thaw.set()
            self._thaw = None
        queued, self._at_thaw = self._at_thaw, []
        for act in queued:
            act()

    def when_awake(self, act: Callable[[], None]) -> None:
        """Now, or first thing at the thaw (a timer of the kernel, a packet in a socket); never on a dead host."""
        if self.frozen:
            self._at_thaw.append(act)
        elif self.alive:
            act()

    def power_off(self) -> None:
        """At once; memory is lost, the disk is kept."""
        self.alive = self.frozen = False
        self._thaw = None
        self._at_thaw.clear()
        self.deadlines.clear()
        self.fired.clear()
        if self.agent is not None:
            agent, self.agent = self.agent, None
            agent.die()

    async def pass_time(self, seconds: float) -> None:
        """Work that takes `seconds`; a freeze on the way makes it longer."""
        await asyncio.sleep(seconds)
        await self.wait_awake()

    async def wait_awake(self) -> None:
        """Return when it is not frozen."""
        while self._thaw is not None:
            await self._thaw.wait()
