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

from herder.engine.record import FORMAT
from herder.engine.world import World
from herder.machines.registry import TABLES
from herder.stores.memory.store import MemoryStore
from tests.unit.engine import yard

HERE = Path(__file__).resolve().parent


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
    """The log of the engine's story, taken over once in the middle of it, as (msgpack of its records, the world)."""
    clock = yard.VirtualClock()
    store = MemoryStore(clock)
    await yard.told(store, clock)
    shard = await yard.opened(store, clock)
    return msgspec.msgpack.encode(await store.tail(0, 0)), shard.world


def write(name: str, content: bytes) -> None:
    """Only where there is nothing yet, but for --codes, which append."""
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
    write("codes.json", (json.dumps(codes(), indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
