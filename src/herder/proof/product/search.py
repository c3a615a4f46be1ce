"""Breadth first over pairs of a state of the log and a small world; both halves and every step of each are made once.

A pair is two numbers; members that could be named the other way round are one (canonical form). What was found first was
found by a shortest way, and the way is told by stepping it again.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterator
from typing import NamedTuple

from herder.proof.product import rules
from herder.proof.product.acts import Act, Marks, Rules, moved_marks, squashed
from herder.proof.product.aspects import Aspect
from herder.proof.product.causes import Cause, Causes
from herder.proof.product.context import Context, contexts
from herder.proof.product.environment import data, faults, leases, mends, signs
from herder.proof.product.keeping import HANDLERS
from herder.proof.product.log import Log, Moved
from herder.proof.product.report import Budget, Searched, Step, Tables, Violation
from herder.proof.product.shelf import BLANK, member_name, serving
from herder.proof.product.small import Small, at_rest, turn_small, unmade
from herder.proof.product.words import trace

SHIFT = 32


class Next(NamedTuple):
    """One step from a pair. fair: it happens when the world no longer does its worst."""

    step: Step
    log: int
    world: int
    fair: bool
    broken: str = ""
    moves: tuple[tuple[str, str, str], ...] = ()


class Search:
    """One aspect over one set of tables."""

    def __init__(self, tables: Tables, aspect: Aspect) -> None:
        self.aspect = aspect
        self.log = Log(tables, aspect.kind)
        self.causes = Causes(self.log, aspect)
        self.rules = Rules(fences=aspect.fences)
        self.worlds: list[Small] = []
        self._numbers: dict[Small, int] = {}
        self._turned: dict[tuple[int, tuple[int, ...]], int] = {}
        self._alone: dict[int, list[tuple[Act, int]]] = {}
        self._acts: dict[tuple[Context, int], list[tuple[Act, int]]] = {}
        self._signs: dict[tuple[int, int], list[tuple[Act, int]]] = {}
        self._hooked: dict[tuple[int, tuple[tuple[int, int, int], ...], int], int] = {}
        self._marks: dict[int, Marks] = {}
        self._squashed: dict[tuple[Marks, int], int] = {}
        self._checked: dict[int, str] = {}
        self._views: dict[object, int] = {}
        self._view_of: dict[int, int] = {}
        self._contexts: dict[int, list[Context]] = {}
        self.seen: dict[int, int] = {}
        self.logs, self.smalls, self.parents = array("I"), array("I"), array("I")
        self.depths = array("H")
        self.sources, self.targets = array("I"), array("I")
        self.fair = array("b")
        self.transitions = 0
        self.looked: dict[str, int] = {}

    # ---- numbers

    def world(self, small: Small) -> int:
        """The number of a small world."""
        found = self._numbers.get(small)
        if found is None:
            found = self._numbers[small] = len(self.worlds)
            self.worlds.append(small)
        return found

    def canonical(self, log: int, world: int) -> tuple[int, int]:
        """The least of all namings of the members."""
        world = self._plain(log, world)
        first, turns = self.log.canonical(log)
        if len(turns) == 1:
            return first, self.turned(world, turns[0])
        return first, min(self.turned(world, turn) for turn in turns)

    def turned(self, world: int, turn: tuple[int, ...]) -> int:
        """The same world with its members in another order."""
        found = self._turned.get((world, turn))
        if found is None:
            small = self.worlds[world]
            found = self._turned[world, turn] = self.world(turn_small(small, turn))
        return found

    # ---- steps

    def nexts(self, log: int, world: int) -> Iterator[Next]:
        """Every step from a pair."""
        for act, to in self._by_itself(world):
            yield Next(Step("world", _whom(act), act.what), log, to, act.fair)
        for act, to in self._told(log, world):
            yield from self._heard(log, world, act, to, None)
        busy: set[int] = set()
        for context in self._due(log):
            for act, to in self._done(context, world):
                if act.fair and (act.event or to != world):
                    busy.add(context.ident)
                yield from self._heard(log, world, act, to, context)
        small = self.worlds[world]
        if small.zombie is not None:
            for act, to in self._done(small.zombie, world):
                step = Step("controller that lost its shard", _whom(act), act.what)
                yield Next(step, log, to, fair=False)
        for cause in self.causes.of(log, small):
            late = cause.late and (cause.ident in busy or (not cause.works and bool(busy)))
            if cause.moved is not None and (not late or small.faults):
                to = self._ordered(cause, world, late=late)
                yield from self._stepped(log, to, cause.moved, cause.step, fair=cause.fair and not late)

    def _by_itself(self, world: int) -> list[tuple[Act, int]]:
        found = self._alone.get(world)
        if found is None:
            small = self.worlds[world]
            acts = [*faults(small, self.aspect.harm), *mends(small), *data(small)]
            found = self._alone[world] = [(act, self.world(act.world)) for act in acts]
        return found

    def _told(self, log: int, world: int) -> list[tuple[Act, int]]:
        view = self._view(log)
        found = self._signs.get((view, world))
        if found is None:
            shelf, small = self.log.shelves[log], self.worlds[world]
            acts = [] if shelf.blank else [*signs(shelf, small, self.aspect.kind)]
            if self.aspect.kind.on_isolation == "stop" and not shelf.blank:
                acts += leases(shelf, small, self.aspect.kind, self.causes.wanted(log))
            found = self._signs[view, world] = [(act, self.world(act.world)) for act in acts]
        return found

    def _view(self, log: int) -> int:
        """What pulses are judged by; many states of the log are alike in it."""
        view = self._view_of.get(log)
        if view is None:
            shelf = self.log.shelves[log]
            held = shelf.works[shelf.playbook].kind if shelf.playbook >= 0 else ""
            units = tuple((unit.state, unit.role, unit.deposed, unit.leased) for unit in shelf.members)
            want = self.causes.wanted(log) if self.aspect.kind.on_isolation == "stop" and not shelf.blank else None
            key = (shelf.primary, held, units, tuple(server.state for server in shelf.servers), want)
            view = self._view_of[log] = self._views.setdefault(key, len(self._views))
        return view

    def _due(self, log: int) -> list[Context]:
        found = self._contexts.get(log)
        if found is None:
            found = self._contexts[log] = [*contexts(self.log.shelves[log], self.aspect.kind, self.log.tables)]
        return found

    def _done(self, context: Context, world: int) -> list[tuple[Act, int]]:
        found = self._acts.get((context, world))
        if found is None:
            handler = HANDLERS.get(context.effect)
            acts = handler(context, self.worlds[world], self.rules) if handler is not None else ()
            found = self._acts[context, world] = [(act, self.world(act.world)) for act in acts]
        return found

    def _heard(self, log: int, world: int, act: Act, to: int, context: Context | None) -> Iterator[Next]:
        who = context.kind if context is not None else "pulse"
        step = Step(who, _whom(act), act.what)
        if not act.event and not act.besides:
            yield Next(step, log, to, act.fair)
            return
        for moved in self.causes.outcomes(log, act, context):
            yield from self._stepped(log, to, moved, step, fair=act.fair, context=context)

    def _stepped(
        self, log: int, world: int, moved: Moved | None, step: Step, *, fair: bool, context: Context | None = None
    ) -> Iterator[Next]:  # fmt: skip
        if moved is None:
            yield Next(step, log, world, fair)
            return
        yield Next(step, moved.to, self._hook(moved, world), fair, moved.broken, moved.moves)
        if self.aspect.zombies and context is not None and context.rank:
            yield from self._left_behind(moved, world, step, context)

    def _left_behind(self, moved: Moved, world: int, step: Step, context: Context) -> Iterator[Next]:
        """The controller that had this effect under way loses its shard and does not know yet."""
        small = self.worlds[world]
        due = {(other.ident, other.effect) for other in self._due(moved.to)}
        if small.zombie is None and small.faults > 0 and (context.ident, context.effect) not in due:
            lost = self.world(small._replace(zombie=context._replace(ident=0), faults=small.faults - 1))
            words = Step(step.who, step.whom, f"{step.what}; its controller loses the shard and goes on unaware")
            yield Next(words, moved.to, self._hook(moved, lost), fair=False, moves=moved.moves)

    def _ordered(self, cause: Cause, world: int, *, late: bool) -> int:
        """What it takes from what the world may do: an order, or a fault where an answer would have come in time."""
        if not (cause.orders or late):
            return world
        small, consent = self.worlds[world], cause.consent
        left = small._replace(
            orders=small.orders - cause.orders, faults=small.faults - late, consent=small.consent or consent
        )
        return self.world(left)

    def _hook(self, moved: Moved, world: int) -> int:
        """What a step of the log means outside: terms and states are counted anew, lives are counted out."""
        key = (moved.term << 8 | moved.aged, moved.ranks, world)
        found = self._hooked.get(key)
        if found is None:
            small = moved_marks(rules.renumbered(self.worlds[world], moved), moved.ranks)
            found = self._hooked[key] = self.world(small)
        return found

    def _plain(self, log: int, world: int) -> int:
        """The world with promises told as far as they matter to what is due."""
        marks = self._marks.get(log)
        if marks is None:
            due = self._due(log)
            marks = self._marks[log] = tuple(
                tuple(sorted((-each.behind, each.rank) for each in due if each.asks >> slot & 1))
                for slot in range(self.aspect.kind.members)
            )
        found = self._squashed.get((marks, world))
        if found is None:
            found = self._squashed[marks, world] = self.world(squashed(self.worlds[world], marks))
        return found

    # ---- the search

    def begin(self) -> tuple[int, int]:
        """The first pair."""
        aspect = self.aspect
        kind, members = aspect.kind, aspect.kind.members
        if aspect.made:
            small = at_rest(members, sync=kind.sync, faults=aspect.faults, orders=aspect.asked)
            return self.log.number(serving(kind)), self.world(small)
        return self.log.number(BLANK), self.world(unmade(members, faults=aspect.faults, orders=aspect.asked))

    def run(self, budget: Budget) -> Searched:
        """Search until everything was seen or the budget is used up."""
        began = time.monotonic()
        self._add(*self.canonical(*self.begin()), 0)
        found: list[Violation] = []
        at, whole = 0, True
        while at < len(self.logs):
            if len(self.logs) >= budget.states or (not at & 1023 and time.monotonic() - began > budget.seconds):
                whole = False
                break
            for violation in self._expand(at):
                if all(known.rule != violation.rule for known in found):
                    found.append(violation)
            if found and budget.first:
                whole = False
                break
            at += 1
        seconds = time.monotonic() - began
        return Searched(
            self.aspect.name, len(self.logs), self.transitions, seconds, max(self.depths), whole, 0, self.aspect.abstracts,
            dict(self.looked), frozenset(self.log.covered), tuple(found),
        )  # fmt: skip

    def _add(self, log: int, world: int, parent: int) -> tuple[int, bool]:
        key = log << SHIFT | world
        known = self.seen.get(key)
        if known is not None:
            return known, False
        at = self.seen[key] = len(self.logs)
        self.logs.append(log)
        self.smalls.append(world)
        self.parents.append(parent)
        self.depths.append(self.depths[parent] + 1 if at else 0)
        return at, True

    def _expand(self, at: int) -> Iterator[Violation]:
        log, world = self.logs[at], self.smalls[at]
        for item in self.nexts(log, world):
            self.transitions += 1
            to, new = self._add(*self.canonical(item.log, item.world), at)
            self.sources.append(at)
            self.targets.append(to)
            self.fair.append(item.fair)
            broken = item.broken or (self._broken(to) if new else "")
            if broken:
                yield self._violation(at, item, broken)

    def _broken(self, at: int) -> str:
        world = self.smalls[at]
        found = self._checked.get(world)
        if found is None:
            found = self._checked[world] = rules.world_broken(self.worlds[world], self.aspect.kind)
        shelf = self.log.shelves[self.logs[at]]
        return found or rules.pair_broken(shelf, self.worlds[world], self.aspect.kind, self._due(self.logs[at]))

    # ---- the way there

    def _violation(self, at: int, last: Next, broken: str) -> Violation:
        rule, _, what = broken.partition(": ")
        steps = tuple(trace(self, at, last))
        return Violation(rule, self.aspect.name, what, tuple(map(str, steps)), steps)


def _whom(act: Act) -> str:
    return f"member {member_name(act.whom)}" if act.whom >= 0 else "world"
