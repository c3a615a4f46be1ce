"""One process that measures the engine at one size: `python -m herder.bench.engine_run`, its input as JSON on stdin.

In a process of its own, so that its memory is the controller's: the loop, the store's client and the fleet.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import asyncpg
import uvloop

from herder.bench.engine_fleet import SERVICES, Fleet, opened
from herder.bench.engine_hand import ByHand, CommitByHand

PAUSE_S = 0.008
"""Between two commands on an idle controller: nothing is under way when the next one comes."""

TAIL_SINGLE = 40_000
TAIL_BULK = 60_000
"""The tail of a cold start: at 50,000 single moves a snapshot is due, so no longer one of those lies behind one."""

_SIZES = """
select pg_total_relation_size('herder.unit') as unit, pg_total_relation_size('herder.log') as log,
    (select count(*) from herder.unit) as units
"""


def rss_mb(field: str = "VmRSS") -> float:
    """Resident memory of this process in MB; VmHWM: at its most."""
    with open("/proc/self/status", encoding="ascii") as status:  # noqa: PTH123
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith(field))


async def measure(given: dict[str, Any]) -> dict[str, Any]:
    """machines, rounds, samples, options of the store, cold (leave a log for a cold start behind)."""
    machines, rounds = int(given["machines"]), int(given["rounds"])
    found: dict[str, Any] = {"machines": machines, "rss_before_mb": rss_mb()}
    async with opened(given["options"]) as fleet:
        found["adopt_s"] = await fleet.adopt(machines)
        found["adopt_projected_s"] = found["adopt_s"] + await fleet.projected()
        by_hand = ByHand(machines) if given["by_hand"] else None
        log = await _sizes(given["options"])
        found["step_s"], found["projected_s"], found["by_hand_s"] = [], [], []
        for _ in range(rounds):
            if by_hand is not None:
                found["by_hand_s"].append(await by_hand.step(given["options"]))
            found["step_s"].append(await fleet.step())
            found["projected_s"].append(found["step_s"][-1] + await fleet.projected())
        sizes = await _sizes(given["options"])
        found["bytes_per_move_log"] = (sizes["log"] - log["log"]) / (rounds * machines)
        found["store_bytes_per_machine"] = sizes["unit"] / max(sizes["units"], 1)
        found["bytes_per_machine_memory"] = fleet.bytes_in_memory() / fleet.shard.world.size
        del by_hand
        if given["samples"]:
            found |= await _latencies(fleet, int(given["samples"]), given["options"])
        found["rss_mb"], found["peak_rss_mb"] = rss_mb(), rss_mb("VmHWM")
        if given["cold"]:
            await _leave_tail(fleet)
    return found


async def _sizes(options: dict[str, Any]) -> dict[str, int]:
    connection = await asyncpg.connect(**options)
    try:
        return dict(await connection.fetchrow(_SIZES))
    finally:
        await connection.close()


async def _latencies(fleet: Fleet, samples: int, options: dict[str, Any]) -> dict[str, list[float]]:
    """Of single commands, in milliseconds: one at a time while idle (in turn with a commit by hand), and in front of a
    round of everybody.
    """
    idle: list[float] = []
    by_hand: list[float] = []
    limit = await CommitByHand.opened(options)
    try:
        for number in range(samples):
            await asyncio.sleep(PAUSE_S)
            by_hand.append(await limit.commit())
            await asyncio.sleep(PAUSE_S)
            idle.append(await fleet.command(number))
    finally:
        await limit.close()
    flood: list[float] = []
    everybody = asyncio.create_task(fleet.step())
    number = samples
    while not everybody.done():
        await asyncio.sleep(PAUSE_S)
        flood.append(await fleet.command(number % (2 * SERVICES)))
        number += 1
    await everybody
    await fleet.projected()
    return {"idle_ms": idle, "idle_by_hand_ms": by_hand, "flood_ms": flood}


async def _leave_tail(fleet: Fleet) -> None:
    """A snapshot, and 100,000 moves after it (fewer on a small fleet)."""
    await fleet.shard.snapshot()
    await fleet.step(min(TAIL_BULK, len(fleet.ids)))
    await fleet.single_moves(min(TAIL_SINGLE, len(fleet.ids)))
    await fleet.projected()


if __name__ == "__main__":
    print(json.dumps(uvloop.run(measure(json.load(sys.stdin)))), flush=True)
