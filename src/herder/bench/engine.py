"""`herder bench engine`: a fleet of a million machines through the production loop, on a PostgreSQL with fsync on.

Each size is measured by a process of its own, so that memory is one controller's. Beside the figures stand the limit (the
same step written by hand, in the same run) and the peer (DBOS on the same server).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any

from herder.bench import engine_peer
from herder.bench.engine_ground import Ground, ground
from herder.bench.engine_peer import Peer
from herder.bench.metrics import Metric, ratio

Facts = dict[str, Any]
Say = Callable[[str], None]

ENGINE_USER = "nobody"
ROUNDS = 5
SAMPLES = 250
COLD_STARTS = 3
QUICK = 200_000
"""Below so many machines it is a quick look: one cold start."""

MEASURE_S = 1800.0
"""Seconds that one process may take; a default run takes less than four minutes in all."""

BY_HAND = "the same step written by hand: numpy and one row of the same bytes a commit, no engine around it"


@dataclass(frozen=True, slots=True)
class Goal:
    """What is promised. more: larger values are better."""

    value: float
    more: bool = False

    def words(self, unit: str) -> str:
        """For a note."""
        return f"goal {'>=' if self.more else '<='} {self.value:,g} {unit}".rstrip()


GOALS: dict[str, Goal] = {
    "transitions_per_s": Goal(1_000_000, more=True),
    "ratio_to_handwritten": Goal(0.5, more=True),
    "projection_rows_per_s": Goal(60_000, more=True),
    "idle_commit_p99_ms": Goal(5.0),
    "cold_start_s": Goal(5.0),
    "rss_mb": Goal(1024.0),
    "bytes_per_machine_memory": Goal(64.0),
    "bytes_per_move_log": Goal(40.0),
    "store_bytes_per_machine": Goal(250.0),
    "growth_1m_over_500k": Goal(2.2),
}


@dataclass(frozen=True, slots=True)
class Found:
    """Everything that was measured: the whole fleet, half of it, cold starts over the whole, the peer."""

    whole: Facts
    half: Facts
    cold: list[Facts]
    peer: Peer


def measure(machines: int, place: Path | None, say: Say, *, with_peer: bool = True) -> Found:
    """Measure at `machines` and at half of that. place: where the throw-away directory is made; None = the usual."""
    with ground(place, ENGINE_USER) as there:
        peer = Peer(None, "left out, as asked", {})
        if with_peer:
            say("the peer: installing and measuring DBOS")
            peer = engine_peer.measure(there)
            say(f"the peer: {peer.why}" + (f": {peer.steps_per_s:.0f} durable steps/s" if peer.steps_per_s else ""))
        say(f"{machines // 2:,} machines, for the growth")
        half = _run(there, machines // 2, {"rounds": ROUNDS, "samples": 0, "by_hand": True, "cold": False})
        say(f"{machines:,} machines")
        whole = _run(there, machines, {"rounds": ROUNDS, "samples": SAMPLES, "by_hand": True, "cold": True})
        say("cold starts over them")
        given = {"options": there.options | {"database": _database(machines)}}
        cold = [
            there.run(["-m", "herder.bench.engine_cold"], MEASURE_S, given)
            for _ in range(COLD_STARTS if machines >= QUICK else 1)
        ]
    return Found(whole, half, cold, peer)


def _database(machines: int) -> str:
    return f"fleet_{machines}"


def _run(there: Ground, machines: int, how: Facts) -> Facts:
    options = asyncio.run(there.make_database(_database(machines)))
    return there.run(["-m", "herder.bench.engine_run"], MEASURE_S, {"machines": machines, "options": options, **how})


def metrics(found: Found) -> list[Metric]:
    """What the report shows."""
    whole, half, cold, peer = found.whole, found.half, found.cold, found.peer
    machines = whole["machines"]
    steps = [machines / each for each in whole["step_s"]]
    by_hand = [machines / each for each in whole["by_hand_s"]]
    limit = median(by_hand)
    rows = [machines / each for each in whole["projected_s"]]
    idle, flood = sorted(whole["idle_ms"]), sorted(whole["flood_ms"])
    hand = sorted(whole["idle_by_hand_ms"])
    growth = [min(whole[name]) / min(half[name]) for name in ("step_s", "projected_s", "by_hand_s")]
    return [
        _metric("transitions_per_s", "/s", steps, limit=limit, peer=peer.steps_per_s,
                notes=[f"durable: {machines:,} machines take one step each", f"limit: {BY_HAND}", f"peer: {peer.why}"]),
        _metric("handwritten_per_s", "/s", by_hand, notes=[BY_HAND]),
        _metric("ratio_to_handwritten", "", [step / limit for step in steps]),
        _metric("projection_rows_per_s", "/s", rows,
                notes=["from the first of the moves to the last of their rows", "machines stepped / seconds"]),
        _metric("idle_commit_p50_ms", "ms", [percentile(idle, 50)], limit=percentile(hand, 50),
                notes=["limit: one row of 200 bytes a commit by hand, in turn with it"]),
        _metric("idle_commit_p99_ms", "ms", [percentile(idle, 99)], limit=percentile(hand, 99),
                notes=[f"{len(idle)} commands, one at a time, over {machines:,} machines", f"most {idle[-1]:.1f}"]),
        _metric("flood_commit_p99_ms", "ms", [percentile(flood, 99)],
                notes=[f"{len(flood)} commands while everybody takes a step", f"median {percentile(flood, 50):.1f}"]),
        _metric("cold_start_s", "s", [each["cold_start_s"] for each in cold],
                notes=["from the start of the process to the first command's commit",
                       f"imports {cold[0]['imported_s']:.1f}, open after {cold[0]['opened_s']:.1f}",
                       "snapshot + 100,000 moves of tail, 40,000 of them single ones"]),
        _metric("rss_mb", "MB", [max(each["peak_rss_mb"] for each in (whole, *cold))],
                notes=["the most of the controller's process, the hand-written fleet of the comparison included",
                       f"after a cold start {cold[0]['rss_mb']:.0f}, at its most {cold[0]['peak_rss_mb']:.0f}"]),
        _metric("bytes_per_machine_memory", "B", [whole["bytes_per_machine_memory"]], notes=["arrays by machine"]),
        _metric("bytes_per_move_log", "B", [whole["bytes_per_move_log"]], notes=["the log's table with its index"]),
        _metric("store_bytes_per_machine", "B", [whole["store_bytes_per_machine"]],
                notes=["the projection's table with indices, after every row was written several times"]),
        _metric("growth_1m_over_500k", "x", [growth[0]],
                notes=[f"best time of a step of {machines:,} over {half['machines']:,}", f"of its projection {growth[1]:.2f}",
                       f"of the step by hand {growth[2]:.2f}"]),
        _metric("adopt_s", "s", [whole["adopt_s"]], notes=["making the fleet", f"with its rows {whole['adopt_projected_s']:.1f}"]),
    ]  # fmt: skip


def _metric(
    name: str, unit: str, values: Sequence[float], *, limit: float | None = None, peer: float | None = None,
    notes: Sequence[str] = (),
) -> Metric:  # fmt: skip
    middle, goal = median(values), GOALS.get(name)
    told = [*notes, goal.words(unit)] if goal is not None else list(notes)
    return Metric(
        name, unit, _rounded(middle), _rounded(min(values)), _rounded(max(values)),
        None if limit is None else _rounded(limit), ratio(middle, limit), None if peer is None else _rounded(peer),
        ratio(middle, peer), "; ".join(told),
    )  # fmt: skip


def _rounded(value: float) -> float:
    return round(value, 0 if abs(value) >= 1000 else 3)


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent do not exceed (nearest rank)."""
    return ordered[max(ceil(len(ordered) * percent / 100), 1) - 1]


def missed(found: Sequence[Metric]) -> list[str]:
    """Names of those that miss their goal."""
    return [
        each.name
        for each in found
        if each.value is not None
        and (goal := GOALS.get(each.name)) is not None
        and (each.value < goal.value if goal.more else each.value > goal.value)
    ]


def as_object(about: Facts, found: Found, shown: Sequence[Metric]) -> Facts:
    """What `herder bench engine --json` prints: the metrics, each value by its name too, and the peer (null: and why)."""
    peer = found.peer
    return {
        "bench": "engine", "machine": {name: fact for name, fact in about.items() if name != "override"}, "machines": found.whole["machines"], "runs": ROUNDS,
        "metrics": [each.facts() for each in shown], **{each.name: each.value for each in shown},
        "peer": {"durable_steps_per_s": peer.steps_per_s, **peer.ways} if peer.steps_per_s else None,
        "why": peer.why, "missed": missed(shown), "raw": {"whole": found.whole, "half": found.half, "cold": found.cold},
    }  # fmt: skip
