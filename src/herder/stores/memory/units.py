"""The units of one shard in memory, as columns: a simulation of millions has no room for an object each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from herder.ports.store import UnitBlock, UnitRow
from herder.stores import rows

_ROW = np.dtype(
    [
        ("kind", "<u2"),
        ("state", "<u2"),
        ("version", "<u4"),
        ("service", "<u4"),
        ("since_ms", "<i8"),
        ("deadline_ms", "<i8"),
    ]
)
_FIRST = 64


class Units:
    """Rows by machine; words, names and documents beside them. A row whose kind is word 0 is not there."""

    def __init__(self) -> None:
        self._rows: NDArray[np.void] = np.zeros(_FIRST, _ROW)
        self._words: list[str] = [""]
        self._codes: dict[str, int] = {"": 0}
        self._names: dict[int, str] = {}
        self._service_names: dict[int, str] = {}  # by machine
        self._data: dict[int, dict[str, Any]] = {}

    def put_rows(self, units: Sequence[UnitRow]) -> None:
        """Upserts by machine, as they were made clean."""
        for unit in units:
            self._reserve(unit.machine)
            self._rows[unit.machine] = (
                self._code(unit.kind), self._code(unit.state), unit.version, unit.service_id, unit.since_ms,
                unit.deadline_ms,
            )  # fmt: skip
            self._names[unit.machine] = unit.name
            self._service_names[unit.machine] = unit.service
            self._data[unit.machine] = unit.data

    def put_block(self, block: UnitBlock) -> None:
        """Upserts by machine, whole columns at a time."""
        machines = np.frombuffer(block.machines, "<u4")
        if not len(machines):
            return
        self._reserve(int(machines.max()))
        codes = np.array([self._code(word) for word in block.words], "<u2")
        put = np.zeros(len(machines), _ROW)
        put["kind"] = codes[np.frombuffer(block.kinds, "<u2")]
        put["state"] = codes[np.frombuffer(block.states, "<u2")]
        put["version"] = np.frombuffer(block.versions, "<u4")
        put["service"] = np.frombuffer(block.services, "<u4")
        put["since_ms"] = np.frombuffer(block.since_ms, "<i8")
        put["deadline_ms"] = np.frombuffer(block.deadline_ms, "<i8")
        self._rows[machines] = put
        self._put_texts(block, machines, put["service"])

    def _put_texts(self, block: UnitBlock, machines: NDArray[Any], services: NDArray[Any]) -> None:
        for known in (self._names, self._service_names, self._data):
            for machine in _among(known, machines):
                del known[machine]
        self._names.update({machine: str(rows.clean(name)) for machine, name in block.names.items()})
        self._data.update({machine: rows.clean(data) for machine, data in block.data.items() if data})
        if block.service_names:
            named = np.isin(services, np.fromiter(block.service_names, np.int64, len(block.service_names)))
            for machine, service in zip(machines[named].tolist(), services[named].tolist(), strict=True):
                self._service_names[machine] = str(rows.clean(block.service_names[service]))

    def __iter__(self) -> Iterator[UnitRow]:
        """By machine."""
        for machine in np.flatnonzero(self._rows["kind"]).tolist():
            row = self._rows[machine]
            kind, service = self._words[row["kind"]], int(row["service"])
            yield UnitRow(
                machine=machine, kind=kind, name=self._names.get(machine) or f"{kind}-{machine}",
                service=self._service_names.get(machine) or (f"service-{service}" if service else ""),
                state=self._words[row["state"]], version=int(row["version"]), since_ms=int(row["since_ms"]),
                deadline_ms=int(row["deadline_ms"]), data=rows.clean(self._data.get(machine, {})), service_id=service,
            )  # fmt: skip

    def __len__(self) -> int:
        return int(np.count_nonzero(self._rows["kind"]))

    def _code(self, word: str) -> int:
        if word not in self._codes:
            self._codes[word] = len(self._words)
            self._words.append(word)
        return self._codes[word]

    def _reserve(self, machine: int) -> None:
        if machine >= len(self._rows):
            grown = np.zeros(max(machine + 1, 2 * len(self._rows)), _ROW)
            grown[: len(self._rows)] = self._rows
            self._rows = grown


def _among(known: dict[int, Any], machines: NDArray[Any]) -> list[int]:
    """Which of `known` are among these machines."""
    if len(known) > len(machines):
        return [machine for machine in machines.tolist() if machine in known]
    wanted = np.fromiter(known, np.int64, len(known))
    return [int(machine) for machine in wanted[np.isin(wanted, machines)]]
