"""What rows must mean, by what their guards and updates do: they are run over made-up facts, as the engine runs them.

The structure of a table says that a wait ends; these rules say that it ends in time, that somebody is told, that whoever was
held is let go, and that a term, an incarnation and a word of consent do what the safety rules count on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from herder.machines.rules import Finding, every_state, in_words
from herder.machines.table import ABSENT, CREATE, Facts, Row, Table

NOW_MS = 1_000_000_000
HOLDER, STRANGER = 9, 8
"""The playbook that holds the service in the made-up facts, and one that does not."""

FACTS: dict[str, Any] = {
    "name": "orders", "service": 1, "member": 2, "primary": 2, "old_primary": 2, "candidate": 3, "members": [2, 3, 4],
    "servers": [5, 6, 7], "voters": [3, 4], "new_voters": [4], "added": [3], "keep": [4], "term": 5, "timeline": 5,
    "playbook": HOLDER, "failures": 0, "rebuilds": 0, "incarnation": 5, "boots": 0, "tries": 0, "evidence": {}, "lease_s": 10.0, "last_read": {},
    "counts": True, "role": "primary", "deposed": False,
}  # fmt: skip
"""Facts of any machine, and of any event."""

LONGEST_S: dict[str, float] = {
    "failover": 120, "switchover": 120, "restart": 120, "strike": 60, "rebuild": 1800, "provision": 600, "destroy": 600,
    "service": 600, "member": 600, "server": 3600, "dependency": 3600, "incident": 3600, "freeze": 3600,
    "archive": 86_400, "rollout": 86_400,
}  # fmt: skip
"""Seconds that a state may last before something happens by itself. While writes stand still (failover, switchover, restart,
strike): two minutes, the bound of the service's own states, which page. A copy takes half an hour, a person's hold an hour.
"""

PLAYBOOK_S = 1800.0
"""A playbook that no list names may wait as long as a copy may."""

OTHERS_TELL: dict[tuple[str, str], str] = {
    ("member", "installing"): "its rebuild or its service's provisioning pages",
    ("member", "uncertain"): "its service pages",
    ("member", "unavailable"): "its service pages",
    ("member", "retiring"): "its service pages",
    ("server", "uncertain"): "its service pages",
    ("server", "unavailable"): "what keeps it down has its own page",
    ("archive", "uncertain"): "its store, a dependency, pages",
    ("archive", "unavailable"): "paged when the buffer filled",
    ("dependency", "unavailable"): "one page an outage",
    ("dependency", "restart"): "one page an outage",
}
"""Waits that may begin anew without a page, and who pages instead."""

ONE_PAGE: frozenset[tuple[str, str]] = frozenset({("dependency", "unavailable"), ("dependency", "restart")})
"""(kind, state) that may last for hours: it is told once."""

PAGED_ON_ENTRY: frozenset[tuple[str, str]] = frozenset({("archive", "unavailable"), ("rollout", "paused")})
"""(kind, state) that is entered with a page, unless a person's order leads there: whoever waits there has been told of."""

ORDERS: frozenset[str] = frozenset({"pause", "resume", "abort", "drain"})
"""Events by which a person, or what a person ordered, says that it is so."""

SUSPICIONS: frozenset[str] = frozenset({"silent", "silent_long", "suspected", "failing", "stalled"})
"""Events of one vantage point: whoever is suspected is asked (S6)."""

PAGED_BY_OTHERS: frozenset[tuple[str, str]] = frozenset({("failover", "primary_lost")})
"""(kind, event) that may end a playbook in `paged` without a page: the next failover, or what forbids it, pages."""


def in_time(tables: Sequence[Table]) -> Iterator[Finding | int]:
    """No state waits longer than its kind may (S9)."""
    for table, state in every_state(tables):
        if state.deadline is None:
            continue
        yield 1
        most = LONGEST_S.get(table.kind, None if table.unit else PLAYBOOK_S)
        if most is None:
            yield Finding("waits", table.kind, "nobody said how long its states may last")
        elif state.deadline.after_s > most:
            what = f"waits {state.deadline.after_s:g} s, a {table.kind} may wait {most:g} s"
            yield Finding("waits", f"{table.kind}.{state.name}", what)


def told(tables: Sequence[Table]) -> Iterator[Finding | int]:
    """A wait that begins anew pages, and what ends in `paged` paged: a person has the word (S9)."""
    for table in tables:
        for row in table.rows:
            state = table.by_name.get(row.source)
            renewed = state is not None and state.deadline is not None and state.deadline.event == row.event
            renewed = renewed and row.target == row.source and (table.kind, row.source) not in OTHERS_TELL
            ended = row.target == "paged" and (table.kind, row.event) not in PAGED_BY_OTHERS
            if not (renewed or ended):
                continue
            yield 1
            excused = renewed and row.guard is not None and not _may(row, {}, {})
            if row.page is None and not excused:
                what = "waits on" if renewed else "gives up"
                yield Finding("pages", f"{table.kind}.{row.source}", f"{in_words(row)}: {what}, and nobody is told")


def told_once(tables: Sequence[Table]) -> Iterator[Finding | int]:
    """A page that waits behind a guard is sent, and by its own update not sent again; what fails for the third time and what
    is entered with trouble is told (failures.md 3, 51).
    """
    for table in tables:
        for row in table.rows:
            if (table.kind, row.source) in ONE_PAGE and row.source == row.target and row.page is not None:
                yield 1
                if row.guard is None or _may(row, {**FACTS, **_change(row, FACTS, {})}, {}):
                    yield Finding("pages", f"{table.kind}.{row.source}", f"{in_words(row)}: pages again and again")
            if (table.kind, row.target) in PAGED_ON_ENTRY and row.source != row.target and row.event not in ORDERS:
                yield 1
                if row.page is None:
                    yield Finding("pages", f"{table.kind}.{row.source}", f"{in_words(row)}: and nobody is told")
        yield from _told_at_all(table)


def _told_at_all(table: Table) -> Iterator[Finding | int]:
    for kind, state in sorted(ONE_PAGE):
        if kind == table.kind:
            yield 1
            if not any(row.source == row.target == state and row.page for row in table.rows):
                yield Finding("pages", f"{kind}.{state}", "it lasts, and nobody is ever told")
    if table.kind == "page":
        yield 1
        again = _row(table, "open", "again", FACTS, {})
        if again is None or not again.keep or _change(again, {"times": 1}, {}).get("times") != 2:
            yield Finding("pages", "page.open", "the same trouble again is not counted on the page that is open")
    if table.kind == "server":
        yield 1
        third = _row(table, "unavailable", "boot", {**FACTS, "boots": 3}, {})
        if third is None or third.page is None:
            yield Finding("pages", "server.unavailable", "three starts failed, and nobody is told")


def suspected(tables: Sequence[Table]) -> Iterator[Finding | int]:
    """One vantage point's word, or time alone, makes a unit uncertain and never more (S6)."""
    for table in tables:
        if not table.unit:
            continue
        for row in table.rows:
            state = table.by_name.get(row.source)
            waited = state is not None and state.deadline is not None and state.deadline.event == row.event
            alone = waited and row.source == "uncertain" and table.kind in ("member", "server", "service")
            if not (alone or row.event in SUSPICIONS):
                continue
            yield 1
            if row.target != "uncertain":
                what = "time alone" if alone else "one vantage point's word"
                yield Finding("S6", f"{table.kind}.{row.source}", f"{in_words(row)}: on {what}")


def recorded(tables: Sequence[Table]) -> Iterator[Finding | int]:
    """A voter is in the log before any primary is told to wait for it: W stays a subset of V (S3)."""
    for table in tables:
        loads = {
            state.name for state in table.states if state.effect and state.effect.name.startswith("load_")
        }  # fmt: skip
        for row in table.rows:
            if row.target in loads and row.source != row.target:
                yield 1
                if not any(emit.event == "voter_added" and "added" in emit.carry for emit in row.emits):
                    what = f"{in_words(row)}: the primary waits for one that is no voter in the log"
                    yield Finding("S3", f"{table.kind}.{row.source}", what)


def ended_first(tables: Sequence[Table]) -> Iterator[Finding | int]:
    """Data moves to the trash only from engines that are stopped for sure (S1, S5)."""
    for table in tables:
        trashes = {state.name for state in table.states if state.effect and "trashed" in state.effect.outcomes}
        for row in table.rows:
            if row.target in trashes and row.source != row.target:
                yield 1
                if row.event != "stopped":
                    yield Finding(
                        "S5", f"{table.kind}.{row.source}", f"{in_words(row)}: data is moved away under an engine"
                    )


def drains(tables: Sequence[Table]) -> Iterator[Finding | int]:
    """What waited for a dependency begins slowly, however it came back (S8)."""
    for table in tables:
        for row in table.rows if table.kind == "dependency" else ():
            if row.source == "unavailable" and row.target != "unavailable":
                yield 1
                if row.target != "restart":
                    what = f"{in_words(row)}: all that waited for it begins at once"
                    yield Finding("S8", "dependency.unavailable", what)


_LED = (("service", "promoted"), ("candidate", "promoted"), ("old_primary", "deposed"))


def led(tables: Sequence[Table]) -> Iterator[Finding | int]:
    """Others follow a new primary once the service, the new and the old one have all been told of it, in one record (S1)."""
    for table in tables:
        after = {state.name for state in table.states if state.effect and state.effect.name == "repoint_standbys"}
        for row in table.rows:
            if row.target in after and row.source != row.target:
                sent = {(emit.to, emit.event) for emit in row.emits}
                missing = [f"{to}: {event}" for to, event in _LED if (to, event) not in sent]
                yield 1
                if missing:
                    what = f"{in_words(row)}: not told: {', '.join(missing)}"
                    yield Finding("S1", f"{table.kind}.{row.source}", what)


_GIVEN_UP = ("withdrawn", "retire")
"""The candidate has promised to something newer, or its service is being destroyed."""


def voided(tables: Sequence[Table]) -> Iterator[Finding | int]:
    """A promotion that may have been asked for is not given up before it is void at its candidate: it could be taken later (S1)."""
    for table in tables:
        asking = {state.name for state in table.states if state.effect and "promoted" in state.effect.outcomes}
        for row in table.rows:
            if row.source in asking and row.target not in asking and row.event != "promoted":
                yield 1
                if row.event not in _GIVEN_UP:
                    what = f"{in_words(row)}: its candidate may still be promoted by an order of before"
                    yield Finding("S1", f"{table.kind}.{row.source}", what)


def passed_on(tables: Sequence[Table]) -> Iterator[Finding | int]:
    """When a server falls, its member is asked about: the service would be taken for well without it (S6)."""
    lives, falls = ("available", "uncertain", "upgrading"), ("uncertain", "unavailable")
    for table in tables:
        for row in table.rows if table.kind == "server" else ():
            if row.source in lives and row.target in falls and row.source != row.target:
                yield 1
                if not any(emit.to == "member" for emit in row.emits):
                    yield Finding("S6", f"server.{row.source}", f"{in_words(row)}: its member is taken for well")


def obeyed(tables: Sequence[Table]) -> Iterator[Finding | int]:
    """Who aborts ends it, who pauses holds it, and what does not go well stops."""
    for table in tables:
        for row in table.rows:
            wanted = {"abort": "aborted", "pause": "paused", "stopped": "paused", "window_over": "paused"}.get(
                row.event
            )
            if wanted is None or wanted not in table.state_codes:
                continue
            yield 1
            if row.target != wanted:
                yield Finding("orders", f"{table.kind}.{row.source}", f"{in_words(row)}: it is not {wanted}")


def lets_go(tables: Sequence[Table]) -> Iterator[Finding | int]:
    """Whoever a playbook holds is let go when it ends, however it ends."""
    kinds = {table.kind: table for table in tables}
    for table in tables:
        held = {
            emit.to for row in table.rows if row.source == ABSENT for emit in row.emits
            if _leaves(kinds, emit.to, emit.event) == {HOLDER}
        }  # fmt: skip
        finals = {state.name for state in table.states if state.final}
        began = [
            emit for row in table.rows if row.source == ABSENT for emit in row.emits if emit.event.endswith("began")
        ]
        for emit in began:
            yield 1
            if emit.to not in held:
                what = f"'{emit.event}' does not make its {emit.to} held: two of them may run at once"
                yield Finding("held", f"{table.kind}.{ABSENT}", what)
        for row in table.rows:
            if row.target not in finals or row.source == ABSENT:
                continue
            for to in held:
                yield 1
                freed = any(emit.to == to and _leaves(kinds, to, emit.event) == {0} for emit in row.emits)
                if not freed and row.event != "retire":
                    what = f"{in_words(row)}: it ends, and its {to} is held by it for ever"
                    yield Finding("held", f"{table.kind}.{row.source}", what)


def _leaves(kinds: Mapping[str, Table], to: str, event: str) -> set[int]:
    """Who holds a machine after an event of its holder: values of `playbook` over all rows that may fire."""
    table = kinds.get(to)
    found: set[int] = set()
    for row in table.rows if table is not None else ():
        if row.event == event and row.update is not None:
            change = _change(row, FACTS, {**FACTS, "sender": HOLDER})
            if "playbook" in change:
                found.add(int(change["playbook"]))
    return found


def heeds(tables: Sequence[Table]) -> Iterator[Finding | int]:
    """A service listens to the playbook that holds it: one that was overtaken has no say (S10)."""
    for table in tables:
        if table.kind != "service":
            continue
        for state, event in table.lookup:
            facts, brought = {**FACTS, "playbook": HOLDER}, {**FACTS, "sender": STRANGER}
            row = _row(table, state, event, facts, brought)
            if row is None or row.update is None:
                continue
            yield 1
            if _change(row, facts, brought).get("playbook") == 0:
                what = f"{in_words(row)}: a playbook that does not hold it lets it go"
                yield Finding("S10", f"service.{state}", what)


def terms(tables: Sequence[Table]) -> Iterator[Finding | int]:
    """A playbook that moves the lead brings the next term, the service takes it, and no row takes one back (S10)."""
    kinds = {table.kind: table for table in tables}
    service = kinds.get("service")
    for table in tables:
        moves = any(state.effect and {"promoted", "moved"} & {*state.effect.outcomes} for state in table.states)
        for row in table.rows:
            if not (moves and row.source == ABSENT and service is not None):
                continue
            yield 1
            taken = [
                _change(there, FACTS, {**_carried(emit.carry, 6), "sender": HOLDER}).get("term")
                for emit in row.emits if emit.to == "service"
                for there in service.rows if there.event == emit.event and there.update is not None
            ]  # fmt: skip
            if not taken or any(term != 6 for term in taken):
                yield Finding("S10", f"{table.kind}.{ABSENT}", f"{in_words(row)}: the service does not take its term")
    for row in service.rows if service is not None else ():
        if row.update is not None:
            yield 1
            if _change(row, FACTS, {**FACTS, "term": 4, "sender": HOLDER}).get("term", 5) < 5:
                yield Finding("S10", f"service.{row.source}", f"{in_words(row)}: takes a term back")


def _carried(carry: tuple[str, ...], term: int) -> dict[str, Any]:
    return {key: term if key == "term" else FACTS.get(key) for key in carry}


def carries(tables: Sequence[Table]) -> Iterator[Finding | int]:
    """What an event brings along is all that its receiver reads."""
    kinds = {table.kind: table for table in tables}
    where = {"old_primary": "member", "candidate": "member", "members": "member", "servers": "server"}
    for table in tables:
        for row in table.rows:
            for emit in row.emits:
                there = kinds.get(where.get(emit.to, emit.to))
                brought = {"sender": HOLDER, **{key: FACTS.get(key) for key in emit.carry}}
                for receiver in there.rows if there is not None else ():
                    if receiver.event == emit.event and receiver.update is not None:
                        yield 1
                        try:
                            receiver.update(dict(FACTS), brought, NOW_MS)
                        except KeyError as missing:
                            what = f"{in_words(row)}: '{emit.event}' does not carry {missing}"
                            yield Finding("emits", f"{table.kind}.{row.source}", what)


def lives(tables: Sequence[Table]) -> Iterator[Finding | int]:
    """A server that is booted has a new incarnation: the fence of the old one cannot end it, nor can it come back (S2)."""
    for table in tables:
        boots = {state.name for state in table.states if state.effect and state.effect.name == "boot_server"}
        for row in table.rows:
            if row.target in boots and row.source != row.target:
                yield 1
                if _change(row, FACTS, {}).get("incarnation", 0) <= FACTS["incarnation"]:
                    what = f"{in_words(row)}: the life that was ended would come back"
                    yield Finding("S2", f"{table.kind}.{row.source}", what)


def roles(tables: Sequence[Table]) -> Iterator[Finding | int]:
    """Only who leads speaks for its service, and who was deposed is well again only after it has rejoined (S1)."""
    for table in tables:
        if table.kind != "member":
            continue
        for (state, event), rows in table.lookup.items():
            standby = _row(table, state, event, {**FACTS, "role": "standby"}, FACTS)
            yield 1
            if standby is not None and any(emit.event.startswith("primary_") for emit in standby.emits):
                what = f"{in_words(standby)}: a standby's word is taken for its primary's"
                yield Finding("S1", f"member.{state}", what)
            deposed = _row(table, state, event, {**FACTS, "role": "standby", "deposed": True}, FACTS)
            if event == "well" and deposed is not None and deposed.target == "available":
                yield Finding("S1", f"member.{state}", f"{in_words(deposed)}: deposed, and taken for well")
            for row in rows:
                yield from _role_kept(state, event, row)


_ROLES: dict[str, dict[str, Any]] = {
    "promoted": {"role": "primary", "deposed": False, "leased": False},
    "deposed": {"role": "standby", "deposed": True, "leased": False},
}


def _role_kept(state: str, event: str, row: Row) -> Iterator[Finding | int]:
    if event in _ROLES:
        yield 1
        change = _change(row, FACTS, FACTS)
        wrong = {key for key, value in _ROLES[event].items() if change.get(key) != value}
        if wrong:
            what = f"{in_words(row)}: {', '.join(sorted(wrong))} is not what '{event}' means"
            yield Finding("S1", f"member.{state}", what)
    if event == "leased":
        yield 1
        for facts in ({**FACTS, "role": "standby"}, {**FACTS, "deposed": True}):
            if _may(row, facts, FACTS):
                what = f"{in_words(row)}: a lease of one that does not lead would be waited out as a fence"
                yield Finding("S2", f"member.{state}", what)
    if event == "released" and _change(row, FACTS, FACTS).get("leased") is not False:
        yield Finding("S2", f"member.{state}", f"{in_words(row)}: a lease that is given back is still counted on")


def storms(tables: Sequence[Table]) -> Iterator[Finding | int]:
    """Recovery in waves begins by a verdict of many or a person's word, and says so to one (S7)."""
    for table in tables:
        if table.kind != "incident":
            continue
        for row in table.rows:
            if row.target != "recovering" or row.source == row.target:
                continue
            yield 1
            if row.event not in ("mass", "resume"):
                what = f"{in_words(row)}: nobody has said that it is not us"
                yield Finding("S7", f"incident.{row.source}", what)
            elif row.event == "mass" and row.page is None:
                yield Finding("S7", f"incident.{row.source}", f"{in_words(row)}: nobody is told of a mass outage")
        ours = _row(table, ABSENT, CREATE, {}, {"verdict": "us"})
        yield 1
        if ours is None or ours.target != "ours":
            yield Finding("S7", f"incident.{ABSENT}", "our own signs say that it is us, and it is not taken for ours")


def holds_back(tables: Sequence[Table]) -> Iterator[Finding | int]:
    """A person's freeze lasts until a person ends it; that of an empty budget pages, and ends by itself (S8)."""
    for table in tables:
        if table.kind != "freeze":
            continue
        for by, target, event in (("budget", "released", "overdue"), ("ann", "frozen", "overdue")):
            yield 1
            row = _row(table, "frozen", event, {"by": by}, {})
            if row is None or row.target != target:
                yield Finding(
                    "S8", "freeze.frozen", f"a freeze by {by} is {row.target if row else 'nothing'} after its hour"
                )
        made = _row(table, ABSENT, CREATE, {}, {"by": "budget"})
        yield 1
        if made is None or made.page is None:
            yield Finding("S8", f"freeze.{ABSENT}", "the budget is empty, and nobody is told")


def released(tables: Sequence[Table]) -> Iterator[Finding | int]:
    """A service's name is taken until its data rests in the trash, and free from then on."""
    for table in tables:
        for row in table.rows if table.kind == "service" else ():
            ends = row.target == "retired" and row.source != "retired"
            if not (ends or row.releases):
                continue
            yield 1
            if ends != ("name" in row.releases):
                what = "its name is never free again" if ends else "its name is given away while it lives"
                yield Finding("names", f"service.{row.source}", f"{in_words(row)}: {what}")


def _may(row: Row, facts: Facts, brought: Facts) -> bool:
    return row.guard is None or bool(row.guard(facts, brought))


def _row(table: Table, state: str, event: str, facts: Facts, brought: Facts) -> Row | None:
    try:
        return table.row(state, event, facts, brought)
    except KeyError:
        return None  # it reads what these facts do not have: another rule's matter


def _change(row: Row, facts: Facts, brought: Facts) -> dict[str, Any]:
    """What its update says; nothing when it reads a fact that is not there (`carries` finds that)."""
    try:
        return row.update(dict(facts), dict(brought), NOW_MS) if row.update is not None else {}
    except KeyError:
        return {}
