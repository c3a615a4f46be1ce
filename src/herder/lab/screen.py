"""How the demo looks: facts in, a calm picture out. On a terminal it moves; in a pipe it is lines with their times.

Nothing here asks herder anything, so that a frame can be drawn by a test and for the README from kept facts.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.text import Text

Facts = dict[str, Any]

STYLE = {
    "available": "green",
    "uncertain": "yellow",
    "unavailable": "bold red",
    "installing": "cyan",
    "restart": "cyan",
    "upgrading": "cyan",
}
"""States that are not at rest; the word always stands beside the colour."""

FRAMES_PER_S = 5
WIDTH_MIN, WIDTH_MAX = 80, 150
LOG_LINES_MAX, LOG_LINES_MIN = 8, 2
BARS = "▁▂▃▄▅▆▇█"
WIDTH_WHEN_PIPED = 240

NOT_POSSIBLE = "not possible here"
WAITING, UNDER_WAY, HEALED, FAILED = "waiting", "under way", "healed", "failed"
_MARK = {WAITING: ("○", "dim"), UNDER_WAY: ("▸", "bold yellow"), HEALED: ("✓", "green"), FAILED: ("✗", "bold red"),
         NOT_POSSIBLE: ("-", "dim")}  # fmt: skip


@dataclass(slots=True)
class Result:
    """One fault and what came of it. gap_s: the longest time without an acknowledged write, as the client had it;
    server_gap_s: the same without the client's own timeouts. None: not known, or not measured.
    acknowledged, lost, doubled: writes from this fault to the next one of the service. state: one of the words above.
    """

    fault: str
    service: str
    plan: str
    state: str = WAITING
    fence: str = ""
    gap_s: float | None = None
    server_gap_s: float | None = None
    acknowledged: int | None = None
    lost: int | None = None
    doubled: int | None = None
    what: str = ""

    def facts(self) -> Facts:
        """As `--json` prints it."""
        return {"fault": self.fault, "service": self.service, "plan": self.plan, "state": self.state,
                "fence": self.fence, "gap_s": _rounded(self.gap_s), "server_gap_s": _rounded(self.server_gap_s),
                "acknowledged": self.acknowledged, "lost": self.lost, "doubled": self.doubled,
                "what": self.what}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Writes:
    """A writer as of now. rates: acknowledged a second in each of the last slices, oldest first; ack_age_s: since the
    last acknowledgement, None before the first.
    """

    rates: tuple[float, ...] = ()
    ack_age_s: float | None = None
    acknowledged: int = 0

    @property
    def rate(self) -> float:
        """Of about the last second."""
        last = self.rates[-3:]
        return sum(last) / len(last) if last else 0.0


@dataclass(frozen=True, slots=True)
class Frame:
    """All that one picture needs. services: as `herder show --json`; events: as `herder events --json`, oldest first;
    control_plane: False while it is dead.
    """

    elapsed_s: float = 0.0
    sentence: str = ""
    services: Sequence[Facts] = ()
    writes: dict[str, Writes] = field(default_factory=dict)
    events: Sequence[Facts] = ()
    results: Sequence[Result] = ()
    control_plane: bool = True


@dataclass(frozen=True, slots=True)
class Ending:
    """The demo is over. notes: what a person must know besides the table; bad: those that made it fail."""

    results: Sequence[Result]
    totals: Facts
    seconds: float
    notes: Sequence[str] = ()
    bad: Sequence[str] = ()


# --- the picture --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Picture:
    """A frame that fits itself to the terminal; its height stays the same while it is shown, so that nothing jumps."""

    frame: Frame

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = max(WIDTH_MIN, min(options.max_width, WIDTH_MAX))
        height = options.height or console.height
        yield draw(self.frame, width, height)


def draw(frame: Frame, width: int, height: int) -> RenderableType:
    """One picture, at most `width` columns wide and, where that is 24 rows or more, `height` rows high."""
    rows = 2 + 2 + 1 + 2 * len(frame.services) + 1 + len(frame.results) + 1
    airy = height >= rows + len(frame.services) + 2 + LOG_LINES_MAX
    rows += len(frame.services) + 2 if airy else 0
    lines = max(LOG_LINES_MIN, min(LOG_LINES_MAX, height - rows - 1))
    gap = [Text("")] if airy else []
    parts: list[RenderableType] = [_head(frame, width), *_sentence(frame.sentence, width), *gap, _headings(width)]
    for service in frame.services:
        parts += [_service(service, frame, width), _members(service, width), *gap]
    parts += [_rule("what herder writes down", width), *_log(frame.events, width, lines), *gap]
    parts += [_rule("faults", width), *(_fault(result, width) for result in frame.results)]
    return Group(*parts)


def _head(frame: Frame, width: int) -> Text:
    left = Text.assemble(("herder demo", "bold"), ("  real databases, real faults", "dim"))
    done = sum(result.state in {HEALED, FAILED, NOT_POSSIBLE} for result in frame.results)
    plane = Text.assemble(
        ("control plane ", "dim"), ("● up", "green") if frame.control_plane else ("● killed", "bold red")
    )
    clock = f"   {done} of {len(frame.results)} faults   {int(frame.elapsed_s) // 60}:{int(frame.elapsed_s) % 60:02d}"
    right = Text.assemble(plane, (clock, "dim"))
    return Text.assemble(left, " " * max(1, width - left.cell_len - right.cell_len), right)


def _sentence(sentence: str, width: int) -> list[Text]:
    """Always two lines and one above, so that a longer sentence moves nothing."""
    console = Console(width=width - 2, file=None, quiet=True)
    wrapped = list(Text(sentence, style="bold").wrap(console, width - 2))[:2]
    lines = [Text.assemble(("▸ " if not number else "  ", "yellow"), line) for number, line in enumerate(wrapped)]
    return [Text(""), *lines, *[Text("")] * (2 - len(lines))]


def _columns(width: int) -> tuple[int, ...]:
    """name, plan, state, primary, term, writes, rate, last ack, doing."""
    narrow = width < 110
    fixed = (9, 10 if narrow else 19, 14, 11, 5, 12 if narrow else 22, 6, 9)
    return (*fixed, max(8, width - sum(fixed)))


def _line(cells: Sequence[tuple[str, str] | Text], widths: Sequence[int]) -> Text:
    line = Text(no_wrap=True, overflow="crop")
    for cell, width in zip(cells, widths, strict=True):
        text = cell.copy() if isinstance(cell, Text) else Text(*cell)
        text.truncate(width - 1, overflow="ellipsis", pad=True)
        line.append_text(text).append(" ")
    return line


def _headings(width: int) -> Text:
    words = ("service", "plan", "state", "primary", "term", "acknowledged writes", "/s", "last", "what herder does")
    return _line([(word, "dim") for word in words], _columns(width))


def _service(service: Facts, frame: Frame, width: int) -> Text:
    columns = _columns(width)
    writes = frame.writes.get(service["name"], Writes())
    primary = next((member["id"] for member in service["members"] if member["role"] == "primary"), "-")
    plan = (
        service["plan"] if width < 110 and service["engine"] == "postgres" else f"{service['engine']} {service['plan']}"
    )
    doing = service.get("doing") or next((m["doing"] for m in service["members"] if m.get("doing")), "")
    if not frame.control_plane:
        doing = "serving by itself"
    elif not doing and service["state"] == "available":
        doing = "watches"
    return _line(
        [
            (service["name"], "bold"), (plan, ""), _state(service["state"]), (primary, ""), (str(service["term"]), ""),
            _spark(writes.rates[-(columns[5] - 1):], writes), (f"{writes.rate:.0f}", ""), _age(writes.ack_age_s),
            (doing.replace("_", " "), "dim" if doing == "watches" else "cyan"),
        ],
        columns,
    )  # fmt: skip


def _state(state: str) -> Text:
    style = STYLE.get(state, "dim")
    return Text.assemble(("● ", style), (state, style))


def _spark(rates: Sequence[float], writes: Writes) -> Text:
    """Bars against the best slice on show; a slice without a write is a red gap, because that is what it is."""
    top = 1.5 * max((*writes.rates, 1.0))  # a steady writer is a calm line at two thirds
    line = Text()
    for rate in rates:
        bar = BARS[min(len(BARS) - 1, int(rate / top * len(BARS)))]
        line.append(*((bar, "green") if rate else ("_", "bold red")))
    return line


def _age(age_s: float | None) -> Text:
    if age_s is None:
        return Text("-", style="dim")
    style = "dim" if age_s < 0.5 else "bold red"
    return Text(f"{age_s * 1000:.0f} ms" if age_s < 1 else f"{age_s:.1f} s", style=style)


def _members(service: Facts, width: int) -> Text:
    line = Text("  ", no_wrap=True)
    each = (width - 2) // max(3, len(service["members"]))
    for member in service["members"]:
        role = "primary" if member["role"] == "primary" else "voter" if member["voter"] else "standby"
        well = member["state"] == "available"
        cell = Text.assemble(
            ("● ", STYLE.get(member["state"], "dim")),
            (member["id"], "dim" if role != "primary" else ""),
            (f" {role}" if well else f" {member['state']}", "dim" if well else STYLE.get(member["state"], "dim")),
            (f" {member['server']}", "dim"),
        )
        cell.truncate(each - 1, overflow="ellipsis", pad=True)
        line.append_text(cell).append(" ")
    return line


def _rule(words: str, width: int) -> Text:
    return Text.assemble((f"── {words} ", "dim"), ("─" * max(0, width - len(words) - 4), "dim"))


def _log(events: Sequence[Facts], width: int, lines: int) -> list[Text]:
    shown = [log_line(event) for event in events if worth_a_line(event)][-lines:]
    for line in shown:
        line.truncate(width, overflow="ellipsis")
    return [*shown, *[Text("")] * (lines - len(shown))]


def worth_a_line(event: Facts) -> bool:
    """A move into another state, or a page; what only notes something stays in `herder events`."""
    return bool(event["source"] != event["target"] or event["kind"] == "page")


def log_line(event: Facts) -> Text:
    """One event on one line: when, what, where it went, why."""
    target = (event["target"], STYLE.get(event["target"], "cyan"))
    return Text.assemble(
        (f"{wall(event['at_ms'] / 1000)}  ", "dim"), f"{event['name']} ", ("→ ", "dim"), target,
        (f"  {event['why']}", "dim"), no_wrap=True,
    )  # fmt: skip


def _fault(result: Result, width: int) -> Text:
    mark, style = _MARK[result.state]
    line = Text.assemble((f"{mark} ", style), no_wrap=True)
    name = Text(result.fault, style="dim" if result.state == WAITING else "")
    name.truncate(32, overflow="ellipsis", pad=True)
    service = Text(result.service, style="dim" if result.state == WAITING else "")
    service.truncate(10, pad=True)
    line.append_text(name).append_text(service)
    if result.state == NOT_POSSIBLE:
        return line.append(NOT_POSSIBLE, style="yellow")
    if result.state in {HEALED, FAILED}:
        line.append(f"{seconds(result.gap_s)} without writes".ljust(25))
        line.append_text(_count("lost", result)).append_text(_count("doubled", result))
        line.append(result.fence, style="dim")
    elif result.state == UNDER_WAY:
        line.append("under way", style="yellow")
    line.truncate(width, overflow="ellipsis")
    return line


def _count(word: str, result: Result) -> Text:
    number = result.lost if word == "lost" else result.doubled
    if number is None:
        return Text("")
    return Text.assemble(f"{word} ", (str(number), _harm(number, result.plan)), "   ")


def _harm(number: int | None, plan: str) -> str:
    """Red where it was promised not to happen; async plans may lose within their bound."""
    if not number:
        return "green"
    return "bold red" if plan == "premium" else "yellow"


# --- the end ------------------------------------------------------------------------------------------------------


_COLUMNS = (("fault", 22), ("service", 18), ("fence used", 27), ("without writes", 15), ("server", 9),
            ("acknowledged", 14), ("lost", 6), ("doubled", 9))  # fmt: skip
_NARROW = (("fault", 21), ("service", 10), ("fence used", 20), ("gap", 8), ("server", 0), ("acked", 8), ("lost", 5),
           ("doubled", 8))  # fmt: skip
"""For 80 columns; what has no width is left out."""
_LEFT = 3
"""The first columns are words; the others are numbers, which stand to the right."""
WIDTH_OF_ONE_LINE = 230
"""From here on what herder did fits beside the numbers; below it, it stands under them."""


@dataclass(frozen=True, slots=True)
class Closing:
    """The table at the end, its totals and what else must be said; as wide as it is let."""

    ending: Ending

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        beside = width >= WIDTH_OF_ONE_LINE
        columns = _COLUMNS if width >= sum(size for _, size in _COLUMNS) else _NARROW
        headings = [Text(name, style="dim") for name, _ in columns]
        yield _row(headings, columns).append("  what herder did" if beside else "", style="dim")
        yield Text("─" * (sum(size for _, size in columns) + (60 if beside else 0)), style="dim")
        for result in self.ending.results:
            row = _row(_cells(result), columns)
            if beside:
                yield row.append(f"  {result.what}", style="dim")
            else:
                yield row
                yield from _under(result.what, width, console)
        yield Text("")
        yield from (Text(note, style="dim") for note in self.ending.notes)
        yield from (Text.assemble(("✗ ", "bold red"), (text, "bold red")) for text in self.ending.bad)
        if not self.ending.bad:
            yield Text.assemble(("✓ ", "green"), (_verdict(self.ending), "bold"))


def _row(cells: Sequence[Text], columns: Sequence[tuple[str, int]]) -> Text:
    line = Text()
    for number, (cell, (_, width)) in enumerate(zip(cells, columns, strict=True)):
        if not width:
            continue
        text = cell.copy()
        text.truncate(width - 1, overflow="ellipsis")
        space = " " * (width - text.cell_len)
        line.append_text(text).append(space) if number < _LEFT else line.append(space).append_text(text)
    return line


def _under(what: str, width: int, console: Console) -> list[Text]:
    if not what:
        return []
    return [Text.assemble("  ", line) for line in Text(what, style="dim").wrap(console, max(width - 2, 20))]


def _cells(result: Result) -> list[Text]:
    named = [Text(result.fault, style="bold"), Text.assemble(result.service, (f" {result.plan}", "dim"))]
    if result.state in {NOT_POSSIBLE, WAITING}:
        words = NOT_POSSIBLE if result.state == NOT_POSSIBLE else "not reached"
        return [*named, Text(words, style="yellow"), *[Text("-", style="dim")] * 5]
    counted = [Text("?" if n is None else str(n), style=_harm(n, result.plan)) for n in (result.lost, result.doubled)]
    amount = "?" if result.acknowledged is None else f"{result.acknowledged:,}".replace(",", " ")
    times = [Text(seconds(result.gap_s)), Text(seconds(result.server_gap_s), style="dim")]
    return [*named, Text(result.fence or "-"), *times, Text(amount), *counted]


def _verdict(ending: Ending) -> str:
    totals = ending.totals
    amount = f"{totals['acknowledged']:,}".replace(",", " ")
    premium = totals["premium"]
    return (f"{amount} writes were acknowledged. premium: {premium['lost']} lost, {premium['doubled']} doubled. "
            f"{ending.seconds:.0f} s, nothing left running.")  # fmt: skip


def seconds(value: float | None) -> str:
    """A length of time in a table: '0.21 s', '-' where it is not known."""
    return "-" if value is None else f"{value:.2f} s"


def wall(at_s: float) -> str:
    """Local time of day, to the millisecond."""
    return f"{datetime.fromtimestamp(at_s).astimezone():%H:%M:%S}.{int(at_s * 1000) % 1000:03d}"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


# --- where it is shown --------------------------------------------------------------------------------------------


class Screen:
    """Where the demo speaks to a person. This one says nothing: with `--json` stdout carries one object only."""

    def open(self) -> None:
        """Before the first word."""

    def close(self) -> None:
        """Gives the terminal back; may be called twice."""

    def say(self, sentence: str) -> None:
        """A sentence of narration."""

    def show(self, frame: Frame) -> None:
        """The newest facts."""

    def over(self, result: Result) -> None:
        """A fault is over, or was not possible."""

    def end(self, ending: Ending) -> None:
        """The table; after `close`."""


class Moving(Screen):
    """A terminal: one picture that is drawn again and goes away at the end, so that the table stands alone."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.frame = Frame()
        self._live = Live(
            console=console, get_renderable=lambda: Picture(self.frame), refresh_per_second=FRAMES_PER_S, transient=True,
            vertical_overflow="crop", redirect_stdout=False, redirect_stderr=False,
        )  # fmt: skip

    def open(self) -> None:
        self._live.start()

    def close(self) -> None:
        self._live.stop()

    def show(self, frame: Frame) -> None:
        self.frame = frame

    def end(self, ending: Ending) -> None:
        self.console.print(Closing(ending))


class Lines(Screen):
    """A pipe or a file: a line for each sentence, each move of a service and each result, with its time."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._states: dict[str, str] = {}

    def say(self, sentence: str) -> None:
        self._line(f"▸ {sentence}")

    def show(self, frame: Frame) -> None:
        """Only what changed since the last frame."""
        for service in frame.services:
            name, state = service["name"], service["state"]
            if self._states.get(name) != state:
                self._states[name] = state
                why = next((e["why"] for e in reversed(frame.events) if e["name"] == name and e["target"] == state), "")
                self._line(f"  {name} is {state}{f': {why}' if why else ''}")

    def over(self, result: Result) -> None:
        mark, _ = _MARK[result.state]
        if result.state == NOT_POSSIBLE:
            self._line(f"{mark} {result.fault}, {result.service}: {NOT_POSSIBLE}. {result.what}")
        else:
            self._line(
                f"{mark} {result.fault}, {result.service}: {seconds(result.gap_s)} without writes; {result.what}"
            )

    def end(self, ending: Ending) -> None:
        self.console.print()
        self.console.print(Closing(ending))

    def _line(self, text: str) -> None:
        self.console.print(f"{wall(time.time())}  {text}", soft_wrap=True, markup=False)


def screen_for(console: Console, *, as_json: bool) -> Screen:
    """The one that fits. TERM=dumb counts as no terminal."""
    if as_json:
        return Screen()
    return Moving(console) if console.is_terminal and not console.is_dumb_terminal else Lines(console)


def console_for_stdout() -> Console:
    """As wide as the terminal, or wide enough for the table where there is none."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDTH_WHEN_PIPED)
