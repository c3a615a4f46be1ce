"""The aspects: which part of the world each search looks at, how large it is, and what it leaves out."""

from __future__ import annotations

from dataclasses import dataclass, replace

from herder.proof.product.shelf import Kind

PREMIUM = Kind(3, sync=True)
STANDARD = Kind(2, sync=False, plan="standard")
LEASED = Kind(2, sync=False, on_isolation="stop", plan="standard")
DEV = Kind(1, sync=False, plan="dev")
PARKED = replace(STANDARD, notes=("parked", "parked_by"))
PARKED_DEV = replace(DEV, notes=("parked", "parked_by"))
ROLLED = replace(STANDARD, notes=("rollout",))
ROLLED_DEV = replace(DEV, notes=("rollout",))
EXERCISED = replace(STANDARD, notes=("exercise_run",))


@dataclass(frozen=True, slots=True)
class Aspect:
    """One search. faults: kinds of harm, and how much of it in one history; orders: what a person asks, and how often.

    luck: how much bad luck (a late answer, a job that fails for no reason, a late pulse, a wrong witness) besides the faults;
    -1: each costs one of the faults.
    steps: the longest way that is followed, 0 = to the end. A bound, where there is one, is the same on every machine.
    near: parts of the fleet that have to do with it (`fleet.PARTS`).
    made: it begins with a service that serves, else with nothing. zombies: how many controllers may lose their shard and go on,
    one at a time, besides the faults. busy: clients write without a pause, so that there is always a write under way at a
    primary that waits for voters; moments without one are left out. together: two words may come in one record, so that one is
    late by the other.
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
    zombies: int = 0
    made: bool = True
    near: tuple[str, ...] = ()
    luck: int = -1
    steps: int = 0
    busy: bool = False
    together: bool = False


HOSTS = frozenset({"die", "freeze", "cut"})
DARK = frozenset({"die", "provider"})
STORMS = frozenset({"power", "mute", "deaf"})
ALL = HOSTS | {"part", "exit", "far", "lose"}

ASPECTS: tuple[Aspect, ...] = (
    Aspect("failover-sync", PREMIUM, ALL, 1, "a second fault"),
    Aspect(
        "failover-sync-two", PREMIUM, frozenset({"die"}), 2, "freezes, cuts, exits, lost disks, bad luck", luck=0, busy=True,
    ),
    Aspect("failover-async", STANDARD, ALL, 2, "Valkey's replication ids"),
    Aspect("failover-unfenced", STANDARD, ALL, 2, "Valkey's replication ids", fences=False),
    Aspect("lease", LEASED, frozenset({"freeze", "cut"}), 2, "the thaw window of 50 ms", fences=False),
    Aspect(
        "takeover", PREMIUM, frozenset({"die", "exit"}), 1, "more than one controller that goes on unaware, bad luck",
        zombies=1, luck=0, busy=True,
    ),
    Aspect(
        "takeover-async", STANDARD, HOSTS | {"exit"}, 2, "more than one controller that goes on unaware", zombies=1
    ),
    Aspect(
        "takeover-switchover", STANDARD, frozenset({"die", "exit"}), 1,
        "a second fault, freezes, cuts, more than one controller that goes on unaware", ("switchover",), 1, zombies=1,
    ),
    Aspect(
        "switchover", PREMIUM, frozenset({"die"}), 1, "a second fault, freezes, cuts, exits, bad luck", ("switchover",), 1,
        luck=0, busy=True,
    ),
    Aspect("switchover-async", STANDARD, HOSTS | {"exit"}, 1, "a second fault", ("switchover",), 1),
    Aspect("exercise", STANDARD, HOSTS | {"exit"}, 1, "a second fault", ("exercise",), 1),
    Aspect("restart", DEV, ALL, 3, "", ("restart",), 1),
    Aspect("reboot", STANDARD, HOSTS | {"exit"}, 1, "a second fault", ("reboot",), 1),
    Aspect("provision", PREMIUM, HOSTS | {"exit"}, 1, "a second fault", ("create",), 1, made=False),
    Aspect("destroy", STANDARD, HOSTS | {"exit"}, 1, "a second fault", ("destroy",), 1),
    Aspect("destroy-new", STANDARD, frozenset(), 0, "faults", ("create", "destroy"), 2, made=False, near=("calendar",)),
    Aspect("destroy-new-sync", PREMIUM, frozenset(), 0, "faults", ("create", "destroy"), 2, made=False),
    Aspect("destroy-moving", STANDARD, frozenset(), 0, "faults", ("switchover", "reboot", "destroy"), 2),
    Aspect("allowed", STANDARD, frozenset({"die", "exit"}), 1, "bad luck", ("allow", "switchover"), 2, luck=0),
    Aspect("lease-lost", LEASED, frozenset({"die", "lose"}), 1, "", fences=False),
    Aspect("provider", PARKED_DEV, DARK, 2, "bad luck", near=("provider",), luck=0),
    Aspect("provider-standby", PARKED, DARK, 2, "bad luck", near=("provider",), luck=0),
    Aspect("provider-moves", PARKED, DARK, 1, "a second fault, bad luck", ("switchover",), 1, near=("provider",), luck=0),
    Aspect("provider-moves-two", PARKED, DARK, 2, "bad luck", ("switchover",), 1, near=("provider",), luck=0, steps=12),
    Aspect(
        "provider-new", PARKED_DEV, DARK, 1, "bad luck", ("create",), 2, made=False, near=("provider", "word"), luck=0
    ),
    Aspect("archive", DEV, frozenset({"die", "store"}), 2, "", asked=1, near=("store", "word")),
    Aspect("storm", DEV, STORMS, 1, "bad luck", asked=2, near=("storm",), luck=0),
    Aspect("storm-standby", STANDARD, STORMS, 1, "orders of people, bad luck", near=("storm",), luck=0),
    Aspect("storm-flaps", DEV, frozenset({"mute"}), 1, "", near=("storm",), luck=7),
    Aspect("freeze", STANDARD, frozenset({"die"}), 1, "bad luck", asked=2, near=("freeze",), luck=0),
    Aspect("rollout", ROLLED_DEV, frozenset({"die"}), 1, "", asked=2, near=("rollout",)),
    Aspect("rollout-standby", ROLLED, frozenset(), 0, "faults", asked=2, near=("rollout",)),
    Aspect(
        "calendar",
        EXERCISED,
        frozenset({"exit"}),
        1,
        "bad luck",
        ("exercise", "exercise_move"),
        2,
        near=("calendar",),
        luck=0,
    ),
    Aspect("full-disk", PREMIUM, frozenset({"full"}), 1, "any other fault, bad luck", luck=0),
    Aspect(
        "durability", PREMIUM, frozenset({"override"}), 1, "bad luck", ("switchover", "restart"), 1,
        near=("durability",), luck=0, busy=True,
    ),
    Aspect("together", PREMIUM, frozenset({"die"}), 1, "bad luck", luck=0, busy=True, together=True),
    Aspect(
        "together-async", STANDARD, frozenset({"die", "exit"}), 1, "bad luck", ("switchover", "exercise"), 1, luck=0,
        together=True,
    ),
)  # fmt: skip

BY_NAME: dict[str, Aspect] = {aspect.name: aspect for aspect in ASPECTS}
