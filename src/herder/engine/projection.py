"""Rows that people query, derived from machines and moves. They follow the log and can be thrown away."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from herder.engine.record import Move, Record
from herder.engine.world import Machine, World
from herder.machines.registry import BY_CODE
from herder.ports.store import HistoryRow, UnitRow

SECRETS = frozenset({"password", "admin_password", "replication_password"})
"""Facts that never leave the log for a row that people query."""


def open_facts(data: dict[str, Any]) -> dict[str, Any]:
    """A machine's facts without the secret ones."""
    return {key: value for key, value in data.items() if key not in SECRETS}


def service_of(machine: Machine) -> int:
    """The service a machine belongs to (itself, for a service), 0 for none."""
    return machine.id if machine.kind == "service" else int(machine.data.get("service", 0))


def unit_row(machine: Machine, service_name: str) -> UnitRow:
    """One machine as a row."""
    return UnitRow(
        machine=machine.id, kind=machine.kind, name=machine.name, service=service_name, state=machine.state,
        version=machine.version, since_ms=machine.since_ms, deadline_ms=machine.deadline_ms,
        data=open_facts(machine.data),
    )  # fmt: skip


def unit_rows(
    machines: Iterable[Machine], world: World, changed: dict[int, Machine] | None = None
) -> tuple[UnitRow, ...]:
    """Machines as rows; `changed` (as they will be) and `world` know their services' names."""
    return tuple(unit_row(machine, _service_name(world, machine, changed)) for machine in machines)


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


def moves_of(record: Record) -> list[Move]:
    """A decoded record's moves again, to rebuild the history from the log."""
    found: list[Move] = []
    for ordinal, row in enumerate(record.columns):
        note = record.notes.get(ordinal)
        found.append(
            Move(
                int(row["machine"]),
                int(row["version"]),
                int(row["deadline_ms"]),
                int(row["kind"]),
                int(row["source"]),
                int(row["event"]),
                int(row["target"]),
                bool(row["flags"] & 1),
                note.patch if note else {},
                note.why if note else "",
                note.actor if note else "",
            )
        )
    return found


def _service_name(world: World, machine: Machine, changed: dict[int, Machine] | None = None) -> str:
    ident = service_of(machine)
    if not ident:
        return ""
    service = (changed or {}).get(ident) or world.find(ident)
    return service.name if service is not None else ""
