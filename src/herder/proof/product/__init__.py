"""The product search: one service's machines together, with the world that does its worst, over tables that are passed in.

No second model of the lifecycle: a step of the log is the production `decide` with the production catalogue over the tables
at hand. Only what stands outside the log (engines, agents, hosts, the provider, the network) is modelled: `small` says what
there is of it, `leading` and `keeping` what effects do to it, `environment` what happens by itself.
"""

from __future__ import annotations

from herder.proof.product.aspects import ASPECTS, Aspect
from herder.proof.product.report import Budget, Product, Searched, Step, Tables, Violation
from herder.proof.product.search import Logs, Search

__all__ = [
    "ASPECTS",
    "Budget",
    "Logs",
    "Product",
    "Searched",
    "Step",
    "Tables",
    "Violation",
    "check",
    "search",
    "together",
]

FULL = Budget()


def check(tables: Tables, *, budget: Budget = FULL) -> Product:
    """Search every aspect that the budget names, one after the other. budget.first: until one has a violation."""
    wanted = [aspect for aspect in ASPECTS if not budget.aspects or aspect.name in budget.aspects]
    searched: list[Searched] = []
    logs: Logs = {}
    for aspect in wanted:
        searched.append(search(tables, aspect, budget, logs))
        if budget.first and searched[-1].violations:
            break
    return together(tuple(searched))


def together(searched: tuple[Searched, ...]) -> Product:
    """What aspects that were searched apart come to."""
    covered = frozenset[tuple[str, int]]().union(*(aspect.rows for aspect in searched))
    return Product(searched, covered, tuple(violation for aspect in searched for violation in aspect.violations))


def search(tables: Tables, aspect: Aspect, budget: Budget, logs: Logs | None = None) -> Searched:
    """One aspect. logs: steps of the log that are shared with others over the same tables."""
    return Search(tables, aspect, logs).run(budget)
