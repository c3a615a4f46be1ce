"""Windows: what a person may type, what is told when it is not one, and when the next one opens."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from herder.model.errors import InvalidInput
from herder.model.windows import first_spot, length_text, occurrence, parse_length, parse_window


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def told(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%a %d %H:%M")


def open_at(window: str, at: str) -> list[str]:
    return [told(edge) for edge in occurrence(parse_window(window), ms(at))]


@pytest.mark.parametrize(
    ("text", "again"),
    [
        ("mon-fri 02:00-05:00", "mon-fri 02:00-05:00"),
        (" Mon-Fri  2:00-05:00 ", "mon-fri 02:00-05:00"),
        ("sat,sun 22:00-04:00", "sat,sun 22:00-04:00"),
        ("fri-mon 00:00-24:00", "mon,fri,sat,sun 00:00-24:00"),
        ("02:00-05:00", "02:00-05:00"),
        ("daily 23:00-24:00", "23:00-24:00"),
        ("always", "always"),
    ],
)
def test_a_window_reads_back_as_it_was_meant(text: str, again: str):
    assert str(parse_window(text)) == again
    assert parse_window(again) == parse_window(text)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "is not a window"),
        ("monday 02:00-05:00", "'monday' is no day"),
        ("mon-fri", "are no hours"),
        ("mon-fri 2-5", "are no hours"),
        ("mon-fri 02:00-25:00", "a day has hours"),
        ("mon-fri 02:70-05:00", "a day has hours"),
        ("mon-fri 02:00-02:00", "begins when it ends"),
        ("mon-fri 02:00-02:05", "5 minutes long"),
        ("mon fri 02:00-05:00", "is not a window"),
    ],
)
def test_what_is_no_window_is_told_with_what_to_type(text: str, match: str):
    with pytest.raises(InvalidInput, match=match) as caught:
        parse_window(text)
    assert caught.value.hint


def test_the_present_occurrence_or_the_next_one():
    # 2026-11-23 is a Monday
    assert open_at("mon-fri 02:00-05:00", "2026-11-23 01:59") == ["Mon 23 02:00", "Mon 23 05:00"]
    assert open_at("mon-fri 02:00-05:00", "2026-11-23 04:59") == ["Mon 23 02:00", "Mon 23 05:00"]
    assert open_at("mon-fri 02:00-05:00", "2026-11-23 05:00") == ["Tue 24 02:00", "Tue 24 05:00"]
    assert open_at("mon-fri 02:00-05:00", "2026-11-27 05:00") == ["Mon 30 02:00", "Mon 30 05:00"]
    assert open_at("mon 02:00-05:00", "2026-11-23 05:00") == ["Mon 30 02:00", "Mon 30 05:00"]


def test_a_window_that_wraps_midnight_belongs_to_the_day_on_which_it_opens():
    assert open_at("fri 22:00-04:00", "2026-11-28 03:59") == ["Fri 27 22:00", "Sat 28 04:00"]
    assert open_at("fri 22:00-04:00", "2026-11-28 04:00") == ["Fri 04 22:00", "Sat 05 04:00"]
    assert open_at("fri 22:00-04:00", "2026-11-27 03:00") == ["Fri 27 22:00", "Sat 28 04:00"]


def test_the_whole_week_has_no_hole():
    assert open_at("always", "2026-11-23 00:00") == ["Mon 23 00:00", "Tue 24 00:00"]
    assert open_at("always", "2026-11-23 23:59") == ["Mon 23 00:00", "Tue 24 00:00"]


def test_a_spot_is_the_same_in_every_occurrence_and_never_outside():
    window = parse_window("mon-fri 02:00-05:00")
    for spread, spot in ((0.0, "02:00"), (0.5, "03:21"), (0.999, "04:41")):
        assert told(first_spot(window, ms("2026-11-23 00:00"), spread)) == f"Mon 23 {spot}"
        assert told(first_spot(window, ms("2026-11-23 05:00"), spread)) == f"Tue 24 {spot}"
    assert told(first_spot(window, ms("2026-11-23 04:50"), 0.5)) == "Mon 23 04:50"


def test_lengths_of_time():
    assert [parse_length(text) for text in ("7d", "12h", "90m", "4w")] == [604_800, 43_200, 5_400, 2_419_200]
    assert [length_text(seconds) for seconds in (604_800, 43_200, 5_400)] == ["7d", "12h", "90m"]
    for text in ("", "7", "d", "0d", "-1d", "weekly"):
        with pytest.raises(InvalidInput, match="is not a length of time"):
            parse_length(text)
