"""Does anybody notice? A broken set of parts is put before one check after the other, the quick ones first."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from herder.engine.effects import Outcome, Registered, check_handlers
from herder.engine.world import Machine
from herder.machines import verify
from herder.machines.table import Table
from herder.model.errors import InvalidInput
from herder.proof import laws, product, voters
from herder.proof.mutants.parts import ORIGINAL, Mutant, Parts
from herder.remedies.handlers import HANDLERS, HANDLERS_OF_MANY


@dataclass(frozen=True, slots=True)
class Noticed:
    """A rule that a check found broken. where: kind and state, a function, or a scene; trace: the shortest way there."""

    check: str
    rule: str
    where: str
    what: str
    trace: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a mutant. killed: by what it was noticed; None: it survived. lives: why it may."""

    name: str
    what: str
    concerns: tuple[str, ...]
    killed: Noticed | None
    lives: str
    seconds: float

    @property
    def unexplained(self) -> bool:
        """It survived, and nobody said why it may."""
        return self.killed is None and not self.lives


VOTING = frozenset({"service", "member", "failover", "switchover", "strike", "rebuild"})
ARITHMETIC = frozenset(
    {"elect_sync", "kept", "waited_for", "successors", "enrols", "overtaken", "may_lead_drained", "flushed"}
)


def judge(mutant: Mutant, *, deep: bool = True) -> Verdict:
    """Break the parts and look who notices first. deep: search voters and the product too. Raises InvalidInput for a mutant
    that changes nothing.
    """
    began = time.perf_counter()
    parts = mutant.change(ORIGINAL)
    concerns = parts.differs(ORIGINAL)
    if not concerns:
        raise InvalidInput(
            f"the mutant '{mutant.name}' changes nothing", "its tables and functions equal the original's"
        )
    noticed = next(_noticed(parts, concerns, deep=deep), None)
    return Verdict(mutant.name, mutant.what, concerns, noticed, mutant.lives, time.perf_counter() - began)


def _noticed(parts: Parts, concerns: Sequence[str], *, deep: bool) -> Iterator[Noticed]:
    yield from _tables(parts.tables)
    if not {*concerns} <= set(laws.PURE):
        yield from _loading(parts.tables)
    if {*concerns} & set(laws.PURE):
        yield from _laws(parts)
    if deep and {*concerns} & (VOTING | ARITHMETIC):
        yield from _voters(parts)
    if deep and not {*concerns} <= set(laws.PURE):
        yield from _product(parts.tables)


def noticed(tables: Sequence[Table], concerns: Sequence[str], *, searched: bool) -> Iterator[Noticed]:
    """Everything that is wrong with tables, for one who wants to mend it. concerns: kinds that are different; searched:
    voters and the product too, which makes sense once the tables themselves hold.
    """
    wrong = [*_tables(tables), *_loading(tables)]
    yield from wrong
    if searched and not wrong:
        if {*concerns} & VOTING:
            yield from _voters(Parts(tuple(tables), laws.PURE))
        yield from _product(tables)


def _tables(tables: Sequence[Table]) -> Iterator[Noticed]:
    findings = _caught(lambda: verify.check(tables).findings, "tables")
    if isinstance(findings, Noticed):
        yield findings
        return
    for found in sorted(findings, key=lambda each: (not each.trace, each.rule)):
        yield Noticed("tables", found.rule, found.where, found.what, found.trace)


async def _nothing(machine: Machine) -> Outcome:
    raise NotImplementedError


def _loading(tables: Sequence[Table]) -> Iterator[Noticed]:
    """`herder up` refuses tables whose effects and outcomes are not those of its handlers."""
    registered = [Registered(effect, outcomes, _nothing) for effect, outcomes, _ in HANDLERS]
    registered += [Registered(effect, outcomes, _nothing) for effect, outcomes, *_ in HANDLERS_OF_MANY]
    try:
        check_handlers(tables, registered)
    except ValueError as refused:
        yield Noticed("loading", "effects", "handlers", str(refused))


def _laws(parts: Parts) -> Iterator[Noticed]:
    findings = _caught(lambda: laws.check(parts.pure)[1], "laws")
    for found in (findings,) if isinstance(findings, Noticed) else findings:
        yield found if isinstance(found, Noticed) else Noticed("laws", found.rule, found.where, found.what, found.trace)


def _voters(parts: Parts) -> Iterator[Noticed]:
    made = _caught(
        lambda: voters.check(parts.tables, voters.QUICK, arithmetic=parts.arithmetic, first_only=True).searched,
        "voters",
    )
    if isinstance(made, Noticed):
        yield made
        return
    for searched in made:
        if searched.broken is not None:
            broken = searched.broken
            yield Noticed("voters", broken.rule, searched.scene.name, broken.what, broken.trace)


def _product(tables: Sequence[Table]) -> Iterator[Noticed]:
    made = _caught(lambda: product.check(tables, budget=product.Budget(first=True, quick=True)).violations, "product")
    if isinstance(made, Noticed):
        yield made
        return
    for broken in made:
        yield Noticed("product", broken.rule, broken.aspect, broken.what, broken.trace)


_Found = TypeVar("_Found")


def _caught(run: Callable[[], Sequence[_Found]], check: str) -> Sequence[_Found] | Noticed:
    """A step that the tables make impossible (a fact that is not there, a state that there is not) is noticed too."""
    try:
        return run()
    except (KeyError, RuntimeError, StopIteration) as error:
        return Noticed(
            check, "runs", type(error).__name__, f"the engine would stop there: {type(error).__name__}: {error}"
        )
