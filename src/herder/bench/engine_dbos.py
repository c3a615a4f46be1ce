"""The peer: DBOS with five durable steps a workflow, in an environment of its own, without herder.

`python engine_dbos.py DATABASE_URL SECONDS` prints one JSON object: durable steps a second, one workflow after another and
many at a time on threads. A step does nothing, so that what is measured is the engine and its commits.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import dbos  # type: ignore[import-not-found,unused-ignore]

STEPS = 5
THREADS = 16


@dbos.DBOS.step()  # type: ignore[untyped-decorator,unused-ignore]
def step(number: int) -> int:
    """What is made durable: that it was done, and its result."""
    return number


@dbos.DBOS.workflow()  # type: ignore[untyped-decorator,unused-ignore]
def workflow(number: int) -> int:
    """Five steps."""
    return sum(step(number + each) for each in range(STEPS))


def one_by_one(seconds: float) -> float:
    """Durable steps a second of workflows called directly."""
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        workflow(done)
        done += 1
    return STEPS * done / (time.perf_counter() - began)


def many(seconds: float) -> float:
    """Durable steps a second with as many workflows under way as there are threads."""
    began, done = time.perf_counter(), 0
    under_way: list[Any] = []
    while time.perf_counter() - began < seconds:
        while len(under_way) < THREADS:
            under_way.append(dbos.DBOS.start_workflow(workflow, done))
        under_way.pop(0).get_result()
        done += 1
    for handle in under_way:
        handle.get_result()
        done += 1
    return STEPS * done / (time.perf_counter() - began)


def main(url: str, seconds: float) -> None:
    """Measure both ways."""
    config: dbos.DBOSConfig = {
        "name": "peer", "system_database_url": url, "sys_db_pool_size": THREADS, "max_executor_threads": THREADS,
        "log_level": "ERROR",
    }  # fmt: skip
    dbos.DBOS(config=config)
    dbos.DBOS.launch()
    try:
        workflow(0)
        found = {"one_by_one": one_by_one(seconds), "many": many(seconds)}
    finally:
        dbos.DBOS.destroy()
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
