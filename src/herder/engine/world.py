"""The state of a shard's machines, rebuilt from the log: what every decision reads and only a committed record changes.

What every machine has lies in arrays; what one machine knows besides lies in its document. A `Machine` is a view made
when somebody looks at one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import msgspec
import numpy as np
from numpy.typing import DTypeLike, NDArray

from herder.engine.attention import Attention
from herder.engine.census import Census
from herder.engine.columns import Columns
from herder.engine.deadlines import Deadlines
from herder.engine.record import ENTERS, KEEP, Birth, Broken, Record, Span
from herder.engine.shapes import Shape, Shapes
from herder.machines.registry import BY_CODE, BY_KIND
from herder.machines.table import State, Table
from herder.model.plans import priority_of

SNAPSHOT_FORMAT = 2

_AWAITED = tuple(BY_KIND[kind].code for kind in ("dependency", "incident", "freeze"))
"""What remedies may wait for: when one of them enters another state, all that wait are looked at again."""

_SERVICE = BY_KIND["service"].code

Ids = NDArray[np.uint32]


LOOKED_AT_MAX = 20_000
"""Machines of which a copy is kept for the next who asks, a kilobyte each."""


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
        return str(self.data.get("name") or f"{self.kind}-{self.id}")

    @property
    def live(self) -> bool:
        """It is neither gone nor ended."""
        return self.state not in ("terminated", "absent") and not self.at.final

    @property
    def service(self) -> int:
        """The service it belongs to (itself, for a service), 0 for none."""
        return self.id if self.kind == "service" else int(self.data.get("service", 0))

    def copy(self) -> Machine:
        """A private copy to decide on."""
        return Machine(self.id, self.kind, self.state, self.version, self.entered, self.order, self.since_ms,
                       self.deadline_ms, dict(self.data))  # fmt: skip


@cache
def _codes(kind: str, states: tuple[str, ...]) -> tuple[int, tuple[int, ...], NDArray[np.bool_]]:
    """The codes of a kind and of some of its states, and a mask over all codes, shape (256,): asked many times a second."""
    table = BY_KIND[kind]
    codes = tuple(table.state_codes[state] for state in states)
    wanted = np.zeros(256, bool)
    wanted[list(codes)] = True
    return table.code, codes, wanted


class Machines(Mapping[int, Machine]):
    """All machines of a world by id, made as they are looked at: for tools and tests, not for a loop over millions."""

    def __init__(self, world: World) -> None:
        self._world = world

    def __getitem__(self, machine: int) -> Machine:
        return self._world.get(machine)

    def __iter__(self) -> Iterator[int]:
        return iter(np.flatnonzero(self._world.columns.kind[: self._world.size]).tolist())

    def __len__(self) -> int:
        return int(np.count_nonzero(self._world.columns.kind[: self._world.size]))


class World:
    """All machines of a shard, and the few indices that decisions need."""

    def __init__(self) -> None:
        self.columns = Columns()
        self.census = Census()
        self.shapes = Shapes()
        self.next_id = 1
        self.seq = 0
        self.epoch = 0
        self.attention = Attention()
        self._deadlines = Deadlines()
        self._documents: dict[int, dict[str, Any]] = {}
        self._looked_at: dict[int, Machine] = {}  # as they are now: one that is at work is asked for over and over
        self._made: dict[str, list[Ids]] = {}  # ids by kind, in chunks of their making
        self._names: dict[tuple[str, str], list[int]] = {}
        self._working: dict[int, set[int]] = {}  # live playbooks by service
        self._open_pages: dict[int, set[int]] = {}  # by subject
        self.isolated: set[int] = set()  # services whose primary stops when it is cut off, so that it must be kept told

    # reading

    @property
    def size(self) -> int:
        """Ids in use lie below this."""
        return self.next_id

    @property
    def machines(self) -> Machines:
        """Every machine, by id."""
        return Machines(self)

    def get(self, machine: int) -> Machine:
        """The machine as of now; KeyError when there is none (a programmer's error). Its data is to be read only."""
        found = self.find(machine)
        if found is None:
            raise KeyError(machine)
        return found

    def find(self, machine: int) -> Machine | None:
        """The machine, or None."""
        found = self._looked_at.get(machine)
        if found is None and 0 < machine < self.next_id and self.columns.kind[machine]:
            if len(self._looked_at) >= LOOKED_AT_MAX:
                self._looked_at.clear()
            found = self._looked_at[machine] = self._read(machine)
        return found

    def _read(self, machine: int) -> Machine:
        columns = self.columns
        table = BY_CODE[int(columns.kind[machine])]
        return Machine(
            machine, table.kind, table.state_names[columns.state[machine]], int(columns.version[machine]),
            int(columns.entered[machine]), int(columns.order[machine]), int(columns.since_ms[machine]),
            int(columns.deadline_ms[machine]), self.facts_of(machine),
        )  # fmt: skip

    def blank(self, machine: int, kind: str) -> Machine:
        """A machine that is not made yet. A world over other tables (the checker's) makes its own."""
        return Machine(machine, kind)

    def facts_of(self, machine: int) -> dict[str, Any]:
        """What it knows: the facts of its shape, and its own document over them."""
        own = self._documents.get(machine)
        shape = int(self.columns.shape[machine])
        if not shape:
            return own if own is not None else {}
        return self.shapes[shape].facts_of(machine) | (own or {})

    def document(self, machine: int) -> dict[str, Any]:
        """Its own facts only, without those of its shape; {} when it has none. To be read only."""
        return self._documents.get(machine, {})

    def ids(self, kind: str) -> Ids:
        """All machines of a kind, ascending."""
        chunks = self._made.get(kind, [])
        if len(chunks) > 1:
            self._made[kind] = chunks = [np.sort(np.concatenate(chunks))]
        return chunks[0] if chunks else np.empty(0, np.uint32)

    def ids_in(self, kind: str, *states: str) -> Ids:
        """Machines of a kind that are in one of these states, ascending."""
        code, codes, wanted = _codes(kind, states)
        if not self.census.count(code, codes):
            return np.empty(0, np.uint32)
        ids = self.ids(kind)
        return ids[wanted[self.columns.state[ids]]]

    def count(self, kind: str, *states: str) -> int:
        """How many of a kind are in one of these states. Costs nothing: they are counted as they move."""
        code, codes, _ = _codes(kind, states)
        return self.census.count(code, codes)

    def of_kind(self, kind: str) -> Iterator[Machine]:
        """All machines of a kind, in order of their making. For kinds that are few; else `ids` and the columns."""
        return (self.get(machine) for machine in self.ids(kind).tolist())

    def fact(self, ids: Ids, name: str, default: Any, dtype: DTypeLike) -> NDArray[Any]:
        """One fact of many machines, shape (n,): from their shapes, and from the documents of those that have one."""
        found = np.full(len(ids), default, dtype)
        shapes = self.columns.shape[ids]
        for code in np.flatnonzero(np.bincount(shapes)).tolist():  # np.unique hashes: ten times slower here
            shape, at = self.shapes[code], shapes == code
            if name in shape.relative:
                found[at] = ids[at].astype(np.int64) + shape.relative[name]
            elif name in shape.patterns:
                found[at] = [shape.patterns[name].format(id=ident) for ident in ids[at].tolist()]
            elif name in shape.facts:
                found[at] = shape.facts[name]
        for ordinal in np.flatnonzero(self.columns.own[ids]).tolist():
            own = self._documents[int(ids[ordinal])]
            if name in own:
                found[ordinal] = own[name]
        return found

    def named(self, kind: str, name: str) -> Machine | None:
        """The newest machine of that kind and name, one that is not gone first."""
        found: Machine | None = None
        for ident in self._names.get((kind, name), ()):
            machine = self.get(ident)
            if found is None or machine.live or not found.live:
                found = machine
        return found or self._called_by_its_id(kind, name)

    def _called_by_its_id(self, kind: str, name: str) -> Machine | None:
        before, _, digits = name.rpartition("-")
        if before != kind or not digits.isascii() or not digits.isdigit() or len(digits) > 10:
            return None
        machine = self.find(int(digits))
        return machine if machine is not None and machine.kind == kind and machine.name == name else None

    def playbooks_of(self, service: int) -> list[Machine]:
        """Live playbooks that work for a service, in order of their making."""
        return [self.get(ident) for ident in sorted(self._working.get(service, ()))]

    def open_pages(self, subject: int) -> list[Machine]:
        """Pages about a service (or a server) that are not resolved."""
        return [self.get(ident) for ident in sorted(self._open_pages.get(subject, ()))]

    def passed(self, now_ms: int) -> Ids:
        """Machines whose deadline has passed, ascending. Between deadlines this costs one comparison."""
        return self._deadlines.passed(self.columns.deadline_ms, now_ms)

    def next_ms(self) -> int | None:
        """When something is due that nobody will tell of: a deadline, or a look at a service; None = nothing."""
        moments = [moment for moment in (self._deadlines.next_ms(), self.attention.next_ms()) if moment is not None]
        return min(moments, default=None)

    # changing: by a committed record only

    def apply(self, record: Record) -> list[int]:
        """Take a committed record in; returns the machines that moved one by one (those of spans are in the spans)."""
        moved: list[int] = []
        for birth in record.births:
            self._bear(birth)
        begin = 0
        for span in record.spans:
            self._apply_each(record, begin, span.first, moved)
            self._apply_span(record, span)
            begin = span.first + span.count
        self._apply_each(record, begin, len(record.columns), moved)
        self.seq = record.seq
        self.epoch = record.epoch
        return moved

    def _apply_each(self, record: Record, begin: int, end: int, moved: list[int]) -> None:
        for ordinal in range(begin, end):
            note = record.notes.get(ordinal)
            self._apply_one(record, ordinal, note.patch if note is not None else {})
            moved.append(int(record.columns["machine"][ordinal]))

    def _apply_one(self, record: Record, ordinal: int, patch: dict[str, Any]) -> None:
        row, columns = record.columns[ordinal], self.columns
        ident, kind = int(row["machine"]), int(row["kind"])
        self._looked_at.pop(ident, None)
        new = ident >= self.next_id or not columns.kind[ident]
        if new:
            self._make(ident, kind)
            columns = self.columns
        columns.version[ident] = row["version"]
        if not int(row["flags"]) & KEEP:
            self.census.move(kind, int(columns.state[ident]), int(row["target"]))
            columns.state[ident] = row["target"]
            columns.entered[ident] = row["version"]
            columns.order[ident] = record.seq
            if row["source"] != row["target"]:
                columns.since_ms[ident] = record.at_ms
            self._set_deadline(ident, int(row["deadline_ms"]))
        if patch:
            self._documents.setdefault(ident, {}).update(patch)
            columns.own[ident] = 1
        self._index(ident, new=new)
        if row["source"] != row["target"] or patch:  # else a deadline went round, and nothing is different
            self._call_attention(ident, changed=row["source"] != row["target"])

    def _call_attention(self, ident: int, *, changed: bool) -> None:
        """Whose service has to be looked at, now that this one moved."""
        if int(self.columns.kind[ident]) in _AWAITED and changed:
            self.attention.rouse()
        service = self.get(ident).service
        if self._is_service(service):
            self.attention.call(service, int(self.columns.priority[service]))

    def _set_deadline(self, ident: int, deadline_ms: int) -> None:
        if deadline_ms and deadline_ms != self.columns.deadline_ms[ident]:
            self._deadlines.put(deadline_ms, ident)
        self.columns.deadline_ms[ident] = deadline_ms

    def _apply_span(self, record: Record, span: Span) -> None:
        """Moves of one row of one table, whole arrays at a time; their targets and flags are the same for all."""
        rows = record.columns[span.first : span.first + span.count]
        ids, columns = rows["machine"], self.columns
        self._looked_at.clear()
        columns.version[ids] = rows["version"]
        if span.kind == _SERVICE and not (span.flags & ENTERS and not span.source):
            for service in ids.tolist():
                self.attention.call(service, int(columns.priority[service]))
        if span.flags & KEEP:
            return
        self.census.move(span.kind, span.source, span.target, span.count)
        columns.state[ids] = span.target
        columns.entered[ids] = rows["version"]
        columns.order[ids] = record.seq
        if span.flags & ENTERS:
            columns.since_ms[ids] = record.at_ms
        columns.deadline_ms[ids] = span.deadline_ms
        if span.deadline_ms:
            self._deadlines.put(span.deadline_ms, ids.copy())

    def _bear(self, birth: Birth) -> None:
        """Room, kinds and shapes for a cohort; its moves into a state are a span like any other."""
        block, end = len(birth.block), birth.first_machine + birth.count * len(birth.block)
        self.columns.reserve(end)
        self.next_id = max(self.next_id, end)
        for place, shape in enumerate(birth.block):
            ids = np.arange(birth.first_machine + place, end, block, dtype=np.uint32)
            self.columns.kind[ids] = BY_KIND[shape.kind].code
            self.columns.shape[ids] = self.shapes.code(shape)
            self.columns.priority[ids] = priority_of(str(shape.facts.get("plan", "")))
            self._made.setdefault(shape.kind, []).append(ids)
            if shape.kind == "service" and shape.facts.get("on_isolation") == "stop":
                self.isolated.update(ids.tolist())

    def _make(self, ident: int, kind: int) -> None:
        self.columns.reserve(ident + 1)
        self.next_id = max(self.next_id, ident + 1)
        self.columns.kind[ident] = kind
        self.columns.priority[ident] = priority_of("")
        self._made.setdefault(BY_CODE[kind].kind, []).append(np.array([ident], np.uint32))

    def _index(self, ident: int, *, new: bool) -> None:
        """Keep the indices true after a single move."""
        machine = self.get(ident)
        if new:
            if machine.data.get("name"):
                self._names.setdefault((machine.kind, machine.name), []).append(ident)
            self._rank(machine)
            if machine.kind == "service" and machine.data.get("on_isolation") == "stop":
                self.isolated.add(ident)
        if machine.kind == "page":
            _keep(self._open_pages, int(machine.data["subject"]), ident, among=machine.state == "open")
        elif not machine.table.unit and machine.service:
            _keep(self._working, machine.service, ident, among=machine.live)

    def _rank(self, machine: Machine) -> None:
        """A service's plan says who goes first, of its members and servers too; a playbook has its service's rank."""
        ranks, data = self.columns.priority, machine.data
        if machine.kind == "service":
            held = [ident for key in ("members", "servers") for ident in data.get(key, ()) if ident < self.next_id]
            ranks[[machine.id, *held]] = priority_of(str(data.get("plan", "")))
        elif self._is_service(machine.service):
            ranks[machine.id] = ranks[machine.service]

    def _is_service(self, ident: int) -> bool:
        return 0 < ident < self.next_id and int(self.columns.kind[ident]) == _SERVICE

    # snapshots

    def snapshot(self) -> bytes:
        """Everything, packed; `restore` reads it."""
        shapes = self.shapes.known[1:]
        return msgspec.msgpack.encode(
            (SNAPSHOT_FORMAT, self.seq, self.epoch, self.next_id, self.columns.pack(self.size), shapes, self._documents)
        )

    @classmethod
    def restore(cls, body: bytes) -> World:
        """Read a snapshot. Raises Broken when it is of another format or not whole."""
        try:
            return cls._restored(body)
        except Broken:
            raise
        except Exception as error:
            # Everything, on purpose: the store has compared the digest, so what still does not fit together was written
            # so. In which of a hundred ways is for the words, not for the type: nothing is decided on such a state.
            raise Broken(f"the snapshot is torn: {type(error).__name__}: {error}") from error

    @classmethod
    def _restored(cls, body: bytes) -> World:
        version, seq, epoch, next_id, *rest = msgspec.msgpack.decode(body)
        if version != SNAPSHOT_FORMAT:
            raise Broken(f"the snapshot at record {seq} has format {version}, this herder reads {SNAPSHOT_FORMAT}")
        packed, shapes, documents = rest
        world = cls()
        world.seq, world.epoch, world.next_id = seq, epoch, next_id
        world.columns = Columns.unpack(next_id, packed)
        for shape in shapes:
            world.shapes.code(msgspec.convert(shape, Shape))
        world._documents = documents
        world._index_all()
        return world

    def put(self, machine: Machine) -> None:
        """Set one machine as it is given, without a log: for what stands outside of one (tests, samples)."""
        self.columns.reserve(machine.id + 1)
        new = machine.id >= self.next_id or not self.columns.kind[machine.id]
        if new:
            self._make(machine.id, machine.table.code)
        columns, ident = self.columns, machine.id
        self._looked_at.pop(ident, None)
        self.census.move(machine.table.code, int(columns.state[ident]), machine.table.state_codes[machine.state])
        columns.state[ident] = machine.table.state_codes[machine.state]
        columns.version[ident], columns.entered[ident] = machine.version, machine.entered
        columns.order[ident], columns.since_ms[ident] = machine.order, machine.since_ms
        self._set_deadline(ident, machine.deadline_ms)
        self._documents[ident] = machine.data
        columns.own[ident] = 1
        self._index(ident, new=new)
        self._call_attention(ident, changed=True)

    def _index_all(self) -> None:
        """The indices of a restored world: whole arrays where a kind is large, one by one where it has documents."""
        columns, size = self.columns, self.size
        for code, table in BY_CODE.items():
            ids = np.flatnonzero(columns.kind[:size] == code).astype(np.uint32)
            if len(ids):
                self._made[table.kind] = [ids]
        self.recount()
        self._deadlines.put_all(columns.deadline_ms[:size])
        for ident, own in self._documents.items():
            kind = BY_CODE[int(columns.kind[ident])].kind
            if kind == "service" and own.get("on_isolation") == "stop":
                self.isolated.add(ident)
            if own.get("name"):
                self._names.setdefault((kind, str(own["name"])), []).append(ident)
        for table in BY_CODE.values():
            if not table.unit:
                self._index_those(table.kind)
        services = self.ids("service")
        shaped = services[columns.shape[services] > 0]
        self.isolated.update(shaped[self.fact(shaped, "on_isolation", "serve", "U5") == "stop"].tolist())
        for service in self._not_at_rest():
            self.attention.call(service, int(columns.priority[service]))
        for found in self._names.values():
            found.sort()

    def recount(self) -> None:
        """The census anew from the columns, after they were set as a whole."""
        self._looked_at.clear()
        self.census = Census.of(self.columns.kind[: self.size], self.columns.state[: self.size])

    def _index_those(self, kind: str) -> None:
        for machine in self.of_kind(kind):
            if machine.kind == "page":
                _keep(self._open_pages, int(machine.data["subject"]), machine.id, among=machine.state == "open")
            elif machine.service and machine.live:
                self._working.setdefault(machine.service, set()).add(machine.id)

    def _not_at_rest(self) -> Iterable[int]:
        """Services that somebody must look at again: a superset, since a look at one that is well costs little."""
        services, members = self.ids("service"), self.ids("member")
        found = {*services[self.columns.state[services] != BY_KIND["service"].state_codes["available"]].tolist()}
        ill = members[self.columns.state[members] != BY_KIND["member"].state_codes["available"]]
        found.update(self.fact(ill, "service", 0, np.uint32).tolist())
        found.update(self._working, self._open_pages)
        found.update(services[self.columns.own[services] == 1].tolist())
        return sorted(ident for ident in found if self._is_service(ident))


def _keep(index: dict[int, set[int]], key: int, ident: int, *, among: bool) -> None:
    if among:
        index.setdefault(key, set()).add(ident)
    elif key in index:
        index[key].discard(ident)
        if not index[key]:
            del index[key]
