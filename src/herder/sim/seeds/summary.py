"""What the terminal says of a campaign: its figures, what was seen sometimes, and for each failure the least that causes it."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from herder.machines.registry import TABLES
from herder.sim.seeds.campaign import PLAYBOOKS, Failure, Tally, Wish
from herder.sim.seeds.plan import Item
from herder.sim.seeds.run import Result
from herder.sim.seeds.sometimes import SEEN_WITHIN, table


def line(wish: Wish, tally: Tally) -> str:
    """Progress in one line."""
    hours = tally.virtual_s / 3600
    return (
        f"{tally.seeds} of {wish.seeds} seeds, {hours:,.1f} simulated hours, {sum(tally.faults.values()):,} faults, "
        f"{tally.hours_per_s:.2f} hours/s, {len(tally.failures)} failed"
    )


def summary(wish: Wish, tally: Tally) -> RenderableType:
    """All of it. The table of what must be seen is left out where nothing of it can be."""
    parts: list[RenderableType] = [_facts(wish, tally), Text(""), _playbooks(tally), Text("")]
    if not wish.jitter:
        parts += [_sometimes(tally), Text("")]
    for failure in tally.failures:
        parts += [_failure(failure), Text("")]
    wrong = tally.verdict(wish)
    parts += [Text.assemble(("✗ ", "bold red"), words) for words in wrong]
    if not wrong:
        parts.append(Text.assemble(("✓ ", "green"), f"{tally.seeds} seeds without a violation"))
    return Group(*parts)


def _facts(wish: Wish, tally: Tally) -> Table:
    hours, seeds = tally.virtual_s / 3600, max(tally.seeds, 1)
    fired = len(tally.rows)
    rows_of_tables = sum(len({(r.source, r.event, r.target) for r in found.rows}) for found in TABLES)
    rows = [
        ("seeds", f"{_which(wish, tally)}, {tally.servers / seeds:.1f} servers each, two controllers"),
        ("simulated", f"{hours:,.1f} hours, {hours / max(tally.core_s, 0.001):.2f} a second and core"),
        ("done to them", (f"{sum(tally.faults.values()):,} faults ({sum(tally.faults.values()) / seeds:.0f} a seed), "
                         f"{sum(tally.orders.values()):,} orders")),
        ("herder did", (f"{tally.moves:,} moves in {tally.records:,} records, {tally.promotions:,} promotions; "
                       f"{fired} of {rows_of_tables} rows of the tables fired")),
        ("acknowledged", (f"{tally.confirmed_bytes / 1024**2:,.0f} MB; asynchronous plans lost {tally.lost_async_bytes / 1024:,.0f} kB "
                         "of it within their bounds")),
        ("left to a person", f"{tally.paged} seeds, where nothing could be proved safe and a person was told"),
    ]  # fmt: skip
    grid = Table.grid(padding=(0, 2))
    for name, words in rows:
        grid.add_row(Text(name, style="dim"), words)
    return grid


def _which(wish: Wish, tally: Tally) -> str:
    done = tally.done or [(wish.first, wish.first + tally.seeds - 1)]
    words = ", ".join(f"{first} to {last}" if last > first else str(first) for first, last in done[:4])
    return words + (f" and more ({tally.seeds:,} in all)" if len(done) > 4 else "")


def _made(*headings: str) -> Table:
    found = Table(box=SIMPLE_HEAD, header_style="dim", show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in headings:
        found.add_column(heading, justify="right" if heading in ("times", "ended") else "left")
    return found


def _playbooks(tally: Tally) -> Table:
    found = _made("playbook", "ended", "how")
    for kind in PLAYBOOKS:
        ends = {
            name.partition(".")[2]: n for name, n in sorted(tally.completions.items()) if name.startswith(f"{kind}.")
        }
        found.add_row(kind, f"{sum(ends.values()):,}", ", ".join(f"{n:,} {state}" for state, n in ends.items()))
    return found


def _sometimes(tally: Tally) -> Table:
    found = _made("seen sometimes", "times")
    short = tally.seeds < SEEN_WITHIN
    for words, times in table(tally.seen):
        mark = Text(f"{times:,}" if times else f"not yet (of {SEEN_WITHIN} seeds)" if short else "never")
        mark.stylize("" if times else "dim" if short else "bold red")
        found.add_row(words, mark)
    return found


def _failure(failure: Failure) -> RenderableType:
    same = "its second run left the same trace" if failure.same else "its second run left ANOTHER trace"
    parts = [Text(f"seed {failure.seed} failed; {same}", style="bold red")]
    parts += [Text(f"  {finding}") for finding in failure.found]
    parts.append(Text(f"  {len(failure.items)} of {failure.drawn} items are enough:", style="dim"))
    parts += [Text(f"    {words}") for words in items_in_words(failure.items)]
    parts.append(Text(f"  herder sim --replay {failure.seed} tells its story", style="dim"))
    return Group(*parts)


def items_in_words(items: Sequence[Item]) -> list[str]:
    """A list, an item a line."""
    return [
        f"{i.at_s:9.1f} s  {i.kind}" + (f" (service {i.aim})" if i.aim >= 0 else "") + f"  #{i.number}" for i in items
    ]


def story(result: Result) -> RenderableType:
    """What happened, by virtual time. !! done to the world, ?? asked for, -- the controllers, all else herder's moves."""
    parts = [
        Text(f"{at_s:9.2f}  {words}", style="bold" if words.startswith("!!") else "") for at_s, words in result.story
    ]
    parts += [Text.assemble(("✗ ", "bold red"), str(finding)) for finding in result.found]
    parts += [Text(f"left to a person: {words}", style="yellow") for words in result.paged]
    parts.append(Text(f"trace {result.trace}", style="dim"))
    return Group(*parts)
