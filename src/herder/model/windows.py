"""Maintenance windows: `mon-fri 02:00-05:00`, in UTC, every week anew. Integers in, integers out; no clock is read here.

UTC, because a fleet has no local time: a window must not jump by an hour, nor come twice, when some country changes its clocks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from herder.model.errors import InvalidInput

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_MS = 86_400_000
MINUTE_MS = 60_000
DAY_MINUTES = 1440

ALWAYS = "always"
SHORTEST_MINUTES = 10
"""A shorter window would be over before one exercise in it has ended."""

HINT = (
    "type days and hours in UTC, like 'mon-fri 02:00-05:00', 'sat,sun 22:00-04:00', '02:00-05:00' (daily) or 'always'"
)
LENGTH_HINT = "type a number and a unit: 12h, 7d or 4w"

_HOURS = re.compile(r"(\d{1,2}):(\d{2})-(\d{1,2}):(\d{2})")
_LENGTH = re.compile(r"(\d{1,6})\s*([mhdw])")
_UNITS_S = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}


@dataclass(frozen=True, slots=True)
class Window:
    """days: on which it opens, 0 = Monday. begin, length: minutes after midnight and minutes; it may run past midnight."""

    days: frozenset[int]
    begin: int
    length: int

    def __str__(self) -> str:
        if self == _ALWAYS:
            return ALWAYS
        days = "" if len(self.days) == len(DAYS) else _days_text(self.days) + " "
        end = self.begin + self.length
        return f"{days}{_hour(self.begin)}-{_hour(end if end == DAY_MINUTES else end % DAY_MINUTES)}"


_ALWAYS = Window(frozenset(range(7)), 0, DAY_MINUTES)


def parse_window(text: str) -> Window:
    """A window from what a person typed. Raises InvalidInput that says what to type."""
    words = text.strip().lower().split()
    if words == [ALWAYS]:
        return _ALWAYS
    if not words or len(words) > 2:
        raise InvalidInput(f"'{text}' is not a window", HINT)
    days = frozenset(range(7)) if len(words) == 1 or words[0] == "daily" else _days(words[0])
    return Window(days, *_minutes(words[-1]))


def _days(text: str) -> frozenset[int]:
    """'mon-fri', 'sat,sun', 'fri-mon' (over the weekend)."""
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        for word in (first, last) if dash else (first,):
            if word not in DAYS:
                raise InvalidInput(f"'{word}' is no day", f"days are {', '.join(DAYS)}; {HINT}")
        begin = DAYS.index(first)
        span = (DAYS.index(last) - begin) % len(DAYS) if dash else 0
        found |= {(begin + step) % len(DAYS) for step in range(span + 1)}
    return frozenset(found)


def _minutes(text: str) -> tuple[int, int]:
    """'22:00-04:00' -> (1320, 360)."""
    match = _HOURS.fullmatch(text)
    if match is None:
        raise InvalidInput(f"'{text}' are no hours", HINT)
    hours = [int(number) for number in match.groups()]
    begin, end = hours[0] * 60 + hours[1], hours[2] * 60 + hours[3]
    if begin >= DAY_MINUTES or end > DAY_MINUTES or hours[1] > 59 or hours[3] > 59:
        raise InvalidInput(f"'{text}': a day has hours 00:00 to 24:00", HINT)
    length = end - begin if end > begin else end + DAY_MINUTES - begin
    if begin == end:
        raise InvalidInput(f"'{text}' begins when it ends", f"for the whole day type 00:00-24:00; {HINT}")
    if length < SHORTEST_MINUTES:
        raise InvalidInput(f"'{text}' is {length} minutes long", f"give it at least {SHORTEST_MINUTES} minutes")
    return begin, length


def parse_length(text: str) -> int:
    """'7d' -> 604800 seconds. Raises InvalidInput that says what to type."""
    match = _LENGTH.fullmatch(text.strip().lower())
    if match is None or not int(match[1]):
        raise InvalidInput(f"'{text}' is not a length of time", LENGTH_HINT)
    return int(match[1]) * _UNITS_S[match[2]]


def length_text(seconds: int) -> str:
    """604800 -> '7d'. The largest unit below weeks that fits without a rest."""
    unit = next((unit for unit in ("d", "h") if seconds % _UNITS_S[unit] == 0 and seconds), "m")
    return f"{seconds // _UNITS_S[unit]}{unit}"


def occurrence(window: Window, at_ms: int) -> tuple[int, int]:
    """(begin, end) in ms of the occurrence that holds `at_ms`, else of the next one. The end is not part of it."""
    today = at_ms // DAY_MS
    for day in range(today - 1, today + len(DAYS) + 1):  # yesterday's may run past midnight
        begin = day * DAY_MS + window.begin * MINUTE_MS
        end = begin + window.length * MINUTE_MS
        if weekday(day) in window.days and at_ms < end:
            return begin, end
    raise AssertionError("a window opens on one day of the week at least")


def weekday(day: int) -> int:
    """Of a day since 1970-01-01, which was a Thursday; 0 = Monday."""
    return (day + 3) % len(DAYS)


def first_spot(window: Window, earliest_ms: int, spread: float, every_ms: int = 7 * DAY_MS) -> int:
    """The first moment at or after `earliest_ms` that is inside the window and past its own spot in it.

    spread: 0 up to 1, where in each occurrence the spot lies. Spots fill nine tenths: the last one still has time to end.
    every_ms: what happens more often than the window opens has its spot in the first of its periods there.
    """
    begin, end = occurrence(window, earliest_ms)
    spot = begin + int(min(end - begin, every_ms) * 0.9 * spread)
    return max(spot, earliest_ms)


def _days_text(days: frozenset[int]) -> str:
    """{0,1,2,3,4} -> 'mon-fri'; what is no single run is listed."""
    order = sorted(days)
    if len(order) > 2 and order[-1] - order[0] == len(order) - 1:
        return f"{DAYS[order[0]]}-{DAYS[order[-1]]}"
    return ",".join(DAYS[day] for day in order)


def _hour(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"
