"""The page of mutants, made from the mutants: `python -m herder.proof.mutants.render docs/reference/mutants.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from herder.proof.laws import PURE
from herder.proof.mutants import MUTANTS
from herder.proof.mutants.parts import ORIGINAL, Mutant

EXAMPLE = """[[mutant]]
name = "too few pledges count"
what = "an election that is short of pledges promotes all the same"
table = "failover"
source = "pledging"
event = "short"
change = { target = "promoting", page = "", emits = [] }

[[mutant]]
name = "pledges for ever"
what = "a failover may wait for pledges without end"
table = "failover"
state = "pledging"
change = { deadline_s = 0 }

[[mutant]]
name = "an uncertain member is trashed"
what = "a member that several vantage points saw dead goes to the trash"
table = "member"
add = { source = "uncertain", event = "seen_dead", target = "retired" }
"""
"""A file of one's own, as the page shows it."""

HEAD = (
    """# Mutants

Made by `python -m herder.proof.mutants.render docs/reference/mutants.md`; change the mutants in `src/herder/proof/mutants`.

A check that nothing can fail proves nothing. `herder verify --mutants` breaks herder's tables and its pure decisions in the ways
below, one at a time, and puts each before the checks of [`herder verify`](cli.md), the quick ones first, until one notices:

| check | what it looks at |
| --- | --- |
| tables | each table by itself, what passes between tables, all tables with a proof withheld, what guards and updates do |
| loading | would `herder up` refuse them? Effects and outcomes are those of the handlers |
| laws | pure decisions (elections, looks, verdicts, budgets, leases) over every case of a small world |
| voters | every order of adding and removing voters, crashes, promotions and writes, of three and four members |
| product | one service's machines with the world that does its worst, a few thousand states of each aspect |

It prints who noticed each, by which rule; `--traces` adds the shortest way there, `--json` gives all of it. Exit code 1 when one
survives without a reason, or fewer than 95 % are killed. A mutant that changes nothing is refused. Measured on 2 cores that others used
too: 214 of 216 killed (146 by tables, 2 by loading, 40 by laws, 26 by voters), 125 s of processor time, 226 s of the clock.

## Your own

`herder verify --mutants-file FILE` breaks what a file says instead, in TOML. A row is named by its table, state (`*`: any) and
event; `which` picks one of several, from 0. It can be dropped, or have its `target`, `emits`, `page` or `keep` changed, or its `guard` or
`update` taken away. A state can have another `deadline_s` (0: none), another `effect` (`"none"`: none) or be `final`. `add` is a row more.
`lives` says why it may survive.

```toml
"""
    + EXAMPLE
    + """```

## All of them
"""
)


def page() -> str:
    """The whole page."""
    return HEAD + "\n" + "\n".join(_rows()) + "\n"


def _rows() -> Iterator[str]:
    yield f"{len(MUTANTS)} mutants."
    for title, wanted in (("Tables", False), ("Pure decisions", True)):
        yield from ("", f"### {title}", "", "| mutant | what it breaks | where |", "| --- | --- | --- |")
        for mutant in MUTANTS:
            concerns = mutant.change(ORIGINAL).differs(ORIGINAL)
            if (concerns[0] in PURE) is wanted:
                yield _row(mutant, concerns)
    explained = [mutant for mutant in MUTANTS if mutant.lives]
    yield from ("", "### Those that may survive", "")
    yield from (f"- **{mutant.name}**: {mutant.lives}" for mutant in explained)


def _row(mutant: Mutant, concerns: tuple[str, ...]) -> str:
    return f"| {mutant.name} | {mutant.what} | {', '.join(f'`{name}`' for name in concerns)} |"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
