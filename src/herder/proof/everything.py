"""All that `herder verify` proves: each table by itself, pure decisions, voters and pledges, and the product of a service's machines."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context

from herder.machines import verify
from herder.machines.registry import TABLES
from herder.machines.table import Row, Table
from herder.proof import laws, product, voters
from herder.proof.product.aspects import ASPECTS, Aspect
from herder.proof.product.report import Budget, Product, Searched

ALONE = ("archive", "dependency", "freeze", "incident", "page", "rollout")
"""Kinds that no service's product holds: a fleet's, and a person's. Their rows are walked with every event allowed."""

QUICK = Budget(quick=True)
FULL = Budget()


@dataclass(frozen=True, slots=True)
class Everything:
    """What was proved. seconds: of the clock; missed: rows that fired nowhere, in words."""

    tables: verify.Report
    voters: voters.Voters
    product: Product
    missed: tuple[str, ...]
    walked: int
    rows: int
    seconds: float
    quick: bool

    @property
    def holds(self) -> bool:
        """Every rule holds, and the full search has seen every row."""
        broken = self.tables.findings or self.voters.violations or self.product.violations
        return not broken and (self.quick or not self.missed)


def prove(*, quick: bool) -> Everything:
    """Everything over the tables that run."""
    began = time.perf_counter()
    tables = _by_themselves()
    processes = 1 if quick else max(len(os.sched_getaffinity(0)), 1)
    budget = QUICK if quick else FULL
    scenes = voters.QUICK if quick else voters.SCENES
    with ProcessPoolExecutor(processes, get_context("fork")) as pool:
        aspects = [pool.submit(partial(_aspect, aspect, budget)) for aspect in ASPECTS]
        orders = [pool.submit(partial(voters.check, TABLES, (scene,))) for scene in scenes]
        searched = tuple(each.result() for each in aspects)
        pledged = voters.Voters(tuple(found for each in orders for found in each.result().searched))
    found = product.together(searched)
    missed, walked = uncovered(TABLES, found)
    rows = sum(len(table.rows) for table in TABLES)
    return Everything(tables, pledged, found, missed, walked, rows, time.perf_counter() - began, quick)


def _by_themselves() -> verify.Report:
    """The tables, and the pure decisions over every case of a small world."""
    tables, (counted, broken) = verify.check(), laws.check()
    checked = (verify.Checked(rule, what, cases) for rule, what, cases in counted)
    return verify.Report((*tables.checked, *checked), (*tables.findings, *broken))


def _aspect(aspect: Aspect, budget: Budget) -> Searched:
    return product.search(TABLES, aspect, budget)


def uncovered(tables: Sequence[Table], found: Product) -> tuple[tuple[str, ...], int]:
    """(rows that fired neither in the product nor in the walk of tables that stand alone, how many fired in the walk)."""
    missed: list[str] = []
    walked = 0
    for table in tables:
        alone = _walk(table) if table.kind in ALONE else set()
        walked += len(alone)
        missed += [
            f"{table.kind}: {row.source} -{row.event}-> {row.target}"
            for place, row in enumerate(table.rows)
            if (table.kind, place) not in found.covered and place not in alone
        ]
    return tuple(missed), walked


def _walk(table: Table) -> set[int]:
    """Rows that fire when every event may come in every state that is reached, and every guard may say yes."""
    there, fired = {"absent"}, set[int]()
    while ready := [(place, row) for place, row in _from(table, there) if place not in fired]:
        fired.update(place for place, _ in ready)
        there.update(row.target for _, row in ready)
    return fired


def _from(table: Table, there: set[str]) -> Iterator[tuple[int, Row]]:
    return ((place, row) for place, row in enumerate(table.rows) if row.source in there)
