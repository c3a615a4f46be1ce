"""The checker: do the tables keep the rules? It reads the same data that the engine steps, and runs no engine.

Four kinds of check: of each table (every outcome has its row, every wait its deadline), of what passes between tables
(every event that is sent means something, and every one that is waited for is sent), of all tables together: which
states can be reached when a proof is withheld, and of what guards and updates do (`meaning`). What needs engines and
numbers (elections, voters, the world that does its worst) is searched in `herder.proof`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass

from herder.machines import meaning
from herder.machines.reach import Reach, Withheld, explore
from herder.machines.registry import TABLES
from herder.machines.rules import (
    Finding,
    by_itself,
    deadlines,
    every_state,
    finals,
    guards,
    in_words,
    loops,
    names,
    outcomes,
    reachable,
)
from herder.machines.table import ABSENT, CREATE, Emit, Guard, Row, Table
from herder.model.states import UnitState

KINDS_OF: dict[str, str] = {
    "service": "service", "member": "member", "members": "member", "old_primary": "member", "candidate": "member",
    "primary": "member", "server": "server", "servers": "server",
}  # fmt: skip
"""The fact that an Emit names -> the kind of machine whose id it holds. `sender` may be any."""

FROM_OUTSIDE: dict[str, dict[str, str]] = {
    "server": {
        "silent": "the detector", "heard": "the pulse", "fenced": "a failover's handler",
        "silent_long": "nobody yet", "gone": "the vantage handler", "boot": "the catalogue", "adopt": "a cohort",
        "upgrade": "a rollout",
    },
    "member": {
        "suspected": "the pulse and the wire", "exited": "the pulse", "ill": "the pulse", "well": "the pulse",
        "leased": "the leases", "released": "the leases", "adopt": "a cohort", "last_read": "the watch",
    },
    "service": {
        "blocked": "the catalogue", "allowed": "a person", "purge": "nobody yet: the trash is kept",
        "exercise_set": "a person", "exercise_off": "a person", "exercise_began": "the exercises and a person",
        "exercise_ended": "the exercises", "exercise_failed": "the exercises", "durability_overridden": "the watch",
        "parked": "the catalogue", "unparked": "the catalogue", "admitted": "the recovery", "adopt": "a cohort",
    },
    "failover": {"primary_lost": "the catalogue", "retire": "the catalogue"},
    "switchover": {"primary_lost": "the catalogue", "retire": "the catalogue"},
    "strike": {"overtaken": "the catalogue"},
    "provision": {"retire": "the catalogue"},
    "rebuild": {"overtaken": "the catalogue"},
    "incident": {
        "spread": "the storm watch", "recovered": "the storm watch and the recovery", "progress": "the recovery",
        "pause": "a person", "resume": "a person", "abort": "a person",
    },
    "freeze": {"release": "a person"},
    "rollout": {
        "progress": "the rollouts", "finished": "the rollouts", "stopped": "the rollouts", "window_over": "the rollouts",
        "pause": "a person", "resume": "a person", "abort": "a person",
    },
    "dependency": {"failing": "its symptoms", "declared_down": "a person", "declared_well": "a person"},
    "archive": {
        "stalled": "the agents", "buffer_full": "the agents", "drained": "the agents", "adopt": "a cohort",
        "drain": "the drain of its store", "retire": "nobody yet: archives come with backups", "purge": "nobody yet",
    },
    "page": {"again": "the engine", "resolve": "the catalogue"},
}  # fmt: skip
"""Events that no row sends, and who does. An event that nobody sends is a row that never fires."""

DESTRUCTIVE = frozenset({UnitState.RETIRING, UnitState.RETIRED, UnitState.ARCHIVED, UnitState.TERMINATED})
"""A unit gets here only with its owner's consent, or another proof of S5."""

_MEMBER_LIFE = ("installing", "available", "uncertain", "unavailable", "restart")
_SERVICE_LIFE = ("available", "uncertain", "unavailable", "restart", "upgrading")

MUST_LAND: tuple[tuple[str, str, tuple[str, ...], str], ...] = (
    ("service", "promoted", _SERVICE_LIFE, "another leads already: the log would not know its primary"),
    ("member", "promoted", _MEMBER_LIFE, "it leads already: the log would take it for a standby"),
    ("member", "deposed", _MEMBER_LIFE, "it leads no more: the log would take it for well"),
    ("service", "retire", ("installing", *_SERVICE_LIFE), "its data goes to the trash all the same"),
    ("member", "retire", _MEMBER_LIFE, "its data goes to the trash all the same"),
    (
        "service",
        "voter_added",
        ("installing", "available", "uncertain", "unavailable", "restart"),
        "it is never enrolled",
    ),
    (
        "service",
        "voter_removed",
        ("available", "uncertain", "unavailable", "restart"),
        "the log asks it for pledges still",
    ),
    (
        "provision",
        "retire",
        ("hiring", "founding", "cloning", "enrolling"),
        "it goes on making what is being destroyed",
    ),
    ("archive", "drain", ("uncertain", "unavailable"), "its turn came, and it does not take it"),
    ("dependency", "declared_down", ("available", "uncertain", "restart"), "a person's word is not heard"),
    ("dependency", "declared_well", ("uncertain", "unavailable"), "a person's word is not heard"),
    ("incident", "abort", ("verifying", "ours", "recovering", "paused"), "a person's word is not heard"),
    ("rollout", "abort", ("running", "paused"), "a person's word is not heard"),
    (
        "server",
        "fenced",
        ("available", "uncertain", "unavailable", "restart"),
        "its life is ended, and is taken for running",
    ),
)
"""Events whose sender acts as if they had landed: kind, event, the states that must take them, what goes wrong otherwise."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A rule that was checked, and on how many things."""

    rule: str
    what: str
    count: int


@dataclass(frozen=True, slots=True)
class Report:
    """What was checked, and what does not hold."""

    checked: tuple[Checked, ...]
    findings: tuple[Finding, ...]


Check = Callable[[Sequence[Table]], Iterator[Finding | int]]
"""Yields a finding for what does not hold, and a number for how much was looked at."""


def check(tables: Sequence[Table] = TABLES) -> Report:
    """Every rule over `tables`."""
    checked: list[Checked] = []
    findings: list[Finding] = []
    for rule, what, look in CHECKS:
        count = 0
        for found in look(tables):
            if isinstance(found, Finding):
                findings.append(found)
            else:
                count += found
        checked.append(Checked(rule, what, count))
    return Report(tuple(checked), tuple(dict.fromkeys(findings)))


# ---- what passes between tables


def sent(tables: Sequence[Table]) -> Iterator[Finding | int]:
    """Whatever a row sends means something to the kind it is sent to."""
    known = {table.kind: set(table.events) for table in tables}
    everything = {event for events in known.values() for event in events}
    for table, row, emit in _emits(tables):
        yield 1
        where = f"{table.kind}.{row.source}"
        kind = KINDS_OF.get(emit.to)
        if kind is None and emit.to != "sender":
            yield Finding("emits", where, f"{in_words(row)}: nobody knows what kind of machine '{emit.to}' holds")
        elif emit.event not in (known.get(kind, set()) if kind else everything):
            yield Finding("emits", where, f"{in_words(row)}: '{emit.event}' means nothing to a {kind or 'machine'}")


def outside(tables: Sequence[Table]) -> Iterator[Finding | int]:
    """Whatever comes from outside means something to the kind that it comes to."""
    for table in tables:
        heeded = {row.event for row in table.rows}
        for event, who in FROM_OUTSIDE.get(table.kind, {}).items():
            yield 1
            if event not in heeded:
                yield Finding("events", table.kind, f"'{event}' ({who}) means nothing to it")


def heard(tables: Sequence[Table]) -> Iterator[Finding | int]:
    """Whatever a row waits for is sent by somebody."""
    incoming = _incoming(tables)
    for table in tables:
        for row in table.rows:
            yield 1
            outside = row.event == CREATE and row.source == ABSENT
            if not (outside or by_itself(table, row) or row.event in incoming.get(table.kind, set())):
                yield Finding(
                    "events",
                    f"{table.kind}.{row.source}",
                    f"nobody sends '{row.event}' to a {table.kind} that is {row.source}",
                )


def landing(tables: Sequence[Table]) -> Iterator[Finding | int]:
    """What its sender takes for done is never dropped."""
    for table in tables:
        for kind, event, states, harm in MUST_LAND:
            if table.kind != kind:
                continue
            for state in states:
                yield 1
                rows = table.lookup.get((state, event), ())
                if not rows or rows[-1].guard is not None:
                    yield Finding("landing", f"{kind}.{state}", f"'{event}' is dropped here: {harm}")


# ---- all tables together, with a proof withheld


def fenced(tables: Sequence[Table]) -> Iterator[Finding | int]:
    """S2: nobody is promoted without a fence; where commits wait for voters, their quorum is one."""
    for plan, proofs in (("sync", {"fence", "quorum"}), ("async", {"fence"})):
        free = explore(tables, _without(set(), plan), _senders)
        held = explore(tables, _without(proofs, plan), _senders)
        targets = list(_promotions(tables))
        yield len(targets)
        if targets and not any(_has(free, target) for target in targets):
            yield Finding("S2", f"{plan} plan", "nobody can be promoted at all")
        for kind, state, event in targets:
            if _has(held, (kind, state, event)):
                what = f"on a plan that is {plan}, one is promoted without {' or '.join(sorted(proofs))}"
                yield Finding("S2", f"{kind}.{state}", what, held.trace(kind, state, event))


def consented(tables: Sequence[Table]) -> Iterator[Finding | int]:
    """S5, S6: without its owner's consent nothing is retired, trashed or terminated, whatever else happens."""
    free = explore(tables, _without(set()), _senders)
    held = explore(tables, _without({"consent"}), _senders)
    targets = [
        (table.kind, state.name) for table, state in every_state(tables) if table.unit and state.name in DESTRUCTIVE
    ]
    targets += [
        (table.kind, state.name)
        for table, state in every_state(tables)
        if state.effect and "trashed" in state.effect.outcomes
    ]
    for kind, name in targets:
        yield 1
        if (kind, name) not in free.states:
            yield Finding("S5", f"{kind}.{name}", "it cannot be reached with consent either")
        if (kind, name) in held.states:
            yield Finding("S5", f"{kind}.{name}", "it is reached without its owner's consent", held.trace(kind, name))
    for table in tables:
        for row in table.rows:
            if table.unit and row.source == UnitState.UNCERTAIN and row.target in DESTRUCTIVE:
                yield 1
                if (table.kind, row) in held.fired:
                    what = f"{in_words(row)}: destroys what may be well"
                    yield Finding(
                        "S6", f"{table.kind}.{row.source}", what, held.trace(table.kind, row.source, row.event)
                    )
            if "consent" in row.proves and row.source == ABSENT:
                yield 1
                if row.guard is None or not _asks_for_consent(row.guard):
                    yield Finding(
                        "S5",
                        f"{table.kind}.{row.source}",
                        f"{in_words(row)}: says that consent was given and does not look",
                    )


def _asks_for_consent(guard: Guard) -> bool:
    right, wrong = {"consent": "a", "service_name": "a"}, {"consent": "a", "service_name": "b"}
    return (
        guard({}, right)
        and not guard({}, wrong)
        and not guard({}, {})
        and not guard({}, {"consent": "", "service_name": ""})
    )


def _promotions(tables: Sequence[Table]) -> Iterator[tuple[str, str, str]]:
    """(kind, state, '') whose effect promotes, and (kind, source, event) of rows that tell a service of its promotion."""
    for table, state in every_state(tables):
        if state.effect is not None and "promoted" in state.effect.outcomes:
            yield table.kind, state.name, ""
    for table, row, emit in _emits(tables):
        if emit.event == "promoted":
            yield table.kind, row.source, row.event


def _has(reach: Reach, target: tuple[str, str, str]) -> bool:
    kind, state, event = target
    if not event:
        return (kind, state) in reach.states
    return any(at == kind and row.source == state and row.event == event for at, row in reach.fired)


def _without(proofs: set[str], plan: str = "") -> Withheld:
    """Withholds rows that prove any of `proofs`, and rows for plans of another sort than `plan`."""

    def withheld(table: Table, row: Row) -> bool:
        return bool(proofs & {*row.proves}) or _for_other_plans(table, row, plan)

    return withheld


def _for_other_plans(table: Table, row: Row, plan: str) -> bool:
    """A row that asks `is_sync` is for sync plans, and the row after it for all others."""
    rows = table.lookup[row.source, row.event]
    asking = [other for other in rows if other.guard is not None and other.guard.__name__ == "is_sync"]
    return bool(asking and plan) and (row in asking) is (plan == "async")


# ---- small words


def _emits(tables: Iterable[Table]) -> Iterator[tuple[Table, Row, Emit]]:
    return ((table, row, emit) for table in tables for row in table.rows for emit in row.emits)


def _incoming(tables: Sequence[Table]) -> dict[str, set[str]]:
    """Kind -> events that other machines or the outside send."""
    found = {table.kind: set(FROM_OUTSIDE.get(table.kind, {})) for table in tables}
    for _, _, emit in _emits(tables):
        for kind in (KINDS_OF.get(emit.to),) if emit.to != "sender" else tuple(found):
            if kind in found:
                found[kind].add(emit.event)
    return found


def _senders(kind: str) -> tuple[set[str], dict[str, str]]:
    return set(FROM_OUTSIDE.get(kind, {})), KINDS_OF


CHECKS: tuple[tuple[str, str, Check], ...] = (
    ("names", "rows name states that there are; units have none but the ten states", names),
    ("outcomes", "outcomes of effects have a row, whatever the guards say", outcomes),
    ("deadlines", "waits end by themselves, by a deadline with a row", deadlines),
    ("guards", "pairs of state and event whose rows can all fire", guards),
    ("finals", "states: final ones are left by nothing; `terminated` absorbs (S11)", finals),
    ("S9", "states can be reached, and well, ended or paged from them", reachable),
    ("S8", "steps that a machine takes by itself come round only under a count", loops),
    ("emits", "events that rows send mean something to whom they are sent", sent),
    ("events", "rows wait for events that somebody sends", heard),
    ("events", "events from outside mean something", outside),
    ("landing", "events that must not be dropped have a row where they may arrive", landing),
    ("S2", "promotions need a fence or a quorum, with it withheld", fenced),
    ("S5, S6", "ends of units and of data need consent, with it withheld", consented),
    ("waits", "deadlines that pass before people lose patience", meaning.in_time),
    ("pages", "waits that begin anew, and ends in `paged`: somebody is told", meaning.told),
    ("pages", "pages behind a guard or on entry: sent, and sent once", meaning.told_once),
    ("S6", "suspicions: one word, or time alone, makes uncertain only", meaning.suspected),
    ("S3", "ways into the loading of a sync set: recorded before", meaning.recorded),
    ("S5", "ways into the trash: stopped before", meaning.ended_first),
    ("S8", "ways back of a dependency: what waited begins slowly", meaning.drains),
    ("S1", "ways on after a promotion: all three are told", meaning.led),
    ("S1", "ways out of a promotion: it is made void first", meaning.voided),
    ("S6", "falls of a server: its member is told", meaning.passed_on),
    ("orders", "orders of a person, and what stops a rollout: they are obeyed", meaning.obeyed),
    ("held", "ends of playbooks: whoever was held is let go", meaning.lets_go),
    ("S10", "events of a service: only who holds it is heeded", meaning.heeds),
    ("S10", "terms: the next one is taken, and none is taken back", meaning.terms),
    ("emits", "updates of receivers: what they read comes along", meaning.carries),
    ("S2", "boots: a new incarnation each", meaning.lives),
    ("S1", "roles: who speaks for a service, who was deposed, whose lease counts", meaning.roles),
    ("S7", "ways into a recovery in waves", meaning.storms),
    ("S8", "freezes: who ends them, who is told", meaning.holds_back),
    ("names", "names that are taken and let go", meaning.released),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """`herder verify [--json]`: 0 when every rule holds, else 1."""
    given = sys.argv[1:] if arguments is None else arguments
    report = check()
    if "--json" in given:
        told = {"tables": len(TABLES), "ok": not report.findings} | asdict(report)
        sys.stdout.write(json.dumps(told, indent=2) + "\n")
    else:
        sys.stdout.write("\n".join(_lines(report)) + "\n")
    return 1 if report.findings else 0


def _lines(report: Report) -> Iterator[str]:
    states, rows = sum(len(table.states) for table in TABLES), sum(len(table.rows) for table in TABLES)
    yield f"{len(TABLES)} tables, {states} states, {rows} rows"
    failed = {finding.rule for finding in report.findings}
    for line in report.checked:
        mark = "not" if failed & {*line.rule.split(", ")} else "ok"
        yield f"  {mark:3}  {line.rule:9} {line.count:4}  {line.what}"
    for finding in report.findings:
        yield f"{finding.rule} does not hold at {finding.where}: {finding.what}"
        yield from (f"    {number}. {step}" for number, step in enumerate(finding.trace, 1))
    yield "every rule holds" if not report.findings else f"{len(report.findings)} finding(s)"


if __name__ == "__main__":
    sys.exit(main())
