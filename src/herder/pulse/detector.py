"""When is silence suspicious? Pure: times and counts in, a verdict out.

The estimate is Jacobson's (RFC 6298), as TCP uses it for its retransmission timer: a smoothed interval plus four smoothed
deviations, between a floor and a ceiling. Chosen over phi-accrual because a pulse is nearly periodic: phi's normal tail
says the same with more arithmetic, and one number in seconds can be read by a person ("silent for 1.9 s, limit 1.7 s").
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

GAIN_MEAN = 1 / 8
GAIN_DEVIATION = 1 / 4
DEVIATIONS = 4.0
PATIENCE_BEATS = 1.0
"""RFC 6298's gains. One whole beat of patience: a frame may be lost and the next one tells."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds. floor: no verdict before; ceiling: always a verdict after."""

    floor_s: float
    ceiling_s: float


class Rhythm(msgspec.Struct, frozen=True):
    """What is known of one server's rhythm, in seconds. nominal_s: the interval it was told to keep."""

    interval_s: float
    deviation_s: float
    nominal_s: float = 1.0

    def after(self, gap_s: float) -> Rhythm:
        """A frame came `gap_s` after the one before. Frames sent early (on a change) do not make the rhythm quicker."""
        if gap_s < self.nominal_s / 2:
            return self
        error = gap_s - self.interval_s
        return Rhythm(
            self.interval_s + GAIN_MEAN * error,
            self.deviation_s + GAIN_DEVIATION * (abs(error) - self.deviation_s),
            self.nominal_s,
        )

    def patience_s(self, limits: Limits) -> float:
        """Silence longer than this makes the server uncertain (not dead)."""
        wanted = self.interval_s * PATIENCE_BEATS + DEVIATIONS * self.deviation_s
        return min(max(wanted, limits.floor_s), limits.ceiling_s)


def first_rhythm(interval_s: float) -> Rhythm:
    """Before anything was heard: the configured interval, with an eighth of it as deviation (half a beat of patience)."""
    return Rhythm(interval_s, interval_s / 8, interval_s)


Floats = NDArray[np.float64]


def any_of(mask: NDArray[np.bool_]) -> bool:
    """Is one of them true? A tenth of what numpy's own reduction costs on the short arrays of a frame."""
    return b"\1" in mask.tobytes()


def after_many(interval_s: Floats, deviation_s: Floats, gap_s: Floats, nominal_s: float) -> tuple[Floats, Floats]:
    """`Rhythm.after` of many servers at once, to the last bit: arrays of shape (n,) in, intervals and deviations out."""
    error = gap_s - interval_s
    interval = error * GAIN_MEAN
    interval += interval_s
    deviation = np.abs(error, out=error)
    deviation -= deviation_s
    deviation *= GAIN_DEVIATION
    deviation += deviation_s
    early = gap_s < nominal_s / 2
    if any_of(early):
        np.copyto(interval, interval_s, where=early)
        np.copyto(deviation, deviation_s, where=early)
    return interval, deviation


def patience_many(interval_s: Floats, deviation_s: Floats, limits: Limits) -> Floats:
    """`Rhythm.patience_s` of many servers at once, to the last bit."""
    wanted = deviation_s * DEVIATIONS
    wanted += interval_s * PATIENCE_BEATS
    np.maximum(wanted, limits.floor_s, out=wanted)
    return np.minimum(wanted, limits.ceiling_s, out=wanted)
