"""How fast a recovery may go, and what may honestly be said of its end."""

from __future__ import annotations

import pytest

from herder.governor.pace import SAMPLES, forecast, kept, next_rate, next_window


def test_a_window_doubles_while_a_whole_one_comes_well():
    window, seen = 16, []
    while window < 2000:
        window = next_window(window, window, 0, 2000)
        seen.append(window)
    assert seen == [32, 64, 128, 256, 512, 1024, 2000]


@pytest.mark.parametrize(
    ("well", "failed", "after"),
    [
        (0, 0, 100),  # nothing ended: nothing is known
        (50, 0, 100),  # not a whole window yet
        (100, 0, 200),
        (100, 11, 200),  # one in ten is the ordinary
        (100, 12, 50),
        (0, 1, 50),
    ],
)
def test_more_than_one_failure_in_ten_halves_it(well: int, failed: int, after: int):
    assert next_window(100, well, failed, 1000) == after


def test_it_stays_between_its_floor_and_its_ceiling():
    assert next_window(1, 0, 9, 10) == 1
    assert next_window(8, 8, 0, 10) == 10
    assert next_rate(1.0, 0, 9, 100) == 1.0
    assert next_rate(80.0, 80, 0, 100) == 100


def test_a_rate_grows_only_when_it_is_used():
    assert next_rate(100, 49, 0, 1000) == 100
    assert next_rate(100, 50, 0, 1000) == 200


def steady(per_10s: int, left: int, count: int) -> list[list[int]]:
    return [[number * 10_000, left - number * per_10s] for number in range(count)]


def test_no_forecast_before_three_intervals_were_measured():
    assert forecast([], 100, 0) is None
    assert forecast(steady(10, 1000, 3), 980, 20_000) is None


def test_a_steady_pace_is_foretold_to_the_second():
    seen = forecast(steady(10, 1000, 5), 960, 40_000)
    assert seen is not None
    assert (seen.end_ms, seen.early_ms, seen.late_ms, seen.per_s) == (1_000_000, 1_000_000, 1_000_000, 1.0)


def test_an_uneven_pace_gives_a_range_around_the_mean():
    samples = [[0, 1000], [10_000, 990], [20_000, 950], [30_000, 940], [40_000, 900], [50_000, 890]]
    seen = forecast(samples, 890, 50_000)
    assert seen is not None
    assert seen.early_ms < seen.end_ms < seen.late_ms


def test_where_it_stood_still_nobody_tells_how_late():
    samples = [[0, 1000], [10_000, 1000], [20_000, 900], [30_000, 900], [40_000, 900]]
    seen = forecast(samples, 900, 40_000)
    assert seen is not None
    assert seen.late_ms == 0
    assert seen.end_ms > 40_000


def test_a_pace_from_before_a_long_standstill_is_not_a_pace_of_now():
    """Found by a drill: a zone without power for forty minutes was foretold to be well six hours after it was back."""
    still = [[at_ms, 100] for at_ms in range(0, 2_400_000, 60_000)]
    moving = [[2_400_000 + second * 1000, 100 - 5 * second] for second in range(1, 6)]
    assert forecast([*still, *moving[:3]], 85, 2_403_000) is None  # two intervals since: nobody can tell yet
    seen = forecast([*still, *moving], 75, 2_405_000)
    assert seen is not None
    assert (seen.per_s, seen.end_ms) == (5.0, 2_420_000)


def test_a_standstill_that_goes_on_leaves_what_was_measured():
    moved = steady(10, 1000, 5)
    seen = forecast([*moved, [940_000, 960]], 960, 940_000)
    assert seen is not None
    assert seen.per_s == 40 / 940


def test_where_more_fall_than_come_well_there_is_none():
    assert forecast([[0, 100], [1000, 120], [2000, 110], [3000, 130]], 130, 3000) is None


def test_when_nothing_is_left_it_is_over():
    seen = forecast([], 0, 7)
    assert seen is not None
    assert seen.end_ms == 7


def test_samples_are_thinned_and_still_span_the_whole_recovery():
    samples: list[list[int]] = []
    for number in range(1000):
        samples = kept(samples, number, 1000 - number)
        assert len(samples) <= SAMPLES
    assert (samples[0], samples[-1]) == ([0, 1000], [999, 1])
