"""How a drill looks while it runs: progress in, one calm screen out. On a terminal it moves; in a pipe it is lines.

Nothing here asks anything, so that a test can draw a frame from kept facts.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.text import Text

from herder.sim.drill.scenario import Scenario
from herder.sim.drill.types import Progress
from herder.sim.drill.words import clock, lasted, share

STYLE = {
    "available": "green",
    "uncertain": "yellow",
    "unavailable": "bold red",
    "restart": "cyan",
    "installing": "cyan",
    "upgrading": "magenta",
}
"""As `herder status` shows them; the word always stands beside the colour."""

GLYPH = {"available": "█", "uncertain": "▓", "unavailable": "▒", "restart": "░", "installing": "░", "upgrading": "░"}
"""Each state of a bar has its own density, for those who see no colours."""

WIDTH_MIN, WIDTH_MAX = 72, 130
WIDTH_WHEN_PIPED = 240
FRAMES_PER_S = 5
LINE_EVERY_MS = 10 * 60_000
"""Virtual time between lines in a pipe, where nothing else happens."""

ROWS_MAX = 6
"""Of queues and of remedies each, so that the screen keeps its height."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One frame; fits itself to the terminal's width. Its height stays the same while the day runs."""

    scenario: Scenario
    progress: Progress

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield draw(self.scenario, self.progress, max(WIDTH_MIN, min(options.max_width, WIDTH_MAX)))


def draw(scenario: Scenario, progress: Progress, width: int) -> RenderableType:
    """Clocks, one bar for each kind of unit, what waits beside what is done, pages and speed."""
    parts: list[RenderableType] = [_head(scenario, progress, width), _day(scenario, progress, width), Text("")]
    for kind in ("service", "archive", "member", "server"):
        if progress.states.get(kind):
            parts += _bar(kind, progress.states[kind], width)
    parts += [Text(""), *_beside(progress, width), Text(""), *_foot(progress), _sentence(progress, width)]
    return Group(*parts)


def _head(scenario: Scenario, progress: Progress, width: int) -> Text:
    left = Text.assemble((f"herder drill {scenario.name}", "bold"), (f"  {progress.services:,} services", "dim"))
    right = Text.assemble(
        (f"{clock(progress.virtual_ms)} UTC", "bold"), (f"   {lasted(progress.wall_s)} of wall time", "dim")
    )
    return Text.assemble(left, " " * max(1, width - left.cell_len - right.cell_len), right)


def _day(scenario: Scenario, progress: Progress, width: int) -> Text:
    """Where on the day we are, with its events as marks."""
    span = max(1, scenario.end_ms - scenario.start_ms)

    def column(at_ms: int) -> int:
        return min(width - 1, max(0, int((at_ms - scenario.start_ms) / span * (width - 1))))

    line = Text("─" * width, style="dim")
    here = column(progress.virtual_ms)
    line.stylize("green", 0, here)
    cells = list(line.plain)
    marks = {column(at) for event in scenario.events for at in (event.at_ms, event.until_ms) if at is not None}
    for mark in marks:
        cells[mark] = "┼"
    cells[here] = "●"
    drawn = Text("".join(cells), style="dim")
    drawn.stylize("not dim green", 0, here + 1)
    return drawn


def _bar(kind: str, states: Mapping[str, int], width: int) -> list[Text]:
    """Units by state. Whatever is there has a cell at least: a hundred of a million would else not be seen."""
    total = max(1, sum(states.values()))
    room = width - 10
    ordered = sorted(states, key=lambda state: list(STYLE).index(state) if state in STYLE else len(STYLE))
    cells = {state: max(1, int(states[state] / total * room)) for state in ordered if states[state]}
    if cells:
        widest = max(cells, key=lambda state: states[state])
        cells[widest] += room - sum(cells.values())
    bar = Text(f"{kind:<10}")
    words = Text(" " * 10)
    for state, count in cells.items():
        style = STYLE.get(state, "dim")
        bar.append(GLYPH.get(state, "·") * max(count, 1), style=style.replace("bold ", ""))
        words.append(f"{state} ", style=style).append(
            f"{states[state]:,} ({share(states[state], total)})   ", style="dim"
        )
    words.truncate(width, overflow="ellipsis")
    return [bar, words]


def _beside(progress: Progress, width: int) -> list[Text]:
    """What waits, and which remedies are under way: two columns."""
    half = width // 2 - 1
    waits = [_pair(name, f"{count:,}", half) for name, count in _largest(progress.backlog)]
    both = {
        name: progress.remedies.get(name, 0) + progress.done.get(name, 0)
        for name in (*progress.remedies, *progress.done)
    }
    work = [
        _pair(name.replace("_", " "), f"{progress.remedies.get(name, 0):,} {progress.done.get(name, 0):>10,}", half)
        for name, _ in _largest(both)
    ]  # fmt: skip
    head = Text(
        f"{_pair('waits', '', half)}  {_pair('remedies', 'under way ended well', half)}", style="dim", no_wrap=True
    )
    empty = [""] * ROWS_MAX
    rows = zip((waits or ["-"]) + empty, (work or ["-"]) + empty, range(ROWS_MAX), strict=False)
    return [head, *(Text(f"{left:<{half}}  {right}", no_wrap=True) for left, right, _ in rows)]


def _pair(name: str, figure: str, width: int) -> str:
    """A name to the left, its figure to the right; a long name gives way."""
    room = width - len(figure) - 1
    return f"{name[:room]:<{room}} {figure}"


def _largest(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(((name, count) for name, count in counts.items() if count), key=lambda each: (-each[1], each[0]))[
        :ROWS_MAX
    ]


def _foot(progress: Progress) -> list[Text]:
    """Two lines, always: the fleet, and the engine."""
    down = sum(progress.unavailable.values())
    fleet = Text.assemble(
        (f"{down:,} services take no writes", "bold red" if down else "green"),
        ("   pages ", "dim"),
        str(progress.pages),
    )
    if progress.forecast_ms:
        fleet.append("   well by ", style="dim").append(clock(progress.forecast_ms), style="bold")
    engine = Text.assemble(
        ("moves ", "dim"), f"{progress.moves:,}", ("   a second ", "dim"), f"{progress.moves_per_s:,.0f}",
        ("   projection behind ", "dim"), f"{progress.behind:,}",
    )  # fmt: skip
    return [fleet, engine]


def _sentence(progress: Progress, width: int) -> Text:
    line = Text.assemble(("▸ ", "yellow"), (progress.sentence, "bold"), no_wrap=True)
    line.truncate(width, overflow="ellipsis")
    return line


def line(progress: Progress) -> str:
    """The same for a pipe, on one line."""
    down = sum(progress.unavailable.values())
    waits = sum(progress.backlog.values())
    parts = [
        f"{clock(progress.virtual_ms)} UTC", f"{down:,} services take no writes", f"{waits:,} wait",
        f"{sum(progress.remedies.values()):,} remedies under way", f"{progress.pages} pages", f"{progress.moves_per_s:,.0f} moves/s",
    ]  # fmt: skip
    return "  ".join([*parts, progress.sentence] if progress.sentence else parts)


class Screen:
    """Shows progress: in place on a terminal, as lines elsewhere, not at all when quiet. Goes to stderr, the answer to
    stdout.
    """

    def __init__(self, scenario: Scenario, *, quiet: bool = False, console: Console | None = None) -> None:
        piped = not sys.stderr.isatty()
        self._scenario = scenario
        self._quiet = quiet
        self._console = console or Console(stderr=True, highlight=False, width=WIDTH_WHEN_PIPED if piped else None)
        self._live: Live | None = None
        self._said_ms = 0
        self._sentence = ""

    def __enter__(self) -> Self:
        if not self._quiet and self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=FRAMES_PER_S, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def show(self, progress: Progress) -> None:
        """What `run_drill` calls."""
        if self._live is not None:
            self._live.update(Picture(self._scenario, progress))
        elif not self._quiet and self._worth_a_line(progress):
            self._said_ms, self._sentence = progress.virtual_ms, progress.sentence
            self._console.print(line(progress), markup=False)

    def _worth_a_line(self, progress: Progress) -> bool:
        return progress.sentence != self._sentence or progress.virtual_ms >= self._said_ms + LINE_EVERY_MS
