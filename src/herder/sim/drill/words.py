"""Figures and moments as a reader of a report wants them."""

from __future__ import annotations

from datetime import UTC, datetime


def clock(at_ms: float | None) -> str:
    """UTC, to the second where it is not a whole minute: '21:54', '21:54:20'."""
    if at_ms is None:
        return "never"
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    return f"{at:%H:%M:%S}" if at.second else f"{at:%H:%M}"


def day(at_ms: float) -> str:
    """'28 February 2017'."""
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    return f"{at.day} {at:%B %Y}"


def lasted(seconds: float | None) -> str:
    """In the two units that matter: '42 s', '11 min 20 s', '4 h 17 min'."""
    if seconds is None:
        return "not within the day"
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.3g} s" if seconds < 10 and seconds != whole else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60} min" if whole % 3600 // 60 else f"{whole // 3600} h"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def number(value: float | None) -> str:
    """With thousands apart; '-' for what was not measured."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value == round(value) else f"{value:,.4g}"


def size(count: float) -> str:
    """Bytes."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            return f"{count:.3g} {unit}"
        count /= 1000
    raise AssertionError


def counted(count: int, noun: str, many: str = "") -> str:
    """'1 page', '3 pages', '2 services'."""
    return f"{count:,} {noun if count == 1 else many or f'{noun}s'}"


def share(part: float, whole: float) -> str:
    """In percent with two significant digits: '0.0045 %', '12 %'. Only none is '0 %', only all is '100 %'."""
    percent = part / whole * 100 if whole else 0.0
    if 99 < percent < 100:
        return f"{min(percent, 99.999):.5g} %"
    return f"{percent:.0f} %" if not percent or percent >= 10 else f"{percent:.2g} %"
