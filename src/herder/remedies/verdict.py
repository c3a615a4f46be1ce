"""Is it dead? Pure: what several vantage points saw in, a verdict with its evidence out (S6: never on one's word)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

FRESH_UPSTREAM_S = 1.0
"""A standby that had a message from it within this long has seen it alive."""


@dataclass(frozen=True, slots=True)
class Looks:
    """What was seen of one engine. probes: vantage -> 'serving' | 'starting' | 'refused' | 'silent';
    upstream_age_s: standby -> seconds since a message from it; provider: does it say that the server runs;
    pulse_age_s, patience_s: its own agent's silence and how much of that is normal.
    """

    probes: Mapping[str, str]
    upstream_age_s: Mapping[str, float]
    provider: bool | None
    pulse_age_s: float
    patience_s: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """dead: known not to serve. why: the evidence in words."""

    dead: bool
    why: str


def judge_looks(looks: Looks) -> Verdict:
    """Dead: nobody sees it serve, and at least two vantage points say so, one of them not this controller."""
    alive = [vantage for vantage, saw in looks.probes.items() if saw in ("serving", "starting")]
    if alive:
        return Verdict(dead=False, why=f"seen serving by {', '.join(alive)}")
    fresh = [name for name, age in looks.upstream_age_s.items() if age < FRESH_UPSTREAM_S]
    refused = [vantage for vantage, saw in looks.probes.items() if saw == "refused"]
    silent = [vantage for vantage, saw in looks.probes.items() if saw == "silent"]
    if fresh and len(refused) < 2:
        return Verdict(
            dead=False, why=f"{', '.join(fresh)} had a message from it less than {FRESH_UPSTREAM_S:.0f} s ago"
        )
    witnesses = [*refused, *silent]
    if looks.provider is False:
        witnesses.append("its provider")
    others = [name for name in witnesses if name != "controller"]
    if len(witnesses) < 2 or not others:
        return Verdict(dead=False, why=f"only {', '.join(witnesses) or 'nobody'} could look")
    if not refused and looks.provider is not False and looks.pulse_age_s < looks.patience_s:
        return Verdict(dead=False, why=f"its agent was heard {looks.pulse_age_s:.1f} s ago")
    words = [f"{vantage}: {saw}" for vantage, saw in sorted(looks.probes.items())]
    if looks.provider is False:
        words.append("provider: nothing of it runs")
    return Verdict(
        dead=True,
        why=f"{', '.join(words)}; pulse {looks.pulse_age_s:.1f} s old (normal up to {looks.patience_s:.1f} s)",
    )
