"""Talking to a person, or to a program with --json: one place for colours, durations and errors."""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from herder.model.errors import HerderError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

WIDTH_WHEN_PIPED = 240
"""Columns. Nothing is cut off in what a pipe or a file gets."""

WRAPS = frozenset({"why", "waits for", "being done", "text", "value", "from", "doing", "what happens"})
"""Columns of prose; all others are read down and must not break."""

STYLE = {
    "available": "green",
    "uncertain": "yellow",
    "unavailable": "bold red",
    "installing": "cyan",
    "restart": "cyan",
    "upgrading": "cyan",
    "retiring": "dim",
    "retired": "dim",
    "archived": "dim",
    "terminated": "dim",
}
"""How each of the ten states looks. Green and red are told apart by words too: the state is always spelt out."""


def console(*, stderr: bool = False) -> Console:
    """A console as wide as the terminal, or wide enough for anything where there is none."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else WIDTH_WHEN_PIPED
    return Console(file=stream, width=width, highlight=False, soft_wrap=False)


def as_json(value: Any) -> None:
    """Print for programs."""
    print(json.dumps(value, indent=2, ensure_ascii=False), flush=True)


def error(problem: HerderError) -> None:
    """Tell an error on stderr: what is wrong, and what to do next."""
    if "--json" in sys.argv[1:]:
        told = {"error": problem.code, "message": problem.message, "hint": problem.hint}
        print(json.dumps(told, ensure_ascii=False), file=sys.stderr, flush=True)
        return
    colour = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    red, dim, plain = ("\033[1;31m", "\033[2m", "\033[0m") if colour else ("", "", "")
    print(f"{red}error:{plain} {problem.message}", file=sys.stderr)
    if problem.hint:
        print(f"{dim}hint:{plain}  {problem.hint}", file=sys.stderr, flush=True)


def note(text: str) -> None:
    """Something to know that is not the answer: on stderr, so that `$(herder url X)` stays clean."""
    print(text, file=sys.stderr, flush=True)


def state(name: str) -> Text:
    """A state with its mark and colour."""
    from rich.text import Text

    style = STYLE.get(name, "")
    return Text.assemble(("● ", style), (name, style))


def table(*headings: str, right: tuple[str, ...] = ()) -> Table:
    """A calm table: no frame, dim headings."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    made = Table(box=SIMPLE_HEAD, header_style="dim", show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in headings:
        made.add_column(
            heading, justify="right" if heading in right else "left", overflow="fold", no_wrap=heading not in WRAPS
        )
    return made


def lasted(since_ms: int, now_ms: int | None = None) -> str:
    """How long ago, in the two units that matter: '42 s', '3 min 12 s', '5 h 2 min', '12 d 4 h'."""
    now = int(time.time() * 1000) if now_ms is None else now_ms
    seconds = max(0, now - since_ms) // 1000
    if not since_ms:
        return ""
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    if seconds < 86400:
        return f"{seconds // 3600} h {seconds % 3600 // 60} min"
    return f"{seconds // 86400} d {seconds % 86400 // 3600} h"


def clock(at_ms: int) -> str:
    """Local time of today, with the date in front when it is another day."""
    if not at_ms:
        return ""
    at = datetime.fromtimestamp(at_ms / 1000).astimezone()
    today = datetime.now().astimezone().date()
    text = f"{at:%H:%M:%S}.{at_ms % 1000:03d}"
    return text if at.date() == today else f"{at:%m-%d} {text}"


def size(count: int | None) -> str:
    """Bytes, so that 0 and 'not known' differ."""
    if count is None:
        return "?"
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1024 or unit == "GB":
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 10 else f"{amount:.1f} {unit}"
        amount /= 1024
    raise AssertionError


def without_password(url: str) -> str:
    """A URL for the screen: passwords are for `herder url`, which somebody asked for."""
    scheme, found, rest = url.partition("://")
    user, at, where = rest.rpartition("@")
    if not (found and at and ":" in user):
        return url
    return f"{scheme}://{user.partition(':')[0]}:***@{where}"
