"""Token buckets: what has gathered may go at once, the rest at its rate; time is an argument."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herder.engine.buckets import Buckets, Rate

ZONE, CALLS = "zone:a", "provider:local"


def test_a_name_without_a_rate_holds_nobody_back():
    buckets = Buckets()
    assert buckets.take([ZONE], 1_000_000, 5.0) == 1_000_000
    assert buckets.next_at([ZONE], 5.0) == 5.0
    assert buckets.gathered([ZONE], 0.05) >= 1_000_000


def test_a_full_bucket_gives_its_burst_and_then_its_rate():
    buckets = Buckets({ZONE: Rate(10, burst=5)})
    assert buckets.take([ZONE], 8, 100.0) == 5
    assert buckets.take([ZONE], 8, 100.0) == 0
    assert buckets.next_at([ZONE], 100.0) == pytest.approx(100.1)
    assert buckets.take([ZONE], 8, 100.25) == 2
    assert buckets.next_at([ZONE], 100.25) == pytest.approx(100.3)
    assert buckets.take([ZONE], 8, 200.0) == 5


def test_several_together_go_when_so_many_are_there_or_the_bucket_is_full():
    buckets = Buckets({ZONE: Rate(10, burst=5)})
    buckets.take([ZONE], 5, 0.0)
    assert buckets.next_at([ZONE], 0.0, at_least=3) == pytest.approx(0.3)
    assert buckets.next_at([ZONE], 0.0, at_least=50) == pytest.approx(0.5)
    assert buckets.gathered([ZONE], 0.05) == 1


def test_each_takes_a_token_of_every_bucket_or_of_none():
    buckets = Buckets({ZONE: Rate(1, burst=10), CALLS: Rate(1, burst=3)})
    assert buckets.take([ZONE, CALLS], 8, 0.0) == 3
    assert buckets.take([ZONE, CALLS], 8, 0.0) == 0
    assert buckets.take([ZONE], 8, 0.0) == 7
    assert buckets.next_at([ZONE, CALLS], 0.5) == pytest.approx(1.0)


def test_a_rate_of_nothing_lets_nobody_pass_until_it_is_changed():
    buckets = Buckets({ZONE: Rate(0)})
    assert (buckets.take([ZONE], 1, 9.0), buckets.next_at([ZONE], 9.0)) == (0, inf)
    buckets.set(ZONE, Rate(2))
    assert buckets.next_at([ZONE], 9.0) == pytest.approx(9.5)
    buckets.lift(ZONE)
    assert buckets.take([ZONE], 4, 9.0) == 4


def test_another_rate_counts_from_the_last_look_and_a_smaller_bucket_spills():
    buckets = Buckets({ZONE: Rate(1, burst=100)})
    buckets.take([ZONE], 100, 10.0)
    buckets.take([CALLS], 1, 20.0)
    buckets.set(ZONE, Rate(100, burst=4))
    assert buckets.rate(ZONE) == Rate(100, burst=4)
    assert buckets.take([ZONE], 100, 20.0) == 4


def test_whoever_waits_is_told_of_a_new_rate():
    told: list[int] = []
    buckets = Buckets()
    buckets.watch(lambda: told.append(1))
    buckets.set(ZONE, Rate(1))
    buckets.lift(ZONE)
    assert told == [1, 1]


def test_time_that_goes_back_gives_no_tokens():
    buckets = Buckets({ZONE: Rate(10, burst=2)})
    buckets.take([ZONE], 2, 50.0)
    assert buckets.take([ZONE], 2, 40.0) == 0
    assert buckets.take([ZONE], 2, 50.1) == 1


@given(
    st.floats(0.5, 1000), st.floats(1, 50), st.lists(st.tuples(st.floats(0, 3), st.integers(1, 60)), max_size=40)
)  # fmt: skip
def test_never_more_than_burst_and_rate_allow(per_s: float, burst: float, asked: list[tuple[float, int]]):
    buckets = Buckets({ZONE: Rate(per_s, burst)})
    now = gone = 0.0
    for pause, wanted in asked:
        now += pause
        gone += buckets.take([ZONE], wanted, now)
        assert gone <= burst + now * per_s + 1e-6
        when = buckets.next_at([ZONE], now)
        assert buckets.take([ZONE], 0, now) == 0
        assert when >= now
