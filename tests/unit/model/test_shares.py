"""Wilson's interval against published values."""

from __future__ import annotations

import pytest

from herder.model.shares import wilson


@pytest.mark.parametrize(
    ("good", "all_of", "low", "high"),
    [
        # Newcombe 1998, table I, method 3 (score without continuity correction)
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (29, 29, 0.8830, 1.0),
    ],
)
def test_the_interval_is_wilsons(good: int, all_of: int, low: float, high: float):
    assert wilson(good, all_of) == pytest.approx((low, high), abs=1e-4)


def test_of_nothing_nothing_is_known():
    assert wilson(0, 0) == (0.0, 1.0)
