"""One member's valkey-server process: its files, its start, its end."""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path

from herder.drivers.binaries import check_executable, valkey_server
from herder.drivers.processes import POLL_S, Account, gone, in_thread, kill_within, reap, spawn, started_at, within
from herder.drivers.valkey.client import Lines, Look
from herder.drivers.valkey.config import render
from herder.drivers.valkey.marker import Marker, aof_reach, beside, sync_path, write_durably
from herder.drivers.valkey.nudge import Nudge
from herder.model.errors import Conflict, Environment, HerderError, TimedOut, Unreachable
from herder.ports.driver import MemberSpec

CONF = "valkey.conf"

ANSWER_S = 20.0
"""Seconds without any answer, or without progress of a load, after which a start is given up."""

SHUTDOWN_S = 12.0
"""Seconds for a clean shutdown: the engine itself waits up to 10 s for its replicas, then fsyncs its log."""

NUDGE_S = 0.05
"""Seconds between nudges; the engine looks ten times a second whether its replicas have everything."""

_TAIL_BYTES = 4096


class Engine:
    """Starts, finds and ends valkey-server processes. Keeps nothing but open connections (in `lines`)."""

    def __init__(self, lines: Lines, account: Account, configured: str) -> None:
        self.lines = lines
        self.account = account
        self.configured = configured

    @staticmethod
    def pids(spec: MemberSpec) -> list[int]:
        """All processes of this data directory, the server first (its forks, which write logs or copies, after it)."""
        # a fork that ended since the scan has no start time any more: it must not come before the server
        began = ((started_at(pid), pid) for pid in within(Path(spec.data_dir)))
        return [pid for _, pid in sorted((start, pid) for start, pid in began if start is not None)]

    async def configure(self, spec: MemberSpec, marker: Marker) -> None:
        """Write the whole configuration for what the marker says."""
        path = Path(spec.data_dir) / CONF
        await in_thread(write_durably, path, render(spec, marker).encode(), self.account)

    async def start(self, spec: MemberSpec, marker: Marker) -> Look:
        """Start on the data as it is and return the first look that shows a loaded data set."""
        program = valkey_server(self.configured)
        check_executable(program, self.account.uid, self.account.gid)
        await self.configure(spec, marker)
        home = Path(spec.data_dir)
        pid = spawn([str(program), str(home / CONF)], account=self.account, cwd=home, log=beside(spec, ".log"))
        return await self.answering(spec, pid)

    async def answering(self, spec: MemberSpec, pid: int) -> Look:
        """Wait until the process serves. Environment when it dies, TimedOut when it neither answers nor loads on."""
        deadline = time.monotonic() + ANSWER_S
        loaded = -1.0
        while True:
            try:
                look = await self.lines.look(spec, timeout_s=1.0)
                if look.pid != pid:
                    raise Conflict(f"{spec.address}:{spec.port} is answered by another valkey-server (pid {look.pid})")
                if not look.loading:
                    return look
                if look.loading_percent != loaded:
                    loaded, deadline = look.loading_percent, time.monotonic() + ANSWER_S
            except Unreachable:
                pass
            reap(pid)
            if started_at(pid) is None:
                raise Environment(f"valkey-server ended at its start: {self.last_words(spec)}", "see its log")
            if time.monotonic() > deadline:
                raise TimedOut(f"valkey-server (pid {pid}) does not answer: {self.last_words(spec)}", "see its log")
            await asyncio.sleep(POLL_S)

    async def running(self, spec: MemberSpec) -> Look | None:
        """A look at the running engine, None when no process has the directory."""
        pids = self.pids(spec)
        return await self.answering(spec, pids[0]) if pids else None

    async def stop(self, spec: MemberSpec, *, fast: bool) -> str:
        """End all processes of the directory; returns how that was confirmed."""
        pids = self.pids(spec)
        if not pids:
            return "no process had this data directory"
        asked = fast and await self._shut_down(spec, pids[0])
        killed = await kill_within(Path(spec.data_dir))
        how = "shut down cleanly" if asked else "killed"
        return f"{how}; two scans of /proc show no process with {spec.data_dir} ({killed} killed)"

    async def _shut_down(self, spec: MemberSpec, pid: int) -> bool:
        """Ask for a clean end, in which replicas get everything; True when the process is gone."""
        try:
            look = await self.lines.look(spec, timeout_s=1.0)
        except HerderError:
            return False
        addresses = [name.rpartition(":") for name, (state, _) in look.replicas.items() if state == "online"]
        nudge = Nudge([(host, int(port)) for host, _, port in addresses], spec.replication_password)
        asked = asyncio.create_task(self.lines.call(spec, "SHUTDOWN", "NOSAVE", timeout_s=SHUTDOWN_S))
        try:
            while not asked.done():
                await nudge.send()
                await asyncio.wait([asked], timeout=NUDGE_S)
            await asked
        except Unreachable:  # its answer is that it hangs up
            return await gone(pid, 2.0)
        except HerderError:
            return False
        finally:
            asked.cancel()
            await nudge.close()
        return False  # it answered, so it did not end

    def fresh_dir(self, spec: MemberSpec) -> None:
        """An empty data directory in place of a half-made one."""
        home = Path(spec.data_dir)
        shutil.rmtree(home, ignore_errors=True)
        self.account.make_dir(home)
        sync_path(home.parent)

    @staticmethod
    def holds_data(spec: MemberSpec) -> bool:
        """Is there a log that somebody may want back?"""
        reach = aof_reach(Path(spec.data_dir))
        return reach.piece > 1 or reach.size > 0

    @staticmethod
    def set_aside(spec: MemberSpec) -> Path | None:
        """Rename the data directory to the next free `.diverged-N`; None when there is none.

        A rename, not links: the engine appends to its newest piece in place, so a linked copy would change with it.
        """
        home = Path(spec.data_dir)
        if not home.exists():
            return None
        number = 1
        while (kept := beside(spec, f".diverged-{number}")).exists():
            number += 1
        home.rename(kept)
        sync_path(kept.parent)
        return kept

    @staticmethod
    def last_words(spec: MemberSpec) -> str:
        """The last line of the engine's log, '' when there is none."""
        try:
            with beside(spec, ".log").open("rb") as stream:
                stream.seek(0, 2)
                stream.seek(max(0, stream.tell() - _TAIL_BYTES))
                lines = stream.read().decode(errors="replace").splitlines()
        except OSError:
            return ""
        return next((line.strip() for line in reversed(lines) if line.strip()), "")
