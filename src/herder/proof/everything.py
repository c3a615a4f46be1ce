"""All that `herder verify` proves: each table by itself, pure decisions, voters and pledges, and the product of a service's machines."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context

from herder.machines import verify
from herder.machines.registry import TABLES
from herder.machines.table import Row, Table
from herder.proof import alone, laws, product, voters
from herder.proof.product.aspects import ASPECTS, Aspect
from herder.proof.product.report import Budget, Product, Searched

QUICK = Budget(quick=True)
FULL = Budget(seconds=1800.0)
"""What is too large to be seen whole is bounded by its aspect, the same on every machine; the seconds are a brake for tables
that are not herder's own.
"""


@dataclass(frozen=True, slots=True)
class Everything:
    """What was proved. seconds: of the clock. alone: rows that fire in no aspect of the product, but do when their table is
    walked alone with every event allowed, by the reason that `alone.GROUPS` gives; missed: those that fire nowhere, or for
    whose being alone no reason is given. In words.
    """

    tables: verify.Report
    voters: voters.Voters
    product: Product
    alone: Mapping[str, tuple[str, ...]]
    missed: tuple[str, ...]
    rows: int
    seconds: float
    quick: bool

    @property
    def holds(self) -> bool:
        """Every rule holds, and no row is dead."""
        return not (self.tables.findings or self.voters.violations or self.product.violations or self.missed)


def prove(*, quick: bool) -> Everything:
    """Everything over the tables that run."""
    began = time.perf_counter()
    tables = _by_themselves()
    processes = 1 if quick else max(len(os.sched_getaffinity(0)), 1)
    budget = QUICK if quick else FULL
    scenes = voters.QUICK if quick else voters.SCENES
    with ProcessPoolExecutor(processes, get_context("fork")) as pool:
        groups = [pool.submit(partial(_aspects, group, budget)) for group in _groups()]
        orders = [pool.submit(partial(voters.check, TABLES, (scene,))) for scene in scenes]
        done = {each.name: each for group in groups for each in group.result()}
        searched = tuple(done[aspect.name] for aspect in ASPECTS)
        pledged = voters.Voters(tuple(found for each in orders for found in each.result().searched))
    found = product.together(searched)
    apart, missed = uncovered(TABLES, found, first_states=quick)
    rows = sum(len(table.rows) for table in TABLES)
    return Everything(tables, pledged, found, apart, missed, rows, time.perf_counter() - began, quick)


def _by_themselves() -> verify.Report:
    """The tables, and the pure decisions over every case of a small world."""
    tables, (counted, broken) = verify.check(), laws.check()
    checked = (verify.Checked(rule, what, cases) for rule, what, cases in counted)
    return verify.Report((*tables.checked, *checked), (*tables.findings, *broken))


def _groups() -> list[tuple[Aspect, ...]]:
    """Aspects whose services are alike, and of which people ask alike, take the same steps of the log, so one process searches
    them one after the other. The groups that take longest first.
    """
    alike: dict[object, list[Aspect]] = {}
    for aspect in ASPECTS:
        alike.setdefault((aspect.kind, aspect.near, bool(aspect.orders)), []).append(aspect)
    return sorted(map(tuple, alike.values()), key=lambda group: -group[0].kind.members)


def _aspects(group: tuple[Aspect, ...], budget: Budget) -> list[Searched]:
    logs: product.Logs = {}
    return [product.search(TABLES, aspect, budget, logs) for aspect in group]


def uncovered(
    tables: Sequence[Table], found: Product, *, first_states: bool
) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    """Rows that the product did not fire, in words: (those that fire in a walk of their table alone, by the reason why only
    there; those that do not, or have no reason). first_states: it was not searched far enough to ask for one.
    """
    known: dict[str, list[str]] = {}
    missed: list[str] = []
    for table in tables:
        walked = _walk(table)
        for place, row in enumerate(table.rows):
            if (table.kind, place) in found.covered:
                continue
            why = alone.reason(table.kind, row.event, row.source) or ("not reached yet" if first_states else "")
            words = f"{table.kind}: {row.source} -{row.event}-> {row.target}"
            if why and place in walked:
                known.setdefault(why, []).append(words)
            else:
                missed.append(words)
    return {why: tuple(rows) for why, rows in known.items()}, tuple(missed)


def _walk(table: Table) -> set[int]:
    """Rows that fire when every event may come in every state that is reached, and every guard may say yes."""
    there, fired = {"absent"}, set[int]()
    while ready := [(place, row) for place, row in _from(table, there) if place not in fired]:
        fired.update(place for place, _ in ready)
        there.update(row.target for _, row in ready)
    return fired


def _from(table: Table, there: set[str]) -> Iterator[tuple[int, Row]]:
    return ((place, row) for place, row in enumerate(table.rows) if row.source in there)
