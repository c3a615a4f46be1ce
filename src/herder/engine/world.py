"""The state of a shard's machines, rebuilt from the log: what every decision reads and only a committed record changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from herder.engine.record import KEEP, Broken, Record
from herder.machines.registry import BY_CODE, BY_KIND
from herder.machines.table import State, Table

SNAPSHOT_FORMAT = 1


@dataclass(slots=True)
class Machine:
    """One machine. version: moves so far; entered: the version at which its present state was entered (what an
    effect is keyed by); order: the log's seq of that moment (what agents compare); since_ms, deadline_ms: times.
    """

    id: int
    kind: str
    state: str = "absent"
    version: int = 0
    entered: int = 0
    order: int = 0
    since_ms: int = 0
    deadline_ms: int = 0
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def table(self) -> Table:
        """Its lifecycle."""
        return BY_KIND[self.kind]

    @property
    def at(self) -> State:
        """The definition of its present state."""
        return self.table.by_name[self.state]

    @property
    def name(self) -> str:
        """What people call it."""
        return str(self.data.get("name", f"{self.kind}-{self.id}"))

    @property
    def live(self) -> bool:
        """It is neither gone nor ended."""
        return self.state not in ("terminated", "absent") and not self.at.final

    def copy(self) -> Machine:
        """A private copy to decide on."""
        return Machine(self.id, self.kind, self.state, self.version, self.entered, self.order, self.since_ms,
                       self.deadline_ms, dict(self.data))  # fmt: skip


class World:
    """All machines of a shard by id, and the few indices that decisions need."""

    def __init__(self) -> None:
        self.machines: dict[int, Machine] = {}
        self.next_id = 1
        self.seq = 0
        self.epoch = 0
        self._by_kind: dict[str, set[int]] = {}

    def get(self, machine: int) -> Machine:
        """The machine; KeyError when there is none (a programmer's error)."""
        return self.machines[machine]

    def of_kind(self, kind: str) -> Iterator[Machine]:
        """All machines of a kind, in order of their making."""
        return (self.machines[machine] for machine in sorted(self._by_kind.get(kind, ())))

    def named(self, kind: str, name: str) -> Machine | None:
        """The newest machine of that kind and name, one that is not gone first."""
        found: Machine | None = None
        for machine in self.of_kind(kind):
            if machine.data.get("name") == name and (found is None or machine.live or not found.live):
                found = machine
        return found

    def apply(self, record: Record) -> list[int]:
        """Take a committed record in; returns the machines that moved. The only place where state changes."""
        moved: list[int] = []
        for ordinal in range(len(record.columns)):
            row = record.columns[ordinal]
            ident = int(row["machine"])
            table = BY_CODE[int(row["kind"])]
            machine = self.machines.get(ident)
            if machine is None:
                machine = self.machines[ident] = Machine(ident, table.kind)
                self._by_kind.setdefault(table.kind, set()).add(ident)
                self.next_id = max(self.next_id, ident + 1)
            machine.version = int(row["version"])
            if not int(row["flags"]) & KEEP:
                machine.state = table.state_names[int(row["target"])]
                machine.entered = machine.version
                machine.order = record.seq
                machine.since_ms = record.at_ms if row["source"] != row["target"] else machine.since_ms
                machine.deadline_ms = int(row["deadline_ms"])
            note = record.notes.get(ordinal)
            if note is not None:
                machine.data.update(note.patch)
            moved.append(ident)
        self.seq = record.seq
        self.epoch = record.epoch
        return moved

    def snapshot(self) -> bytes:
        """Everything, packed; `restore` reads it."""
        rows = [
            (m.id, m.kind, m.state, m.version, m.entered, m.order, m.since_ms, m.deadline_ms, m.data)
            for m in self.machines.values()
        ]
        return msgspec.msgpack.encode((SNAPSHOT_FORMAT, self.seq, self.epoch, self.next_id, rows))

    @classmethod
    def restore(cls, body: bytes) -> World:
        """Read a snapshot."""
        version, seq, epoch, next_id, rows = msgspec.msgpack.decode(body)
        if version != SNAPSHOT_FORMAT:
            raise Broken(f"the snapshot at record {seq} has format {version}, this herder reads {SNAPSHOT_FORMAT}")
        world = cls()
        world.seq, world.epoch, world.next_id = seq, epoch, next_id
        for row in rows:
            machine = Machine(*row)
            world.machines[machine.id] = machine
            world._by_kind.setdefault(machine.kind, set()).add(machine.id)
        return world
