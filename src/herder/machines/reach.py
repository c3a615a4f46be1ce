"""All tables at once: which states can be reached, and which rows fire, when some rows are withheld.

An over-approximation on purpose: any number of machines, guards that may say yes or no, events in any order. What cannot
be reached here cannot be reached by the engine either; a trace is the shortest way there in steps of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from herder.machines.table import ABSENT, CREATE, Row, Table

Withheld = Callable[[Table, Row], bool]
"""May this row not fire?"""


@dataclass
class Reach:
    """states: (kind, state) -> the row that led there first. sent: (kind, event) -> the kind and row that sent it first.
    fired: every (kind, row) that can fire.
    """

    states: dict[tuple[str, str], Row | None] = field(default_factory=dict)
    sent: dict[tuple[str, str], tuple[str, Row] | None] = field(default_factory=dict)
    fired: set[tuple[str, Row]] = field(default_factory=set)

    def trace(self, kind: str, state: str, event: str = "") -> tuple[str, ...]:
        """The steps to a state, and to the event that arrives there, one step a line."""
        steps: dict[str, None] = {}
        self._to_state(kind, state, steps)
        if event:
            self._to_event(kind, event, steps)
            steps[f"{kind}: {state} -{event}->"] = None
        return tuple(steps)

    def _to_state(self, kind: str, state: str, steps: dict[str, None]) -> None:
        row = self.states.get((kind, state))
        if row is None:
            return
        self._to_state(kind, row.source, steps)
        self._to_event(kind, row.event, steps)
        steps[f"{kind}: {row.source} -{row.event}-> {row.target} ({row.why})"] = None

    def _to_event(self, kind: str, event: str, steps: dict[str, None]) -> None:
        sender = self.sent.get((kind, event))
        if sender is not None:
            sender_kind, row = sender
            if f"{sender_kind}: {row.source} -{row.event}-> {row.target} ({row.why})" in steps:
                return
            self._to_state(sender_kind, row.source, steps)
            self._to_event(sender_kind, row.event, steps)
            steps[f"{sender_kind}: {row.source} -{row.event}-> {row.target} ({row.why})"] = None


def explore(
    tables: Sequence[Table], withheld: Withheld, senders: Callable[[str], tuple[set[str], dict[str, str]]]
) -> Reach:
    """Round after round until nothing new is reached. senders: kind -> (events that come from outside, fact -> kind)."""
    reach = Reach()
    for table in tables:
        reach.states[table.kind, ABSENT] = None
        for event in (CREATE, *sorted(senders(table.kind)[0])):
            reach.sent[table.kind, event] = None
    waiting = [(table, row) for table in tables for row in table.rows if not withheld(table, row)]
    while ready := [(table, row) for table, row in waiting if _may_fire(reach, table, row)]:
        for table, row in ready:
            reach.fired.add((table.kind, row))
        for table, row in ready:
            reach.states.setdefault((table.kind, row.target), row)
            for emit in row.emits:
                kind = senders(table.kind)[1].get(emit.to, "")
                reach.sent.setdefault((kind, emit.event), (table.kind, row))
        waiting = [item for item in waiting if item not in ready]
    return reach


def _may_fire(reach: Reach, table: Table, row: Row) -> bool:
    if (table.kind, row.source) not in reach.states:
        return False
    state = table.by_name[row.source]
    mine = {*(state.effect.outcomes if state.effect else ()), *((state.deadline.event,) if state.deadline else ())}
    return row.event in mine or (table.kind, row.event) in reach.sent
