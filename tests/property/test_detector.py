"""Silence: told not before the floor and not after the ceiling, whatever was heard; longer gaps only ever give more patience."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from herder.pulse.board import Board
from herder.pulse.detector import Limits, Rhythm, first_rhythm
from tests.property.effort import EFFORT, PLENTY
from tests.property.outside import PULSE

GAPS = st.floats(0, 100, allow_subnormal=False)
LIMITS = st.builds(lambda floor_s, more_s: Limits(floor_s, floor_s + more_s), st.floats(0.1, 5), st.floats(0, 20))
RHYTHMS = st.builds(
    lambda beat_s, times, deviation_s: Rhythm(beat_s * times, deviation_s, beat_s),
    st.floats(0.1, 10), st.floats(0.5, 20), st.floats(0, 30),
)  # fmt: skip
"""An interval is never below half of its beat: earlier frames are not learnt from."""


@PLENTY
@given(RHYTHMS, GAPS, GAPS)
def test_of_two_late_frames_the_later_one_gives_more_patience(rhythm: Rhythm, one: float, other: float):
    first, second = (rhythm.after(rhythm.interval_s + gap) for gap in sorted((one, other)))
    wide = Limits(0.0, 1e9)
    assert first.patience_s(wide) <= second.patience_s(wide) + 1e-9


@PLENTY
@given(RHYTHMS, st.lists(GAPS, max_size=30), LIMITS)
def test_neither_interval_nor_deviation_ever_leaves_what_was_seen(rhythm: Rhythm, gaps: list[float], limits: Limits):
    """A mean of what was seen: never below the smallest, never above the largest; so no gap can poison it for good."""
    seen = [rhythm.interval_s, *gaps]
    spread = max(rhythm.deviation_s, max(seen) - min(seen))
    for gap in gaps:
        rhythm = rhythm.after(gap)
        assert min(seen) - 1e-9 <= rhythm.interval_s <= max(seen) + 1e-9
        assert 0 <= rhythm.deviation_s <= spread + 1e-9
        assert limits.floor_s <= rhythm.patience_s(limits) <= limits.ceiling_s


@PLENTY
@given(RHYTHMS, LIMITS, st.floats(0, 5), st.floats(0, 5))
def test_wider_limits_never_make_it_quicker_and_narrower_ones_never_slower(
    rhythm: Rhythm, limits: Limits, floor_s: float, ceiling_s: float
):
    higher = Limits(limits.floor_s + floor_s, limits.ceiling_s + floor_s + ceiling_s)
    assert rhythm.patience_s(higher) >= rhythm.patience_s(limits)


@EFFORT
@given(st.lists(st.floats(0.01, 20), max_size=25), st.floats(0, 30), LIMITS, st.floats(0.2, 5))
def test_the_board_tells_silence_between_floor_and_ceiling_whatever_it_heard(
    gaps: list[float], silence_s: float, limits: Limits, interval_s: float
):
    board, now = Board(interval_s, limits), 1_000.0
    board.expect("s1", 2, now)
    for seq, gap_s in enumerate(gaps):
        now += gap_s
        assert board.fold(msgspec.structs.replace(PULSE, seq=seq), now)
    told = bool(len(board.silent(now + silence_s)))
    if silence_s < limits.floor_s - 1e-6:
        assert not told
    if silence_s > limits.ceiling_s + 1e-6:
        assert told
    assert told is (silence_s > board.patience("s1")) or abs(silence_s - board.patience("s1")) < 1e-6


@EFFORT
@given(st.lists(st.floats(0.01, 5), max_size=12), st.floats(0, 100), st.floats(0.01, 12))
def test_silence_that_was_ours_is_nobodys(gaps: list[float], ours_s: float, theirs_s: float):
    """`hold` moves every clock: after it the same further silence is judged as if we had never been away."""
    limits = Limits(1.5, 8.0)
    here, away = Board(1.0, limits), Board(1.0, limits)
    now = 1_000.0
    for board in (here, away):
        board.expect("s1", 2, now)
    for seq, gap_s in enumerate(gaps):
        now += gap_s
        for board in (here, away):
            board.fold(msgspec.structs.replace(PULSE, seq=seq), now)
    away.hold(ours_s)
    margin = abs(theirs_s - here.patience("s1"))
    if margin > 1e-6:
        assert len(here.silent(now + theirs_s)) == len(away.silent(now + ours_s + theirs_s))


def test_before_anything_is_heard_patience_is_that_of_the_beat_it_was_told():
    assert first_rhythm(2.0).patience_s(Limits(0.0, 99.0)) == 3.0
