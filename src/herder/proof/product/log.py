"""The production `decide` and catalogue over the tables that are checked: each step of the log is made once and remembered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from herder.engine.columns import Columns
from herder.engine.decide import Input, decide
from herder.engine.record import Move
from herder.engine.world import Ids, Machine, World
from herder.machines.table import ADOPT
from herder.proof.product import steps
from herder.proof.product.report import Tables
from herder.proof.product.shelf import (
    BLANK,
    NEAR,
    NOW_MS,
    SERVICE,
    Cell,
    Kind,
    Seen,
    Shelf,
    member_name,
    watched,
)
from herder.proof.product.shelving import Ranks, canonical, is_work, machines_of, ranks_of, rebased, shelf_of
from herder.remedies.catalogue import Catalogue

NEWEST = 1000
"""The order of a state that was entered in this very step."""

FAILOVERS_PER_HOUR = 1
"""The setting's default."""


WORLDS_MOST = 4096
"""Of states that were stepped of late the machines are kept: a state is stepped a dozen times."""


class _Attention:
    """The service is looked at in every tick."""

    def some(self, now_ms: int, limit: int) -> list[int]:
        return [SERVICE]


_NOBODY = np.empty(0, np.uint32)
_COLUMNS = Columns()


class LogWorld(World):
    """What decisions read of a world, over a few machines: one service's, and what of the fleet is near it. There are no other services."""

    def __init__(
        self, tables: Mapping[str, Seen], machines: dict[int, Cell], free: int = 0
    ) -> None:  # the arrays are not needed
        self.tables = tables
        self.cells = machines
        self.next_id = self.first_free = max(max(machines, default=0) + 1, free)
        self.columns = _COLUMNS
        self.attention = _Attention()  # type: ignore[assignment]  # all that the catalogue asks of it
        self.seq = self.epoch = 0
        self.isolated = set()

    def find(self, machine: int) -> Machine | None:
        """The machine, or None."""
        return self.cells.get(machine)

    def get(self, machine: int) -> Machine:
        """The machine."""
        return self.cells[machine]

    def blank(self, machine: int, kind: str) -> Machine:
        """A machine of the tables at hand."""
        made = Cell(machine, kind)
        made.of = self.tables[kind]
        return made

    def of_kind(self, kind: str) -> Iterator[Machine]:
        """All of a kind."""
        return iter([machine for machine in self.cells.values() if machine.kind == kind])

    def named(self, kind: str, name: str) -> Machine | None:
        """The one of that name."""
        return next((m for m in self.cells.values() if m.kind == kind and m.data.get("name") == name), None)

    def playbooks_of(self, service: int) -> list[Machine]:
        """Live playbooks of the service."""
        return [m for m in self.cells.values() if is_work(m)]

    def open_pages(self, subject: int) -> list[Machine]:
        """Open pages about it."""
        return [m for m in self.cells.values() if m.kind == "page" and m.state == "open" and m.data["subject"] == subject]  # fmt: skip

    def ids(self, kind: str) -> Ids:
        """Of the fleet's; none that a budget of the fleet would count."""
        return self.ids_in(kind, *self.tables[kind].state_names) if kind in NEAR else _NOBODY

    def ids_in(self, kind: str, *states: str) -> Ids:
        """Of the fleet's, and their pages."""
        if kind not in NEAR and kind != "page":
            return _NOBODY
        return np.array([m.id for m in self.cells.values() if m.kind == kind and m.state in states], np.uint32)

    def count(self, kind: str, *states: str) -> int:
        """Nobody else's servers are being started."""
        return 0


class Moved(NamedTuple):
    """What a step of the log means for the world outside. to: the state's number; term: how many terms it went on;
    ranks: (before, after, whom it asks) of states that were not left; aged: servers (mask) whose life the log has counted out;
    moves: (machine, event, why) of each; means: a number for term, ranks and aged, 0 = nothing; broken: the rule that the step breaks, '' for none.
    """

    to: int
    term: int
    ranks: tuple[tuple[int, int, int], ...]
    aged: int
    moves: tuple[tuple[str, str, str], ...]
    means: int
    broken: str = ""


class Log:
    """Every state of the log that was met, by number, and every step from it. free: ids from here on are nobody's. covered: rows
    that fired, (kind, number), in steps that were asked for since a search began (`begin`).
    """

    def __init__(self, tables: Tables, kind: Kind, free: int = 0) -> None:
        self.tables = watched(tables)
        self.kind = kind
        self.free = free
        self.review = Catalogue(FAILOVERS_PER_HOUR).review
        self.shelves: list[Shelf] = []
        self.covered: set[tuple[str, int]] = set()
        self._numbers: dict[Shelf, int] = {}
        self._steps: dict[tuple[Any, ...], tuple[Moved | None, tuple[tuple[str, int], ...]]] = {}
        self._meanings: dict[tuple[Any, ...], int] = {}
        self._canonical: dict[int, tuple[int, tuple[tuple[int, ...], ...], int]] = {}
        self._worlds: dict[Shelf, LogWorld] = {}

    def number(self, shelf: Shelf) -> int:
        """The number of a state."""
        found = self._numbers.get(shelf)
        if found is None:
            found = self._numbers[shelf] = len(self.shelves)
            self.shelves.append(shelf)
        return found

    def adopted(self, shelf: Shelf) -> int:
        """The state after a service that runs like this was taken over."""
        cells = machines_of(shelf, self.kind, self.tables).values()
        inputs = [Input(cell.id, ADOPT, dict(cell.data), create=cell.kind) for cell in cells]
        moved = self.step(self.number(BLANK), ("adopted",), inputs)
        if moved is None:
            raise RuntimeError("a service that runs cannot be taken over")
        return moved.to

    def canonical(self, number: int) -> tuple[int, tuple[tuple[int, ...], ...], int]:
        """The state with its members named the least way, the turns (old slot -> new slot) that lead there, and by how many its
        timelines are told lower.
        """
        found = self._canonical.get(number)
        if found is None:
            shelf, less = rebased(self.shelves[number], sync=self.kind.sync)
            least, turns = canonical(shelf, self.kind.members)
            found = self._canonical[number] = self.number(least), turns, less
        return found

    def world(self, shelf: Shelf) -> LogWorld:
        """The machines of a state, as decisions and commands read them: they change copies of their own only."""
        found = self._worlds.get(shelf)
        if found is None:
            if len(self._worlds) >= WORLDS_MOST:
                self._worlds.clear()
            found = self._worlds[shelf] = LogWorld(self.tables, machines_of(shelf, self.kind, self.tables), self.free)
        found.next_id = found.first_free
        return found

    def step(
        self, number: int, key: tuple[Any, ...], cause: Sequence[Input], shelf: Shelf | None = None
    ) -> Moved | None:
        """One commit: the inputs, what they emit and what the catalogue begins. None: nothing is different afterwards.

        key: names `cause`, which is not compared. shelf: the state with what is over when it happens.
        """
        known = (number, *key)
        found = self._steps.get(known)
        if found is None:
            made = self._commit(shelf or self.shelves[number], number, cause, awaited=key[0] == "heard")
            fired = tuple(dict.fromkeys(place for table in self.tables.values() for place in table.fired))
            found = self._steps[known] = made, fired
        self.covered.update(found[1])
        return found[0]

    def begin(self) -> Log:
        """Another search over the same tables and kind of service: what was stepped is known, what fires is counted anew."""
        self.covered = set()
        return self

    def _commit(self, shelf: Shelf, number: int, cause: Sequence[Input], *, awaited: bool) -> Moved | None:
        world = self.world(shelf)
        for table in self.tables.values():
            table.fired.clear()
        decision = decide(world, cause, NOW_MS, self.review)
        if decision.unsettled:
            raise RuntimeError(decision.unsettled)
        after: dict[int, Machine] = dict(world.cells)
        for ident, machine in decision.after.items():
            if machine.entered:
                machine.order = NEWEST
            after[ident] = machine
        broken = steps.broken(world.cells, after, decision, cause[-1:] if awaited else ())
        ranks = ranks_of(after, self.kind)
        to = self.number(shelf_of(after, self.kind, ranks))
        return self._moved(world.cells, after, to, decision.moves, broken, ranks) if to != number or broken else None

    def _moved(
        self, before: Mapping[int, Machine], after: Mapping[int, Machine], to: int, moves: Sequence[Move], broken: str, now: Ranks
    ) -> Moved:  # fmt: skip
        codes = {table.code: table for table in self.tables.values()}
        words = []
        for move in moves:
            table = codes[move.kind]
            change = f"{table.state_names[move.source]} -> {table.state_names[move.target]}"
            words.append((self._name(after[move.machine]), f"{table.events[move.event]}: {change}", move.why))
        began = before.get(SERVICE)
        term = int(after[SERVICE].data["term"]) - int(began.data["term"]) if began is not None else 0
        aged = sum(
            1 << self.kind.slot(ident)
            for ident, machine in after.items()
            if machine.kind == "server" and ident in before
            and machine.data["incarnation"] != before[ident].data["incarnation"]
        )  # fmt: skip
        stayed = (ident for ident, machine in after.items() if machine.order != NEWEST and ident in now)
        ranks = tuple(sorted((before[ident].order, *now[ident]) for ident in stayed))
        left = any(m.order and (ident not in now or after[ident].order == NEWEST) for ident, m in before.items())
        moot = not term and not aged and not left and all(was == is_now for was, is_now, _ in ranks)
        means = 0 if moot else self._meanings.setdefault((term, aged, ranks), len(self._meanings) + 1)
        return Moved(to, term, ranks, aged, tuple(words), means, broken)

    def _name(self, machine: Machine) -> str:
        if machine.kind in ("member", "server"):
            return f"{machine.kind} {member_name(self.kind.slot(machine.id))}"
        return machine.kind
