"""Draws the tables: `python -m herder.machines.render DIR` writes one page a kind of machine and an index of them.

What is written depends on the tables alone, so that a test can tell when a drawing is stale.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from herder.machines.registry import TABLES
from herder.machines.table import ABSENT, Deadline, Row, State, Table
from herder.model.states import MEANING, UnitState

NOTICE = "Drawn from the tables in `src/herder/machines` by `make docs`; not written by hand."


def pages(tables: Sequence[Table] = TABLES) -> dict[str, str]:
    """File name -> text, the index first."""
    found = {"README.md": _lines(_index(tables))}
    found.update({f"{table.kind}.md": _lines(_page(table)) for table in tables})
    return found


def _index(tables: Sequence[Table]) -> Iterator[str]:
    yield from ("# Machines", "", NOTICE, "")
    yield "Every unit that herder looks after, and every remedy under way, is a machine: a row of a table moves it, and"
    yield "nothing else does. `herder verify` checks the tables against the safety rules."
    for title, unit in (("Units", True), ("Playbooks and pages", False)):
        yield from ("", f"## {title}", "", "| machine | what it is | states |", "| --- | --- | --- |")
        for table in tables:
            if table.unit is unit:
                states = ", ".join(f"`{state.name}`" for state in table.states)
                yield f"| [{table.kind}]({table.kind}.md) | {_cell(table.doc)} | {states} |"
    yield from ("", "## The ten states of a unit", "", "| state | means |", "| --- | --- |")
    for state in UnitState:
        yield f"| `{state}` | {_cell(MEANING[state])} |"


def _page(table: Table) -> Iterator[str]:
    yield from (f"# {table.kind}", "", table.doc, "", NOTICE, "", "```mermaid", *_diagram(table), "```", "")
    yield from (
        "## States",
        "",
        "| state | means | work that is due | its outcomes | deadline |",
        "| --- | --- | --- | --- | --- |",
    )
    for state in table.states:
        yield _row_of(state)
    yield from ("", "## Rows", "", "The first row that fits fires. *Stays* means that deadline and work go on.", "")
    yield "| from | on | to | if | why | tells | proves |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for row in table.rows:
        yield _row_line(row)


def _diagram(table: Table) -> Iterator[str]:
    """One arrow a pair of states, with all its events; what only changes facts is left to the list of rows."""
    yield "stateDiagram-v2"
    arrows: dict[tuple[str, str], dict[str, None]] = {}
    for row in table.rows:
        if not row.keep:
            arrows.setdefault((row.source, row.target), {})[_label(row)] = None
    for (source, target), labels in arrows.items():
        start = "[*]" if source == ABSENT else source
        yield f"    {start} --> {target}: {', '.join(labels)}"
    for state in table.states:
        if state.final:
            yield f"    {state.name} --> [*]"


def _label(row: Row) -> str:
    return f"{row.event} [{_guard(row)}]" if row.guard is not None else row.event


def _guard(row: Row) -> str:
    return "" if row.guard is None else _name(row.guard)


def _name(function: Callable[..., Any]) -> str:
    """A guard's name in words; one without a name has no words."""
    name = function.__name__
    return "a condition" if name == "<lambda>" else name.strip("_").replace("_", " ")


def _row_of(state: State) -> str:
    effect = f"`{state.effect.name}`" if state.effect else ""
    outcomes = ", ".join(f"`{outcome}`" for outcome in state.effect.outcomes) if state.effect else ""
    doc = f"{state.doc} (final)" if state.final else state.doc
    return f"| `{state.name}` | {_cell(doc)} | {effect} | {outcomes} | {_deadline(state.deadline)} |"


def _deadline(deadline: Deadline | None) -> str:
    return f"{deadline.after_s:g} s, then `{deadline.event}`" if deadline is not None else ""


def _row_line(row: Row) -> str:
    source = "" if row.source == ABSENT else f"`{row.source}`"
    target = "*stays*" if row.keep else f"`{row.target}`"
    tells = [f"{emit.to}: `{emit.event}`" for emit in row.emits]
    if row.page is not None:
        tells.append(f"a person: `{row.page.reason}`")
    cells = (source, f"`{row.event}`", target, _guard(row), _cell(row.why), ", ".join(tells), ", ".join(row.proves))
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _lines(lines: Iterator[str]) -> str:
    return "\n".join(line.rstrip() for line in lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write every page into the directory that is named."""
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) != 1:
        sys.stderr.write("usage: python -m herder.machines.render DIR\n")
        return 2
    directory = Path(given[0])
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (directory / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
