"""The same work by hand: minutes a task times how often it was done in the drill. Arithmetic that the report shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from herder.machines.archive import ARCHIVE
from herder.machines.registry import TABLES
from herder.model.errors import NotFound
from herder.sim.drill.toml import Section, document, said

KINDS = {table.kind: table for table in (*TABLES, ARCHIVE)}
DERIVED = ("drill.incidents", "drill.pages", "drill.services_touched", "drill.services_unavailable")
"""What is counted besides committed moves; `run` fills these in."""


@dataclass(frozen=True, slots=True)
class Task:
    """minutes: of one person's attention, each time. per: names of what calls for it, added up."""

    name: str
    per: tuple[str, ...]
    minutes: float
    why: str


@dataclass(frozen=True, slots=True)
class Manual:
    """The table. original_person_years: what a team said of its own day, to stand beside ours."""

    tasks: tuple[Task, ...]
    hours_per_person_year: float
    hours_why: str
    original_person_years: float
    original_why: str


@dataclass(frozen=True, slots=True)
class HandLine:
    """One task and how often it would have been done."""

    task: str
    per: tuple[str, ...]
    times: int
    minutes: float
    why: str

    @property
    def hours(self) -> float:
        """All of them."""
        return self.times * self.minutes / 60


@dataclass(frozen=True, slots=True)
class ByHand:
    """The sum. Lines of tasks that did not come up are kept, so that nobody wonders."""

    lines: tuple[HandLine, ...]
    hours_per_person_year: float
    hours_why: str
    original_person_years: float
    original_why: str

    @property
    def hours(self) -> float:
        """Of all tasks."""
        return sum(line.hours for line in self.lines)

    @property
    def person_years(self) -> float:
        """Hours / hours_per_person_year."""
        return self.hours / self.hours_per_person_year


def by_hand(manual: Manual, counts: Mapping[str, int]) -> ByHand:
    """counts: how often each "kind.event" was committed, and each of DERIVED."""
    lines = tuple(
        HandLine(task.name, task.per, sum(int(counts.get(name, 0)) for name in task.per), task.minutes, task.why)
        for task in manual.tasks
    )
    return ByHand(
        lines, manual.hours_per_person_year, manual.hours_why, manual.original_person_years, manual.original_why
    )


def text() -> str:
    """The file that comes with herder."""
    return (files(__package__) / "manual.toml").read_text(encoding="utf-8")


def read(path: str = "") -> Manual:
    """The table in this file, or the one that comes with herder. NotFound, InvalidInput."""
    if not path:
        return parse(text(), "manual.toml")
    try:
        return parse(Path(path).expanduser().read_text(encoding="utf-8"), path)
    except (OSError, ValueError, RuntimeError) as problem:  # the last two: not UTF-8, a path or a home that cannot be
        raise NotFound(f"{path} cannot be read: {problem}", "`herder drill s3-2017 --copy DIR` writes one") from None


def parse(content: str, file: str) -> Manual:
    """The table in this text."""
    root = document(content, file)
    made = Manual(
        tasks=tuple(_task(each) for each in root.each("task", least=1)),
        hours_per_person_year=root.number("hours_per_person_year", least=1, most=8784),
        hours_why=root.text("hours_why"),
        original_person_years=root.number("original_person_years", 35.0),
        original_why=root.text("original_why", ""),
    )
    root.end()
    return made


def _task(section: Section) -> Task:
    names = section.get("per")
    if not isinstance(names, list) or not names or any(not isinstance(name, str) for name in names):
        section.wrong("per", f"is {said(names)}", 'write an array of names: per = ["failover.promoted"]')
    for name in names:
        _check(section, name)
    made = Task(section.text("name"), tuple(names), section.number("minutes"), section.text("why"))
    section.end()
    return made


def _check(section: Section, name: str) -> None:
    """A name that no table knows would count nothing, silently."""
    if name in DERIVED:
        return
    kind, _, event = name.partition(".")
    if kind not in KINDS:
        section.wrong("per", f"names '{name}'", f"kinds: {', '.join(KINDS)}; or one of {', '.join(DERIVED)}")
    if event not in KINDS[kind].events:
        section.wrong("per", f"names '{name}'", f"events of {kind}: {', '.join(KINDS[kind].events)}")
