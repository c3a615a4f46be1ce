"""What the terminal says when a drill is over: the verdict, the figures, and the same work by hand."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from herder.sim.drill.result import DrillResult
from herder.sim.drill.words import clock, counted, lasted, number, share, size

SHOWN = 12
"""Rows of a table in the terminal; the report has all."""


def summary(result: DrillResult) -> RenderableType:
    """All of it, in the order in which a person asks."""
    scenario = result.scenario
    parts: list[RenderableType] = [
        Text(scenario.title, style="bold"),
        Text(f"{scenario.name}, {result.services:,} services, {result.machines:,} machines, seed {result.seed}, store {result.store}",
             style="dim"),
        Text(""), _facts(result), Text(""),
    ]  # fmt: skip
    parts += _tables(result)
    parts += [_hand(result), Text("")]
    parts += [Text(note, style="dim") for note in result.notes]
    parts += [_verdict_line(f"{verdict.wanted}: {number(verdict.value)}", ok=verdict.ok) for verdict in result.verdicts]
    if result.ended_early:
        parts.append(_verdict_line(f"the day was not run to its end: {result.ended_early}", ok=False))
    if result.crashed:
        parts.append(_verdict_line(f"errors of herder's own that nobody foresaw: {result.crashed}", ok=False))
    return Group(*parts)


def _verdict_line(words: str, *, ok: bool) -> Text:
    return Text.assemble(("✓ " if ok else "✗ ", "green" if ok else "bold red"), (words, "" if ok else "bold red"))


def _facts(result: DrillResult) -> Table:
    worst = {name: max(values, default=0) for name, values in result.timeline.unavailable.items()}
    bottleneck = result.bottleneck
    rows = [
        ("well again", f"{lasted(result.well_after_s)} after {clock(result.scenario.measured_ms)} UTC"),
        ("lost", (f"premium {result.lost_premium}, beyond a plan's bound {result.lost_beyond_bound} services, within it "
                  f"{number(result.lost_async_writes)} writes")),
        ("down at once, at most", ", ".join(f"{name} {count:,}" for name, count in worst.items() if count) or "no service"),
        ("units touched", f"{result.units_touched:,} of {result.machines:,} ({share(result.units_touched, result.machines)})"),
        ("transitions", f"{result.transitions:,} in {lasted(result.wall_s)} of wall time, peak memory {result.peak_rss_mb:,.0f} MB"),
        ("pages", f"{counted(len(result.pages), 'page')}, {result.needed_a_person:,} remedies needed a person"),
        ("amplification", f"{number(result.amplification)} effects done for each that was needed"),
        ("bottleneck", f"{bottleneck.name} ({bottleneck.allowed}), busy for {lasted(bottleneck.busy_s)}" if bottleneck else "none"),
        ("log, memory", (f"{size(result.log_bytes / max(result.transitions, 1))} a transition, "
                         f"{size(result.machine_bytes / max(result.machines, 1))} a machine")),
        ("projection", f"{result.projection_lag_moves:,} moves behind at the end, {result.projection_lag_s:.1f} s"),
        ("trace", result.trace_sha256),
    ]  # fmt: skip
    table = Table.grid(padding=(0, 2))
    for name, words in rows:
        table.add_row(Text(name, style="dim"), words)
    return table


def _tables(result: DrillResult) -> list[RenderableType]:
    drawn: list[RenderableType] = []
    if result.remedies:
        rows = [(each.kind.replace("_", " "), number(each.begun), number(each.ended_well), number(each.needed_a_person))
                for each in result.remedies]  # fmt: skip
        drawn += [_table(("remedy", "begun", "ended well", "needed a person"), rows), Text("")]
    if result.parked:
        parked = [(each.what, each.why, number(each.count), lasted(each.longest_s),
                   clock(each.drained_ms) if each.drained_ms is not None else "still waits") for each in result.parked]  # fmt: skip
        drawn += [_table(("parked", "waited for", "how many", "longest", "drained"), parked, words=2), Text("")]
    if result.pages:
        pages = [(clock(page.at_ms), clock(page.delivered_ms), page.reason.replace("_", " "), page.scope, number(page.units))
                 for page in result.pages[:SHOWN]]  # fmt: skip
        drawn += [_table(("page sent", "arrived", "reason", "scope", "units"), pages, words=4)]
        left = len(result.pages) - SHOWN
        drawn += [Text(f"and {left:,} more", style="dim")] if left > 0 else []
        drawn.append(Text(""))
    return drawn


def _hand(result: DrillResult) -> RenderableType:
    hand = result.hand
    rows = [
        (line.task, number(line.times), f"{line.minutes:g}", number(round(line.hours)))
        for line in hand.lines
        if line.times
    ]
    told = Text.assemble(
        f"{number(round(hand.hours))} h ÷ {hand.hours_per_person_year:g} h a year = ",
        (f"{hand.person_years:,.1f} person-years by hand", "bold"),
        (f"; {hand.original_person_years:g} were told of the original day", "dim"),
    )
    return Group(_table(("the same work by hand", "times", "minutes", "hours"), rows), told)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], *, words: int = 1) -> Table:
    """words: how many columns from the left are words; the others are numbers, which stand to the right."""
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0), pad_edge=False)
    for index, heading in enumerate(head):
        table.add_column(heading, justify="left" if index < words else "right")
    for row in rows:
        table.add_row(*row)
    return table
