"""A controller that starts over a fleet that is there: `python -m herder.bench.engine_cold`, its input as JSON on stdin.

It is timed from the start of the process: the interpreter and every import belong to a cold start.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import uvloop

from herder.bench.engine_fleet import opened
from herder.bench.engine_run import rss_mb


async def measure(given: dict[str, Any]) -> dict[str, float]:
    """spawned: when this process was started (monotonic seconds), options of the store."""
    found = {"imported_s": time.monotonic() - given["spawned"]}
    async with opened(given["options"]) as fleet:
        found["opened_s"] = time.monotonic() - given["spawned"]
        await fleet.command(0)
        found["cold_start_s"] = time.monotonic() - given["spawned"]
        found["machines"] = fleet.shard.world.size - 1
        found["rss_mb"], found["peak_rss_mb"] = rss_mb(), rss_mb("VmHWM")
    return found


if __name__ == "__main__":
    print(json.dumps(uvloop.run(measure(json.load(sys.stdin)))), flush=True)
