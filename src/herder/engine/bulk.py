"""The same event for many machines: decided with gathers over the compiled table, pure as `decide` is.

What the arrays cannot answer (a row that reads or writes documents, or concerns other machines) is handed back as single
inputs, so that both ways give the same moves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from herder.engine.decide import Input
from herder.engine.record import KEEP, MOVE, Birth, SpanNote
from herder.engine.shapes import Shape
from herder.engine.world import World
from herder.machines.compile import Cell, Compiled, compiled, is_light
from herder.machines.registry import BY_CODE, BY_KIND
from herder.machines.table import ADOPT

CHUNK = 65_536
"""Moves of one record: 1.5 MB. Larger ones commit hardly faster, and a premium service's step waits for one of them."""

Ids = NDArray[np.uint32]


@dataclass(frozen=True, slots=True, eq=False)
class Bulk:
    """An event for many machines of one kind, each named once. facts: brought to each of them alike.

    entered: what the sender saw of each, shape (n,); a machine that has entered another state since is left out.
    """

    kind: str
    event: str
    machines: Ids
    why: str = ""
    actor: str = "herder"
    facts: dict[str, Any] = field(default_factory=dict)
    entered: Ids | None = None

    def part(self, at: Any) -> Bulk:
        """The same for some of its machines: a slice, a mask or indices."""
        entered = None if self.entered is None else self.entered[at]
        return Bulk(self.kind, self.event, self.machines[at], self.why, self.actor, self.facts, entered)


@dataclass(frozen=True, slots=True)
class Cohort:
    """`count` times the machines of `block`, taken over as they run. Their ids follow each other."""

    count: int
    block: tuple[Shape, ...]
    why: str = "taken over as it runs"
    actor: str = "herder"


@dataclass(slots=True)
class BulkDecision:
    """What a bulk comes to. moves: shape (n,), dtype MOVE, in spans; singles: what must be stepped one by one."""

    moves: NDArray[np.void]
    spans: list[SpanNote] = field(default_factory=list)
    births: list[Birth] = field(default_factory=list)
    singles: list[Input] = field(default_factory=list)
    dropped: int = 0


def chunks(item: Bulk | Cohort) -> Iterator[Bulk | Cohort]:
    """Parts small enough for a record each."""
    if isinstance(item, Cohort):
        each = max(CHUNK // len(item.block), 1)
        for begin in range(0, item.count, each):
            yield Cohort(min(each, item.count - begin), item.block, item.why, item.actor)
        return
    for begin in range(0, len(item.machines), CHUNK):
        yield item.part(slice(begin, begin + CHUNK))


def decide_bulk(world: World, item: Bulk | Cohort, now_ms: int) -> BulkDecision:
    """One part, as one record's moves."""
    return _adopt(world, item, now_ms) if isinstance(item, Cohort) else _step(world, item, now_ms)


def _step(world: World, bulk: Bulk, now_ms: int) -> BulkDecision:
    table, columns = BY_KIND[bulk.kind], world.columns
    arrays, event = compiled(bulk.kind), table.event_codes.get(bulk.event)
    bulk = bulk.part(_present(world, bulk))
    if event is None:
        return BulkDecision(np.empty(0, MOVE), dropped=len(bulk.machines))
    states = columns.state[bulk.machines]
    cells = arrays.cell[event][states]
    if bulk.facts:  # facts that are brought become the machine's own: each has a document to change
        cells = np.where(cells == Cell.NOTHING, cells, np.uint8(Cell.SINGLE))
    targets, keeps = arrays.target[event][states], arrays.keep[event][states]
    _guard(world, bulk, arrays, event, states, cells, targets, keeps)
    decision = BulkDecision(np.empty(0, MOVE), dropped=int(np.count_nonzero(cells == Cell.NOTHING)))
    decision.singles = _as_inputs(bulk, cells == Cell.SINGLE)
    light = cells == Cell.PLAIN
    parts: list[NDArray[np.void]] = []
    first = 0
    for source, target, keep in _distinct(states[light], targets[light], keeps[light]):
        ids = bulk.machines[light & (states == source) & (targets == target) & (keeps == keep)]
        edge = Edge(table.code, source, event, target, keep, 0 if keep else int(arrays.wait_ms[target]))
        parts.append(_moves(ids, world.columns.version[ids] + np.uint32(1), edge, now_ms))
        decision.spans.append(SpanNote(first, len(ids), bulk.why or _why(bulk, source), bulk.actor))
        first += len(ids)
    if parts:
        decision.moves = np.concatenate(parts) if len(parts) > 1 else parts[0]
    return decision


def _present(world: World, bulk: Bulk) -> NDArray[np.bool_]:
    """Which of them are machines of that kind, and where the sender saw them."""
    inside: NDArray[np.bool_] = bulk.machines < world.size
    safe = np.where(inside, bulk.machines, 0)
    there: NDArray[np.bool_] = inside & (world.columns.kind[safe] == BY_KIND[bulk.kind].code)
    if bulk.entered is not None:
        there &= world.columns.entered[safe] == bulk.entered
    return there


def _guard(
    world: World, bulk: Bulk, arrays: Compiled, event: int, states: NDArray[np.uint8], cells: NDArray[np.uint8],
    targets: NDArray[np.uint8], keeps: NDArray[np.uint8],
) -> None:  # fmt: skip
    """Answer guarded cells: the first row whose guard allows, for all machines of a state at once; in place."""
    table = BY_KIND[bulk.kind]
    for state in np.unique(states[cells == Cell.GUARDED]).tolist():
        left = np.flatnonzero((cells == Cell.GUARDED) & (states == state))
        for row in arrays.rows[event, state]:
            allowed = _allowed(world, bulk, row.guard, left)
            fits, left = left[allowed], left[~allowed]
            cells[fits] = Cell.PLAIN if is_light(row) else Cell.SINGLE
            targets[fits], keeps[fits] = table.state_codes[row.target], row.keep
        cells[left] = Cell.NOTHING


def _allowed(world: World, bulk: Bulk, guard: Any, at: NDArray[np.intp]) -> NDArray[np.bool_]:
    if guard is None:
        return np.ones(len(at), bool)
    ids = bulk.machines[at]
    facts = {name: world.fact(ids, name, *kind) for name, kind in guard.reads.items()}
    answers: NDArray[np.bool_] = np.asarray(guard(facts, bulk.facts), bool)
    return np.broadcast_to(answers, (len(at),))


def _distinct(*columns: NDArray[np.uint8]) -> list[tuple[int, ...]]:
    """The combinations that occur, in order."""
    if not len(columns[0]):
        return []
    joined = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        joined = joined << 8 | column
    return [
        tuple(code >> 8 * place & 255 for place in reversed(range(len(columns)))) for code in np.unique(joined).tolist()
    ]


@dataclass(frozen=True, slots=True)
class Edge:
    """What all moves of a span have in common, by code. wait_ms: until the target's deadline, 0 = none (or kept)."""

    kind: int
    source: int
    event: int
    target: int
    keep: int
    wait_ms: int


def _moves(ids: Ids, versions: Ids, edge: Edge, now_ms: int) -> NDArray[np.void]:
    """One span's moves. A machine that keeps its state keeps its deadline in the arrays; the record says 0 then."""
    moves = np.zeros(len(ids), MOVE)
    moves["machine"], moves["version"] = ids, versions
    moves["deadline_ms"] = now_ms + edge.wait_ms if edge.wait_ms else 0
    moves["kind"], moves["source"], moves["event"], moves["target"] = edge.kind, edge.source, edge.event, edge.target
    moves["flags"] = KEEP if edge.keep else 0
    return moves


def _why(bulk: Bulk, source: int) -> str:
    table = BY_KIND[bulk.kind]
    return next((row.why for row in table.lookup[table.state_names[source], bulk.event] if row.why), "")


def _as_inputs(bulk: Bulk, at: NDArray[np.bool_]) -> list[Input]:
    """One by one: their rows need more than arrays hold."""
    entered = bulk.entered[at].tolist() if bulk.entered is not None else [None] * int(at.sum())
    return [
        Input(machine, bulk.event, bulk.facts, why=bulk.why, actor=bulk.actor, entered=seen)
        for machine, seen in zip(bulk.machines[at].tolist(), entered, strict=True)
    ]


def _adopt(world: World, cohort: Cohort, now_ms: int) -> BulkDecision:
    """A cohort's machines go from absent to where `adopt` leads, kind by kind of its block."""
    first, size = world.next_id, len(cohort.block)
    decision = BulkDecision(np.empty(0, MOVE), births=[Birth(first, cohort.count, cohort.block)])
    parts: list[NDArray[np.void]] = []
    for place, shape in enumerate(cohort.block):
        table, arrays = BY_KIND[shape.kind], compiled(shape.kind)
        event = table.event_codes[ADOPT]
        ids = np.arange(first + place, first + cohort.count * size, size, dtype=np.uint32)
        target = int(arrays.target[event][0])
        edge = Edge(table.code, 0, event, target, 0, int(arrays.wait_ms[target]))
        moves = _moves(ids, np.ones(len(ids), np.uint32), edge, now_ms)
        decision.spans.append(SpanNote(sum(map(len, parts)), len(ids), cohort.why, cohort.actor))
        parts.append(moves)
    decision.moves = np.concatenate(parts)
    return decision


DUE_MAX = 1000
"""More deadlines than this that pass at once go as bulks."""

TRY_MS = 10_000
"""So long whoever took over has for what was overdue by then. What a failover's step does takes 2.5 s at most, measured by the
crash sweep; 15.5 s, one lease, is what a deadline is short of when a controller dies.
"""


def due(world: World, now_ms: int, since_ms: int = 0) -> list[Input | Bulk]:
    """Deadlines that have passed, as events. since_ms: when whoever asks took over (`_tried`), 0 = long ago."""
    passed, columns = world.passed(now_ms), world.columns
    if len(passed):
        passed = passed[_tried(world, passed, now_ms, since_ms)]
    if len(passed) <= DUE_MAX:
        return [item for item in map(partial(_due, world), passed.tolist()) if item is not None]
    found: list[Input | Bulk] = []
    codes = columns.kind[passed].astype(np.uint16) << 8 | columns.state[passed]
    for code in np.unique(codes).tolist():
        table, ids = BY_CODE[code >> 8], passed[codes == code]
        deadline = table.by_name[table.state_names[code & 255]].deadline
        if deadline is not None:
            found.append(Bulk(table.kind, deadline.event, ids, actor="deadline", entered=columns.entered[ids]))
    return found


def _tried(world: World, passed: Ids, now_ms: int, since_ms: int) -> NDArray[np.bool_]:
    """A deadline says that an effect had its time, and it had none while no controller lived. So whoever took over tries what is
    overdue for TRY_MS before it says so; yet no state lasts longer than twice its deadline for that (a controller that dies
    again and again must not keep a person from being told).
    """
    if now_ms >= since_ms + TRY_MS:
        return np.ones(len(passed), np.bool_)
    columns = world.columns
    waits_ms = _WAITS_MS[columns.kind[passed], columns.state[passed]]
    until_ms = np.minimum(since_ms + np.minimum(waits_ms, TRY_MS), columns.deadline_ms[passed] + waits_ms)
    tried: NDArray[np.bool_] = (waits_ms == 0) | (now_ms >= until_ms)
    return tried


def _waits_ms() -> NDArray[np.int64]:
    """How long each state of each table may last, by their codes; 0 where nothing is tried meanwhile."""
    waits = np.zeros((256, 256), "<i8")
    for table in BY_CODE.values():
        for state in table.states:
            if state.effect is not None and state.deadline is not None:
                waits[table.code, table.state_codes[state.name]] = int(state.deadline.after_s * 1000)
    return waits


_WAITS_MS = _waits_ms()


def _due(world: World, ident: int) -> Input | None:
    machine = world.get(ident)
    deadline = machine.at.deadline
    return Input(ident, deadline.event, {}, entered=machine.entered, actor="deadline") if deadline else None
