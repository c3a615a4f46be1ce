"""The charts of a report, each with its sentence and a legend that names, colours and counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from herder.sim.drill.charts import Axis, Mark, Series, Span, dots, lines, short, stacked
from herder.sim.drill.result import DrillResult
from herder.sim.drill.scenario import What
from herder.sim.drill.telling import place
from herder.sim.drill.words import clock, counted, lasted, share, size

MOSTLY_WELL = 0.25
"""Where fewer than this share was ever not available, the available ones are left out of the stack: they would be all of it."""

TEXTURE = {"unavailable": "hatch", "uncertain": "dots"}
AXIS_ROOM_MS = 60_000
LATE_MS = 60_000
"""A page that takes longer than this to arrive is drawn as late."""

_KINDS = {"service": "services", "archive": "archives", "server": "servers", "member": "members",
          "dependency": "dependencies"}  # fmt: skip


def all_of(result: DrillResult, states: Sequence[str], hues: Sequence[str]) -> list[str]:
    """Every chart that there is something to draw for."""
    if len(result.timeline.at_ms) < 2:
        return []
    axis = _axis(result)
    by_kind = [_states(result, axis, kind, states) for kind in _ordered(result)]
    return [*by_kind, _unavailable(result, axis, hues), _recovery(result, axis), _backlog(result, axis, hues),
            _pages(result, axis)]  # fmt: skip


def _axis(result: DrillResult) -> Axis:
    """From the day's start until nothing more happens on it; outages of dependencies are shaded."""
    scenario, at_ms = result.scenario, result.timeline.at_ms
    spans = [
        Span(event.at_ms, event.until_ms or scenario.end_ms, f"{place(event)}: {event.what.replace('_', ' ')}")
        for event in scenario.events if event.what not in {What.DELAY, What.REBOOT} and event.until_ms is not None
    ]  # fmt: skip
    # Nested outages would be shaded twice and look like more than one.
    apart = {(span.from_ms, span.to_ms): span for span in spans}
    return Axis(at_ms[0], max(at_ms[-1], at_ms[0] + AXIS_ROOM_MS), tuple(apart.values()))


def _ordered(result: DrillResult) -> list[str]:
    known = [kind for kind in _KINDS if kind in result.timeline.states]
    return [*known, *sorted(kind for kind in result.timeline.states if kind not in _KINDS)]


def _states(result: DrillResult, axis: Axis, kind: str, states: Sequence[str]) -> str:
    found = result.timeline.states[kind]
    total = max((sum(values) for values in zip(*found.values(), strict=True)), default=0)
    ill = [sum(values) for values in zip(*(found[state] for state in found if state != "available"), strict=True)] or [
        0
    ]
    if not max(ill):
        return ""
    whole = max(ill) >= MOSTLY_WELL * total
    shown = [
        state for state in states if state in found and max(found[state], default=0) and (whole or state != "available")
    ]
    layers = [Series(f"{state}: at most {max(found[state]):,}", found[state], state) for state in shown]
    drawn = stacked(
        axis, result.timeline.at_ms, layers, f"{_KINDS.get(kind, kind)} by state over time", total if whole else 0
    )
    noun = _KINDS.get(kind, f"{kind}s")
    said = (
        f"All {total:,} {noun}."
        if whole
        else f"Of {total:,} {noun}; those that are available are not drawn, they would fill the sheet."
    )
    legend = _legend([(state, f"{state} (at most {short(max(found[state]))})", "area") for state in shown])
    worst = max(ill)
    return _block(f"{noun.capitalize()} by state", legend + _textured(drawn, shown),
                  f"{said} Most that were not available at once: {worst:,} ({share(worst, total)}).{_shaded(axis)}")  # fmt: skip


def _textured(svg: str, shown: Sequence[str]) -> str:
    """A second polygon with the state's texture over its colour, so that colour is not alone in telling it."""
    for state, texture in TEXTURE.items():
        if state not in shown:
            continue
        parts = svg.split(f'<polygon class="area {state}"')
        for number in range(1, len(parts)):
            body, end, rest = parts[number].partition("</polygon>")
            points = body[body.index('points="') : body.index('">') + 1]
            parts[number] = f'{body}{end}<polygon class="area {texture}" {points}/>{rest}'
        svg = f'<polygon class="area {state}"'.join(parts)
    return svg


def _named(found: Mapping[str, tuple[int, ...]], hues: Sequence[str]) -> tuple[list[Series], str]:
    """Lines by name, every second one dashed so that colour is not alone in telling them apart, and their legend."""
    series = [
        Series(name, values, hues[number % len(hues)], number % 2 == 1)
        for number, (name, values) in enumerate(found.items())
    ]
    legend = _legend(
        [
            (each.css, f"{each.name} (at most {short(max(each.values))})", "dashed" if each.dashed else "line")
            for each in series
        ]
    )
    return series, legend


def _unavailable(result: DrillResult, axis: Axis, hues: Sequence[str]) -> str:
    found = {name: values for name, values in result.timeline.unavailable.items() if max(values, default=0)}
    if not found:
        return ""
    series, legend = _named(found, hues)
    drawn = lines(axis, result.timeline.at_ms, series, "services that took no writes, by plan")
    return _block(
        "Services that took no writes, by plan",
        legend + drawn,
        f"Plans that never had one are not drawn.{_shaded(axis)}",
    )


def _recovery(result: DrillResult, axis: Axis) -> str:
    timeline = result.timeline
    if not timeline.to_recover or not max(timeline.to_recover):
        return ""
    series = [
        Series("to recover", timeline.to_recover, "two", dashed=True),
        Series("recovered", timeline.recovered, "four"),
    ]
    last = result.forecasts[-1] if result.forecasts else None
    marks = (
        [Mark(last.end_ms, f"forecast {clock(last.end_ms)}")] if last is not None and last.end_ms <= axis.end_ms else []
    )
    legend = _legend(
        [("two", "units that have to come back, so far", "dashed"), ("four", "units that came back", "line")]
    )
    drawn = lines(axis, timeline.at_ms, series, "recovery progress", marks)
    return _block("Recovery", legend + drawn, _forecasts(result))


def _forecasts(result: DrillResult) -> str:
    """How honest they were: the first and the last one beside what came."""
    if not result.forecasts:
        return "No forecast was made."
    first = result.forecasts[0]
    told = f"The first forecast, at {clock(first.made_ms)}, was {clock(first.end_ms)}"
    if result.well_ms is None:
        return f"{told}; it did not come true within the day."
    off = (result.well_ms - first.end_ms) / 1000
    how = f"{lasted(abs(off))} {'too early' if off > 0 else 'too late'}" if abs(off) >= 1 else "to the second"
    return f"{told}: {how}. {counted(len(result.forecasts), 'forecast')} in all."


def _backlog(result: DrillResult, axis: Axis, hues: Sequence[str]) -> str:
    timeline = result.timeline
    found = {name: values for name, values in timeline.backlog.items() if max(values, default=0)}
    blocks = ""
    if found:
        series, legend = _named(found, hues)
        drawn = lines(axis, timeline.at_ms, series, "what waits")
        blocks += _block(
            "Backlog", legend + drawn, f"What waited for something that was down, or for its turn.{_shaded(axis)}"
        )
    if any(timeline.bytes_waiting):
        drawn = lines(
            axis,
            timeline.at_ms,
            [Series("bytes", timeline.bytes_waiting, "one")],
            "log that is not archived yet",
            unit="bytes",
        )
        blocks += _block("Log that is not archived yet", drawn,
                         f"At most {size(max(timeline.bytes_waiting))} lay on the members' disks.{_shaded(axis)}")  # fmt: skip
    return blocks


def _pages(result: DrillResult, axis: Axis) -> str:
    if not result.pages:
        return _block("Pages", "", "Nobody was paged.")
    rows: dict[str, list[Mark]] = {}
    for page in result.pages:
        late = page.delivered_ms if page.delivered_ms is not None else axis.end_ms
        text = f"{clock(page.at_ms)} {page.reason.replace('_', ' ')}, {page.scope}: {counted(page.units, 'unit')}"
        rows.setdefault(page.reason.replace("_", " "), []).append(Mark(page.at_ms, text, late))
    never = sum(page.delivered_ms is None for page in result.pages)
    late_ones = sum(page.delivered_ms is not None and page.delivered_ms - page.at_ms > LATE_MS for page in result.pages)
    caption = f"{counted(len(result.pages), 'page')} for {counted(sum(page.units for page in result.pages), 'unit')}. "
    caption += (
        f"{late_ones} late, {never} never delivered; a dashed line leads to when."
        if late_ones + never
        else "None came late."
    )
    return _block("Pages", dots(axis, rows, "pages over time"), caption)


def _shaded(axis: Axis) -> str:
    return " Shaded: while something was down." if axis.spans else ""


def _legend(entries: Sequence[tuple[str, str, str]]) -> str:
    """(css, words, kind): a swatch as it looks in the chart."""
    items = []
    for css, words, kind in entries:
        if kind == "area":
            over = f'<rect class="area {TEXTURE[css]}" width="22" height="12"/>' if css in TEXTURE else ""
            mark = f'<rect class="area {css}" width="22" height="12"/>{over}'
        else:
            dashed = " dashed" if kind == "dashed" else ""
            mark = f'<line class="line {css}{dashed}" x1="0" y1="6" x2="22" y2="6"/>'
        items.append(f'<li><svg aria-hidden="true">{mark}</svg>{escape(words)}</li>')
    return f'<ul class="legend">{"".join(items)}</ul>'


def _block(heading: str, body: str, caption: str) -> str:
    return f"<section><h2>{escape(heading)}</h2><figure>{body}<figcaption>{escape(caption)}</figcaption></figure></section>"
