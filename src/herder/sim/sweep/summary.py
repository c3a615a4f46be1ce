"""What the terminal says of a sweep: a line a scene, what else was different and why, and the story of each difference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from herder.sim.sweep.campaign import Difference, Swept
from herder.sim.sweep.run import play
from herder.sim.sweep.scenes import Scene

STORIES = 3
"""Stories that are told in full; of the other differences, what they are."""


def line(swept: Swept) -> str:
    """One scene that has ended."""
    found = swept.found
    return f"{swept.scene.name}: {found.once + found.twice:,} runs, {found.different} differences"


def summary(swept: Sequence[Swept], wall_s: float) -> RenderableType:
    """All of it."""
    parts: list[RenderableType] = [_table(swept), *_explained(swept)]
    told = 0
    for each in swept:
        parts += [Text.assemble(("✗ ", "bold red"), f"{each.scene.name}, undisturbed: {words}") for words in each.wrong]
        for difference in each.found.differences:
            parts += [Text(""), _difference(each.scene, difference, story=told < STORIES)]
            told += 1
    runs, different = sum(s.found.once + s.found.twice for s in swept), sum(s.found.different for s in swept)
    if all(each.passed for each in swept):
        parts.append(
            Text.assemble(("✓ ", "green"), f"{runs:,} runs in {wall_s:.0f} s, each ended as the undisturbed one")
        )
    else:
        parts.append(Text.assemble(("✗ ", "bold red"), f"{different:,} of {runs:,} runs ended otherwise"))
    return Group(*parts)


def _table(swept: Sequence[Swept]) -> Table:
    table = Table(box=SIMPLE_HEAD)
    table.add_column("scene")
    for name in ("points", "killed once", "killed twice", "explained", "differences", "well after", "slowest"):
        table.add_column(name, justify="right")
    for each in swept:
        found = each.found
        twice = f"{found.twice:,}" if found.twice == found.could else f"{found.twice:,} of {found.could:,}"
        table.add_row(
            each.scene.name, f"{each.points['controller']}+{each.points['agent']}", f"{found.once:,}", twice,
            f"{sum(found.explained.values()):,}", Text(f"{found.different:,}", style="bold red" if found.different else ""),
            f"{each.well_s:.1f} s", f"{found.slowest_s:.1f} s",
        )  # fmt: skip
    return table


def _explained(swept: Sequence[Swept]) -> list[Text]:
    why: Counter[str] = Counter()
    for each in swept:
        why.update(each.found.explained)
    return [Text(f"{times:,} explained: {words}", style="dim") for words, times in why.most_common()]


def _difference(scene: Scene, difference: Difference, *, story: bool) -> RenderableType:
    parts = [Text(scene.name, style="bold red"), *(Text(f"  {words}") for words in difference.kills)]
    parts += [Text(f"  {words}", style="red") for words in difference.what]
    if story:
        told = play(scene, difference.planned, story=True).story
        parts += [
            Text(f"    {at_s:8.3f}  {words}", style="bold" if words.startswith("!!") else "dim") for at_s, words in told
        ]
    return Group(*parts)
