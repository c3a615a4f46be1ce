"""What a run says in the end: every fault with its effect, each service's account, pages, the verdict; as tables or JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from herder.lab.chaos.course import Course, Happened
from herder.lab.chaos.load import Load
from herder.lab.chaos.tally import (
    Account,
    gap_in,
    objections,
    spread,
    stretch_s,
    without_writes_s,
)
from herder.lab.ledger import CLIENT
from herder.lab.story import fence_of, is_of, story_of
from herder.model.plans import PLANS

Facts = dict[str, Any]

AFTER_S = 20.0
"""Seconds after the end of a fault on the control plane that still count as its time."""


@dataclass(slots=True)
class Outcome:
    """The whole of a run. plane_gaps: around faults of the control plane, on services that nothing else had just met."""

    seed: int
    minutes: float
    accounts: list[Account]
    faults: list[Happened]
    pages: list[Facts]
    playbooks: list[Facts]
    left_out: Mapping[str, str]
    plane_gaps: list[float]
    bad: list[str] = field(default_factory=list)
    took_s: float = 0.0

    @property
    def passed(self) -> bool:
        return not self.bad

    def facts(self) -> Facts:
        """As JSON."""
        return {
            "passed": self.passed, "seed": self.seed, "minutes": self.minutes, "took_s": round(self.took_s, 1),
            **totals(self.accounts),
            "faults_done": sum(fault.state == "done" for fault in self.faults),
            "faults": [_fault_facts(fault) for fault in self.faults],
            "services": [asdict(account) for account in self.accounts],
            "plane_gaps": asdict(spread(self.plane_gaps)), "left_out": dict(self.left_out),
            "pages": self.pages, "playbooks": self.playbooks, "failed": self.bad,
        }  # fmt: skip


def totals(accounts: Iterable[Account]) -> Facts:
    """Over all services."""
    rows = list(accounts)
    names = ("acked", "unknown", "lost", "doubled", "by_two", "promotions", "totals")
    return {name: sum(getattr(row, name) for row in rows) for name in names} | {
        "wrong_totals": sum(len(row.wrong) for row in rows),
        "well": sum(not row.not_well for row in rows),
    }


def _fault_facts(fault: Happened) -> Facts:
    planned = fault.planned.facts()
    seen = {name: getattr(fault, name) for name in ("on", "state", "at_ms", "how", "effect", "gap_s")}
    return (
        planned
        | {"service": fault.service or "control plane"}
        | seen
        | {"lasted_s": round(fault.ended - fault.began, 2)}
    )


# --- from what was seen -------------------------------------------------------------------------------------------


def account_of(course: Course, name: str) -> Account:
    """One service: its clients are stopped and its control plane answers."""
    engine, plan = course.services[name]
    load = course.loads[name]
    terms = PLANS[plan]
    sync = terms.sync and engine == "postgres"
    account = Account(name, engine, plan, sync, terms.max_loss_s, terms.max_loss_bytes)
    account.not_well = course.not_well.get(name, "")
    account.well_after_s = course.well_after.get(name)
    mine = [fault for fault in course.happened if fault.service == name and fault.state == "done"]
    account.faults = len(mine)
    _times(course, load, account, mine)
    _writes(course, load, account, mine)
    _bank(course, load, account)
    account.promotions = sum(
        (event["kind"], event["event"]) == ("member", "promoted") and is_of(event, load.service)
        for event in course.events.values()
    )
    return account


def _times(course: Course, load: Load, account: Account, mine: Sequence[Happened]) -> None:
    written = sorted(entry.at for entry in load.written if entry.ack)
    probed = sorted(entry.at for entry in load.probed if entry.ack)
    end = max(written, default=course.healed)
    seen, served = {}, {}
    for fault in mine:
        since = min(
            other.began for other in mine if other.planned.at_s == fault.planned.at_s
        )  # two at once: one window
        until = min((other.began for other in mine if other.planned.at_s > fault.planned.at_s), default=end)
        fault.gap_s = seen[since] = gap_in(written, since, until)
        served[since] = gap_in(probed, since, until)
    account.gaps = spread([found for found in seen.values() if found is not None])
    account.server_gaps = spread([found for found in served.values() if found is not None])
    account.without_writes_s = without_writes_s(written, course.began, end)


def _writes(course: Course, load: Load, account: Account, mine: Sequence[Happened]) -> None:
    rows, transfers = load.audit_all(course.rig.show(account.name)["url"])
    entries = [*load.written, *load.probed, *load.transfers]
    account.acked = rows.acked + transfers.acked
    account.unknown = sum(not entry.ack for entry in entries)
    account.lost = len(rows.lost) + len(transfers.lost)
    account.doubled = len(rows.doubled) + len(transfers.doubled)
    lost_rows, lost_transfers = set(rows.lost), set(transfers.lost)
    gone = [entry for entry in (*load.written, *load.probed) if entry.ack and entry.id in lost_rows]
    gone += [entry for entry in load.transfers if entry.ack and entry.id in lost_transfers]
    account.lost_over_s = stretch_s(gone, sorted(fault.began for fault in mine))
    account.by_two = len(load.by_two())


def _bank(course: Course, load: Load, account: Account) -> None:
    """The last look, at every member, beside what the checkpoints saw."""
    service = course.rig.show(account.name)
    account.members = len(service["members"])
    account.totals = course.looks.get(account.name, 0)
    account.wrong = [f"{look.at_s:.0f} s: {look.words}" for look in course.wrong if look.service == account.name]
    for member in service["members"]:
        found = load.total(member)
        if found is None:
            continue
        account.members_read += 1
        account.totals += 1
        if not found.right or not found.accounts:
            account.wrong.append(
                f"at the end: {member['id']} holds {found.total} in {found.accounts} accounts, {found.astray} astray"
            )


def tell_effects(course: Course) -> None:
    """What herder did after each fault, out of the log: until the next fault on the same service."""
    events = sorted(course.events.values(), key=lambda event: int(event["seq"]))
    for fault in course.happened:
        if fault.state != "done":
            fault.effect = fault.on
            continue
        if not fault.service:
            fault.effect = fault.how or "started again by herder" if fault.planned.lasts_s == 0 else fault.how
            continue
        own = [other for other in course.happened if other.service == fault.service]
        since = min(other.at_ms for other in own if other.planned.at_s == fault.planned.at_s)  # two at once: one story
        until = min((other.at_ms for other in own if other.planned.at_s > fault.planned.at_s), default=1 << 62)
        service = course.loads[fault.service].service
        moves = [event for event in events if since <= event["at_ms"] < until and is_of(event, service)]
        fence = fence_of(moves, sum(member["voter"] for member in service["members"]))
        fault.effect = story_of(moves, 0, fence).replace(" at term 0", "") or "herder did nothing"


def plane_gaps(course: Course) -> list[float]:
    """Time without writes of services that no fault of their own had met lately, while the control plane was broken."""
    found = []
    for fault in (fault for fault in course.happened if not fault.service and fault.state == "done"):
        until = min(fault.ended + AFTER_S, course.ended)  # what clients that have stopped do not write is no gap
        for name, load in course.loads.items():
            own = [other for other in course.happened if other.service == name]
            if any(other.began < until and other.ended + AFTER_S > fault.began for other in own):
                continue
            gap_s = gap_in(sorted(entry.at for entry in load.written if entry.ack), fault.began, until)
            if gap_s is not None:
                found.append(gap_s)
                fault.gap_s = max(fault.gap_s or 0.0, gap_s)
    return found


def verdict(course: Course, accounts: Sequence[Account]) -> list[str]:
    """Everything that is not as promised."""
    bad = [words for account in accounts for words in objections(account)]
    bad += course.crashes
    if not any(fault.state == "done" for fault in course.happened):
        bad.append("no fault was done, so nothing is shown")
    return bad


# --- for people ---------------------------------------------------------------------------------------------------


def show(console: Console, outcome: Outcome) -> None:
    """The report."""
    console.print(Group(_faults(outcome), Text(), _services(outcome), Text()))
    for words in _remarks(outcome):
        console.print(words)
    for words in outcome.bad:
        console.print(Text(f"FAILED  {words}", style="bold red"))
    console.print(Text(_last(outcome), style="bold green" if outcome.passed else "bold red"))


def _faults(outcome: Outcome) -> Table:
    table = Table(title=f"Faults (seed {outcome.seed})", title_justify="left", box=None, pad_edge=False)
    for heading, justify in (("at", "right"), ("fault", "left"), ("lasted", "right"), ("without writes", "right"),
                             ("on", "left"), ("and then", "left")):  # fmt: skip
        table.add_column(heading, justify="right" if justify == "right" else "left", no_wrap=heading != "and then")
    for fault in outcome.faults:
        twin = " +" if fault.planned.twin >= 0 else ""
        table.add_row(
            f"{fault.planned.at_s:.1f} s", f"{fault.planned.kind}{twin}",
            f"{fault.ended - fault.began:.1f} s" if fault.planned.lasts_s else "",
            _seconds(fault.gap_s), fault.on if fault.state == "done" else fault.state, fault.effect,
        )  # fmt: skip
    return table


def _services(outcome: Outcome) -> Table:
    table = Table(title="Services", title_justify="left", box=None, pad_edge=False)
    for heading in ("service", "plan", "faults", "p50", "p99", "max", "in all", "failovers", "acknowledged", "unknown",
                    "lost", "twice", "by two", "totals", "well after"):  # fmt: skip
        table.add_column(heading, justify="left" if heading in ("service", "plan") else "right", no_wrap=True)
    for account in outcome.accounts:
        table.add_row(
            account.name, f"{account.engine} {account.plan}", str(account.faults), _seconds(account.gaps.p50),
            _seconds(account.gaps.p99), _seconds(account.gaps.most), _seconds(account.without_writes_s),
            str(account.promotions), f"{account.acked:,}", str(account.unknown), str(account.lost), str(account.doubled),
            str(account.by_two), f"{account.totals - len(account.wrong)}/{account.totals}",
            "never" if account.not_well else _seconds(account.well_after_s),
        )  # fmt: skip
    return table


def _remarks(outcome: Outcome) -> list[str]:
    lines = [
        "p50, p99, max: the longest time without an acknowledged write around each fault, seen by a client; in all: every pause over 1 s.",
        f"client: {CLIENT}",
    ]
    gaps = spread(outcome.plane_gaps)
    if gaps.count:
        lines.append(
            f"control plane broken: services that nothing else met were without writes for p50 {_seconds(gaps.p50)}, "
            f"p99 {_seconds(gaps.p99)}, max {_seconds(gaps.most)} ({gaps.count} times a service)"
        )
    lines += [f"left out: {name}: {why}" for name, why in outcome.left_out.items()]
    lines += [f"page: {page['subject']}: {page['reason']} ({page['state']})" for page in outcome.pages]
    done = [f"{row['playbook']} {row['well']}/{row['began']}" for row in outcome.playbooks if row["began"]]
    lines.append(f"playbooks that ended well: {', '.join(done) or 'none ran'}")
    return lines


def _last(outcome: Outcome) -> str:
    sums = totals(outcome.accounts)
    done = sum(fault.state == "done" for fault in outcome.faults)
    return (
        f"{done} faults in {outcome.minutes:g} minutes; {sums['acked']:,} acknowledged, {sums['lost']} lost, "
        f"{sums['doubled']} twice, {sums['by_two']} acknowledged by two; {sums['wrong_totals']} of {sums['totals']} "
        f"totals wrong; {sums['well']} of {len(outcome.accounts)} services well. seed {outcome.seed}"
    )


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f} s"
