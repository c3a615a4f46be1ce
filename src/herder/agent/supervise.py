"""Looks after the engines of a server without being their parent: adopts, watches by pidfd, clears up after an end.

A dead first process is not a stopped engine: a busy PostgreSQL backend acknowledged commits 2.3 s after its postmaster
died. So the end of the first process is followed at once by ending what is left, and told only when nothing is.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from herder.agent.drivers import Drivers
from herder.agent.ended import Ended
from herder.agent.lane import Lane
from herder.agent.lease import Leases
from herder.agent.ledger import Ledger
from herder.model.errors import HerderError
from herder.ports.driver import MemberSpec, Reading, Role
from herder.ports.wire import MemberPulse

log = logging.getLogger(__name__)

READ_TIMEOUT_S = 1.0
"""What ports.driver allows a reading to take."""

STALE_S = 2.5
"""Seconds after which a reading is not passed on as alive: the look itself hangs."""

CLEAR_TIMEOUT_S = 30.0
"""Ending leftovers; longer means processes stuck in the kernel, and the next look tries again."""

LINE_MAX = 2000
"""Characters of an engine's last words in a pulse."""


class Watch:
    """One member: its last reading, its first process, and what follows when that ends."""

    def __init__(self, spec: MemberSpec, drivers: Drivers, lane: Lane, changed: Callable[[], None]) -> None:
        self.spec = spec
        self.lane = lane
        self.reading = Reading(alive=False, detail="not looked at yet")
        self.read_at = time.monotonic()
        self.exited = False
        self.exit_line = ""
        self._drivers = drivers
        self._changed = changed
        self._first: Ended | None = None
        self._stream: Ended | None = None
        self._looking: asyncio.Task[None] | None = None
        self._again = False
        self._orphaned = 0
        self._clearing: asyncio.Task[None] | None = None

    def poke(self) -> asyncio.Task[None]:
        """Begin a look, or have one more after the one that runs."""
        if self._looking is not None and not self._looking.done():
            self._again = True
        else:
            self._looking = asyncio.create_task(self._look(), name=f"look {self.spec.member}")
        return self._looking

    def close(self) -> None:
        """Stop watching; the engine keeps running."""
        for watched in (self._first, self._stream):
            if watched is not None:
                watched.close()
        for task in (self._looking, self._clearing):
            if task is not None:
                task.cancel()

    def frame(self, term: int, remark: str, ended_by: str) -> MemberPulse:
        """The member in a pulse. ended_by: what ended its engine, where that is not in the engine's own last words."""
        reading = self.reading
        age_s = time.monotonic() - self.read_at
        if age_s > STALE_S:
            detail = f"the last look is {age_s:.1f} s old: {reading.detail or 'looking hangs'}"
            reading = msgspec.structs.replace(reading, alive=False, detail=detail)
        return MemberPulse(
            member=self.spec.member,
            service=self.spec.service,
            term=term,
            reading=reading,
            exited=self.exited,
            exit_line=(ended_by or self.exit_line) if self.exited else "",
            busy=self.lane.acting or remark,
        )

    async def _look(self) -> None:
        while True:
            self._again = False
            reading, looked = await self._read()
            self._take(reading, looked=looked)
            if not self._again:
                return

    async def _read(self) -> tuple[Reading, bool]:
        """(reading, whether the driver made it). A look that failed says nothing about the process."""
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                return await self._drivers.of(self.spec.engine).read(self.spec), True
        except TimeoutError:
            detail = f"it did not answer within {READ_TIMEOUT_S:g} s"
        except Exception as error:
            if not isinstance(error, HerderError):
                log.exception("reading %s", self.spec.member)
            detail = str(error)
        return Reading(alive=False, pid=self._first.pid if self._first else 0, detail=detail), False

    def _take(self, reading: Reading, *, looked: bool) -> None:
        old = self.reading
        self._watch_first(reading.pid)
        if self._is_orphan(reading):
            reading = _down(reading, "only processes that outlived its first one answer")
        self.reading = reading
        self.read_at = time.monotonic()
        self._watch_stream()
        news = _gist(old) != _gist(reading)
        if self._first is not None and self.exited:
            self.exited, self.exit_line, news = False, "", True
        if looked and not reading.alive and self._first is None and not self.exited and self.lane.free:
            self._clear(known_dead=False)
        if news:
            self._changed()

    def _is_orphan(self, reading: Reading) -> bool:
        """Does a backend that outlived its postmaster answer, on the connection that is kept open?

        An answer without any pid must be seen twice: the first look may have begun before the engine wrote its pid.
        """
        if self._first is not None or not reading.alive:
            self._orphaned = 0
            return False
        self._orphaned += 1
        if self._orphaned == 1 and not reading.pid and self.lane.free:
            self._again = True
            return False
        return True

    def _watch_first(self, pid: int) -> None:
        if self._first is not None and self._first.pid == pid:
            return
        if not pid:
            return  # a look that failed says nothing about the process; its pidfd does
        if self._first is not None:
            self._first.close()
            self._first = None
        with contextlib.suppress(ProcessLookupError):
            self._first = Ended(pid, lambda: self._on_first_ended(pid))

    def _watch_stream(self) -> None:
        """The walreceiver ends milliseconds after its primary: a hint to look at once, not a proof of anything."""
        streams = self.reading.role is Role.STANDBY and self.reading.upstream is True and self._first is not None
        if self._stream is not None or not streams or self._first is None:
            return
        pid = _walreceiver_of(self._first.pid)
        with contextlib.suppress(ProcessLookupError):
            if pid:
                self._stream = Ended(pid, self._on_stream_ended)

    def _on_stream_ended(self) -> None:
        self._stream = None
        self.poke()

    def _on_first_ended(self, pid: int) -> None:
        expected = self.lane.acting and f" during '{self.lane.acting}'"
        log.log(
            logging.INFO if expected else logging.WARNING, "%s: process %d ended%s", self.spec.member, pid, expected
        )
        self._first = None
        self.reading = _down(self.reading, "its first process has ended")
        self._clear(known_dead=True)

    def _clear(self, *, known_dead: bool) -> None:
        if self._clearing is None or self._clearing.done():
            self._clearing = asyncio.create_task(
                self._clear_up(known_dead=known_dead), name=f"clear {self.spec.member}"
            )

    async def _clear_up(self, *, known_dead: bool) -> None:
        """End what is left of the engine, confirm it, keep its last words. A job that restarts it comes first."""
        waited = not self.lane.free
        self.lane.push_out_bystanders()
        try:
            async with self.lane.turn("clearing up"):
                if waited and await self._runs_again():
                    return
                await self._end_leftovers(known_dead=known_dead and not waited)
        except (HerderError, TimeoutError) as error:
            self.reading = msgspec.structs.replace(self.reading, detail=f"leftovers cannot be ended: {error}")
            log.warning("%s: leftovers cannot be ended: %s", self.spec.member, error)
        except Exception:
            log.exception("clearing up after %s", self.spec.member)

    async def _runs_again(self) -> bool:
        reading, looked = await self._read()
        self._take(reading, looked=looked)
        return self._first is not None

    async def _end_leftovers(self, *, known_dead: bool) -> None:
        driver = self._drivers.of(self.spec.engine)
        async with asyncio.timeout(CLEAR_TIMEOUT_S):
            left = await driver.leftovers(self.spec)
            if left or known_dead:
                how = await driver.stop(self.spec, fast=False)
                log.warning("%s: ended what was left of it: %s", self.spec.member, how)
                left = await driver.leftovers(self.spec)
            if left:
                self.reading = msgspec.structs.replace(self.reading, detail=f"processes {left} do not end")
                return
            after, _ = await self._read()
        if after.pid or after.alive:
            return
        self.reading, self.read_at = after, time.monotonic()
        self.exit_line = after.detail[:LINE_MAX]
        self.exited = True
        self._changed()


class Supervisor:
    """All members of this server. changed: called when a pulse should go out at once."""

    def __init__(self, ledger: Ledger, drivers: Drivers, changed: Callable[[], None]) -> None:
        self._ledger = ledger
        self._drivers = drivers
        self._changed = changed
        self._watches: dict[str, Watch] = {}
        self._lanes: dict[str, Lane] = {}
        self.leases = Leases(ledger, changed)

    def adopt(self) -> None:
        """Look after what the ledger knows. Nothing is started here: whether it should run is the controller's word."""
        self.leases.adopt()
        for spec in self._ledger.specs():
            self.watch(spec)

    def lane(self, member: str) -> Lane:
        """See jobs.Watcher."""
        return self._lanes.setdefault(member, Lane())

    def watch(self, spec: MemberSpec) -> None:
        """See jobs.Watcher."""
        known = self._watches.get(spec.member)
        if known is not None:
            known.spec = spec
        else:
            self._watches[spec.member] = Watch(spec, self._drivers, self.lane(spec.member), self._changed)
        self.poke(spec.member)

    def unwatch(self, member: str) -> None:
        """See jobs.Watcher."""
        watch = self._watches.pop(member, None)
        if watch is not None:
            watch.close()
        self._changed()

    def poke(self, member: str) -> None:
        """See jobs.Watcher."""
        watch = self._watches.get(member)
        if watch is not None:
            watch.poke()

    async def look_all(self, budget_s: float) -> None:
        """Look at every member; return when all are done or the budget is spent (the looks go on)."""
        looks = {watch.poke() for watch in self._watches.values()}
        if looks:
            await asyncio.wait(looks, timeout=budget_s)

    def frames(self) -> tuple[MemberPulse, ...]:
        """Every member for a pulse. A ledger that cannot be written stands in `busy`: jobs are refused meanwhile."""
        frames = []
        for member, watch in self._watches.items():
            entry = self._ledger.entry(member)
            ended_by = self.leases.words(member) if watch.exited else ""
            frames.append(watch.frame(entry.term if entry is not None else 0, self._ledger.broken, ended_by))
        return tuple(frames)

    def specs(self) -> tuple[MemberSpec, ...]:
        """Of every member that is looked after."""
        return tuple(watch.spec for watch in self._watches.values())

    def close(self) -> None:
        """Stop watching; engines keep running."""
        for watch in self._watches.values():
            watch.close()
        self.leases.close()


def _down(reading: Reading, detail: str) -> Reading:
    return msgspec.structs.replace(reading, alive=False, role=Role.NONE, pid=0, detail=detail)


def _gist(reading: Reading) -> tuple[object, ...]:
    """What is worth a pulse at once when it changes."""
    return (reading.alive, reading.role, reading.pid, reading.upstream is False)


def _walreceiver_of(pid: int) -> int:
    """The walreceiver among a postmaster's children, 0 when there is none."""
    for child in children_of(pid):
        with contextlib.suppress(OSError):
            if b"walreceiver" in Path(f"/proc/{child}/cmdline").read_bytes():
                return child
    return 0


def children_of(pid: int) -> list[int]:
    """Pids of a process's children. From the kernel's list where it keeps one, else by a scan."""
    with contextlib.suppress(OSError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_bytes().split()]
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError, IndexError, ValueError):
            if int(Path(f"/proc/{name}/stat").read_bytes().rpartition(b")")[2].split()[1]) == pid:
                found.append(int(name))
    return found
