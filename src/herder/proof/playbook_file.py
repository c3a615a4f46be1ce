"""A playbook in a file of your own: read into the same `Table` as herder's, and put before the same checks.

herder does not run it. What herder runs are the tables of `herder.machines` with the catalogue that begins them; a file says
what would come of other states and rows, made of the effects, guards and updates that there are.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from herder.machines.registry import TABLES
from herder.machines.rules import in_words
from herder.machines.table import ABSENT, Deadline, Effect, Emit, Row, Spawn, State, Table
from herder.model.errors import InvalidInput
from herder.proof.mutants.judge import VOTING, Noticed, noticed
from herder.proof.typed import mistyped

OWN_CODE = 200
"""The code of a table that takes no other's place; the log never sees it."""

_TOP = frozenset({"kind", "doc", "replaces", "state", "row"})
_STATE = frozenset({"name", "doc", "effect", "deadline_s", "deadline", "final"})
_ROW = frozenset({"from", "on", "to", "when", "update", "sends", "page", "keep", "why"})
_EMIT = frozenset({"to", "event", "carry"})


@dataclass(frozen=True, slots=True)
class Read:
    """A file as a table. replaces: the kind whose place it takes ('' = none). lines: 'state NAME' and rows in words -> line."""

    table: Table
    replaces: str
    lines: Mapping[str, int]

    @property
    def tables(self) -> tuple[Table, ...]:
        """The tables of herder with this one among them."""
        if not self.replaces:
            return (*TABLES, self.table)
        return tuple(self.table if each.kind == self.replaces else each for each in TABLES)

    def line(self, found: Noticed) -> int:
        """Where in the file a finding lies; 0: in no line of it."""
        for words, line in self.lines.items():
            if " -" in words and words in found.what:
                return line
        kind, _, state = found.where.partition(".")
        return self.lines.get(f"state {state}", 0) if kind == self.table.kind else 0


def read(path: Path) -> Read:
    """The playbook of a file. Raises InvalidInput with the line, and what to write there."""
    try:
        text = path.read_text(encoding="utf-8")
        document = tomllib.loads(text)
    except (
        OSError,
        ValueError,
        RecursionError,
    ) as error:  # what is no UTF-8, no TOML or too long a number is a ValueError
        raise InvalidInput(f"{path} cannot be read: {error}", "herder verify --playbook-of restart shows one") from None
    return _Reader(path, text, document).read()


class _Reader:
    """One file. Every complaint names its line."""

    def __init__(self, path: Path, text: str, document: Mapping[str, Any]) -> None:
        self._path, self._document = path, document
        self._heads = {
            what: [
                number
                for number, line in enumerate(text.splitlines(), 1)
                if re.match(rf"\s*\[\[\s*{what}\s*\]\]", line)
            ]
            for what in ("state", "row")
        }
        self._replaces = str(document.get("replaces", ""))

    def read(self) -> Read:
        self._known(self._document, _TOP, 1)
        old = next((table for table in TABLES if table.kind == self._replaces and not table.unit), None)
        if self._replaces and old is None:
            raise self._wrong(
                1, f"no playbook is called '{self._replaces}'", _listed(t.kind for t in TABLES if not t.unit)
            )
        kind = str(self._document.get("kind", self._replaces))
        if not re.fullmatch(r"[a-z][a-z_]*", kind):
            raise self._wrong(1, f"kind = {kind!r}", "a playbook has a kind: small letters and _")
        if old is None and any(table.kind == kind for table in TABLES):
            raise self._wrong(1, f"there is a '{kind}' already", f'to try this one in its place: replaces = "{kind}"')
        states = tuple(self._state(entry, line) for entry, line in self._each("state"))
        effects = {state.name: state.effect for state in states if state.effect}
        rows = tuple(self._row(entry, line, effects) for entry, line in self._each("row"))
        lines = {f"state {state.name}": line for state, (_, line) in zip(states, self._each("state"), strict=True)}
        lines |= {in_words(row): line for row, (_, line) in zip(rows, self._each("row"), strict=True)}
        doc = str(self._document.get("doc", ""))
        table = Table(old.kind if old else kind, old.code if old else OWN_CODE, doc, states, rows)
        return Read(table, self._replaces, lines)

    def _each(self, what: str) -> Iterator[tuple[Mapping[str, Any], int]]:
        entries = self._document.get(what)
        heads = self._heads[what]
        tables = isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries)
        if not tables or not entries or len(entries) != len(heads):
            raise self._wrong(
                1, f"a playbook is made of [[{what}]]", f"write each {what} as a table of its own: [[{what}]]"
            )
        return zip(entries, heads, strict=True)

    def _state(self, entry: Mapping[str, Any], line: int) -> State:
        self._known(entry, _STATE, line)
        name = self._text(entry, "name", line)
        effect = self._effect(str(entry["effect"]), line) if "effect" in entry else None
        wait = (
            Deadline(float(entry["deadline_s"]), str(entry.get("deadline", "overdue")))
            if "deadline_s" in entry
            else None
        )
        return State(name, str(entry.get("doc", "")), effect, wait, bool(entry.get("final", False)))

    def _row(self, entry: Mapping[str, Any], line: int, effects: Mapping[str, Effect]) -> Row:
        self._known(entry, _ROW, line)
        source, event = self._text(entry, "from", line), self._text(entry, "on", line)
        guard = self._function("when", GUARDS, entry, line)
        made = Row(
            source, event, self._text(entry, "to", line), guard, self._function("update", UPDATES, entry, line),
            tuple(self._emit(each, line) for each in entry.get("sends", ())),
            Spawn(str(entry["page"])) if entry.get("page") else None, bool(entry.get("keep", False)),
            why=str(entry.get("why", "")),
        )  # fmt: skip
        return replace(made, proves=_proves(made, effects.get(source)))

    def _emit(self, entry: Any, line: int) -> Emit:
        if not isinstance(entry, dict):
            raise self._wrong(line, "sends is a list of events", 'sends = [{ to = "service", event = "restored" }]')
        self._known(entry, _EMIT, line)
        return Emit(self._text(entry, "to", line), self._text(entry, "event", line), tuple(entry.get("carry", ())))

    def _effect(self, name: str, line: int) -> Effect:
        if name not in EFFECTS:
            raise self._wrong(line, f"there is no effect '{name}'", _listed(EFFECTS))
        return EFFECTS[name]

    def _function(self, key: str, known: Mapping[str, Any], entry: Mapping[str, Any], line: int) -> Any:
        """By its name; where several tables have one of that name, that of the replaced table, or 'kind.name'."""
        name = str(entry.get(key, ""))
        if not name:
            return None
        mine = f"{self._replaces}.{name}"
        found = [full for full in known if name in (full, full.rpartition(".")[2])]
        exact = name if name in known else mine if mine in known else ""
        if not exact and len({known[full] for full in found}) != 1:
            hint = f"say which: {', '.join(found)}" if found else _listed(known)
            raise self._wrong(line, f"{key} = '{name}' is {'in several tables' if found else 'not known'}", hint)
        return known[exact or found[0]]

    def _text(self, entry: Mapping[str, Any], key: str, line: int) -> str:
        value = entry.get(key)
        if not isinstance(value, str) or not value:
            raise self._wrong(line, f"'{key}' is missing", f'write {key} = "..."')
        return value

    def _known(self, entry: Mapping[str, Any], keys: frozenset[str], line: int) -> None:
        strange = sorted(set(entry) - keys)
        if strange:
            raise self._wrong(line, f"'{strange[0]}' is not known here", _listed(keys))
        if fault := mistyped(entry):
            raise self._wrong(line, fault, "herder verify --playbook-of restart shows one")

    def _wrong(self, line: int, what: str, hint: str) -> InvalidInput:
        return InvalidInput(f"{self._path}, line {line}: {what}", hint)


def _listed(names: Any) -> str:
    return f"known are: {', '.join(sorted(set(names)))}"


def _functions(which: Callable[[Row], Any]) -> dict[str, Any]:
    """'kind.name' -> function, of every row of every table."""
    return {f"{table.kind}.{which(row).__name__}": which(row) for table in TABLES for row in table.rows if which(row)}


GUARDS: Mapping[str, Any] = _functions(lambda row: row.guard)
UPDATES: Mapping[str, Any] = _functions(lambda row: row.update)
EFFECTS: Mapping[str, Effect] = {
    state.effect.name: state.effect for table in TABLES for state in table.states if state.effect
}


def _proves(row: Row, effect: Effect | None) -> tuple[str, ...]:
    """What a row proves is not the file's to say: it follows from the effect whose outcome it is, and from the guard that
    looks for consent.
    """
    for table in TABLES:
        for known in table.rows:
            at = table.by_name[known.source].effect
            same = effect is not None and at is not None and at.name == effect.name and known.event == row.event
            asked = known.source == row.source == ABSENT and known.guard is not None and known.guard is row.guard
            if known.proves and (same or asked):
                return known.proves
    return ()


def check(file: Read) -> Iterator[Noticed]:
    """What does not hold with this playbook in its place: tables, loading, voters, product; each with the way there."""
    concerns = [file.table.kind] if file.replaces else []
    return noticed(file.tables, concerns, searched=bool(file.replaces))


def searched(file: Read) -> str:
    """In words, what was looked at."""
    if not file.replaces:
        return "its table and what passes between it and the others; it takes no playbook's place, so nothing begins it"
    more = "voters and pledges, the product" if file.replaces in VOTING else "the product"
    return f"its table in the place of {file.replaces}, what passes between tables, {more}"


def written(table: Table) -> str:
    """A table of herder's as such a file: a place to begin."""
    lines = [f"# herder's own {table.kind}: change it, then `herder verify --playbook FILE`", f"kind = {_quoted(table.kind)}",
             f"replaces = {_quoted(table.kind)}", f"doc = {_quoted(table.doc)}"]  # fmt: skip
    for state in table.states:
        lines += ["", "[[state]]", f"name = {_quoted(state.name)}", f"doc = {_quoted(state.doc)}"]
        lines += [f"effect = {_quoted(state.effect.name)}"] if state.effect else []
        if state.deadline is not None:
            lines += [f"deadline_s = {state.deadline.after_s:g}", f"deadline = {_quoted(state.deadline.event)}"]
        lines += ["final = true"] if state.final else []
    for row in table.rows:
        lines += [
            "",
            "[[row]]",
            f"from = {_quoted(row.source)}",
            f"on = {_quoted(row.event)}",
            f"to = {_quoted(row.target)}",
        ]
        lines += [f"when = {_quoted(row.guard.__name__)}"] if row.guard else []
        lines += [f"update = {_quoted(row.update.__name__)}"] if row.update else []
        lines += [f"sends = [{', '.join(map(_sent, row.emits))}]"] if row.emits else []
        lines += [f"page = {_quoted(row.page.reason)}"] if row.page else []
        lines += ["keep = true"] if row.keep else []
        lines += [f"why = {_quoted(row.why)}"] if row.why else []
    return "\n".join(lines) + "\n"


def _sent(emit: Emit) -> str:
    carry = f", carry = [{', '.join(map(_quoted, emit.carry))}]" if emit.carry else ""
    return f"{{ to = {_quoted(emit.to)}, event = {_quoted(emit.event)}{carry} }}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def playbooks() -> Sequence[str]:
    """Kinds that can be shown, and replaced."""
    return tuple(table.kind for table in TABLES if not table.unit)
