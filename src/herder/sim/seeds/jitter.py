"""Seeds in which nothing is broken: loss up to a fifth, delays, duplicates and pauses below the limits. Nobody may fail over."""

from __future__ import annotations

import random

from herder.sim.seeds.plan import JITTERS, Item, Plan, draw_plan

JITTERS_AN_HOUR = (60, 180)


def draw_jitter(seed: int, *, hours: float | None = None, services: int | None = None) -> Plan:
    """A seed of jitter: the fleet of the same seed, without its faults and orders."""
    plan = draw_plan(seed, hours=hours, services=services)
    chance = random.Random(f"{seed}/jitter")
    count = max(round(plan.hours * chance.uniform(*JITTERS_AN_HOUR)), 1)
    drawn = sorted((chance.uniform(20.0, plan.hours * 3600), chance.choice(JITTERS)) for _ in range(count))
    items = tuple(Item(number, round(at_s, 3), kind) for number, (at_s, kind) in enumerate(drawn))
    return Plan(seed, plan.hours, plan.services, plan.can_fence, plan.pulse_s, plan.tuned, items, calm=True)
