"""What is counted of a seed, and of many together."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields


@dataclass(slots=True, kw_only=True)
class Counts:
    """virtual_s: simulated seconds; core_s: seconds of processor time; counters by kind, playbook, sight and row."""

    virtual_s: float = 0.0
    core_s: float = 0.0
    servers: int = 0
    records: int = 0
    moves: int = 0
    promotions: int = 0
    confirmed_bytes: int = 0
    lost_async_bytes: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    orders: Counter[str] = field(default_factory=Counter)
    completions: Counter[str] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)

    def add(self, other: Counts) -> None:
        """Both together."""
        for each in fields(Counts):
            mine, its = getattr(self, each.name), getattr(other, each.name)
            if isinstance(mine, Counter):
                mine.update(its)
            else:
                setattr(self, each.name, mine + its)
