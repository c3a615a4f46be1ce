"""Charts as SVG text, drawn here so that a report needs nothing from anywhere: areas, lines, marks, one time axis in UTC.

Colours are CSS classes that the report's style sheet fills in, so that light, dark and print differ in one place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape

STEPS_S = (60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400)
"""Distances of the labels on the time axis."""

POINTS_MAX = 500
"""Samples drawn: more are narrower than a pixel."""


@dataclass(frozen=True, slots=True)
class Size:
    """Of the drawing in CSS pixels; the same chart is drawn twice, wide and for a phone, so that its words stay readable."""

    name: str
    width: int
    height: int
    left: int
    labels: int

    @property
    def plot(self) -> tuple[int, int, int, int]:
        """left, top, right, bottom of the plotted area."""
        return self.left, 20, self.width - 14, self.height - 26


WIDE = Size("wide", 1040, 260, 62, 9)
NARROW = Size("narrow", 360, 230, 46, 4)
SIZES = (WIDE, NARROW)


@dataclass(frozen=True, slots=True)
class Series:
    """One line or one layer. css: class of its colour; dashed: for lines, so that not only colour tells them apart."""

    name: str
    values: Sequence[float]
    css: str
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Span:
    """A time that is shaded and named: an outage."""

    from_ms: int
    to_ms: int
    label: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment with a word. late_ms: until then it had not arrived; a line leads there."""

    at_ms: int
    text: str
    late_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Axis:
    """The time that all charts of a report share, so that they can be read below each other."""

    start_ms: int
    end_ms: int
    spans: Sequence[Span] = ()

    def x(self, at_ms: float, size: Size) -> float:
        """Of a moment."""
        left, _, right, _ = size.plot
        return left + (at_ms - self.start_ms) / max(1, self.end_ms - self.start_ms) * (right - left)


def stacked(axis: Axis, at_ms: Sequence[int], layers: Sequence[Series], label: str, top: float = 0.0) -> str:
    """Layers on each other, the first at the bottom. top: of the scale, 0 = fits."""
    total = [sum(values) for values in zip(*(layer.values for layer in layers), strict=True)] or [0.0]
    scale = Scale.of(max(top, *total))
    return _both(axis, scale, label, lambda size: _layers(axis, scale, at_ms, layers, size))


def lines(
    axis: Axis, at_ms: Sequence[int], series: Sequence[Series], label: str, marks: Sequence[Mark] = (), unit: str = ""
) -> str:
    """Lines over time; marks as upright lines with their words."""
    scale = Scale.of(max((value for each in series for value in each.values), default=0.0), unit)

    def body(size: Size) -> str:
        drawn = "".join(_line(axis, scale, at_ms, each, size) for each in series)
        return drawn + "".join(_upright(axis, mark, size) for mark in marks)

    return _both(axis, scale, label, body)


def dots(axis: Axis, rows: Mapping[str, Sequence[Mark]], label: str) -> str:
    """One row for each name with its moments on it; a dash leads to when a late one arrived."""
    drawn = []
    for size in SIZES:
        height = 24 + 40 * len(rows) + 28
        flat = Size(size.name, size.width, height, 14, size.labels)
        body = []
        for number, (name, marks) in enumerate(rows.items()):
            y = 50 + 40 * number
            body.append(f'<text class="row" x="16" y="{y - 12}">{escape(name)}</text>')
            body += [_dot(axis, mark, y, flat) for mark in marks]
        drawn.append(_svg(flat, label, f"{_frame(axis, None, flat)}{''.join(body)}"))
    return "".join(drawn)


def _dot(axis: Axis, mark: Mark, y: float, size: Size) -> str:
    x = axis.x(mark.at_ms, size)
    late = ""
    if mark.late_ms is not None and mark.late_ms > mark.at_ms:
        to = axis.x(min(mark.late_ms, axis.end_ms), size)
        late = f'<line class="late" x1="{x:.1f}" y1="{y}" x2="{to:.1f}" y2="{y}"/>'
    return f'{late}<circle class="page" cx="{x:.1f}" cy="{y}" r="5"><title>{escape(mark.text)}</title></circle>'


@dataclass(frozen=True, slots=True)
class Scale:
    """The upright axis: from 0 to a round number above the largest value."""

    top: float
    step: float
    unit: str = ""

    @classmethod
    def of(cls, largest: float, unit: str = "") -> Scale:
        """Three to six steps of 1, 2 or 5 times a power of ten."""
        largest = max(largest, 1e-9) if unit == "bytes" else max(largest, 4.0)
        power = 10 ** math.floor(math.log10(largest / 3))
        step = next(power * factor for factor in (1, 2, 5, 10) if largest / (power * factor) <= 5)
        return cls(step * math.ceil(largest / step), step, unit)

    def y(self, value: float, size: Size) -> float:
        """Of a value."""
        _, top, _, bottom = size.plot
        return bottom - min(value, self.top) / self.top * (bottom - top)

    def ticks(self) -> list[float]:
        """Labelled values."""
        return [self.step * number for number in range(round(self.top / self.step) + 1)]

    def word(self, value: float) -> str:
        """A label: 12, 3.5 k, 1.2 M; bytes as kB, MB, GB, TB."""
        return (short(value) + ("B" if value >= 1000 else " B")) if self.unit == "bytes" else short(value)


def short(value: float) -> str:
    """At most four digits and a letter."""
    for power, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= power:
            return f"{value / power:.3g} {letter}"
    return f"{value:.3g}"


def _both(axis: Axis, scale: Scale, label: str, body: object) -> str:
    assert callable(body)
    return "".join(_svg(size, label, _frame(axis, scale, size) + body(size)) for size in SIZES)


def _svg(size: Size, label: str, body: str) -> str:
    return (
        f'<svg class="chart {size.name}" viewBox="0 0 {size.width} {size.height}" role="img" '
        f'aria-label="{escape(label)}"><title>{escape(label)}</title>{body}</svg>'
    )


def _frame(axis: Axis, scale: Scale | None, size: Size) -> str:
    """Shaded times, grid and labels; what is plotted goes on top."""
    left, top, right, bottom = size.plot
    parts = []
    for span in axis.spans:
        x1, x2 = axis.x(max(span.from_ms, axis.start_ms), size), axis.x(min(span.to_ms, axis.end_ms), size)
        parts.append(f'<rect class="span" x="{x1:.1f}" y="{top}" width="{max(x2 - x1, 1):.1f}" height="{bottom - top}">'
                     f"<title>{escape(span.label)}</title></rect>")  # fmt: skip
    for value in scale.ticks() if scale is not None else ():
        y = scale.y(value, size) if scale is not None else 0
        parts.append(f'<line class="grid" x1="{left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>')
        if scale is not None:
            parts.append(
                f'<text class="tick" x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{scale.word(value)}</text>'
            )
    parts += [
        f'<line class="grid" x1="{x:.1f}" y1="{bottom}" x2="{x:.1f}" y2="{bottom + 5}"/>'
        f'<text class="tick" x="{x:.1f}" y="{bottom + 19}" text-anchor="middle">{word}</text>'
        for x, word in _times(axis, size)
    ]
    return "".join(parts)


def _times(axis: Axis, size: Size) -> list[tuple[float, str]]:
    seconds = (axis.end_ms - axis.start_ms) / 1000
    step_ms = next((step for step in STEPS_S if seconds / step <= size.labels), STEPS_S[-1]) * 1000
    first = -(-axis.start_ms // step_ms) * step_ms
    return [
        (axis.x(at, size), f"{datetime.fromtimestamp(at / 1000, UTC):%H:%M}")
        for at in range(first, axis.end_ms + 1, step_ms)
    ]


def thinned(at_ms: Sequence[int], values: Sequence[float], most: int = POINTS_MAX) -> list[tuple[int, float]]:
    """At most about `most` points: of each slice the first and the most extreme one, so that no peak is lost."""
    count = len(at_ms)
    if count <= most:
        return list(zip(at_ms, values, strict=True))
    width = count / (most / 2)
    kept: set[int] = {0, count - 1}
    for number in range(most // 2):
        low, high = int(number * width), min(count, int((number + 1) * width))
        if low < high:
            kept |= {low, max(range(low, high), key=lambda index: abs(values[index] - values[low]))}
    return [(at_ms[index], values[index]) for index in sorted(kept)]


def _line(axis: Axis, scale: Scale, at_ms: Sequence[int], series: Series, size: Size) -> str:
    points = " ".join(
        f"{axis.x(at, size):.1f},{scale.y(value, size):.1f}" for at, value in thinned(at_ms, series.values)
    )
    dashed = " dashed" if series.dashed else ""
    return (
        f'<polyline class="line {series.css}{dashed}" points="{points}"><title>{escape(series.name)}</title></polyline>'
    )


def _layers(axis: Axis, scale: Scale, at_ms: Sequence[int], layers: Sequence[Series], size: Size) -> str:
    drawn: list[str] = []
    # Every layer must keep the same samples, or they would not lie on each other: those of the sum decide.
    total = [sum(values) for values in zip(*(layer.values for layer in layers), strict=True)]
    chosen = {at for at, _ in thinned(at_ms, total)}
    for layer in layers:
        chosen |= {at for at, _ in thinned(at_ms, layer.values, POINTS_MAX // 4)}
    kept = [index for index, at in enumerate(at_ms) if at in chosen]
    below = [0.0] * len(kept)
    for layer in layers:
        above = [low + layer.values[index] for low, index in zip(below, kept, strict=True)]
        if any(layer.values[index] for index in kept):
            there = [f"{axis.x(at_ms[i], size):.1f},{scale.y(v, size):.1f}" for i, v in zip(kept, above, strict=True)]
            back = [f"{axis.x(at_ms[i], size):.1f},{scale.y(v, size):.1f}" for i, v in zip(kept, below, strict=True)]
            drawn.append(f'<polygon class="area {layer.css}" points="{" ".join([*there, *reversed(back)])}">'
                         f"<title>{escape(layer.name)}</title></polygon>")  # fmt: skip
        below = above
    return "".join(drawn)


def _upright(axis: Axis, mark: Mark, size: Size) -> str:
    _, top, right, bottom = size.plot
    x = axis.x(mark.at_ms, size)
    side = ("end", x - 5) if x > right - 150 else ("start", x + 5)
    return (
        f'<line class="mark" x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}"/>'
        f'<text class="word" x="{side[1]:.1f}" y="{top - 6}" text-anchor="{side[0]}">{escape(mark.text)}</text>'
    )
