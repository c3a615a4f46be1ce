"""The product search: one service's machines together, with the world that does its worst, over tables that are passed in.

No second model of the lifecycle: a step of the log is the production `decide` with the production catalogue over the tables
at hand. Only what stands outside the log (engines, agents, hosts, the provider, the network) is modelled: `small` says what
there is of it, `leading` and `keeping` what effects do to it, `environment` what happens by itself.
"""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from herder.machines.registry import TABLES
from herder.proof.product.aspects import ASPECTS, Aspect
from herder.proof.product.report import Budget, Product, Searched, Step, Tables, Violation
from herder.proof.product.search import Search

__all__ = ["ASPECTS", "Budget", "Product", "Searched", "Step", "Tables", "Violation", "check", "search"]

FULL = Budget()


def check(tables: Tables, *, budget: Budget = FULL) -> Product:
    """Search every aspect that the budget names, the largest first.

    budget.processes > 1 is for the tables that run only: others (with guards made on the spot) do not travel.
    """
    wanted = [aspect for aspect in ASPECTS if not budget.aspects or aspect.name in budget.aspects]
    if budget.processes > 1 and tuple(tables) == TABLES:
        with ProcessPoolExecutor(budget.processes, multiprocessing.get_context("fork")) as pool:
            searched = tuple(pool.map(partial(_search_running, budget=budget), wanted))
    else:
        searched = tuple(search(tables, aspect, budget) for aspect in wanted)
    covered = frozenset().union(*(aspect.rows for aspect in searched))
    return Product(searched, covered, tuple(violation for aspect in searched for violation in aspect.violations))


def search(tables: Tables, aspect: Aspect, budget: Budget) -> Searched:
    """One aspect."""
    return Search(tables, aspect).run(budget)


def _search_running(aspect: Aspect, budget: Budget) -> Searched:
    return search(TABLES, aspect, budget)
