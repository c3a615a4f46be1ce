"""How sure is a share of few? Pure arithmetic for reports."""

from __future__ import annotations

import math

Z_95 = 1.959964


def wilson(good: int, all_of: int, z: float = Z_95) -> tuple[float, float]:
    """The interval that holds the true share with 95 % (Wilson's score interval, right for few and for none failed).

    Three of three is no certainty: it is (0.44, 1.0). Of nothing, nothing is known: (0.0, 1.0).
    """
    if not all_of:
        return 0.0, 1.0
    share, square = good / all_of, z * z / all_of
    middle = (share + square / 2) / (1 + square)
    half = z / (1 + square) * math.sqrt(share * (1 - share) / all_of + square / (4 * all_of))
    return max(0.0, middle - half), min(1.0, middle + half)
