"""Is it dead? Pure: what several vantage points saw in, a verdict with its evidence out (S6: never on one's word)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

FRESH_UPSTREAM_S = 1.0
"""A standby that had a message from it within this long has seen it alive."""

LOOKS = 3
"""Looks in a row that must see nothing but silence before it counts. A link that loses a fifth of all messages makes a vantage point
miss in one look of twenty what serves, and two of three in one of a thousand, while the pulse misses a beat in five. And
three take longer than a pause that nobody wonders about.
"""


@dataclass(frozen=True, slots=True)
class Looks:
    """What was seen of one engine. probes: vantage -> 'serving' | 'starting' | 'refused' | 'silent';
    upstream_age_s: standby -> seconds since a message from it; provider: does it say that the server runs;
    pulse_age_s, patience_s: its own agent's silence and how much of that is normal. silent: looks in a row before this one that
    saw nothing but silence.
    """

    probes: Mapping[str, str]
    upstream_age_s: Mapping[str, float]
    provider: bool | None
    pulse_age_s: float
    patience_s: float
    silent: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """dead: known not to serve. why: the evidence in words. silent: nothing but silence was seen, not yet often enough."""

    dead: bool
    why: str
    silent: bool = False


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
    if not refused and looks.provider is not False and looks.silent + 1 < LOOKS:
        seen = f"silent to {', '.join(silent)}, {looks.silent + 1} of {LOOKS} times"
        return Verdict(dead=False, why=f"{seen}: messages may be lost", silent=True)
    words = [f"{vantage}: {saw}" for vantage, saw in sorted(looks.probes.items())]
    if looks.provider is False:
        words.append("provider: nothing of it runs")
    return Verdict(
        dead=True,
        why=f"{', '.join(words)}; pulse {looks.pulse_age_s:.1f} s old (normal up to {looks.patience_s:.1f} s)",
    )
