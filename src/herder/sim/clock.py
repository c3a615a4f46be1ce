"""Virtual time: an asyncio loop whose clock jumps to the next thing that is due, so that an hour takes a moment.

Everything that the control plane waits for is then a matter of the seed: the same seed runs the same steps in the same
order. Nothing in a simulation may wait for a real thread or socket through this loop.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import random
import selectors
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import Context
from heapq import heappop, heappush
from typing import Any, TypeVar, TypeVarTuple

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

START_MS = 1_488_301_200_000
"""2017-02-28 17:00:00 UTC: 37 minutes before the removal that this project remembers."""

RESOLUTION_S = 1e-9

GARBAGE = (50_000, 20, 100)
"""How rarely Python looks for cycles: after each 700 new objects, as it does by itself, took 8 % of a day at a million."""


class Deadlock(RuntimeError):
    """Nothing is scheduled, nothing is ready, and what was asked for has not ended: it waits for something impossible."""


class _Soon(asyncio.Handle):
    """A call without a context of its own: nothing in a simulation has context variables, and a copy for each call of
    every task is a twentieth of its time.
    """

    __slots__ = ()

    def __init__(self, callback: Any, args: Any) -> None:
        self._callback = callback
        self._args = args
        self._cancelled = False

    def cancel(self) -> None:
        """It is not called."""
        self._cancelled = True


class _Timer(asyncio.TimerHandle):
    """A timer without what a loop of sockets keeps count of, and without a context of its own."""

    __slots__ = ()

    def __init__(self, when: float, callback: Any, args: Any) -> None:
        self._callback = callback
        self._args = args
        self._cancelled = False
        self._when = when

    def cancel(self) -> None:
        """It does not go off; its place in the heap is passed over."""
        self._cancelled = True
        self._callback, self._args = None, ()


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time; `time()` begins at 0.

    It has a heap and a turn of its own, since nothing here can come from a socket: what is due at one moment runs in the
    order in which it was asked for, and a turn costs half of what the base's does.
    """

    def __init__(self) -> None:
        self.now_s = 0.0
        self._due: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._asked = 0
        super().__init__(selectors.SelectSelector())
        self.set_exception_handler(_crash)
        self.crashed: list[dict[str, Any]] = []

    def time(self) -> float:
        """Virtual seconds."""
        return self.now_s

    def call_at(
        self, when: float, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """See the base. Timers of the same moment go off in the order of their making."""
        timer = _Timer(when, callback, args)
        self._asked += 1
        heappush(self._due, (when, self._asked, timer))
        return timer

    def call_later(
        self, delay: float, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """See the base."""
        when = self.now_s + delay
        timer = _Timer(when, callback, args)
        self._asked += 1
        heappush(self._due, (when, self._asked, timer))
        return timer

    def call_soon(
        self, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """See the base."""
        handle = _Soon(callback, args)
        self._ready.append(handle)  # type: ignore[attr-defined]
        return handle

    def _run_once(self) -> None:
        """Turns until it is to stop: in each everything that is ready, after a jump to the next timer when nothing is."""
        ready: Any = self._ready  # type: ignore[attr-defined]
        due, pop = self._due, ready.popleft
        while True:
            if not ready and not self._stopping:  # type: ignore[attr-defined]
                while due and due[0][2]._cancelled:  # noqa: SLF001  as the base does
                    heappop(due)
                if not due:
                    raise Deadlock("nothing is scheduled and the simulation has not ended")
                self.now_s = max(self.now_s, due[0][0])
            end = self.now_s + RESOLUTION_S
            while due and due[0][0] <= end:
                timer = heappop(due)[2]
                if not timer._cancelled:  # noqa: SLF001  as the base does
                    ready.append(timer)
            for _ in range(len(ready)):
                handle = pop()
                if not handle._cancelled:  # noqa: SLF001  as the base does
                    try:
                        handle._callback(*handle._args)  # noqa: SLF001
                    except (SystemExit, KeyboardInterrupt):
                        raise
                    except BaseException as error:  # noqa: BLE001  as the base does
                        self.call_exception_handler({"message": f"{handle._callback!r} raised", "exception": error})  # noqa: SLF001
            if self._stopping:  # type: ignore[attr-defined]
                return


def _crash(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A callback that raised is a bug of the simulation or of what it runs: it is kept and told at the end."""
    if isinstance(loop, VirtualLoop):
        loop.crashed.append(context)


class SimRandom:
    """ports.clock.Random from a seed; streams of different names are independent of each other."""

    def __init__(self, seed: int, name: str = "") -> None:
        self._seed = seed
        self._name = name
        self.draw = random.Random(f"{seed}/{name}")

    def stream(self, name: str) -> SimRandom:
        """Another stream of the same seed: drawing from one does not shift the others."""
        return SimRandom(self._seed, f"{self._name}/{name}")

    def token(self, nbytes: int) -> str:
        """See the port."""
        return base64.urlsafe_b64encode(self.draw.randbytes(nbytes)).rstrip(b"=").decode()

    def jitter(self, ceiling_s: float) -> float:
        """See the port."""
        return self.draw.random() * ceiling_s


class SimClock:
    """ports.clock.Clock over the running loop. `jump` moves the wall clock, which may lie; monotonic time never does.

    gate: awaited after each sleep; a process that was stopped goes on only when it is let.
    """

    def __init__(self, start_ms: int = START_MS, gate: Callable[[], Awaitable[None]] | None = None) -> None:
        self._start_ms = start_ms
        self._gate = gate
        self._offset_ms = 0
        self._loop: asyncio.AbstractEventLoop | None = None  # asked for once: each asking is a system call

    def now_ms(self) -> int:
        """See the port."""
        return round(self.monotonic() * 1000) + self._start_ms + self._offset_ms

    def monotonic(self) -> float:
        """See the port."""
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        return loop.time()

    async def sleep(self, seconds: float) -> None:
        """See the port."""
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        if seconds <= 0:
            await asyncio.sleep(0)
        else:  # as asyncio.sleep does, without asking which loop it is
            woken: asyncio.Future[None] = loop.create_future()
            timer = loop.call_later(seconds, _wake, woken)
            try:
                await woken
            finally:
                timer.cancel()
        if self._gate is not None:
            await self._gate()

    def jump(self, seconds: float) -> None:
        """The wall clock is set: forward or backward."""
        self._offset_ms += round(seconds * 1000)


def _wake(sleeper: asyncio.Future[None]) -> None:
    if not sleeper.done():
        sleeper.set_result(None)


class HostClock:
    """A host's own clock: begins anywhere, runs fast or slow (`rate` of its seconds in a true one), may jump."""

    def __init__(self, offset_s: float = 0.0, rate: float = 1.0) -> None:
        self.offset_s = offset_s
        self.rate = rate

    def read(self, true_s: float) -> float:
        """What it shows at a true time."""
        return self.offset_s + self.rate * true_s

    def true_span(self, seconds: float) -> float:
        """True seconds in which it counts `seconds`."""
        return seconds / self.rate

    def jump(self, seconds: float) -> None:
        """It is set."""
        self.offset_s += seconds

    def drift(self, rate: float, true_s: float) -> None:
        """From now on it runs at `rate`; what it shows now does not move."""
        self.offset_s += (self.rate - rate) * true_s
        self.rate = rate


async def pass_time(seconds: float) -> None:
    """Let virtual time pass; everything that is due meanwhile happens."""
    await asyncio.sleep(seconds)


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Meanwhile Python looks for cycles as rarely as `GARBAGE` says."""
    before = gc.get_threshold()
    gc.set_threshold(*GARBAGE)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def run(main: Callable[[], Awaitable[_T]]) -> _T:
    """Run `main()` in a virtual loop to its end. Raises Deadlock, and whatever `main` or a callback raised."""
    loop = VirtualLoop()
    try:
        asyncio.set_event_loop(loop)
        result = loop.run_until_complete(_as_coroutine(main))
        _cancel_rest(loop)
    except RuntimeError:  # a deadlock, or a loop that was stopped for a crash
        _raise_crash(loop)
        raise
    finally:
        asyncio.set_event_loop(None)
        loop.close()
    _raise_crash(loop)
    return result


def _raise_crash(loop: VirtualLoop) -> None:
    for context in loop.crashed:
        error = context.get("exception")
        if isinstance(error, BaseException) and not isinstance(error, asyncio.CancelledError):
            raise error


async def _as_coroutine(main: Callable[[], Awaitable[_T]]) -> _T:
    return await main()


def _cancel_rest(loop: VirtualLoop) -> None:
    """What was still waiting ends; nothing of it is part of the result."""
    rest = asyncio.all_tasks(loop)
    for task in rest:
        task.cancel()
    if rest:
        loop.run_until_complete(asyncio.gather(*rest, return_exceptions=True))
