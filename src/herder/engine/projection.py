"""Rows that people query, derived from machines and moves. They follow the log and can be thrown away."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from herder.engine.marks import distinct
from herder.engine.record import KEEP, Move, Record, Span
from herder.engine.world import Machine, World
from herder.machines.registry import BY_CODE
from herder.machines.service import SERVICE
from herder.ports.store import HistoryRow, UnitBlock, UnitRow

SECRETS = frozenset({"password", "admin_password", "replication_password"})
"""Facts that never leave the log for a row that people query."""


def open_facts(data: dict[str, Any]) -> dict[str, Any]:
    """A machine's facts without the secret ones."""
    return {key: value for key, value in data.items() if key not in SECRETS}


def service_of(machine: Machine) -> int:
    """The service a machine belongs to (itself, for a service), 0 for none."""
    return machine.id if machine.kind == "service" else int(machine.data.get("service", 0))


def unit_row(machine: Machine, service_name: str, world: World) -> UnitRow:
    """One machine as a row."""
    return UnitRow(
        machine=machine.id, kind=machine.kind, name=machine.name, service=service_name, state=machine.state,
        version=machine.version, since_ms=machine.since_ms, deadline_ms=machine.deadline_ms,
        data=_own_facts(world, machine.id, machine.data), service_id=service_of(machine),
    )  # fmt: skip


def _own_facts(world: World, machine: int, data: dict[str, Any]) -> dict[str, Any]:
    """Its open facts but for those that its shape says of it too: a million rows need not repeat them."""
    code = int(world.columns.shape[machine]) if machine < world.size else 0
    if not code:
        return open_facts(data)
    shared = world.shapes[code].facts_of(machine)
    return {key: value for key, value in open_facts(data).items() if key not in shared or shared[key] != value}


def unit_rows(
    machines: Iterable[Machine], world: World, changed: dict[int, Machine] | None = None
) -> tuple[UnitRow, ...]:
    """Machines as rows; `changed` (as they will be) and `world` know their services' names."""
    return tuple(unit_row(machine, _service_name(world, machine, changed), world) for machine in machines)


def unit_block(world: World, ids: NDArray[np.uint32]) -> UnitBlock:
    """The same of many machines (ascending), by columns."""
    columns = world.columns
    kinds, states = columns.kind[ids], columns.state[ids]
    pairs = np.flatnonzero(np.bincount(kinds.astype(np.uint16) << 8 | states, minlength=1 << 16))
    words: dict[str, int] = {}
    of_kind, of_state = np.zeros(256, "<u2"), np.zeros(1 << 16, "<u2")
    for pair in pairs.tolist():
        table = BY_CODE[pair >> 8]
        of_kind[pair >> 8] = words.setdefault(table.kind, len(words))
        of_state[pair] = words.setdefault(table.state_names[pair & 255], len(words))
    services = world.fact(ids, "service", 0, np.uint32)
    are_services = kinds == SERVICE.code
    services[are_services] = ids[are_services]
    return UnitBlock(
        machines=ids.astype("<u4").tobytes(),
        kinds=of_kind[kinds].tobytes(),
        states=of_state[kinds.astype(np.uint16) << 8 | states].tobytes(),
        versions=columns.version[ids].astype("<u4").tobytes(),
        since_ms=columns.since_ms[ids].astype("<i8").tobytes(),
        deadline_ms=columns.deadline_ms[ids].astype("<i8").tobytes(),
        services=services.astype("<u4").tobytes(),
        words=tuple(words),
        names=_names(world, ids),
        service_names=_names(world, distinct(services)),
        data=_documents(world, ids),
    )


def _names(world: World, ids: NDArray[np.uint32]) -> dict[int, str]:
    """Those that are called otherwise than kind-id."""
    ids = ids[(ids > 0) & (ids < world.size)]
    shapes = [
        code
        for code in np.flatnonzero(np.bincount(world.columns.shape[ids])).tolist()
        if code and "name" in world.shapes[code].facts_of(0)
    ]
    may = (world.columns.own[ids] == 1) | np.isin(world.columns.shape[ids], shapes)
    found = {}
    for ident in ids[may].tolist():
        machine = world.find(ident)
        if machine is not None and machine.name != f"{machine.kind}-{ident}":
            found[ident] = machine.name
    return found


def _documents(world: World, ids: NDArray[np.uint32]) -> dict[int, dict[str, Any]]:
    """What they know of their own, where there is any."""
    with_own = ids[world.columns.own[ids] == 1].tolist()
    found = ((ident, _own_facts(world, ident, world.document(ident))) for ident in with_own)
    return {ident: data for ident, data in found if data}


def history_rows(
    moves: Sequence[Move], seq: int, at_ms: int, machines: dict[int, Machine], world: World
) -> tuple[HistoryRow, ...]:
    """Moves in words. machines: those that the batch changed, as they are after it."""
    found: list[HistoryRow] = []
    for ordinal, move in enumerate(moves):
        table = BY_CODE[move.kind]
        machine = machines.get(move.machine) or world.get(move.machine)
        found.append(
            HistoryRow(
                seq=seq,
                ordinal=ordinal,
                at_ms=at_ms,
                machine=move.machine,
                kind=table.kind,
                name=machine.name,
                service=_service_name(world, machine, machines),
                source=table.state_names[move.source],
                event=table.events[move.event],
                target=table.state_names[move.target],
                why=move.why,
                actor=move.actor,
            )
        )
    return tuple(found)


def _move(record: Record, ordinal: int) -> Move:
    row, note = record.columns[ordinal], record.notes.get(ordinal)
    return Move(
        int(row["machine"]), int(row["version"]), int(row["deadline_ms"]), int(row["kind"]), int(row["source"]),
        int(row["event"]), int(row["target"]), bool(row["flags"] & KEEP), note.patch if note else {},
        note.why if note else "", note.actor if note else "",
    )  # fmt: skip


def history_of(record: Record, world: World) -> list[HistoryRow]:
    """A record in words: a row for each move of a single machine, and one for each span of many."""
    found: list[HistoryRow] = []
    begin = 0
    for span in record.spans:
        found.extend(_told(record, begin, span.first, world))
        found.append(span_row(record, span))
        begin = span.first + span.count
    found.extend(_told(record, begin, len(record.columns), world))
    return found


def _told(record: Record, begin: int, end: int, world: World) -> list[HistoryRow]:
    """The moves from `begin` up to `end`, one by one."""
    moves = [_move(record, ordinal) for ordinal in range(begin, end)]
    rows = history_rows(moves, record.seq, record.at_ms, {}, world)
    return [msgspec.structs.replace(row, ordinal=begin + row.ordinal) for row in rows] if begin else list(rows)


def span_row(record: Record, span: Span) -> HistoryRow:
    """Many moves of one row as one line. machine 0 and no service, since they are many; ordinal: of the first one."""
    kind, source, event, target = span.words
    return HistoryRow(
        seq=record.seq, ordinal=span.first, at_ms=record.at_ms, machine=0, kind=kind, name=f"{span.count} machines",
        service="", source=source, event=event, target=target, why=span.why, actor=span.actor,
    )  # fmt: skip


def _service_name(world: World, machine: Machine, changed: dict[int, Machine] | None = None) -> str:
    ident = service_of(machine)
    if not ident:
        return ""
    service = (changed or {}).get(ident) or world.find(ident)
    return service.name if service is not None else ""
