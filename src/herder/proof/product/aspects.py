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

    made: it begins with a service that serves, else with nothing. zombies: a controller that lost its shard goes on, which is
    one of the faults.
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


HOSTS = frozenset({"die", "freeze", "cut"})
ALL = HOSTS | {"part", "exit", "far", "lose"}

ASPECTS: tuple[Aspect, ...] = (
    Aspect("failover-sync", PREMIUM, ALL, 1, "a second fault"),
    Aspect("failover-sync-two", PREMIUM, frozenset({"die"}), 2, "freezes, cuts, exits, lost disks"),
    Aspect("failover-async", STANDARD, ALL, 2, "Valkey's replication ids"),
    Aspect("failover-unfenced", STANDARD, ALL, 2, "Valkey's replication ids", fences=False),
    Aspect("lease", LEASED, frozenset({"freeze", "cut"}), 2, "the thaw window of 50 ms", fences=False),
    Aspect(
        "takeover",
        PREMIUM,
        frozenset({"die", "exit"}),
        2,
        "more than one controller that goes on unaware",
        zombies=True,
    ),
    Aspect(
        "takeover-async", STANDARD, HOSTS | {"exit"}, 2, "more than one controller that goes on unaware", zombies=True
    ),
    Aspect("switchover", PREMIUM, frozenset({"die"}), 1, "a second fault, freezes, cuts, exits", ("switchover",), 1),
    Aspect("switchover-async", STANDARD, HOSTS | {"exit"}, 1, "a second fault", ("switchover",), 1),
    Aspect("exercise", STANDARD, HOSTS | {"exit"}, 1, "a second fault", ("exercise",), 1),
    Aspect("restart", DEV, ALL, 3, "", ("restart",), 1),
    Aspect("reboot", STANDARD, HOSTS | {"exit"}, 1, "a second fault", ("reboot",), 1),
    Aspect("provision", PREMIUM, HOSTS | {"exit"}, 1, "a second fault", ("create",), 1, made=False),
    Aspect("destroy", STANDARD, HOSTS | {"exit"}, 1, "a second fault", ("destroy",), 1),
)

BY_NAME: dict[str, Aspect] = {aspect.name: aspect for aspect in ASPECTS}
