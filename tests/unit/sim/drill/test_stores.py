"""The stores that a drill may commit to: opened empty and migrated, and gone afterwards."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from herder.sim.drill.stores import STORES


class Clock:
    """A moment of 2017: what a record is dated with must be the day's own clock."""

    def now_ms(self):
        return 1_488_303_420_000

    def monotonic(self):
        return 0.0

    async def sleep(self, seconds):
        return None


@pytest.fixture
def place(monkeypatch):
    """Not pytest's, since PostgreSQL's user must be able to pass through."""
    with tempfile.TemporaryDirectory(prefix="hd-") as name:
        Path(name).chmod(0o755)
        monkeypatch.setattr(tempfile, "tempdir", name)
        yield Path(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(STORES))
async def test_a_store_is_empty_when_it_is_opened_and_leaves_nothing_when_it_is_closed(name, place):
    async with STORES[name](Clock()) as store:
        assert await store.units() == []
        assert await store.tail(0, 0) == []
    assert list(place.iterdir()) == []


@pytest.mark.slow
async def test_a_store_is_removed_when_the_day_ends_badly(place):
    with pytest.raises(RuntimeError, match="the day"):
        async with STORES["postgres"](Clock()):
            raise RuntimeError("the day ended badly")
    assert list(place.iterdir()) == []


KILLED = """
import asyncio, os, signal, sys, tempfile
from herder.sim.drill import stores
tempfile.tempdir = sys.argv[1]
watch = stores.watch
def told(directory):
    process = watch(directory)
    print(process.pid, flush=True)
    return process
stores.watch = told
async def main():
    async with stores.postgres(None):
        os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""


@pytest.mark.slow
def test_a_store_is_removed_when_the_drill_is_killed(place):
    killed = subprocess.run([sys.executable, "-c", KILLED, str(place)], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    with contextlib.suppress(ProcessLookupError):  # gone already
        select.select([os.pidfd_open(int(killed.stdout))], [], [], 60)
    assert list(place.iterdir()) == []
