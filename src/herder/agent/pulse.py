"""The heartbeat: one frame an interval whatever hangs, and one at once when something changed or the host thawed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import time
from pathlib import Path

from herder.agent.ledger import Ledger
from herder.agent.supervise import Supervisor
from herder.ports.provider import Launch
from herder.ports.wire import FRAME_VERSION, AgentWire, Pulse

log = logging.getLogger(__name__)

LOOK_BUDGET_S = 0.1
"""A frame waits this long for fresh readings; a reading takes about 2 ms, one that hangs is sent as it was."""

PAUSE_FLOOR_S = 0.5
"""A beat this late means that the agent did not run (frozen host, stopped process), not that it was busy."""

MEND_EVERY_S = 5.0

_PAGE_KB = os.sysconf("SC_PAGE_SIZE") // 1024


class Pulser:
    """Sends frames until cancelled. `wire` may come later than the first beat: an agent watches before it is joined."""

    def __init__(self, launch: Launch, home: Path, supervisor: Supervisor, ledger: Ledger) -> None:
        self._launch = launch
        self._home = home
        self._supervisor = supervisor
        self._ledger = ledger
        self._interval_s = float(launch.settings.get("pulse_interval_s") or 1.0)
        self._nudged = asyncio.Event()
        self._life = secrets.token_hex(8)
        self._seq = 0
        self._mended_at = 0.0
        self._mending: asyncio.Task[None] | None = None
        self._room = _disk_free(home)
        self._weighing: asyncio.Task[None] | None = None
        self.wire: AgentWire | None = None

    def nudge(self) -> None:
        """Send one now."""
        self._nudged.set()

    async def run(self) -> None:
        """Beat for ever. Nothing that goes wrong in a frame ends it."""
        due = _boottime()
        paused_ms = 0
        while True:
            planned = _boottime() >= due
            try:
                await self._beat(paused_ms, planned=planned)
            except Exception:
                log.exception("a pulse could not be sent")
            now = _boottime()
            if planned:
                due = due + self._interval_s if due + self._interval_s > now else now + self._interval_s
            await self._wait(due - now)
            late_s = _boottime() - due
            paused_ms = int(late_s * 1000) if late_s > PAUSE_FLOOR_S else 0

    async def _wait(self, seconds: float) -> None:
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._nudged.wait()

    async def _beat(self, paused_ms: int, *, planned: bool) -> None:
        if planned:
            if self._weighing is None or self._weighing.done():
                self._weighing = asyncio.create_task(self._weigh())
            await self._supervisor.look_all(LOOK_BUDGET_S)
        self._nudged.clear()  # what changes from here on gets a frame of its own
        if self.wire is not None:
            async with asyncio.timeout(self._interval_s):
                await self.wire.publish_pulse(self.frame(paused_ms))
        if self._ledger.broken and time.monotonic() - self._mended_at > MEND_EVERY_S:
            self._mended_at = time.monotonic()
            self._mending = asyncio.create_task(self._ledger.mend())

    async def _weigh(self) -> None:
        """The least room of our own disk and the members'. In a thread: a disk that hangs must not stop the pulse."""
        places = (self._home, *(Path(spec.data_dir) for spec in self._supervisor.specs()))
        self._room = await asyncio.to_thread(lambda: min(map(_disk_free, places)))

    def frame(self, paused_ms: int) -> Pulse:
        """The next frame."""
        self._seq += 1
        return Pulse(
            version=FRAME_VERSION,
            server=self._launch.server,
            incarnation=self._launch.incarnation,
            agent_pid=os.getpid(),
            life=self._life,
            seq=self._seq,
            sent_ms=int(time.time() * 1000),
            paused_ms=paused_ms,
            rss_kb=_rss_kb(),
            disk_free=self._room,
            members=self._supervisor.frames(),
        )


def _boottime() -> float:
    """Seconds that also count while the machine is suspended, which time.monotonic does not."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _rss_kb() -> int:
    with open("/proc/self/statm", "rb") as file:  # noqa: PTH123  once a beat
        return int(file.read().split()[1]) * _PAGE_KB


def _disk_free(path: Path) -> int:
    """Bytes. Of a directory that is not made yet, its parent's."""
    try:
        found = os.statvfs(path)
    except FileNotFoundError:
        return _disk_free(path.parent)
    except OSError:
        return 0  # a disk that does not answer has no room
    return found.f_bavail * found.f_frsize
