"""The tables of a report: what was wanted, what was done, what it would have cost, and what limited it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from herder.sim.drill.result import DrillResult
from herder.sim.drill.scenario import MEANING, PER
from herder.sim.drill.words import clock, counted, lasted, number, size

PAGES_MAX = 200
"""Rows; a report with more pages than this says how many are left out."""


def wanted(result: DrillResult) -> str:
    """The scenario's assertions."""
    rows = [
        ['<span class="ok">✓ holds</span>' if verdict.ok else '<span class="bad">✗ broken</span>',
         f"{verdict.wanted}\n{MEANING[verdict.wanted.measure]}", number(verdict.value)]
        for verdict in result.verdicts
    ]  # fmt: skip
    return _section("What was wanted", _table(("", "assertion", "#was"), rows, raw=(0,)))


def remedies(result: DrillResult) -> str:
    """By kind of playbook."""
    if not result.remedies:
        return _section("Remedies", "<p>No remedy was needed.</p>")
    rows = [
        [each.kind.replace("_", " "), number(each.begun), number(each.ended_well), number(each.needed_a_person),
         number(max(each.begun - each.ended_well - each.needed_a_person, 0))]
        for each in result.remedies
    ]  # fmt: skip
    head = ("playbook", "#begun", "#ended well", "#needed a person", "#gave way")
    return _section(
        "Remedies", _table(head, rows), "One that gave way found that another had been quicker, or that all was well."
    )


def parked(result: DrillResult) -> str:
    """What waited."""
    if not result.parked:
        return ""
    rows = [
        [each.what, each.why, number(each.count), lasted(each.longest_s),
         clock(each.drained_ms) if each.drained_ms is not None else "still waits"]
        for each in result.parked
    ]  # fmt: skip
    return _section("Parked, and when it drained", _table(("what", "waited for", "#how many", "#longest", "#drained at"), rows),
                    "What needs something that is down waits; it is not tried again and again.")  # fmt: skip


def pages(result: DrillResult) -> str:
    """Each with the time it was sent and the time it came."""
    if not result.pages:
        return ""
    rows = [
        [clock(page.at_ms), clock(page.delivered_ms), page.reason.replace("_", " "), page.scope, number(page.units)]
        for page in result.pages[:PAGES_MAX]
    ]  # fmt: skip
    left = len(result.pages) - PAGES_MAX
    return _section("Pages sent", _table(("sent", "arrived", "reason", "scope", "#units"), rows),
                    f"{left:,} more are in result.json." if left > 0 else "")  # fmt: skip


def by_hand(result: DrillResult) -> str:
    """Minutes x times, the sum, and the original beside it."""
    hand = result.hand
    rows = [
        [f"{line.task}\n{line.why}", " + ".join(line.per), number(line.times), f"{line.minutes:g}", number(round(line.hours))]
        for line in hand.lines
    ]  # fmt: skip
    body = _table(("task, and why so long", "counted by", "#times", "#minutes each", "#hours"), rows, code=(1,),
                  faint=[line.times == 0 for line in hand.lines],
                  total=["all of it", "", "", "", number(round(hand.hours))])  # fmt: skip
    most = max(hand.person_years, hand.original_person_years, 0.001)
    bars = "".join(
        f'<div><span>{escape(name)}</span><i{css} style="width:{years / most:.1%}"></i><span>{years:,.1f} years</span></div>'
        for name, years, css in (("this day, by hand", hand.person_years, ""),
                                 ("the original day, as it was told", hand.original_person_years, ' class="other"'))
    )  # fmt: skip
    arithmetic = (
        f"{number(round(hand.hours))} hours ÷ {hand.hours_per_person_year:g} hours a year = {hand.person_years:,.1f} person-years. "
        f"A year of work is {hand.hours_why}. The original: {hand.original_why or 'not sourced'}. "
        "The minutes are estimates, each with its reason; change them with --manual."
    )
    return _section("The same work by hand", f'<div class="bars">{bars}</div>{body}', arithmetic)


def bottleneck(result: DrillResult) -> str:
    """Which limit was busy longest."""
    if not result.limits:
        return ""
    most = max((limit.busy_s for limit in result.limits), default=0.0) or 1.0
    ordered = sorted(result.limits, key=lambda limit: -limit.busy_s)
    bars = "".join(
        f'<div><span>{escape(limit.name)}<br><small class="note">{escape(limit.allowed)}</small></span>'
        f'<i{"" if limit is result.bottleneck else " class=other"} style="width:{limit.busy_s / most:.1%}"></i>'
        f"<span>{lasted(limit.busy_s)}</span></div>"
        for limit in ordered
    )
    first = result.bottleneck
    if first is None:
        told = "No limit was ever reached: more of anything would not have made it quicker."
    else:
        where = f" It is set by {first.setting}." if first.setting else ""
        told = f"The bottleneck was {first.name} ({first.allowed}): somebody waited for it for {lasted(first.busy_s)}.{where}"
    return _section("What it waited for longest", f'<div class="bars">{bars}</div>', told)


def scenario(result: DrillResult) -> str:
    """What the fleet is made of, and what usually fails."""
    fleet = result.scenario.fleet
    plans = ", ".join(f"{plan.share:.0%} {plan.engine} {plan.plan}" for plan in fleet.plans)
    zones = ", ".join(f"{zone.name} {zone.share:.0%}" for zone in fleet.zones)
    rows = [
        [rate.name.replace("_", " "), f"{rate.value:g}", PER[rate.name][0], rate.source] for rate in result.scenario.rates
    ]  # fmt: skip
    text = (
        f"Plans: {plans}. Zones: {zones}. The provider allows {fleet.provider.launches_per_s:g} launches and "
        f"{fleet.provider.boots_per_s:g} boots a second; a service makes {size(fleet.archive.wal_bytes_per_s)} of log a second "
        f"in the mean, and {size(fleet.archive.drain_bytes_per_s)}/s may be uploaded by all of them together."
    )
    body = _table(("usual failure", "#rate", "per", "where the number is from"), rows) if rows else ""
    return _section("The fleet, and what usually fails in it", body, text)


def run(result: DrillResult) -> str:
    """How the run itself went."""
    rate = result.transitions / result.wall_s if result.wall_s else 0
    rows = [
        ["store", result.store], ["a host is heard", f"every {result.scenario.fleet.pulse_s:.3g} s"], ["machines", number(result.machines)], ["committed transitions", number(result.transitions)],
        ["wall time", f"{lasted(result.wall_s)} ({number(round(rate))} transitions a second)"],
        ["peak resident memory", f"{result.peak_rss_mb:,.0f} MB"],
        ["log", f"{result.log_bytes / max(result.transitions, 1):.1f} bytes a transition"],
        ["memory", f"{result.machine_bytes / max(result.machines, 1):.1f} bytes a machine"],
        ["projection at the end", f"{counted(result.projection_lag_moves, 'move')} behind, {result.projection_lag_s:.2f} s"],
        ["writes lost on asynchronous plans", f"{number(result.lost_async_writes)}, each service within its plan's bound"
         if not result.lost_beyond_bound else number(result.lost_async_writes)],
        ["services whose every copy was lost", number(result.without_data)],
    ]  # fmt: skip
    return _section("The run", _table(("", ""), rows))


def _section(heading: str, body: str, note: str = "") -> str:
    told = f'<p class="note">{escape(note)}</p>' if note else ""
    return f"<section><h2>{escape(heading)}</h2>{told}{body}</section>"


def _table(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, raw: Sequence[int] = (), code: Sequence[int] = (),
    faint: Sequence[bool] = (), total: Sequence[str] = (),
) -> str:  # fmt: skip
    """'#' before a heading: a column of numbers. raw: columns that are HTML already. What follows a line break in a cell
    stands below it, smaller.
    """

    def cell(index: int, text: str) -> str:
        first, _, below = text.partition("\n")
        inner = text if index in raw else escape(first) + (f"<small>{escape(below)}</small>" if below else "")
        inner = f"<code>{inner}</code>" if index in code and inner else inner
        return f'<td class="n">{inner}</td>' if head[index].startswith("#") else f"<td>{inner}</td>"

    def row(cells: Sequence[str], css: str = "") -> str:
        return f"<tr{css}>{''.join(cell(index, text) for index, text in enumerate(cells))}</tr>"

    heads = "".join(f"<th{' class=n' if name.startswith('#') else ''}>{escape(name.lstrip('#'))}</th>" for name in head)
    top = f"<thead><tr>{heads}</tr></thead>" if any(head) else ""
    body = "".join(row(cells, ' class="none"' if faint and faint[number] else "") for number, cells in enumerate(rows))
    body += row(total, ' class="sum"') if total else ""
    return f'<div class="scroll"><table>{top}<tbody>{body}</tbody></table></div>'
