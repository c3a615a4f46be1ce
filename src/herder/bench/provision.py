"""`herder bench provision`: from asking for a service to the first write through its URL."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path

import psycopg
import valkey

from herder.bench.failover import OVERRIDE, Say
from herder.bench.metrics import CREATE_GOALS, Anchor, Metric, metric
from herder.lab.rig import Facts, Rig, make_directory
from herder.model.errors import NotFound, TimedOut

GONE_S = 60.0


def measure(runs: int, plans: Sequence[str], place: Path | None, say: Say) -> list[Metric]:
    """`PLAN.create_s` of each plan. One service is made unmeasured first, which makes the template of the data."""
    with Rig(OVERRIDE, make_directory(prefix="herder-bench-", places=[place] if place else None)) as rig:
        for engine in {"valkey" if plan == "valkey" else "postgres" for plan in plans}:
            _destroy(rig, _create(rig, "warm-up", engine, "dev")[1])
        return [_plan(rig, plan, runs, say) for plan in plans]


def _plan(rig: Rig, plan: str, runs: int, say: Say) -> Metric:
    seconds: list[float | None] = []
    for number in range(runs):
        engine, size = ("valkey", "premium") if plan == "valkey" else ("postgres", plan)
        took, service = _create(rig, f"bench-{plan}-{number}", engine, size)
        seconds.append(took)
        say(f"{plan} create {number + 1}/{runs}: {took:.2f} s")
        _destroy(rig, service)
    goal = CREATE_GOALS.get(plan)
    notes = ["from POST to the first write through the URL; the template was there"]
    return metric(f"{plan}.create_s", "s", seconds, anchor=Anchor(goal=goal), notes=notes)


def _create(rig: Rig, name: str, engine: str, plan: str) -> tuple[float, Facts]:
    began = time.monotonic()
    service = rig.create(engine, name, plan, timeout=120.0)
    if engine == "postgres":
        with psycopg.connect(service["url"], autocommit=True) as connection:
            connection.execute("CREATE TABLE first_write AS SELECT 1")
    else:
        with contextlib.closing(valkey.Valkey.from_url(service["url"])) as client:
            client.set("first-write", 1)
    return time.monotonic() - began, service


def _destroy(rig: Rig, service: Facts) -> None:
    """And wait until it is gone, so that the next has the machine to itself. Raises TimedOut."""
    name = service["name"]
    rig.api("DELETE", f"/v1/services/{name}", {"consent": name})
    give_up = time.monotonic() + GONE_S
    with contextlib.suppress(NotFound):
        while rig.show(name)["state"] not in ("retired", "terminated"):
            if time.monotonic() > give_up:
                raise TimedOut(f"{name} is not gone after {GONE_S:g} s")
            time.sleep(0.05)
