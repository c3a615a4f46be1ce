"""Breadth first over pairs of a state of the log and a small world; both halves and every step of each are made once.

A pair is two numbers; members that could be named the other way round are one (canonical form). What was found first was
found by a shortest way, and the way is told by stepping it again.
"""

from __future__ import annotations

import gc
import time
from array import array
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from herder.proof.product import rules
from herder.proof.product.acts import (
    PROMISES,
    UNAWARE,
    Act,
    Marks,
    Rules,
    harmed,
    may_harm,
    moved_marks,
    refuses,
    slots,
    squashed,
)
from herder.proof.product.aspects import Aspect
from herder.proof.product.causes import Cause, Causes
from herder.proof.product.context import Context, Watched, contexts, is_powerless, unaware
from herder.proof.product.environment import data, disasters, faults, leases, mends, relief, signs, writes
from herder.proof.product.fairness import Graph, stuck
from herder.proof.product.keeping import HANDLERS
from herder.proof.product.log import Log, Moved
from herder.proof.product.report import Budget, Searched, Tables, Violation
from herder.proof.product.shelf import BLANK, FREE, Kind, serving
from herder.proof.product.small import NOWHERE, PROVIDER, Small, at_rest, busy, normal, turn_small, unmade
from herder.proof.product.watching import NEEDS_PROVIDER, WATCHING, unanswered
from herder.proof.product.words import Next, trace

SHIFT = 32


Logs = dict[tuple[Kind, tuple[str, ...]], Log]
"""Steps of the log by the kind of service, and by what of the fleet is near it."""


class Done(NamedTuple):
    """An act with the number of the world that it leads to. says: the number of what it tells the log, -1 for nothing."""

    act: Act
    to: int
    says: int


class Search:
    """One aspect over one set of tables. Numbers stand for values throughout, and each value's steps are made once."""

    def __init__(self, tables: Tables, aspect: Aspect, logs: Logs | None = None) -> None:
        """logs: what searches of other aspects over these tables have stepped, and will."""
        self.aspect = aspect
        made = Log(tables, aspect.kind, FREE if aspect.near else 0)
        self.log = (logs if logs is not None else {}).setdefault((aspect.kind, aspect.near), made).begin()
        self.causes = Causes(self.log, aspect)
        self.rules = Rules(fences=aspect.fences)
        self.worlds: list[Small] = []
        self._numbers: dict[Small, int] = {}
        self._contexts: list[Context] = []
        self._context_numbers: dict[Context, int] = {}
        self._sayings: dict[tuple[object, ...], int] = {}
        self._due_in: dict[int, list[tuple[int, Context]]] = {}
        self._profiles: dict[object, int] = {}
        self._profile_of: dict[int, tuple[int, int]] = {}
        self._profile_values: list[tuple[Marks, tuple[tuple[int, ...], ...], bool, int]] = []
        self._views: dict[object, int] = {}
        self._view_of: dict[int, int] = {}
        # by number << SHIFT | number
        self._canonical: dict[int, int] = {}
        self._alone: dict[int, list[Done]] = {}
        self._acts: dict[int, list[Done]] = {}
        self._signs: dict[int, list[Done]] = {}
        self._heard: dict[int, list[Moved | None]] = {}
        self._hooked: dict[int, int] = {}
        self._checked: dict[int, str] = {}
        self._rules_told: dict[int, rules.Told] = {}
        self.seen: dict[int, int] = {}
        self.logs, self.smalls, self.parents = array("I"), array("I"), array("I")
        self.depths = array("H")
        self.sources, self.targets = array("I"), array("I")
        self.fair = array("b")

    # ---- numbers

    def world(self, small: Small) -> int:
        """The number of a small world."""
        found = self._numbers.get(small)
        if found is None:
            if self.aspect.busy and (written := busy(small)) != small:
                found = self._numbers[small] = self.world(written)
                return found
            found = self._numbers[small] = len(self.worlds)
            self.worlds.append(small)
        return found

    def canonical(self, log: int, world: int) -> tuple[int, int]:
        """The least of all namings of the members, promises told only as far as they matter to what is due."""
        known = self._profile_of.get(log)
        if known is None:
            known = self._profile_of[log] = self._profile(log)
        key = known[1] << SHIFT | world
        found = self._canonical.get(key)
        if found is None:
            marks, turns, strikes, less = self._profile_values[known[1]]
            small = squashed(self.worlds[world], marks)
            if not self.aspect.kind.sync:
                less = min(fork.timeline for fork in small.forks) - 1
            if less:
                small = small._replace(
                    forks=tuple(fork._replace(timeline=fork.timeline - less) for fork in small.forks)
                )
            if small.flush != NOWHERE and not strikes:
                small = normal(small._replace(flush=NOWHERE))
            if small.zombie is not None and is_powerless(small.zombie):
                small = small._replace(zombie=None)
            found = self._canonical[key] = min(self.world(turn_small(small, turn)) for turn in turns)
        return known[0], found

    def _profile(self, log: int) -> tuple[int, int]:
        first, turns, less = self.log.canonical(log)
        marks: Marks = tuple(
            tuple(
                sorted(
                    {
                        (-each.behind, each.rank, each.effect in PROMISES)
                        for _, each in self.due(log)
                        if each.asks >> slot & 1
                    }
                )
            )
            for slot in range(self.aspect.kind.members)
        )
        strikes = any(each.effect == "shrink_sync_set" for _, each in self.due(log))
        profile = marks, turns, strikes, less
        number = self._profiles.setdefault(profile, len(self._profile_values))
        if number == len(self._profile_values):
            self._profile_values.append(profile)
        return first, number

    def due(self, log: int) -> list[tuple[int, Context]]:
        """Effects that are due in a state of the log, with their numbers."""
        found = self._due_in.get(log)
        if found is None:
            made = contexts(self.log.shelves[log], self.aspect.kind, self.log.tables)
            found = self._due_in[log] = [(self._context(context), context) for context in made]
        return found

    def _context(self, context: Context) -> int:
        found = self._context_numbers.get(context)
        if found is None:
            found = self._context_numbers[context] = len(self._contexts)
            self._contexts.append(context)
        return found

    # ---- steps

    def nexts(self, log: int, world: int) -> Iterator[Next]:
        """Every step from a pair."""
        for act, to, _ in self._by_itself(world):
            yield Next(log, to, act.fair, None, "world", act)
        for done in self._told(log, world):
            yield from self._steps(log, done, "pulse" if done.says >= 0 else "world", None)
        busy: set[int] = set()
        for number, context in self.due(log):
            for done in self._done(number, context, world):
                if done.act.fair and (done.says >= 0 or done.to != world):
                    busy.add(context.ident)
                yield from self._steps(log, done, context.kind, context)
        if self.aspect.together:
            yield from self._both(log, world)
        small = self.worlds[world]
        if small.zombie is not None:
            yield from self._unaware(log, world, small.zombie)
        for cause in self.causes.of(log, small):
            late = cause.late and (cause.ident in busy or (not cause.works and bool(busy)))
            if late and not may_harm(small):
                continue
            moved = self.causes.moved(log, cause)
            if moved is not None:
                to = self._hook(moved, self._ordered(cause, world, late=late))
                yield Next(moved.to, to, cause.fair and not late, moved, "time", None, cause)

    def _unaware(self, log: int, world: int, zombie: Context) -> Iterator[Next]:
        """Jobs of a controller that lost its shard. What only uses up bad luck is left out: it makes nothing possible."""
        small = self.worlds[world]
        for act, to, _ in self._done(self._context(zombie), zombie, world):
            if act.world._replace(faults=small.faults, luck=small.luck) != small:
                yield Next(log, to, False, None, "controller that lost its shard", act)  # noqa: FBT003  as fields

    def _both(self, log: int, world: int) -> Iterator[Next]:
        """Two words that come in one record: the second may fit no more what the first has made of the log. None of it counts
        as fair, so what rests must rest without it.
        """
        for one, first in self._words(log, world):
            for other, then in self._words(log, first.to):
                if one is not None and other is not None and one.ident == other.ident:
                    continue
                moved = self.causes.together(log, (first.act, one), (then.act, other))
                if moved is not None:
                    act = then.act._replace(what=f"{first.act.what}; and in the same record: {then.act.what}")
                    yield Next(moved.to, self._hook(moved, then.to), False, moved, "several at once", act)  # noqa: FBT003

    def _words(self, log: int, world: int) -> Iterator[tuple[Context | None, Done]]:
        """All that may be said to the log now, and by which effect, None for a pulse."""
        yield from ((None, done) for done in self._told(log, world) if done.says >= 0)
        for number, context in self.due(log):
            yield from ((context, done) for done in self._done(number, context, world) if done.says >= 0)

    def _numbered(self, acts: Iterable[Act], context: Context | None) -> list[Done]:
        made = []
        for act in acts:
            says = -1
            if act.event or act.besides:
                key = (context.ident if context is not None else 0, act.event, act.facts, act.besides)
                says = self._sayings.setdefault(key, len(self._sayings))
            made.append(Done(act, self.world(act.world), says))
        return made

    def _by_itself(self, world: int) -> list[Done]:
        found = self._alone.get(world)
        if found is None:
            small = self.worlds[world]
            acts = (*faults(small, self.aspect.harm), *mends(small), *data(small))
            if self.aspect.near:
                acts = (*acts, *disasters(small, self.aspect.harm), *relief(small))
            found = self._alone[world] = self._numbered(acts, None)
        return found

    def _told(self, log: int, world: int) -> list[Done]:
        key = self._view(log) << SHIFT | world
        found = self._signs.get(key)
        if found is None:
            shelf, small, kind = self.log.shelves[log], self.worlds[world], self.aspect.kind
            acts = [] if shelf.blank else [*signs(shelf, small, kind, full="full" in self.aspect.harm)]
            if shelf.state not in ("absent", "installing"):
                acts += writes(small)
            if self._leases(log):
                acts += leases(shelf, small, kind, self.causes.wanted(log))
            found = self._signs[key] = self._numbered(acts, None)
        return found

    def _leases(self, log: int) -> bool:
        return self.aspect.kind.on_isolation == "stop" and not self.log.shelves[log].blank

    def _view(self, log: int) -> int:
        """What pulses are judged by; many states of the log are alike in it."""
        view = self._view_of.get(log)
        if view is None:
            shelf = self.log.shelves[log]
            held = shelf.works[shelf.playbook].kind if shelf.playbook >= 0 else ""
            units = tuple((unit.state, unit.role, unit.deposed, unit.leased) for unit in shelf.members)
            want = self.causes.wanted(log) if self._leases(log) else None
            used = shelf.state not in ("absent", "installing")
            key = (used, shelf.primary, held, units, tuple(server.state for server in shelf.servers), want)
            view = self._view_of[log] = self._views.setdefault(key, len(self._views))
        return view

    def _done(self, number: int, context: Context, world: int) -> list[Done]:
        key = number << SHIFT | world
        found = self._acts.get(key)
        if found is None:
            found = self._acts[key] = self._numbered(self._acted(context, self.worlds[world]), context)
        return found

    def _acted(self, context: Context, small: Small) -> Iterable[Act]:
        rules = self.rules
        if small.outside & PROVIDER:
            if context.effect in NEEDS_PROVIDER:
                return unanswered(context, small)
            rules = Rules(fences=False)
        handler = HANDLERS.get(context.effect) or WATCHING.get(context.effect)
        return handler(Watched(*context), small, rules) if handler is not None else ()

    def _steps(self, log: int, done: Done, who: str, context: Context | None) -> Iterator[Next]:
        act, to, says = done
        if says < 0:
            yield Next(log, to, act.fair, None, who, act)
            return
        key = log << SHIFT | says
        heard = self._heard.get(key)
        if heard is None:
            heard = self._heard[key] = [*self.causes.outcomes(log, act, context)]
        for moved in heard:
            if moved is None:
                yield Next(log, to, act.fair, None, who, act)
                continue
            yield Next(moved.to, self._hook(moved, to), act.fair, moved, who, act)
            if self.aspect.zombies and context is not None and context.asks:
                yield from self._left_behind(moved, to, act, context)

    def _left_behind(self, moved: Moved, world: int, act: Act, context: Context) -> Iterator[Next]:
        """The controller that had this effect under way loses its shard and does not know yet."""
        small = self.worlds[world]
        due = {(other.ident, other.effect) for _, other in self.due(moved.to)}
        if small.zombie is None and small.zombies and (context.ident, context.effect) not in due:
            willing = sum(1 << slot for slot in slots(context.asks) if not refuses(small, slot, context))
            zombie = unaware(context, UNAWARE, willing)
            if is_powerless(zombie):
                return
            lost = self.world(small._replace(zombie=zombie, zombies=small.zombies - 1))
            yield Next(moved.to, self._hook(moved, lost), False, moved, context.kind, act, lost=True)  # noqa: FBT003

    def _ordered(self, cause: Cause, world: int, *, late: bool) -> int:
        """What it takes from what the world may do: an order, or a fault where an answer would have come in time."""
        struck = cause.given is not None and cause.given.harm
        if not (cause.orders or late or struck):
            return world
        small = self.worlds[world]
        if late:
            small = harmed(small) or small
        left = small._replace(orders=small.orders - cause.orders, faults=small.faults - struck)
        return self.world(left._replace(consent=small.consent or cause.consent))

    def _hook(self, moved: Moved, world: int) -> int:
        """What a step of the log means outside: terms and states are counted anew, lives are counted out."""
        if not moved.means:
            return world
        key = moved.means << SHIFT | world
        found = self._hooked.get(key)
        if found is None:
            small = moved_marks(rules.renumbered(self.worlds[world], moved), moved.ranks)
            found = self._hooked[key] = self.world(small)
        return found

    # ---- the search

    def begin(self) -> tuple[int, int]:
        """The first pair."""
        aspect = self.aspect
        kind, members = aspect.kind, aspect.kind.members
        if aspect.made:
            small = at_rest(
                members, sync=kind.sync, faults=aspect.faults, orders=aspect.asked, luck=aspect.luck, zombies=aspect.zombies,
            )  # fmt: skip
            return self.log.adopted(serving(kind)), self.world(small)
        return self.log.number(BLANK), self.world(
            unmade(members, faults=aspect.faults, orders=aspect.asked, luck=aspect.luck)
        )

    def run(self, budget: Budget) -> Searched:
        """Search until everything was seen or the budget is used up. Nothing that is made here goes round in circles, so the
        collector, which would look through millions of tuples again and again, waits.
        """
        collects = gc.isenabled()
        gc.disable()
        try:
            return self._run(budget)
        finally:
            if collects:
                gc.enable()

    def _run(self, budget: Budget) -> Searched:
        began = time.process_time()
        self._add(*self.canonical(*self.begin()), 0)
        found: list[Violation] = []
        at, whole = 0, True
        while at < len(self.logs):
            if self.aspect.steps and self.depths[at] >= self.aspect.steps:
                whole = False
                break
            if len(self.logs) >= budget.most or (not at & 1023 and time.process_time() - began > budget.seconds):
                whole = False
                break
            for violation in self._expand(at):
                if all(known.rule != violation.rule for known in found):
                    found.append(violation)
            if found and budget.first:
                whole = False
                break
            at += 1
        return self._told_all(budget, found, began, at, whole=whole)

    def _told_all(
        self, budget: Budget, found: list[Violation], began: float, expanded: int, *, whole: bool
    ) -> Searched:
        """What it comes to. expanded: of so many states all steps were followed."""
        resting = self._resting("well", "over", "paged")
        graph, by_person, decided = self._graph(), 0, 0
        if whole or (self.aspect.steps and not budget.quick and not found):
            left = np.arange(graph.states) >= expanded
            found += self._stuck(graph, resting, left)
            decided = graph.states - int(stuck(graph, resting, fair_only=True).sum())
        if whole:
            by_person = int(stuck(graph, self._resting("well", "over"), fair_only=True).sum())
        return Searched(
            self.aspect.name, len(self.logs), len(self.sources), time.process_time() - began, max(self.depths), whole,
            int(resting.sum()), by_person, self.aspect.abstracts, self.rows(), tuple(found), self.aspect.steps, decided,
        )  # fmt: skip

    def rows(self) -> frozenset[tuple[str, int]]:
        """Rows that fired in a step that was followed, as (kind, number)."""
        return frozenset(self.log.covered)

    # ---- rest

    def _resting(self, *how: str) -> NDArray[np.bool_]:
        """Which states rest in one of these ways, shape (states,)."""
        sync = self.aspect.kind.sync
        logs = np.frombuffer(self.logs, np.uint32)
        emptied = np.array([rules.emptied(small) for small in self.worlds])[np.frombuffer(self.smalls, np.uint32)]
        found = np.zeros(len(logs), bool)
        for empty in np.unique(emptied).tolist():
            at_rest = np.array([rules.rests(shelf, empty, sync=sync) in how for shelf in self.log.shelves])
            found |= (emptied == empty) & at_rest[logs]
        return found

    def _graph(self) -> Graph:
        sources, targets = (np.frombuffer(ends, np.uint32).astype(np.int64) for ends in (self.sources, self.targets))
        return Graph(sources, targets, np.frombuffer(self.fair, np.int8).astype(bool), len(self.logs))

    def _stuck(self, graph: Graph, resting: NDArray[np.bool_], left: NDArray[np.bool_]) -> Iterator[Violation]:
        """S9: states from which no rest can be reached, by any way or by fair ones. left: states whose steps were not followed,
        shape (states,): whatever leads to one of them may come to rest beyond it.
        """
        for fair_only, words in (
            (False, "no rest can be reached from here"),
            (True, "it may go on for ever without rest"),
        ):
            lost = np.flatnonzero(stuck(graph, resting | left, fair_only=fair_only))
            if len(lost):
                way = tuple(trace(self, int(lost[0]), None))
                what = f"{words} ({len(lost)} states are like this)"
                yield Violation("S9", self.aspect.name, what, tuple(map(str, way)), way)
                return

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
        if found:
            return found
        log = self.logs[at]
        told = self._rules_told.get(log)
        if told is None:
            due = [context for _, context in self.due(log)]
            told = self._rules_told[log] = rules.told(self.log.shelves[log], self.aspect.kind, due)
        return rules.pair_broken(self.log.shelves[log], self.worlds[world], told)

    # ---- the way there

    def _violation(self, at: int, last: Next, broken: str) -> Violation:
        rule, _, what = broken.partition(": ")
        steps = tuple(trace(self, at, last))
        return Violation(rule, self.aspect.name, what, tuple(map(str, steps)), steps)
