"""A real store at a virtual pace."""

import threading

from herder.engine.decide import Input
from herder.engine.shard import Shard
from herder.sim.clock import SimClock, run
from herder.sim.store import PacedStore
from herder.stores.memory.store import MemoryStore


class Recording(MemoryStore):
    """Keeps the thread in which appends were made."""

    async def append(self, batch):
        self.thread = threading.current_thread()
        await super().append(batch)


def test_an_append_takes_its_virtual_time_and_is_made_in_a_thread_of_its_own():
    class WallClock:
        def monotonic(self):
            return 0.0

    inner = Recording(WallClock())

    async def make():
        return inner

    async def main():
        store = PacedStore(make, latency_s=0.25)
        clock = SimClock()
        shard = Shard(0, store, clock)
        await shard.open("a", 15.0)
        before = clock.monotonic()
        facts = {"name": "page-x", "subject": 1, "service": 1, "raised_by": 1, "reason": "x", "text": "x", "times": 1}
        committed = await shard.commit([Input(0, "create", facts, create="page")])
        took = clock.monotonic() - before
        store.end()
        return committed.seq, took

    seq, took = run(main)
    assert (seq, took) == (2, 0.25)
    assert inner.thread is not threading.main_thread()
    assert not inner.thread.is_alive()
