"""Leases of the members here: what is promised, who enforces it, and when it may be counted from.

A deadline is never counted from the moment a message arrives: it may have waited in the socket of a frozen host. The
controller sends back a stamp that this machine's clock made before, and the lease runs from that stamp. So whatever the
message's delay, the engine has stopped `lease_s` after the last moment at which the controller could still grant it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from herder.agent import watchdog
from herder.agent.ended import Ended
from herder.agent.ledger import Ledger
from herder.drivers import processes
from herder.model.errors import Conflict, Environment, HerderError, InvalidInput
from herder.ports.driver import MemberSpec

log = logging.getLogger(__name__)

PROGRAM = os.path.realpath(watchdog.__file__)
"""Run as a file, with no site and no environment: nothing of ours that may break is on its way, and it is a MB smaller."""

READY_S = 5.0
"""A watchdog starts in 0.05 s; on a machine that takes this long for it nothing should be promised."""

TRIES = 3


class Guard:
    """One member's lease: the deadline in memory that the watchdog shares, and the watchdog.

    path: of the watchdog's pid file. unguarded: called when no watchdog can be had, so that the engine is ended before
    the deadline could pass unseen. Without memory from a living watchdog (it is new, or the machine was booted again) the
    deadline counts as passed.
    """

    def __init__(self, path: Path, data_dir: Path, lease_s: float, unguarded: Callable[[Guard, str], None]) -> None:
        self.path = path
        self.data_dir = data_dir
        self.lease_s = lease_s
        self._unguarded = unguarded
        self._handle = _memory_of(_found(path)) or _new_memory()
        self._deadline = watchdog.Deadline(self._handle)
        self._watched: Ended | None = None
        self._mending: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()

    # --- the deadline ---------------------------------------------------------------------------------------------

    def left_s(self) -> float:
        """Seconds until the deadline; negative when it has passed."""
        return (self._deadline.read() - watchdog.boottime_ns()) / watchdog.SECOND_NS

    def begin(self) -> None:
        """A deadline that counts from now: nobody counts on it before this is confirmed."""
        self._forget_what_it_did()
        self._deadline.write(watchdog.boottime_ns() + int(self.lease_s * watchdog.SECOND_NS))

    def extend(self, stamp_s: float) -> None:
        """Run until `stamp_s` + the lease; never shorter than it was."""
        self._deadline.write(max(self._deadline.read(), int((stamp_s + self.lease_s) * watchdog.SECOND_NS)))

    def revive(self, stamp_s: float) -> None:
        """The engine is about to be started by a word as fresh as a renewal."""
        self._forget_what_it_did()
        self.extend(stamp_s)

    def words(self) -> str:
        """What the watchdog did, '' when nothing."""
        with contextlib.suppress(OSError):
            return Path(f"{self.path}{watchdog.FIRED_SUFFIX}").read_text()
        return ""

    def _forget_what_it_did(self) -> None:
        Path(f"{self.path}{watchdog.FIRED_SUFFIX}").unlink(missing_ok=True)

    # --- the watchdog ---------------------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        """Of the living watchdog, 0 without."""
        return self._watched.pid if self._watched is not None else 0

    async def ensure(self) -> None:
        """Return once a watchdog lives: the one that an earlier agent started, or a new one. Raises Environment."""
        async with self._turn:
            if self._watched is not None:
                return
            pid = _found(self.path) or await self._start()
            try:
                self._watched = Ended(pid, self._on_ended)
            except ProcessLookupError:
                raise Environment("the lease's watchdog ended at once", "see the agent's log") from None

    def give_back(self) -> None:
        """No lease any more: any watchdog of this memory ends by itself, at the latest when it looks next."""
        self._deadline.write(watchdog.GIVEN_BACK)
        pid = self.pid
        self.close()
        self._forget_what_it_did()
        self.path.unlink(missing_ok=True)
        _end_watchdog(pid)

    def close(self) -> None:
        """Stop watching: the agent ends and the watchdog goes on."""
        if self._watched is not None:
            self._watched.close()
            self._watched = None
        if self._mending is not None:
            self._mending.cancel()
        if self._handle >= 0:
            self._deadline.close()
            os.close(self._handle)
            self._handle = -1

    def _on_ended(self) -> None:
        pid, self._watched = self.pid, None
        processes.reap(pid)
        log.error("the watchdog %d of %s's lease has ended: starting another", pid, self.path.name)
        self.keep_watched()

    def keep_watched(self) -> None:
        """See that a watchdog lives, soon; where none can be had, the engine does not go on."""
        self._mending = asyncio.create_task(self._mend(), name=f"watchdog {self.path.name}")

    async def _mend(self) -> None:
        why = ""
        for _ in range(TRIES):
            try:
                await self.ensure()
            except (HerderError, OSError) as error:
                why = str(error)
            else:
                return
        self._unguarded(self, why)

    async def _start(self) -> int:
        """In a session of its own and outside the data directory: it must outlive the agent and not end itself."""
        ready, told = os.pipe2(os.O_CLOEXEC)
        words = [sys.executable, "-I", "-S", PROGRAM, str(self.path), str(self.data_dir), f"{self.lease_s:g}"]
        try:
            process = _spawn(words, self.path.parent, self._handle, told)
        except OSError as error:
            os.close(ready)
            raise Environment(f"the lease's watchdog cannot start: {error}", "make room on the server") from None
        finally:
            os.close(told)
        process.returncode = 0  # watched by pidfd and reaped by pid, as engines are
        try:
            async with asyncio.timeout(READY_S):
                said = await _first_byte(ready)
        except TimeoutError:
            said = b""
        finally:
            os.close(ready)
        if not said:
            _end_watchdog(process.pid)
            raise Environment(f"the lease's watchdog is not ready within {READY_S:g} s", "see the agent's log")
        return process.pid


class Leases:
    """All leases of this server. Durable in the agent's ledger; files lie beside it."""

    def __init__(self, ledger: Ledger, changed: Callable[[], None]) -> None:
        self._ledger = ledger
        self._home = ledger.directory / "leases"
        self._changed = changed
        self._guards: dict[str, Guard] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def adopt(self) -> None:
        """Go on with what an earlier agent promised; without a watchdog the engine does not go on.

        A watchdog of a lease that is not in the ledger was begun and not promised, or given back: it ends.
        """
        for spec in self._ledger.specs():
            lease_s = self._ledger.lease_s(spec.member)
            if lease_s and spec.member not in self._guards:
                self._make(spec, lease_s).keep_watched()
        if self._ledger.broken or not self._home.is_dir():
            return
        for path in self._home.iterdir():
            if path.suffix != watchdog.FIRED_SUFFIX and path.name not in self._guards:
                _end_watchdog(_found(path))
                path.unlink(missing_ok=True)

    def words(self, member: str) -> str:
        """Why a member's engine ended, when its lease ended it; '' otherwise."""
        guard = self._guards.get(member)
        return guard.words() if guard is not None else ""

    def watchdog_pid(self, member: str) -> int:
        """Of the member's living watchdog, 0 without."""
        guard = self._guards.get(member)
        return guard.pid if guard is not None else 0

    def renew(self, member: str, stamp_s: float) -> dict[str, Any]:
        """Extend a lease that has not run out; one that has is the watchdog's, and only a start revives it.

        stamp_s: one of ours that the controller sends back, 0 = only tell. Returns a new stamp, the lease that is held
        (0 = none) and what is left of it, all in seconds.
        """
        now = stamp()
        guard = self._guards.get(member)
        if guard is None:
            return {"stamp": now, "lease_s": 0.0, "left_s": 0.0}
        if 0 < stamp_s <= now and guard.left_s() > 0:
            guard.extend(stamp_s)
        return {"stamp": now, "lease_s": guard.lease_s, "left_s": guard.left_s()}

    async def set(self, spec: MemberSpec, lease_s: float) -> None:
        """Put the member under a lease (again: confirm it), or give it back with 0. Raises Conflict, Environment."""
        guard = self._guards.get(spec.member)
        if lease_s <= 0:
            await self._give_back(spec, guard)
            return
        if guard is None:
            await self._begin(spec, lease_s)
            return
        if guard.lease_s != lease_s:
            raise Conflict(f"{spec.member} is under a lease of {guard.lease_s:g} s", "give that one back first")
        if guard.left_s() <= 0:
            raise Conflict(f"the lease of {spec.member} has run out", "a restart revives it")
        await guard.ensure()

    async def revive(self, spec: MemberSpec, stamp_s: float) -> None:
        """Let an engine be started: under a lease only by a word with a fresh stamp.

        Without it an order from before a freeze would open a primary that another has followed. Raises Conflict,
        InvalidInput, Environment.
        """
        guard = self._guards.get(spec.member)
        if guard is None:
            return
        now = stamp()
        if stamp_s > now:
            raise InvalidInput("the stamp is not of this boot", "ask for a new one")
        if stamp_s + guard.lease_s <= now:
            raise Conflict(f"{spec.member} runs under a lease, and this order is older than it", "ask again")
        await guard.ensure()
        guard.revive(stamp_s)

    async def end(self, spec: MemberSpec) -> None:
        """It becomes a standby, which nobody needs to stop. Raises Conflict while an engine runs under the lease."""
        guard = self._guards.get(spec.member)
        if guard is None:
            return
        if guard.left_s() <= 0:
            await processes.kill_within(guard.data_dir)
        if processes.within(guard.data_dir):
            raise Conflict(f"{spec.member} runs under its lease", "stop it first")
        await self._drop(spec.member)

    async def left(self, member: str) -> None:
        """The member is not looked after any more (its processes are gone already)."""
        if member in self._guards:
            await self._drop(member)

    def close(self) -> None:
        """Stop watching: the agent ends and watchdogs go on."""
        for guard in self._guards.values():
            guard.close()

    def _make(self, spec: MemberSpec, lease_s: float) -> Guard:
        self._home.mkdir(mode=0o700, exist_ok=True)
        guard = Guard(self._home / spec.member, Path(spec.data_dir), lease_s, self._end_unguarded)
        self._guards[spec.member] = guard
        return guard

    async def _begin(self, spec: MemberSpec, lease_s: float) -> None:
        """Watchdog first, ledger second: what is promised is enforced, also when the agent dies between the two."""
        guard = self._make(spec, lease_s)
        try:
            guard.begin()
            await guard.ensure()
            await self._ledger.bind(spec.member, lease_s)
        except BaseException:
            self._guards.pop(spec.member, None)
            guard.give_back()
            raise
        log.info("%s: under a lease of %g s, watchdog %d", spec.member, lease_s, guard.pid)

    async def _give_back(self, spec: MemberSpec, guard: Guard | None) -> None:
        if guard is None:
            return
        if guard.left_s() <= 0:  # it must not be let off because the agent woke up before the watchdog
            await processes.kill_within(guard.data_dir)
        await self._drop(spec.member)
        log.info("%s: its lease is given back", spec.member)

    async def _drop(self, member: str) -> None:
        await self._ledger.bind(member, 0.0)
        guard = self._guards.pop(member, None)
        if guard is not None:
            guard.give_back()

    def _end_unguarded(self, guard: Guard, why: str) -> None:
        log.critical("%s: no watchdog for its lease (%s): ending its engine", guard.path.name, why)
        task = asyncio.create_task(self._end_engine(guard), name=f"end {guard.path.name}")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _end_engine(self, guard: Guard) -> None:
        await processes.kill_within(guard.data_dir)
        with contextlib.suppress(OSError):
            fired = Path(f"{guard.path}{watchdog.FIRED_SUFFIX}")
            fired.write_text("stopped by its agent: its lease has no watchdog")
        self._changed()


def stamp() -> float:
    """Now, by the clock that leases are counted with, in seconds."""
    return watchdog.boottime_ns() / watchdog.SECOND_NS


def _found(path: Path) -> int:
    """The living watchdog that a pid file names, 0 when there is none."""
    try:
        pid = int(path.read_text())
    except (OSError, ValueError):
        return 0
    words = processes.command_of(pid)
    return pid if f"/{Path(PROGRAM).name} " in words and f" {path} " in words else 0


def _new_memory() -> int:
    """A deadline that has passed, in memory of its own."""
    handle = os.memfd_create("herder-lease", os.MFD_CLOEXEC)
    os.write(handle, watchdog.DEADLINE.pack(0))
    return handle


def _memory_of(pid: int) -> int:
    """The memory that a watchdog was given by an earlier agent; 0 when there is none."""
    if pid:
        with contextlib.suppress(OSError):
            return os.open(f"/proc/{pid}/fd/0", os.O_RDWR | os.O_CLOEXEC)
    return 0


def _spawn(words: list[str], where: Path, memory: int, told: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(words, cwd=where, stdin=memory, stdout=told, start_new_session=True)


def _end_watchdog(pid: int) -> None:
    if pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        asyncio.get_running_loop().call_later(1.0, processes.reap, pid)


async def _first_byte(handle: int) -> bytes:
    """What the other end says first; b'' when it closes."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(handle, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(handle)
    return os.read(handle, 1)
