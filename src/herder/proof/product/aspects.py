"""The aspects: which part of the world each search looks at, how large it is, and what it leaves out."""

from __future__ import annotations

from dataclasses import dataclass

from herder.proof.product.shelf import Kind

PREMIUM = Kind(3, sync=True)
STANDARD = Kind(2, sync=False, plan="standard")
LEASED = Kind(2, sync=False, on_isolation="stop", plan="standard")
DEV = Kind(1, sync=False, plan="dev")


@dataclass(frozen=True, slots=True)
class Aspect:
    """One search. faults: kinds of harm, and how much of it in one history; orders: what a person asks, and how often.

    made: it begins with a service that serves, else with nothing. zombies: a controller that lost its shard goes on.
    abstracts: what is left out here, besides what all leave out.
    """

    name: str
    kind: Kind
    harm: frozenset[str]
    faults: int
    abstracts: str
    orders: tuple[str, ...] = ()
    asked: int = 0
    fences: bool = True
    zombies: bool = False
    made: bool = True
    quick: int = 1


ALL = frozenset({"die", "freeze", "cut", "part", "exit", "far", "lose"})

ASPECTS: tuple[Aspect, ...] = (
    Aspect("failover-sync", PREMIUM, frozenset({"die", "cut", "exit"}), 2, "a frozen host, a split between members"),
)

BY_NAME: dict[str, Aspect] = {aspect.name: aspect for aspect in ASPECTS}
