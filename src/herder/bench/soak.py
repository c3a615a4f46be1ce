"""`herder bench soak`: lossy cables and stalling hosts for a while, and nobody may be failed over.

What it bounds: no false failover seen in H server-hours means, at 95 % confidence, fewer than 3 / H a server-hour (the
rule of three). Half an hour of a few servers bounds little; the simulator takes it further.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from herder.bench.metrics import Metric, metric, not_possible
from herder.lab import faults
from herder.lab.rig import Rig

Facts = dict[str, Any]

LOSS_PERCENT = 10
STALL_S = 0.5
BETWEEN_S = (1.0, 4.0)
"""Seconds from the end of one stall to the next, drawn evenly: every host stalls about once in ten seconds."""

WRONG = {"failover": "failovers", "restart": "restarts", "strike": "strikes"}
"""Playbooks that nothing here calls for: a stalled or lossy server serves."""


@dataclass(frozen=True, slots=True)
class Soaked:
    """What happened. suspicions: moves to `uncertain`, which are harmless: they only ask."""

    minutes: float
    servers: int
    stalls: int
    suspicions: int
    wrong: dict[str, int]


def measure(minutes: float, seed: int, place: Path | None, say: Callable[[str], None]) -> list[Metric]:
    """A premium and a standard service under loss and stalls."""
    with Rig({}, place / "soak" if place else None) as rig:
        rig.create("postgres", "sync", "premium")
        if not rig.namespaces:
            return [not_possible("soak.false_failovers", "count", "packets are lost between namespaces only")]
        rig.create("postgres", "async", "standard")
        rig.until_well(60)
        first = max(event["seq"] for event in rig.events())
        stalls = _disturb(rig, minutes, random.Random(seed), say)
        return _metrics(_soaked(rig, minutes, stalls, first))


def _disturb(rig: Rig, minutes: float, chance: random.Random, say: Callable[[str], None]) -> int:
    servers = rig.servers()
    stalls = 0
    end = time.monotonic() + minutes * 60
    told = time.monotonic()
    try:
        for server in servers:
            faults.lose(server, LOSS_PERCENT)
        while time.monotonic() < end:
            server = chance.choice(servers)
            faults.freeze(server)
            time.sleep(STALL_S)
            faults.thaw(server)
            stalls += 1
            time.sleep(chance.uniform(*BETWEEN_S))
            if time.monotonic() - told > 60:
                told = time.monotonic()
                say(f"{(end - told) / 60:.0f} minutes left, {stalls} stalls")
    finally:
        for server in servers:
            faults.thaw(server)
            faults.heal(server)
    return stalls


def _soaked(rig: Rig, minutes: float, stalls: int, first: int) -> Soaked:
    events = [event for event in rig.events(limit=10_000) if event["seq"] > first]
    wrong = dict.fromkeys(WRONG.values(), 0)
    for event in events:
        if event["event"] == "create" and event["kind"] in WRONG:
            wrong[WRONG[event["kind"]]] += 1
    suspicions = sum(1 for event in events if event["target"] == "uncertain" and event["kind"] == "member")
    return Soaked(minutes, len(rig.servers()), stalls, suspicions, wrong)


def _metrics(soaked: Soaked) -> list[Metric]:
    hours = soaked.minutes / 60 * soaked.servers
    bound = f"{hours:.1f} server-hours: fewer than {3 / hours:.2g} an hour and server at 95 %"
    how = f"{LOSS_PERCENT} % of packets lost, {soaked.stalls} stalls of {STALL_S:g} s"
    found = [metric(f"soak.false_{name}", "count", [count], notes=[how, bound]) for name, count in soaked.wrong.items()]
    return [*found, metric("soak.suspicions", "count", [soaked.suspicions], notes=["asked, and found serving"])]
