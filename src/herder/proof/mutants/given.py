"""Mutants from a file: a user's own idea of a mistake, in TOML. `docs/reference/mutants.md` has an example of each sort."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from herder.machines.table import Deadline, Effect, Emit, Row, Spawn
from herder.model.errors import InvalidInput
from herder.proof.mutants.parts import ORIGINAL, Change, Mutant, plus, row, state, without
from herder.proof.typed import mistyped

_ROW = frozenset({"drop", "target", "guard", "update", "emits", "page", "keep"})
_STATE = frozenset({"deadline_s", "effect", "final"})
_MUTANT = frozenset({"name", "what", "lives", "table", "source", "event", "which", "state", "change", "add"})


def read(path: Path) -> tuple[Mutant, ...]:
    """The mutants of a file. Raises InvalidInput that says which one is wrong and what to write."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (
        OSError,
        ValueError,
        RecursionError,
    ) as error:  # what is no UTF-8, no TOML or too long a number is a ValueError
        raise InvalidInput(f"{path} cannot be read: {error}", "a file of [[mutant]] tables in TOML is wanted") from None
    entries = document.get("mutant")
    if not isinstance(entries, list) or not entries:
        raise InvalidInput(f"{path} has no [[mutant]]", "each mutant is a table of its own: [[mutant]]")
    return tuple(_mutant(entry, f"{path}, mutant {number}") for number, entry in enumerate(entries, 1))


def _mutant(entry: Any, where: str) -> Mutant:
    if not isinstance(entry, dict):
        raise InvalidInput(f"{where} is no table", "write [[mutant]] and its keys below")
    where = f"{where} ({entry.get('name', 'no name')})"
    _known(entry, _MUTANT, where)
    for key in ("name", "what", "table"):
        if not isinstance(entry.get(key), str) or not entry[key]:
            raise InvalidInput(f"{where} has no {key}", f'write {key} = "..."')
    change = _change(entry, where)
    try:
        change(ORIGINAL)
    except InvalidInput as error:
        raise InvalidInput(f"{where}: {error.message}", error.hint) from None
    return Mutant(entry["name"], entry["what"], change, str(entry.get("lives", "")))


def _change(entry: Mapping[str, Any], where: str) -> Change:
    kind, change = entry["table"], entry.get("change", {})
    if "add" in entry:
        return plus(kind, _added(entry["add"], where))
    if not isinstance(change, dict) or not change:
        raise InvalidInput(f"{where} changes nothing", "write change = { target = ... }, or add = { source = ... }")
    if "state" in entry:
        if not isinstance(entry["state"], str):
            raise InvalidInput(f"{where}: 'state' is not a text in quotes", 'write state = "..."')
        _known(change, _STATE, where)
        return state(kind, entry["state"], **_state_fields(kind, entry["state"], change, where))
    if "source" not in entry or "event" not in entry:
        raise InvalidInput(f"{where} names no row", "write source = and event =, or state =")
    _known(change, _ROW, where)
    which = entry.get("which")
    if change.get("drop"):
        return without(kind, entry["source"], entry["event"], which=which)
    return row(kind, entry["source"], entry["event"], which=which, **_row_fields(change, where))


def _row_fields(change: Mapping[str, Any], where: str) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for key, value in change.items():
        if key in ("guard", "update"):
            if value != "none":
                raise InvalidInput(f"{where}: {key} = {value!r}", f'a {key} can be taken away: {key} = "none"')
            fields[key] = None
        elif key == "emits":
            fields[key] = tuple(_emit(each, where) for each in value)
        elif key == "page":
            fields[key] = Spawn(str(value)) if value else None
        else:
            fields[key] = value
    return fields


def _state_fields(kind: str, name: str, change: Mapping[str, Any], where: str) -> dict[str, Any]:
    table = next((each for each in ORIGINAL.tables if each.kind == kind), None)
    old = table.by_name.get(name) if table is not None else None
    fields: dict[str, Any] = {}
    for key, value in change.items():
        if key == "deadline_s":
            event = old.deadline.event if old is not None and old.deadline is not None else "overdue"
            fields["deadline"] = Deadline(float(value), event) if value else None
        elif key == "effect":
            fields["effect"] = None if value == "none" else _effect(str(value), where)
        else:
            fields[key] = value
    return fields


def _effect(name: str, where: str) -> Effect:
    known = {state.effect.name: state.effect for table in ORIGINAL.tables for state in table.states if state.effect}
    if name not in known:
        raise InvalidInput(f"{where}: there is no effect '{name}'", f"effects are: {', '.join(sorted(known))}")
    return known[name]


def _added(entry: Any, where: str) -> Row:
    if not isinstance(entry, dict) or not {"source", "event", "target"} <= entry.keys():
        raise InvalidInput(f"{where}: a row has a source, an event and a target", 'add = { source = "...", ... }')
    _known(entry, _ROW - {"drop", "guard", "update"} | {"source", "event", "target"}, where)
    return Row(
        entry["source"],
        entry["event"],
        **_row_fields({k: v for k, v in entry.items() if k not in ("source", "event")}, where),
    )


def _emit(entry: Any, where: str) -> Emit:
    if not isinstance(entry, dict) or not {"to", "event"} <= entry.keys():
        raise InvalidInput(f"{where}: an event is sent to somebody", '{ to = "service", event = "..." }')
    _known(entry, frozenset({"to", "event", "carry"}), where)
    return Emit(entry["to"], entry["event"], tuple(entry.get("carry", ())))


def _known(entry: Mapping[str, Any], keys: frozenset[str], where: str) -> None:
    strange = sorted(set(entry) - keys)
    if strange:
        raise InvalidInput(f"{where}: '{strange[0]}' is not known here", f"known are: {', '.join(sorted(keys))}")
    if fault := mistyped(entry):
        raise InvalidInput(f"{where}: {fault}", "docs/reference/mutants.md has an example of each sort")
