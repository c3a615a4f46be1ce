"""A driver for the toy engine: real processes, everything on disk, no state between calls."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
from pathlib import Path

from herder.drivers import processes
from herder.model.errors import Conflict, TimedOut
from herder.ports.driver import MemberSpec, Position, Reading, Role, Running, Source, SyncSet
from tests.unit.agent.wait import until

ENGINE = Path(__file__).with_name("toy_engine.py")


def spec_of(member: str, data_dir: Path, port: int, **changes: object) -> MemberSpec:
    plain: dict[str, object] = {
        "service": "orders", "member": member, "slot": 0, "engine": "toy", "major": 0, "address": "127.0.0.1",
        "port": port, "data_dir": str(data_dir), "memory_mb": 1, "database": "", "user": "u", "password": "p",
        "admin_password": "a", "replication_password": "r",
    }  # fmt: skip
    return MemberSpec(**(plain | changes))  # type: ignore[arg-type]


class ToyDriver:
    """spec.database 'slow': making a standby never ends. `calls`: what was asked, in order."""

    engine = "toy"

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.slow_began = asyncio.Event()
        self.hang_reads = False

    async def create_primary(self, spec: MemberSpec, sync: SyncSet) -> Running:
        self.calls.append("create_primary")
        shutil.rmtree(spec.data_dir, ignore_errors=True)
        Path(spec.data_dir).mkdir(parents=True)
        (Path(spec.data_dir) / "role").write_text("primary")
        return await self.start(spec)

    async def create_standby(self, spec: MemberSpec, source: Source) -> Running:
        self.calls.append("create_standby")
        if spec.database == "slow":
            self.slow_began.set()
            await asyncio.Event().wait()
        Path(spec.data_dir).mkdir(parents=True, exist_ok=True)
        (Path(spec.data_dir) / "role").write_text("standby")
        return await self.start(spec)

    async def start(self, spec: MemberSpec) -> Running:
        self.calls.append("start")
        if pid := self._first(spec):
            return Running(pid, started=False)
        if await self.leftovers(spec):
            raise Conflict("leftovers", "stop it first")
        home = Path(spec.data_dir)
        argv = [sys.executable, "-I", "-S", str(ENGINE), str(spec.port)]
        pid = processes.spawn(argv, account=processes.Account(), cwd=home, log=home.with_name(home.name + ".log"))

        async def answers() -> bool:
            return (await self.read(spec)).alive

        await until(answers, "the toy engine answers")
        return Running(pid, started=True)

    async def stop(self, spec: MemberSpec, *, fast: bool) -> str:
        self.calls.append(f"stop fast={fast}")
        return f"killed {await processes.kill_within(Path(spec.data_dir))} processes"

    async def leftovers(self, spec: MemberSpec) -> list[int]:
        return processes.within(Path(spec.data_dir))

    async def pledge(self, spec: MemberSpec) -> Position:
        self.calls.append("pledge")
        return Position(1, 4096)

    async def promote(self, spec: MemberSpec, sync: SyncSet) -> Position:
        self.calls.append("promote")
        (Path(spec.data_dir) / "role").write_text("primary")
        return Position(2, 4096)

    async def follow(self, spec: MemberSpec, source: Source) -> None:
        self.calls.append("follow")

    async def set_sync(self, spec: MemberSpec, sync: SyncSet) -> int:
        raise TimedOut("the toy has no replication", "use a grown-up engine")

    async def rejoin(self, spec: MemberSpec, source: Source) -> str:
        raise RuntimeError("a bug in the driver")

    async def read(self, spec: MemberSpec) -> Reading:
        if self.hang_reads:
            await asyncio.Event().wait()
        pid = self._first(spec)
        try:
            reader, writer = await asyncio.open_connection(spec.address, spec.port)
            try:
                role = (await reader.read()).decode()
            finally:  # a look that hangs is given up
                writer.close()
            if not role:
                raise ConnectionResetError
        except OSError:
            return Reading(alive=False, pid=pid, detail=self._last_line(spec))
        return Reading(alive=True, role=Role(role), pid=pid)

    async def checkpoint(self, spec: MemberSpec) -> None:
        self.calls.append("checkpoint")

    async def close(self) -> None:
        pass

    def _first(self, spec: MemberSpec) -> int:
        with contextlib.suppress(OSError, ValueError):
            pid = int((Path(spec.data_dir) / "first.pid").read_text())
            if pid in processes.within(Path(spec.data_dir)):
                return pid
        return 0

    def _last_line(self, spec: MemberSpec) -> str:
        with contextlib.suppress(OSError, IndexError):
            return Path(spec.data_dir + ".log").read_text().splitlines()[-1]
        return "no log"


def kill_first(spec: MemberSpec) -> int:
    """Kill the first process only; its backend lives on. Returns its pid."""
    pid = int((Path(spec.data_dir) / "first.pid").read_text())
    os.kill(pid, 9)
    return pid
