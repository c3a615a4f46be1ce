"""What makes the log take a step: outcomes and signs, deadlines, pauses that are over, orders of people."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from herder.engine.decide import Input
from herder.engine.world import Machine
from herder.fleet import commands, exercise
from herder.fleet.leases import Wanted, wanted
from herder.model.errors import HerderError
from herder.model.plans import PLANS, Engine
from herder.ports.driver import Position, Reading
from herder.proof.product.acts import Act, in_reach
from herder.proof.product.aspects import Aspect
from herder.proof.product.context import Context
from herder.proof.product.fleet import PERSON, Given, given
from herder.proof.product.log import Log, LogWorld, Moved
from herder.proof.product.report import Step
from herder.proof.product.shelf import (
    INCARNATION,
    LEASE_S,
    MEMBERS_MOST,
    NAME,
    NOW_MS,
    SERVICE,
    Kind,
    Shelf,
    member_name,
)
from herder.proof.product.small import Small, serves


class Cause(NamedTuple):
    """A step of the log that the small world has no part in. orders: how many of a person's it takes. late: a deadline of
    the machine `ident`; works: of one whose effect is due. It passes by itself where nothing could be done in time.
    given: what of the fleet gives it, and the conditions for that; None for all else. event: of a deadline, whose step is made
    when it passes (`Causes.moved`).
    """

    step: Step
    moved: Moved | None
    fair: bool = True
    late: bool = False
    ident: int = 0
    works: bool = False
    orders: int = 0
    consent: bool = False
    given: Given | None = None
    event: str = ""

    def may(self, small: Small) -> bool:
        """Do its conditions hold in this small world?"""
        given = self.given
        if given is None:
            return True
        if given.needs & ~small.outside or given.lacks & small.outside:
            return False
        at_hand = given.serves < 0 or (in_reach(small, given.serves) and serves(small, given.serves))
        return at_hand and (small.orders > 0 or not given.order) and (small.faults > 0 or not given.harm)


class Causes:
    """Makes inputs of causes, and steps the log with them."""

    def __init__(self, log: Log, aspect: Aspect) -> None:
        self.log = log
        self.aspect = aspect
        self._timed: dict[int, list[Cause]] = {}
        self._ordered: dict[int, list[Cause]] = {}
        self._wanted: dict[int, Wanted] = {}
        self._given: dict[int, list[Cause]] = {}
        self._passed: dict[tuple[int, int], Moved | None] = {}

    def moved(self, log: int, cause: Cause) -> Moved | None:
        """The step that a cause makes, None when it changes nothing."""
        if not cause.event:
            return cause.moved
        key = log, cause.ident
        if key not in self._passed:
            passed = Input(cause.ident, cause.event, entered=0)
            self._passed[key] = self.log.step(log, ("heard", cause.ident, cause.event), [passed])
        return self._passed[key]

    def wanted(self, log: int) -> Wanted:
        """What is to be done about the primary's lease, by the production function."""
        found = self._wanted.get(log)
        if found is None:
            world = self.log.world(self.log.shelves[log])
            found = self._wanted[log] = wanted(world, world.get(SERVICE))
        return found

    def outcomes(self, log: int, act: Act, context: Context | None) -> Iterator[Moved | None]:
        """Steps that an act makes: all it says in one record, or what it says of others only (a crash between the two)."""
        besides = self._besides(act)
        if context is None or not act.event:
            yield self.log.step(log, ("sign", act.besides), besides)
            return
        yield self.log.step(log, ("heard", *self._words(act, context)), self._inputs(act, context))
        if besides:
            yield self.log.step(log, ("sign", act.besides), besides)

    def together(self, log: int, first: tuple[Act, Context | None], then: tuple[Act, Context | None]) -> Moved | None:
        """The step of one record that holds what two of them say, in this order: the review comes after both."""
        key = "both", self._words(*first), self._words(*then)
        return self.log.step(log, key, [*self._inputs(*first), *self._inputs(*then)])

    def _words(self, act: Act, context: Context | None) -> tuple[Any, ...]:
        return 0 if context is None else context.ident, act.event, act.facts, act.besides

    def _inputs(self, act: Act, context: Context | None) -> list[Input]:
        besides = self._besides(act)
        if context is None or not act.event:
            return besides
        return [*besides, Input(context.ident, act.event, self._facts(act.facts), entered=0)]

    def _besides(self, act: Act) -> list[Input]:
        return [Input(ident, event, self._told(event)) for ident, event in act.besides]

    def _told(self, event: str) -> dict[str, Any]:
        told: dict[str, dict[str, Any]] = {
            "leased": {"leased": True, "lease_s": LEASE_S},
            "last_read": {"last_read": {}},
        }
        return told.get(event, {})

    def _facts(self, facts: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
        kind = self.aspect.kind
        made: dict[str, Any] = {}
        for name, value in facts:
            if name == "candidate":
                made[name] = kind.member(value)
            elif name in ("new_voters", "added"):
                made[name] = kind.idents(value)
            elif name == "evidence":
                made[name] = {"provider": False, "incarnation": INCARNATION} if value == "gone" else {}
            else:
                made[name] = value
        return made

    def of(self, log: int, small: Small) -> Iterator[Cause]:
        """Deadlines, pauses and orders that are possible now."""
        timed = self._timed.get(log)
        if timed is None:
            timed = self._timed[log] = [*self._deadlines(log), *self._pauses(log)]
        yield from timed
        if small.orders:
            ordered = self._ordered.get(log)
            if ordered is None:
                ordered = self._ordered[log] = [*self._orders(log)]
            yield from ordered
        if self.aspect.near:
            given = self._given.get(log)
            if given is None:
                given = self._given[log] = [*self._of_the_fleet(log)]
            yield from (cause for cause in given if cause.may(small))

    def _of_the_fleet(self, log: int) -> Iterator[Cause]:
        for place, each in enumerate(given(self.log.world(self.log.shelves[log]), self.aspect.near)):
            moved = self.log.step(log, ("given", place), each.inputs)
            if moved is not None:
                step = Step(each.who, "log", each.words)
                yield Cause(step, moved, each.fair, each.late, SERVICE, orders=int(each.order), given=each)

    def _deadlines(self, log: int) -> Iterator[Cause]:
        for ident, machine in self.log.world(self.log.shelves[log]).cells.items():
            deadline = machine.at.deadline
            if deadline is None or machine.kind == "page":
                continue
            about = machine.kind
            if about in ("member", "server"):
                about += f" {member_name(self.aspect.kind.slot(ident))}"
            words = f"{machine.state} has lasted {deadline.after_s:g} s"
            works = machine.at.effect is not None
            yield Cause(Step("time", about, words), None, late=True, ident=ident, works=works, event=deadline.event)

    def _pauses(self, log: int) -> Iterator[Cause]:
        for words, shelf in _over(self.log.shelves[log]):
            yield Cause(Step("time", "service", words), self.log.step(log, ("over", words), (), shelf))

    def _orders(self, log: int) -> Iterator[Cause]:
        shelf = self.log.shelves[log]
        for order in self.aspect.orders:
            for inputs in _ordered(order, self.log.world(shelf), self.aspect.kind):
                key = ("order", order, *((item.machine, item.event) for item in inputs))
                moved = self.log.step(log, key, inputs)
                if moved is not None:
                    words = Step(PERSON, "service", f"orders: {order}")
                    yield Cause(words, moved, fair=False, orders=1, consent=order == "destroy")


def _over(shelf: Shelf) -> Iterator[tuple[str, Shelf]]:
    """Pauses that may be over by now: those after failures together, each as short as it likes."""
    rested = shelf._replace(
        retry=False, strike_retry=False, members=tuple(unit._replace(pending=False) for unit in shelf.members),
        servers=tuple(unit._replace(pending=False) for unit in shelf.servers),
    )  # fmt: skip
    if rested != shelf:
        yield "pauses after failures are over", rested
    if shelf.failovers:
        yield "an hour has passed", shelf._replace(failovers=0)
    for place, work in enumerate(shelf.works):
        if work.pending:
            left = (*shelf.works[:place], work._replace(pending=False), *shelf.works[place + 1 :])
            yield f"the {work.kind} has waited for a while", shelf._replace(works=left)


Command = Callable[[LogWorld], Sequence[Input]]


def _ordered(order: str, world: LogWorld, kind: Kind) -> Iterator[Sequence[Input]]:
    """What a person may ask for, by the production commands; what they refuse is not asked."""
    asked: dict[str, Command] = {
        "switchover": lambda world: commands.switch_over(world, NAME, "", PERSON),
        "restart": lambda world: commands.restart_service(world, NAME, PERSON),
        "destroy": lambda world: commands.destroy_service(world, NAME, NAME, PERSON),
        "allow": lambda world: commands.allow_failover(world, NAME, PERSON),
        "exercise": lambda world: exercise.begin(world, NAME, "failover", "asked", NOW_MS, _read, PERSON),
        "exercise_move": lambda world: exercise.begin(world, NAME, "switchover", "asked", NOW_MS, _read, PERSON),
        "create": partial(_create, kind=kind),
    }
    if order == "reboot":
        for slot in range(kind.members):
            yield [Input(kind.server(slot), "upgrade")]
        return
    try:
        inputs = asked[order](world)
    except HerderError:
        return
    if inputs:
        yield inputs


def _read(primary: Machine) -> Reading:
    """Its standbys have everything: whether that is so when the exercise begins is what the small world says."""
    streaming = dict.fromkeys(map(member_name, range(MEMBERS_MOST)), 0)
    return Reading(alive=True, position=Position(1, 0), streaming=streaming)


def _create(world: LogWorld, kind: Kind) -> Sequence[Input]:
    secrets = ("app", "admin", "replication")
    wish = commands.Wish(
        NAME, Engine.POSTGRES, PLANS[kind.plan], 0, secrets, "10.0.0.", kind.on_isolation, "", PERSON,
    )  # fmt: skip
    if SERVICE in world.cells:
        return []
    world.next_id = SERVICE
    return commands.create_service(world, wish)
