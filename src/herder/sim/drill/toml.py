"""A TOML file read key by key, so that an error can name the file, the line and the key, and what to write instead."""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from herder.model.errors import InvalidInput

Path = tuple[str | int, ...]

_HEADER = re.compile(r"^(\[\[?)\s*([A-Za-z0-9_.\"'\- ]+?)\s*(\]\]?)\s*(#.*)?$")
_KEY = re.compile(r"^([A-Za-z0-9_\-]+)\s*=")
SHOWN = 60
"""Characters of a value in an error."""

_LONG = ('"""', "'''")


def lines_of(text: str) -> dict[Path, int]:
    """Where each table and key stands: ('event', 2, 'at') -> 41. tomllib tells lines of syntax errors only."""
    found: dict[Path, int] = {}
    counts: dict[Path, int] = {}
    here: Path = ()
    inside = ""
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if inside:
            inside = "" if inside in stripped else inside
            continue
        if header := _HEADER.match(stripped):
            here = _resolved(header[2].split("."), counts, many=header[1] == "[[")
            found.setdefault(here, number)
        elif key := _KEY.match(stripped):
            found[*here, key[1]] = number
        inside = next((mark for mark in _LONG if stripped.count(mark) % 2), "")
    return found


def _resolved(parts: Sequence[str], counts: dict[Path, int], *, many: bool) -> Path:
    """A header's path with the numbers of the arrays that it stands in."""
    path: Path = ()
    for number, part in enumerate(parts):
        path = (*path, part.strip().strip("\"'"))
        if many and number == len(parts) - 1:
            counts[path] = counts.get(path, -1) + 1
        if path in counts:
            path = (*path, counts[path])
    return path


def document(text: str, name: str) -> Section:
    """The root of a file. name: how errors call it. InvalidInput when it is no TOML."""
    try:
        facts = tomllib.loads(text)
    except (
        ValueError,
        RecursionError,
    ) as problem:  # tomllib's own error is a ValueError; so is a number too long to read
        raise InvalidInput(f"{name} is not TOML: {problem}", "mend that line; https://toml.io has the syntax") from None
    return Section(facts, (), name, lines_of(text))


def said(value: object) -> str:
    """A value as an error shows it: cut short, and a number of thousands of digits only named."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        return "too large to be shown"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _is_finite(value: float) -> bool:
    """Not `inf`, not `nan`, and no whole number that is too large to calculate with."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


@dataclass(slots=True)
class Section:
    """One table of a file. Every getter notes its key as known; `end` complains about the others."""

    facts: dict[str, Any]
    path: Path
    name: str
    lines: dict[Path, int]
    known: set[str] = field(default_factory=set)

    def wrong(self, key: str, problem: str, hint: str) -> NoReturn:
        """Raise InvalidInput about one key of this table ('' = the table itself)."""
        path = (*self.path, key) if key else self.path
        words = ".".join(str(part + 1) if isinstance(part, int) else part for part in path)
        raise InvalidInput(f"{self._where(path)}: {f'{words} ' if words else ''}{problem}", hint)

    def _where(self, path: Path) -> str:
        """The key's line; that of its table when the key is not there."""
        line = next((self.lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in self.lines), 0)
        return f"{self.name}, line {line}" if line else self.name

    def has(self, key: str) -> bool:
        """Is it written?"""
        return key in self.facts

    def get(self, key: str) -> Any:
        """The raw value; InvalidInput when it is not there."""
        self.known.add(key)
        if key not in self.facts:
            self.wrong(key, "is missing", "add it; `herder drill --copy` writes a whole scenario to look at")
        return self.facts[key]

    def text(self, key: str, default: str | None = None) -> str:
        """A string that is not empty, unless its default is."""
        self.known.add(key)
        if default is not None and key not in self.facts:
            return default
        value = self.get(key)
        if not isinstance(value, str) or not value.strip():
            self.wrong(key, f"is {said(value)}", "write a sentence in quotes")
        return value.strip()

    def number(self, key: str, default: float | None = None, *, least: float = 0.0, most: float | None = None) -> float:
        """A number within bounds, both included."""
        self.known.add(key)
        if default is not None and key not in self.facts:
            return default
        value = self.get(key)
        bounds = f"a number of at least {least:g}" + (f" and at most {most:g}" if most is not None else "")
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.wrong(key, f"is {said(value)}, not a number", f"write {bounds}, without quotes")
        if not _is_finite(value):
            self.wrong(key, f"is {said(value)}", f"write {bounds}")
        if value < least or (most is not None and value > most):
            self.wrong(key, f"is {value:g}", f"write {bounds}")
        return float(value)

    def whole(self, key: str, default: int | None = None, *, least: int = 0) -> int:
        """A whole number."""
        value = self.number(key, None if default is None else float(default), least=least)
        if value != int(value):
            self.wrong(key, f"is {value:g}, not a whole number", "write it without a fraction")
        return int(value)

    def choice(self, key: str, among: Sequence[str], default: str | None = None) -> str:
        """One of the words."""
        value = self.text(key, default)
        if value not in among:
            near = difflib.get_close_matches(value, among, n=1)
            hint = f"did you mean '{near[0]}'? " if near else ""
            self.wrong(key, f"is '{value}'", f"{hint}choose one of: {', '.join(among)}")
        return value

    def section(self, key: str, *, optional: bool = False) -> Section:
        """A table in this one; an optional one that is missing is empty."""
        self.known.add(key)
        value = {} if optional and key not in self.facts else self.get(key)
        if not isinstance(value, dict):
            self.wrong(key, "is not a table", f"begin it with [{key}]")
        return Section(value, (*self.path, key), self.name, self.lines)

    def each(self, key: str, *, least: int = 0) -> list[Section]:
        """An array of tables."""
        self.known.add(key)
        value = self.facts.get(key, [])
        if not isinstance(value, list) or any(not isinstance(item, dict) for item in value):
            self.wrong(key, "is not an array of tables", f"begin each with [[{key}]]")
        if len(value) < least:
            self.wrong(
                key, "is missing", f"write at least {least}, each under [[{'.'.join(map(str, (*self.path, key)))}]]"
            )
        return [Section(item, (*self.path, key, number), self.name, self.lines) for number, item in enumerate(value)]

    def end(self) -> None:
        """Everything was read; a key that nobody knows is an error, since it would be silently without effect."""
        for key in self.facts:
            if key not in self.known:
                near = difflib.get_close_matches(key, sorted(self.known), n=1)
                what = f"did you mean '{near[0]}'? " if near else ""
                self.wrong(key, "is not known", f"{what}known here: {', '.join(sorted(self.known))}")
