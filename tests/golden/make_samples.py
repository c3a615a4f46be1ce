"""Makes the stored samples: `PYTHONPATH=src:. python tests/golden/make_samples.py`. Run it when a format is *added*.

What is here once is never made anew: a log that a user has was written by that herder. A new format gets a new file.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from herder.engine.bulk import Bulk, Cohort
from herder.engine.decide import Input
from herder.engine.record import FORMAT
from herder.engine.shapes import Shape
from herder.engine.shard import Shard
from herder.engine.world import World
from herder.machines.registry import TABLES
from herder.stores.memory.store import MemoryStore
from tests.unit.engine import story, yard

HERE = Path(__file__).resolve().parent

BLOCK = (
    Shape("service", {"name": "adopted", "plan": "dev", "sync": False, "voters": [], "term": 1},
          {"members": (1,), "servers": (2,), "primary": 1}),
    Shape("member", {"role": "primary", "slot": 0}, {"service": -1, "server": 1}, {"address": "m{id}.fleet"}),
    Shape("server", {"incarnation": 1, "zone": "a"}, {"service": -2, "member": -1}),
    Shape("archive", {"store": 0}, {"service": -3}),
)  # fmt: skip
"""A service of the cohort that a sample takes over: facts that are shared, relative and made of the id."""


def codes() -> dict[str, Any]:
    """What the log stores as numbers."""
    return {
        table.kind: {"code": table.code, "states": list(table.state_names), "events": list(table.events)}
        for table in TABLES
    }


def world_as_json(world: World) -> dict[str, Any]:
    """Everything that a replay must come to."""
    machines = [
        {
            "id": machine.id, "kind": machine.kind, "state": machine.state, "version": machine.version,
            "entered": machine.entered, "order": machine.order, "since_ms": machine.since_ms,
            "deadline_ms": machine.deadline_ms, "data": machine.data,
        }
        for _, machine in sorted(world.machines.items())
    ]  # fmt: skip
    return {"seq": world.seq, "epoch": world.epoch, "next_id": world.next_id, "machines": machines}


async def sample() -> tuple[bytes, World]:
    """The log of the engine's story, then of many machines at once, taken over in between, as (msgpack of its records,
    the world): every kind of record that the present format has.
    """
    clock = yard.VirtualClock()
    store = MemoryStore(clock)
    await yard.told(store, clock)
    shard = await yard.opened(store, clock)
    await _many(shard, clock)
    return msgspec.msgpack.encode(await store.tail(0, 0)), shard.world


async def _many(shard: Shard, clock: yard.VirtualClock) -> None:
    """A cohort is born; archives stall in one span and members keep their state in another; of three servers that fell
    silent two are heard again in a span, and one moves by itself and differs from its shape.
    """
    await shard.commit([Cohort(5, BLOCK)])
    world = shard.world
    begun = world.ids_in("server", "available")
    clock.at_ms += story.STEP_MS
    await shard.commit([Bulk("archive", "stalled", world.ids("archive")[1:4], "the object store is away", "pulse")])
    await shard.commit([Bulk("member", "followed", world.ids_in("member", "available"))])
    silent = await shard.commit([Bulk("server", "silent", begun[1:4], "no pulse for 1.7 s", "pulse")])
    await shard.commit(silent.singles)
    clock.at_ms += story.STEP_MS
    heard = begun[[1, 3]]
    await shard.commit([Bulk("server", "heard", heard, actor="pulse", entered=world.columns.entered[heard])])
    seen = world.get(int(begun[2]))
    why = {"evidence": {"why": "nothing of it runs"}}
    await shard.commit([Input(seen.id, "gone", why, why="nothing of it runs", entered=seen.entered, actor="pulse")])


def write(name: str, content: bytes) -> None:
    """Only where there is nothing yet."""
    path = HERE / name
    if path.exists():
        sys.exit(f"{path.name} is there; a stored sample is never written again")
    path.write_bytes(content)


def main() -> None:
    if "--codes" in sys.argv:
        (HERE / "codes.json").write_text(json.dumps(codes(), indent=1) + "\n", encoding="utf-8")
        return
    log, world = asyncio.run(sample())
    write(f"log-format-{FORMAT}.msgpack", log)
    told = json.dumps(world_as_json(world), indent=1, ensure_ascii=False)
    write(f"log-format-{FORMAT}.world.json", (told + "\n").encode())


if __name__ == "__main__":
    main()
