"""The stores that a drill may commit to. The simulator's own wiring: it names adapters, the engine of the drill names none.

The control plane's wiring would bring agents, NATS and a data directory along, and the simulator may not import it.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from herder.drivers import binaries
from herder.model.errors import Environment
from herder.ports.clock import Clock
from herder.ports.store import Store
from herder.sim.drill.types import StoreFactory
from herder.stores.memory.store import MemoryStore
from herder.stores.postgres.own import OwnPostgres
from herder.stores.postgres.store import PostgresStore

UNPRIVILEGED = "nobody"
"""Whom the throw-away PostgreSQL runs as when we are root, as `engine_user` is by default."""


@asynccontextmanager
async def memory(clock: Clock) -> AsyncIterator[Store]:
    """Nothing is written to a disk: what the engine alone can do."""
    yield MemoryStore(clock)


@asynccontextmanager
async def postgres(clock: Clock) -> AsyncIterator[Store]:
    """A PostgreSQL of its own in a temporary directory, fsync on; stopped and removed afterwards, whatever happened."""
    directory = Path(tempfile.mkdtemp(prefix="herder-drill-"))
    directory.chmod(0o711 if os.geteuid() == 0 else 0o700)
    watchdog = watch(directory)
    try:
        own = _own(directory)
        try:
            store = PostgresStore(**await own.start())
            try:
                await store.migrate()
                yield store
            finally:
                await store.close()
        finally:
            await own.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        if watchdog.stdin is not None:
            watchdog.stdin.close()
        await asyncio.to_thread(watchdog.wait)


def watch(directory: Path) -> subprocess.Popen[bytes]:
    """A process that holds one end of a pipe: when this one is gone, killed or interrupted twice, it clears up."""
    return subprocess.Popen(
        [sys.executable, "-m", "herder.sim.drill.stores", str(directory)], stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


def _clear_up(directory: Path) -> None:
    sys.stdin.buffer.read()  # to its end, which is the end of whoever started this
    if directory.exists():
        asyncio.run(_own(directory).stop())
        shutil.rmtree(directory, ignore_errors=True)


def _own(directory: Path) -> OwnPostgres:
    dirs = binaries.postgres_dirs()
    programs = dirs[max(dirs)]
    if os.geteuid() != 0:
        return OwnPostgres(directory, programs)
    try:
        entry = pwd.getpwnam(UNPRIVILEGED)
    except KeyError:
        raise Environment(
            f"there is no user '{UNPRIVILEGED}' to run PostgreSQL as",
            "run the drill as an ordinary user, or --store memory",
        ) from None
    return OwnPostgres(directory, programs, uid=entry.pw_uid, gid=entry.pw_gid)


STORES: dict[str, StoreFactory] = {"postgres": postgres, "memory": memory}
"""By the name that `--store` takes; the first is the default."""

if __name__ == "__main__":
    _clear_up(Path(sys.argv[1]))
