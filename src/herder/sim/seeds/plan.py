"""What a seed draws before anything runs: the fleet, its settings, and the list of everything that will be done to it.

The list is data. Each item draws its particulars from a stream of its own (seed and number), so that one item taken away
changes nothing of what the others do by themselves: that is what makes a failing list shrink.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from herder.model.errors import UNREADABLE, InvalidInput
from herder.model.plans import PLANS

PER_HOST = (
    "kill_engine", "kill_agent", "kill_host", "reboot_host", "freeze_host", "cut_host", "cut_pair", "fill_disk",
    "clock_drift", "lie_host", "corner", "succession", "attrition", "interrupt", "isolate",
)  # fmt: skip
AROUND = (
    "bad_weather", "nats_down", "provider_down", "provider_moody", "store_down", "store_stalls", "store_moody",
    "object_store_down", "pager_down", "crash_controller", "freeze_controller", "cut_controller", "crash_standby",
    "clock_jump", "outage",
)  # fmt: skip
FAULTS = PER_HOST + AROUND
"""Methods of `sim.seeds.person.Player`."""

JITTERS = ("lossy_weather", "short_freeze", "short_pause")
"""What must move nobody: methods of `sim.seeds.person.Player`."""

ORDERS = ("create", "switchover", "restart", "destroy", "mistype", "exercise", "rollout", "allow_failover")
"""Methods of `sim.seeds.person.Person`: what the fleet's owner asks for meanwhile."""

KINDS = FAULTS + JITTERS + ORDERS

HOURS = (0.75, 1.5)
FAULTS_AN_HOUR = (50, 110)
ORDERS_AN_HOUR = (3, 10)
ABSENT_SHARE = 0.2
"""A kind of fault is missing from this share of the seeds (swarm testing, Groce 2012): what is always there hides what
only happens without it."""

BURST_SHARE = 0.4
BURST_S = 20.0
"""This share of faults is followed by another, of the same service, within so many seconds: double failures are not rare."""

AMID_SHARE = 0.7
AMID_S = (0.02, 3.0)
"""This share of orders is followed by a fault of the same service while it is carried out: a planned move takes half a second, a
copy seconds, so short times are as likely as long ones on a scale of powers."""

QUIET_S = 20.0
"""Nothing is done to a fleet in its first seconds."""

MIX = (
    ("postgres", "premium"), ("postgres", "standard"), ("postgres", "dev"), ("postgres", "premium"),
    ("valkey", "standard"), ("valkey", "premium"), ("postgres", "standard"),
)  # fmt: skip
"""Engines and plans of a seed's services: the first three always come first, so that each has a sync, an async and a lone one."""

SERVERS_MAX = 60


class Item(msgspec.Struct, frozen=True):
    """One thing that is done. at_s: seconds after the fleet was made; aim: the number of the service it goes for, -1 = any."""

    number: int
    at_s: float
    kind: str
    aim: int = -1


@dataclass(frozen=True, slots=True)
class Made:
    """One service that the fleet begins with."""

    name: str
    engine: str
    plan: str


@dataclass(frozen=True, slots=True)
class Plan:
    """A seed, drawn. can_fence: may the provider fence; pulse_s: between two frames of an agent. tuned: fields of assembly.Parts; calm:
    nobody may fail over.
    """

    seed: int
    hours: float
    services: tuple[Made, ...]
    can_fence: bool
    pulse_s: float = 1.0
    tuned: dict[str, Any] = field(default_factory=dict)
    items: tuple[Item, ...] = ()
    calm: bool = False

    @property
    def servers(self) -> int:
        """How many servers the fleet begins with."""
        return sum(PLANS[made.plan].members for made in self.services)

    @property
    def faults(self) -> int:
        """Items that are faults, not orders."""
        return sum(item.kind in FAULTS for item in self.items)


def draw_plan(seed: int, *, hours: float | None = None, services: int | None = None) -> Plan:
    """The plan of a seed. hours, services: instead of what it draws."""
    chance = random.Random(f"{seed}/plan")
    drawn_hours, count = chance.uniform(*HOURS), _how_many(chance)
    hours = drawn_hours if hours is None else hours
    made = _services(chance, count if services is None else services)
    can_fence = chance.random() < 0.6
    tuned = {
        "on_isolation": chance.choice(("serve", "stop") if can_fence else ("serve", "stop", "stop")),
        "failovers_per_hour": chance.choice((1, 2, 4, 8)), "lease_s": chance.choice((3.0, 5.0, 8.0, 12.0)),
    }  # fmt: skip
    pulse_s = chance.choice((1.0, 1.0, 2.0))
    return Plan(seed, hours, made, can_fence, pulse_s, tuned, draw_items(seed, hours, len(made)))


def _how_many(chance: random.Random) -> int:
    """Services: mostly three to five, seldom dozens."""
    if chance.random() < 0.8:
        return chance.choice((3, 3, 4, 5))
    return chance.randint(6, 28) if chance.random() < 0.3 else chance.randint(6, 10)


def _services(chance: random.Random, count: int) -> tuple[Made, ...]:
    """Of every plan and both engines, up to SERVERS_MAX servers."""
    made: list[Made] = []
    servers = 0
    for number in range(count):
        engine, plan = MIX[number] if number < 3 else chance.choice(MIX)
        servers += PLANS[plan].members
        if servers > SERVERS_MAX:
            break
        made.append(Made(f"{plan}-{engine}-{number}", engine, plan))
    return tuple(made)


def draw_items(seed: int, hours: float, services: int) -> tuple[Item, ...]:
    """Everything that will be done, by time. Rates of kinds are the seed's own; some kinds are missing."""
    chance = random.Random(f"{seed}/items")
    rates = {kind: 0.0 if chance.random() < ABSENT_SHARE else chance.random() ** 2 + 0.02 for kind in FAULTS}
    for kind in PER_HOST:
        rates[kind] *= 2.5
    kinds, weights = list(rates), list(rates.values())
    wanted = max(round(hours * chance.uniform(*FAULTS_AN_HOUR)), 1)
    drawn: list[tuple[float, str, int]] = []
    while len(drawn) < wanted:
        at_s, aim = chance.uniform(QUIET_S, hours * 3600), chance.choice((-1, chance.randrange(services)))
        drawn.append((at_s, chance.choices(kinds, weights)[0], aim))
        while chance.random() < BURST_SHARE:
            at_s, aim = at_s + chance.random() * BURST_S, aim if aim >= 0 else chance.randrange(services)
            drawn.append((at_s, chance.choices(kinds, weights)[0], aim))
    for _ in range(round(hours * chance.uniform(*ORDERS_AN_HOUR))):
        at_s, aim = chance.uniform(QUIET_S, hours * 3600), chance.randrange(services)
        drawn.append((at_s, chance.choice(ORDERS), aim))
        if chance.random() < AMID_SHARE:
            after_s = AMID_S[0] * (AMID_S[1] / AMID_S[0]) ** chance.random()
            drawn.append((at_s + after_s, chance.choices(kinds, weights)[0], aim))
    drawn.sort()
    return tuple(Item(number, round(at_s, 3), kind, aim) for number, (at_s, kind, aim) in enumerate(drawn))


def to_json(items: Sequence[Item]) -> bytes:
    """A list as a file that `--faults` takes."""
    return msgspec.json.format(msgspec.json.encode(list(items)))


def from_json(data: bytes) -> tuple[Item, ...]:
    """Read such a file. Raises InvalidInput."""
    try:
        items = msgspec.json.decode(data, type=list[Item])
    except UNREADABLE as error:
        raise InvalidInput(
            f"this is no list of faults: {error}", "herder sim prints one for each failing seed"
        ) from None
    for item in items:
        if item.kind not in KINDS:
            raise InvalidInput(f"there is no fault '{item.kind}'", f"choose among: {', '.join(KINDS)}")
    return tuple(sorted(items, key=lambda item: (item.at_s, item.number)))
