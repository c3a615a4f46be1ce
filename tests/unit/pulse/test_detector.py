"""When is silence suspicious? The detector learns each server's rhythm, between a floor and a ceiling."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herder.pulse.detector import Limits, Rhythm, first_rhythm

LIMITS = Limits(floor_s=1.5, ceiling_s=8.0)
GAPS = st.lists(st.floats(0, 120), max_size=60)


def after(gaps: list[float], rhythm: Rhythm | None = None) -> Rhythm:
    found = rhythm or first_rhythm(1.0)
    for gap in gaps:
        found = found.after(gap)
    return found


def test_before_anything_is_heard_one_frame_and_a_half_may_be_missed():
    assert first_rhythm(1.0).patience_s(LIMITS) == pytest.approx(1.5)


def test_a_regular_pulse_is_met_with_the_floor():
    assert after([1.0] * 50).patience_s(LIMITS) == LIMITS.floor_s


def test_an_irregular_pulse_is_given_more_time():
    irregular = after([0.7, 1.9, 0.6, 2.2, 1.0, 0.6, 1.8] * 5)
    assert irregular.patience_s(LIMITS) > 2.5
    assert irregular.patience_s(LIMITS) > max(0.7, 1.9, 2.2)


def test_it_forgets_trouble_that_is_over():
    troubled = after([0.7, 1.9, 1.4] * 20)
    assert after([1.0] * 60, troubled).patience_s(LIMITS) == pytest.approx(LIMITS.floor_s, abs=0.01)


def test_it_forgets_worse_trouble_too():
    troubled = after([2.6] * 12)
    assert after([1.0] * 200, troubled).patience_s(LIMITS) == pytest.approx(LIMITS.floor_s, abs=0.01)


def test_a_slow_server_has_a_slow_rhythm():
    assert after([3.0] * 100).patience_s(LIMITS) == pytest.approx(3.0, abs=0.1)


def test_frames_sent_early_do_not_make_it_impatient():
    """A change is told at once: ten frames in a second say nothing about the next second."""
    assert after([0.1] * 100) == first_rhythm(1.0)


@pytest.mark.parametrize(("nominal_s", "gap_s", "learnt"), [(1.0, 0.49, False), (1.0, 0.5, True), (4.0, 1.9, False)])
def test_early_is_measured_by_the_beat_it_was_told_not_by_the_one_it_learnt(
    nominal_s: float, gap_s: float, learnt: bool
):
    troubled = after([nominal_s * 4] * 12, first_rhythm(nominal_s))
    assert (troubled.after(gap_s) != troubled) is learnt


@given(GAPS, st.floats(0.1, 10))
def test_the_beat_it_was_told_stays(gaps: list[float], nominal_s: float):
    assert after(gaps, first_rhythm(nominal_s)).nominal_s == nominal_s


@given(GAPS)
def test_patience_stays_between_floor_and_ceiling(gaps: list[float]):
    assert LIMITS.floor_s <= after(gaps).patience_s(LIMITS) <= LIMITS.ceiling_s


@given(GAPS, st.floats(0, 120))
def test_a_wider_floor_never_makes_it_quicker(gaps: list[float], gap: float):
    rhythm = after(gaps)
    assert rhythm.patience_s(Limits(3.0, 8.0)) >= rhythm.patience_s(LIMITS)
    assert rhythm.after(gap).deviation_s >= 0


@given(st.floats(0.5, 5), st.integers(60, 120))
def test_whatever_beats_regularly_is_learnt(beat_s: float, beats: int):
    learnt = after([beat_s] * beats, first_rhythm(beat_s))
    assert learnt.interval_s == pytest.approx(beat_s)
    assert learnt.patience_s(Limits(0.0, 99.0)) == pytest.approx(beat_s, rel=0.02)
