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

QUICK = Budget(quick=True)
FULL = Budget(seconds=75.0)
"""So that all of it takes five minutes on two processors; an aspect that is larger is told as not seen whole."""


@dataclass(frozen=True, slots=True)
class Everything:
    """What was proved. seconds: of the clock. alone: rows that fire in no aspect of the product, but do when their table is
    walked alone with every event allowed; missed: those that fire nowhere. In words.
    """

    tables: verify.Report
    voters: voters.Voters
    product: Product
    alone: tuple[str, ...]
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
        aspects = [pool.submit(partial(_aspect, aspect, budget)) for aspect in ASPECTS]
        orders = [pool.submit(partial(voters.check, TABLES, (scene,))) for scene in scenes]
        searched = tuple(each.result() for each in aspects)
        pledged = voters.Voters(tuple(found for each in orders for found in each.result().searched))
    found = product.together(searched)
    alone, missed = uncovered(TABLES, found)
    rows = sum(len(table.rows) for table in TABLES)
    return Everything(tables, pledged, found, alone, missed, rows, time.perf_counter() - began, quick)


def _by_themselves() -> verify.Report:
    """The tables, and the pure decisions over every case of a small world."""
    tables, (counted, broken) = verify.check(), laws.check()
    checked = (verify.Checked(rule, what, cases) for rule, what, cases in counted)
    return verify.Report((*tables.checked, *checked), (*tables.findings, *broken))


def _aspect(aspect: Aspect, budget: Budget) -> Searched:
    return product.search(TABLES, aspect, budget)


def uncovered(tables: Sequence[Table], found: Product) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Rows that the product did not fire, in words: (those that fire in a walk of their table alone, those that do not)."""
    alone: list[str] = []
    missed: list[str] = []
    for table in tables:
        walked = _walk(table)
        for place, row in enumerate(table.rows):
            if (table.kind, place) not in found.covered:
                words = f"{table.kind}: {row.source} -{row.event}-> {row.target}"
                (alone if place in walked else missed).append(words)
    return tuple(alone), tuple(missed)


def _walk(table: Table) -> set[int]:
    """Rows that fire when every event may come in every state that is reached, and every guard may say yes."""
    there, fired = {"absent"}, set[int]()
    while ready := [(place, row) for place, row in _from(table, there) if place not in fired]:
        fired.update(place for place, _ in ready)
        there.update(row.target for _, row in ready)
    return fired


def _from(table: Table, there: set[str]) -> Iterator[tuple[int, Row]]:
    return ((place, row) for place, row in enumerate(table.rows) if row.source in there)
