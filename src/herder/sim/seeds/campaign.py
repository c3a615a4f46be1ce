"""Many seeds, one after another or in several processes; each that fails is run again, and shrunk."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import Any

from herder.sim.seeds.counts import Counts
from herder.sim.seeds.jitter import draw_jitter
from herder.sim.seeds.plan import Item, Plan, draw_plan
from herder.sim.seeds.run import Result, run_plan
from herder.sim.seeds.shrink import shrink
from herder.sim.seeds.sometimes import SEEN_WITHIN, missing, table
from herder.sim.seeds.witness import Finding

SHRINK_RUNS = 40
PLAYBOOKS = ("failover", "switchover", "restart", "rebuild", "strike", "provision", "destroy")


@dataclass(frozen=True, slots=True)
class Wish:
    """What to run. hours, services: None = drawn by each seed. jitter: only loss, delay and pauses below the limits."""

    first: int
    seeds: int
    hours: float | None = None
    services: int | None = None
    jobs: int = 1
    jitter: bool = False
    shrink_runs: int = SHRINK_RUNS

    def plan(self, seed: int) -> Plan:
        """A seed's plan."""
        if self.jitter:
            return draw_jitter(seed, hours=self.hours, services=self.services)
        return draw_plan(seed, hours=self.hours, services=self.services)


@dataclass(frozen=True, slots=True)
class Failure:
    """A seed that failed. same: its second run left the same trace. items: the smallest list with which it still fails."""

    seed: int
    found: tuple[Finding, ...]
    same: bool
    items: tuple[Item, ...]
    drawn: int


@dataclass(slots=True)
class Tally(Counts):
    """What many seeds came to. done: seeds as (first, last) in a row; kept_s: virtual seconds that an earlier run counted."""

    seeds: int = 0
    idle: int = 0
    wall_s: float = 0.0
    paged: int = 0
    failures: list[Failure] = field(default_factory=list)
    done: list[tuple[int, int]] = field(default_factory=list)
    kept_s: float = 0.0

    def take(self, result: Result, failure: Failure | None) -> None:
        """One seed more."""
        self.seeds += 1
        self.idle += result.idle
        self.paged += bool(result.paged)
        self.add(result)
        if failure is not None:
            self.failures.append(failure)

    @property
    def hours_per_s(self) -> float:
        """Simulated hours a second of this run, all its processes together."""
        return (self.virtual_s - self.kept_s) / 3600 / self.wall_s if self.wall_s else 0.0

    def verdict(self, wish: Wish) -> list[str]:
        """Why this is no pass; empty when it is one."""
        wrong = [f"seed {failure.seed}: {failure.found[0]}" for failure in self.failures]
        if self.idle:
            wrong.append(f"{self.idle} seeds in which nothing happened")
        if not wish.jitter and self.seeds >= SEEN_WITHIN:
            wrong += [f"never seen in {self.seeds} seeds: {words}" for words in missing(self.seen)]
        return wrong

    def facts(self, wish: Wish) -> dict[str, Any]:
        """`--json`."""
        return {
            "first": wish.first, "seeds": self.seeds, "jitter": wish.jitter, "failed": len(self.failures), "idle": self.idle,
            "virtual_hours": round(self.virtual_s / 3600, 2), "wall_s": round(self.wall_s, 1),
            "hours_per_s": round(self.hours_per_s, 3), "done": self.done,
            "hours_per_core_s": round(self.virtual_s / 3600 / self.core_s, 3) if self.core_s else 0.0,
            "servers_mean": round(self.servers / max(self.seeds, 1), 1),
            "faults": sum(self.faults.values()), "faults_by_kind": dict(sorted(self.faults.items())),
            "orders": dict(sorted(self.orders.items())), "completions": dict(sorted(self.completions.items())),
            "promotions": self.promotions, "records": self.records, "moves": self.moves,
            "acknowledged_bytes": self.confirmed_bytes, "lost_async_bytes": self.lost_async_bytes, "left_paged": self.paged,
            "sometimes": [{"what": words, "times": times} for words, times in table(self.seen)],
            "failures": [failure_facts(failure) for failure in self.failures], "wrong": self.verdict(wish),
            "passed": not self.verdict(wish),
        }  # fmt: skip


def failure_facts(failure: Failure) -> dict[str, Any]:
    """A failure for programs. items: what `--faults` takes."""
    return {
        "seed": failure.seed, "found": [str(finding) for finding in failure.found], "same_trace": failure.same,
        "drawn": failure.drawn,
        "items": [{"number": i.number, "at_s": i.at_s, "kind": i.kind, "aim": i.aim} for i in failure.items],
    }  # fmt: skip


def run_seed(wish: Wish, seed: int) -> tuple[Result, Failure | None]:
    """One seed; when it fails, again, and then with ever fewer items."""
    plan = wish.plan(seed)
    result = run_plan(plan)
    if not result.found:
        return result, None
    again = run_plan(plan)
    wanted = result.checks

    def fails(items: Iterable[Item]) -> bool:
        return bool(wanted & run_plan(plan, tuple(items)).checks)

    smallest = plan.items
    if again.trace == result.trace and wish.shrink_runs:
        smallest = shrink(plan.items, fails, wish.shrink_runs)
    failure = Failure(seed, tuple(result.found), again.trace == result.trace, smallest, len(plan.items))
    return replace(result, story=[]), failure


def run_all(
    wish: Wish, on_seed: Callable[[Tally, int], None], tally: Tally | None = None, done: Container[int] = ()
) -> Tally:
    """All of them but those that are `done`, counted on top of `tally`. on_seed: told after each (what it is given goes on
    changing) with the seed.
    """
    tally, began = tally if tally is not None else Tally(), time.perf_counter()
    seeds = [seed for seed in range(wish.first, wish.first + wish.seeds) if seed not in done]
    for result, failure in _each(wish, seeds):
        tally.take(result, failure)
        tally.wall_s = time.perf_counter() - began
        on_seed(tally, result.seed)
    return tally


def _each(wish: Wish, seeds: Sequence[int]) -> Iterator[tuple[Result, Failure | None]]:
    if wish.jobs <= 1:
        yield from (run_seed(wish, seed) for seed in seeds)
        return
    # a fresh interpreter a worker: a fork would share what a running event loop holds
    with ProcessPoolExecutor(wish.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        left = iter(seeds)
        under_way: set[Future[tuple[Result, Failure | None]]] = set()
        while True:
            while len(under_way) < 2 * wish.jobs and (seed := next(left, None)) is not None:
                under_way.add(pool.submit(run_seed, wish, seed))
            if not under_way:
                return
            done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
