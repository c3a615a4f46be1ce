"""The controller of the search: it steps the production tables, row by row, with their guards, updates and emits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from herder.machines.table import ABSENT, CREATE, Effect, Row, Table
from herder.proof.voters.fleet import KEPT, SERVICE, Facts, Fleet, Late, Machine, Work, fact, frozen
from herder.remedies import election, enrolment


@dataclass(frozen=True)
class Arithmetic:
    """The pure functions of production that decide about voters; a mutant has another one in its place."""

    elect: Callable[..., election.Elected | election.Short] = election.elect_sync
    kept: Callable[[Sequence[int], int], list[int]] = enrolment.kept
    waited_for: Callable[[Sequence[int], int], list[int]] = enrolment.waited_for
    successors: Callable[[Sequence[int], int, int], list[int]] = enrolment.successors
    enrols: Callable[[Iterable[tuple[str, str]]], bool] = enrolment.enrols
    overtaken: Callable[..., bool] = enrolment.overtaken
    may_lead: Callable[..., str] = election.may_lead_drained
    flushed: Callable[..., bool] = enrolment.flushed


_NOTHING = frozen({})


class _Fired(NamedTuple):
    """What one row does to one machine. emits: (targets, event, facts that travel)."""

    row: Row
    state: str
    facts: Facts
    emits: tuple[tuple[tuple[int, ...], str, Facts], ...]


class Control:
    """Steps machines of `tables`. Answers are remembered: few machines differ, however many fleets there are."""

    def __init__(self, tables: Sequence[Table], arithmetic: Arithmetic) -> None:
        self.tables = {table.kind: table for table in tables}
        self.arithmetic = arithmetic
        self._known: dict[tuple[str, str, Facts, str, Facts, int], _Fired | None] = {}

    def effect(self, work: Work) -> Effect | None:
        """The work that is due in a playbook's state."""
        return self.tables[work.kind].by_name[work.state].effect

    def begin(self, fleet: Fleet, kind: str, facts: dict[str, Any]) -> Fleet:
        """A new playbook, and all that follows in the same record; the same fleet when no row makes it."""
        taken = {work.ident for work in fleet.works} | {fleet.fact("playbook")}
        ident = next(it for it in range(SERVICE + 1, SERVICE + 99) if it not in taken)
        order = highest(fleet) + 1
        work = Work(ident, kind, ABSENT, _NOTHING, order)
        made = fleet._replace(works=(*fleet.works, work))
        stepped = self._step(made, ident, CREATE, frozen({**facts, "service": SERVICE}), order)
        return fleet if stepped is made else self._review(stepped, order)

    def tell(self, fleet: Fleet, ident: int, event: str, brought: dict[str, Any] | None = None) -> Fleet:
        """An event for a machine, and all that follows in the same record; the same fleet when it means nothing."""
        order = highest(fleet) + 1
        stepped = self._step(fleet, ident, event, frozen(brought or {}), order)
        return fleet if stepped is fleet else self._review(stepped, order)

    def _review(self, fleet: Fleet, order: int) -> Fleet:
        """What the catalogue ends in the same record: work for an older term, or for voters that are others by now."""
        service, enrolling = fleet.service.facts.plain, self.enrols(fleet)
        for work in fleet.works:
            if self.arithmetic.overtaken(work.kind, work.facts.plain, service, enrolling=enrolling):
                fleet = self._step(fleet, work.ident, "overtaken", _NOTHING, order)
        return fleet

    def enrols(self, fleet: Fleet) -> bool:
        """Is a voter being put in force?"""
        return self.arithmetic.enrols([(work.kind, work.state) for work in fleet.works])

    def _step(self, fleet: Fleet, ident: int, event: str, brought: Facts, order: int) -> Fleet:
        kind, state, facts = _machine(fleet, ident)
        if not kind:
            return fleet
        fired = self._fire(kind, state, facts, event, brought, ident)
        if fired is None:
            return fleet
        fleet = self._put(fleet, ident, fired, order)
        for targets, what, travels in fired.emits:
            for target in targets:
                fleet = self._step(fleet, target, what, travels, order)
        return fleet

    def _fire(self, kind: str, state: str, facts: Facts, event: str, brought: Facts, ident: int) -> _Fired | None:
        key = (kind, state, facts, event, brought, ident if kind in self.tables and ident > SERVICE else 0)
        if key not in self._known:
            self._known[key] = self._fire_anew(self.tables[kind], state, facts, event, brought, ident)
        return self._known[key]

    @staticmethod
    def _fire_anew(table: Table, state: str, facts: Facts, event: str, brought: Facts, ident: int) -> _Fired | None:
        had, told = dict(facts.plain), dict(brought.plain)
        row = table.row(state, event, had, told)
        if row is None:
            return None
        after = had | ({} if "sender" in told else told)
        if row.update is not None:
            after |= row.update(had, told, 0)
        kept = KEPT.get(table.kind)
        emits = tuple(
            (_ids(after.get(emit.to)), emit.event,
             frozen({"sender": ident, **{key: after[key] for key in emit.carry if key in after}}))
            for emit in row.emits
        )  # fmt: skip
        left = after if kept is None else {key: value for key, value in after.items() if key in kept}
        return _Fired(row, row.target, frozen(left), emits)

    def _put(self, fleet: Fleet, ident: int, fired: _Fired, order: int) -> Fleet:
        if ident == SERVICE:
            return fleet._replace(service=Machine("service", fired.state, fired.facts))
        if ident < SERVICE:
            at = ident - 1
            unit = Machine("member", fired.state, fired.facts)
            return fleet._replace(members=(*fleet.members[:at], unit, *fleet.members[at + 1 :]))
        at = next(at for at, work in enumerate(fleet.works) if work.ident == ident)
        old = fleet.works[at]
        left = old.state != ABSENT and not fired.row.keep
        late = self._left_behind(fleet, old) if left else fleet.late
        if self.tables[old.kind].by_name[fired.state].final:
            return fleet._replace(works=(*fleet.works[:at], *fleet.works[at + 1 :]), late=late)
        new = Work(ident, old.kind, fired.state, fired.facts, old.order, old.memory)
        if not fired.row.keep:
            new = new._replace(order=order, memory=())
        return fleet._replace(works=(*fleet.works[:at], new, *fleet.works[at + 1 :]), late=late)

    def _left_behind(self, fleet: Fleet, work: Work) -> tuple[Late, ...]:
        """A sync set that was sent and may still be on its way when its work moves on."""
        due = self.effect(work)
        target, waits = self.sync_set(fleet, work, due.name if due else "")
        if not target:
            return fleet.late
        mark = (max(fleet.fact("term"), fact(work.facts, "term")), work.order)
        return tuple(sorted({*fleet.late, Late(target, waits, mark)}))

    def sync_set(self, fleet: Fleet, work: Work, effect: str) -> tuple[int, tuple[int, ...]]:
        """The primary and the set that an effect puts in force there; (0, ()) when it puts none."""
        if effect == "shrink_sync_set":
            return fact(work.facts, "primary"), tuple(fact(work.facts, "keep", ()))
        if effect == "load_sync_set":
            primary = fleet.fact("primary")
            return primary, tuple(self.arithmetic.waited_for(fleet.fact("voters"), primary))
        return 0, ()


def highest(fleet: Fleet) -> int:
    """The highest order in the log or with an agent."""
    return max(
        *(node.mark[1] for node in fleet.nodes), *(work.order for work in fleet.works),
        *(late.mark[1] for late in fleet.late), 0,
    )  # fmt: skip


def _machine(fleet: Fleet, ident: int) -> tuple[str, str, Facts]:
    if ident == SERVICE:
        return fleet.service
    if ident < SERVICE:
        return fleet.members[ident - 1]
    for work in fleet.works:
        if work.ident == ident:
            return work.kind, work.state, work.facts
    return "", "", _NOTHING


def _ids(held: Any) -> tuple[int, ...]:
    if isinstance(held, list | tuple):
        return tuple(held)
    return (held,) if held else ()
