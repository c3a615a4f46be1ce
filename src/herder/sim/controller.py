"""One controller process in the simulator: the production control plane over adapters that can be stopped or killed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, cast

from herder.assembly import ControlPlane, Parts
from herder.fleet.dependencies import name_of
from herder.machines.dependency import What
from herder.model.errors import Conflict, HerderError
from herder.ports.store import Store
from herder.sim.clock import SimClock
from herder.sim.provider import SimProvider
from herder.sim.store import SimStore
from herder.sim.wire import SimWire

if TYPE_CHECKING:
    from herder.sim.world import World

RETRY_S = 1.0
WAITING_S = 3.0
"""Between tries to take a shard that another controller has."""

ENDS_MAX = 200
"""A process whose control plane has ended so often will not stop doing so, and each start reads the longer log: the run would never
end (seed 800951). An hour of all faults ends one a few dozen times.
"""


class Controller:
    """A process's life. dead: nothing of it reaches the world any more, whatever its tasks still do while they end."""

    def __init__(self, world: World, name: str, owner: str, **tuned: Any) -> None:
        self.world = world
        self.name = name
        self.owner = owner
        self.dead = False
        self.clock = SimClock(world.start_ms, self.gate)
        self.wire = SimWire(world, self)
        self._thaw: asyncio.Event | None = None
        self._queued: list[Callable[[], None]] = []
        self._tuned = tuned
        self.plane: ControlPlane | None = None
        self.task: asyncio.Task[None] | None = None
        self.ready = asyncio.Event()

    def begin(self) -> None:
        """Start the process: it takes the shard as soon as it may, and is started again when it ends."""
        self.task = asyncio.get_running_loop().create_task(self._live())
        self.task.add_done_callback(_tell_crash)

    async def _live(self) -> None:
        waiting: ControlPlane | None = None
        ends = 0
        while True:
            plane = waiting or self._build()
            try:
                await plane.open()
            except HerderError as error:
                # one that only waits for another's lease has touched nothing yet: the same one asks again
                waiting = plane if isinstance(error, Conflict) else None
                await self.clock.sleep(RETRY_S if waiting is None else WAITING_S)
                continue
            waiting, self.plane = None, plane
            self.ready.set()
            try:
                await plane.run()
            except* HerderError as group:
                self._tell_end(group.exceptions[0])
            except* RuntimeError as group:
                self._tell_end(group.exceptions[0])
            self.ready.clear()
            self.plane = None
            if (ends := ends + 1) > ENDS_MAX:
                raise RuntimeError(f"{self.name} took its shard {ends} times and ended each time")
            self.wire = SimWire(self.world, self)
            await self.clock.sleep(RETRY_S)

    def _probes(self) -> dict[str, Callable[[], Awaitable[bool]]]:
        """How what is outside of the fleet is asked whether it answers, by the name of its machine."""

        def ask(what: str) -> Callable[[], Awaitable[bool]]:
            async def probe() -> bool:
                await asyncio.sleep(self.world.takes("provider"))
                await self.gate()
                return what not in self.world.outages

            return probe

        return {name_of(what, ""): ask(what) for what in (What.OBJECT_STORE, What.PAGER)}

    def _tell_end(self, error: BaseException) -> None:
        self.world.note(f"{self.name} ended: {error}")
        self.world.saw("a controller lost its shard")

    def _build(self) -> ControlPlane:
        self.world.lives += 1
        return ControlPlane(self.parts(), self.owner)

    def parts(self) -> Parts:
        """What its control plane stands on: everything as this process reaches it."""
        world = self.world

        async def mint_join(server: str, incarnation: int) -> str:
            await self.gate()
            return f"join-{server}-{incarnation}"

        async def probe(engine: str, address: str, port: int, timeout_s: float) -> str:
            await self.gate()
            saw = await world.probe_from(self.name, address, port, timeout_s)
            await self.gate()
            return saw

        return Parts(
            store=cast("Store", SimStore(world.store, world, self)), wire=self.wire, provider=SimProvider(world, self),
            clock=self.clock, chance=world.chance.stream(f"{self.name}/{world.lives - 1}"), probe=probe, mint_join=mint_join,
            nats_url="nats://sim", engine_user="nobody", subnet_prefix="10.77.3.",
            agent_settings={"pulse_interval_s": str(world.pulse_interval_s)}, settings=[],
            pulse_interval_s=world.pulse_interval_s, **({"dependency_probes": self._probes()} | self._tuned),
        )  # fmt: skip

    # --- being stopped and killed

    async def gate(self) -> None:
        """Pass when the process runs; a stopped one goes on later, a dead one never."""
        while self._thaw is not None:
            await self._thaw.wait()
        if self.dead:
            await asyncio.get_running_loop().create_future()

    @property
    def runs(self) -> bool:
        """Neither stopped nor dead."""
        return self._thaw is None and not self.dead

    def when_awake(self, act: Callable[[], Any]) -> None:
        """Now, or when it goes on; never when it is dead."""
        if self.dead:
            return
        if self._thaw is not None:
            self._queued.append(act)
        else:
            act()

    def freeze(self) -> None:
        """SIGSTOP. Timers of its own event loop that do not pass a port are not held up; all that it does is."""
        if not self.dead and self._thaw is None:
            self._thaw = asyncio.Event()

    def thaw(self) -> None:
        """SIGCONT."""
        if self._thaw is None:
            return
        thaw, self._thaw = self._thaw, None
        thaw.set()
        queued, self._queued = self._queued, []
        for act in () if self.dead else queued:
            act()

    def kill(self) -> None:
        """As kill -9 does."""
        self.dead = True
        self.thaw()
        if self.task is not None:
            self.task.cancel()


def trace_hash(plane: ControlPlane) -> str:
    """The hash of the log's last record: it covers everything before it."""
    last = plane.shard._last  # noqa: SLF001  the chain's end
    return str(last.hash.hex()) if last is not None else ""


def _tell_crash(task: asyncio.Task[None]) -> None:
    """A control plane that crashes is a bug: the run fails with it instead of waiting for nobody."""
    error = None if task.cancelled() else task.exception()
    if error is not None:
        task.get_loop().call_exception_handler({"message": "a control plane crashed", "exception": error})
        task.get_loop().stop()
