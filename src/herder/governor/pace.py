"""How fast a recovery may go, and when it will be over. Pure arithmetic over what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import quantiles

FAILED_SHARE = 0.1
"""Past one failure in ten the pace is halved: below that, failures are the ordinary ones of many units."""

SAMPLES = 32
"""Kept of a recovery's progress; when there are more, every other one is dropped, so that they span the whole of it."""

INTERVALS_MIN = 3
"""Fewer than this many intervals give no forecast: a guess is worse than none."""


STANDSTILL_MS = 600_000
"""Ten minutes in which nothing came well: something was in the way, and a pace from before it went says nothing of the pace after.
A recovery that stands still for so long has its page."""


def next_window(window: int, well: int, failed: int, ceiling: int, floor: int = 1) -> int:
    """How many may be under way at once after `well` and `failed` ended. window: how many might until now.

    Doubled once as many have come well as were let in, halved when more than one in ten failed (as TCP finds its rate):
    a provider that cannot keep up says so by failing.
    """
    ended = well + failed
    if failed and failed > ended * FAILED_SHARE:
        window //= 2
    elif well >= window:
        window *= 2
    return max(floor, min(window, ceiling))


def next_rate(rate: float, sent: float, failed: float, ceiling: float, floor: float = 1.0) -> float:
    """The same for a rate a second. sent, failed: what ended in the last second."""
    ended = sent + failed
    if failed and failed > ended * FAILED_SHARE:
        rate /= 2
    elif sent >= rate / 2:
        rate *= 2
    return max(floor, min(rate, ceiling))


@dataclass(frozen=True, slots=True)
class Forecast:
    """When it will be over, ms of the wall clock. late_ms 0: nobody can tell how late, since it stood still at times.

    per_s: units that came well a second, over all that was measured.
    """

    end_ms: int
    early_ms: int
    late_ms: int
    per_s: float


def kept(samples: Sequence[Sequence[int]], at_ms: int, left: int) -> list[list[int]]:
    """The samples with one more: [at_ms, how many are left]. Thinned out to SAMPLES, first and last stay."""
    found = [*map(list, samples), [at_ms, left]]
    if len(found) > SAMPLES:
        found = [*found[:-1:2], found[-1]]
    return found


def forecast(samples: Sequence[Sequence[int]], left: int, now_ms: int) -> Forecast | None:
    """From measured rates only; None while there are too few of them, or nothing has come well yet.

    samples: [at_ms, left] in order of time. early and late: the faster and the slower fifth of the measured intervals.
    What was measured before it last stood still for long is left out.
    """
    samples = _since_standstill(samples)
    rates = _rates(samples)
    if left <= 0:
        return Forecast(now_ms, now_ms, now_ms, 0.0)
    if len(rates) < INTERVALS_MIN:
        return None
    passed_s = (samples[-1][0] - samples[0][0]) / 1000
    mean = (samples[0][1] - samples[-1][1]) / passed_s
    if mean <= 0:
        return None
    slow, *_, fast = quantiles(rates, n=5, method="inclusive")
    return Forecast(
        end_ms=now_ms + _ms(left, mean), early_ms=now_ms + _ms(left, max(fast, mean)),
        late_ms=now_ms + _ms(left, min(slow, mean)) if slow > 0 else 0, per_s=mean,
    )  # fmt: skip


def _since_standstill(samples: Sequence[Sequence[int]]) -> Sequence[Sequence[int]]:
    """From the first sample after the last long standstill on; all of them where there was none that has ended."""
    first = 0
    at_ms, fewest = samples[0] if samples else (0, 0)
    for number, (now_ms, left) in enumerate(samples):
        if left < fewest:
            if now_ms - at_ms >= STANDSTILL_MS:
                first = number
            at_ms, fewest = now_ms, left
    return samples[first:]


def _rates(samples: Sequence[Sequence[int]]) -> list[float]:
    """Units that came well a second, interval by interval; negative where more fell ill than came well."""
    return [
        (before[1] - after[1]) * 1000 / (after[0] - before[0])
        for before, after in pairwise(samples)
        if after[0] > before[0]
    ]


def _ms(left: int, per_s: float) -> int:
    return int(left / per_s * 1000)
