"""`herder sim`: whole small fleets in virtual time, hurt by everything at once, and judged from outside."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from herder.cli import options, say
from herder.model.errors import InvalidInput

if TYPE_CHECKING:
    from herder.sim.seeds.campaign import Tally, Wish

LINE_EVERY_S = 10.0
"""Seconds between lines of progress where there is no terminal."""


def sim(
    seeds: Annotated[int, typer.Option("--seeds", metavar="N", min=1, help="How many.")] = 20,
    first: Annotated[int, typer.Option("--from", metavar="S", help="The first one.")] = 1,
    *,
    hours: Annotated[
        float | None,
        typer.Option("--hours", metavar="H", min=0.02, help="Of faults, a seed; else each draws its own."),
    ] = None,
    services: Annotated[
        int | None, typer.Option("--services", metavar="N", min=1, help="A fleet; else each draws its own.")
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", metavar="N", min=1, help="Processes.")] = 1,
    jitter: Annotated[
        bool, typer.Option("--jitter-only", help="Loss, delay and short pauses only: nobody may fail over.")
    ] = False,
    shrink: Annotated[
        int, typer.Option("--shrink", metavar="RUNS", min=0, help="Runs spent on making a failure's list small.")
    ] = 40,
    replay: Annotated[int | None, typer.Option("--replay", metavar="SEED", help="Tell one seed's story.")] = None,
    faults: Annotated[
        str, typer.Option("--faults", metavar="FILE", help="With --replay: this list instead of the drawn one.")
    ] = "",
    keep: Annotated[
        str, typer.Option("--keep", metavar="FILE", help="Count on top of what is in it, and go on where it ended.")
    ] = "",
    as_json: options.Json = False,
) -> None:
    """Simulate whole small fleets, a seed each; exit code 1 when a rule did not hold or something was never seen."""
    from herder.sim.seeds.campaign import Wish

    wish = Wish(first, seeds, hours, services, jobs, jitter, shrink)
    if faults and replay is None:
        raise InvalidInput("a list of faults is one seed's", "add --replay SEED")
    if replay is not None:
        raise typer.Exit(_replay(wish, replay, faults, as_json=as_json))
    tally = _run(wish, keep, Progress(wish, quiet=as_json))
    if as_json:
        say.as_json(tally.facts(wish))
    else:
        from herder.sim.seeds.summary import summary

        say.console().print(summary(wish, tally))
    raise typer.Exit(1 if tally.verdict(wish) else 0)


def _run(wish: Wish, keep: str, progress: Progress) -> Tally:
    from herder.sim.seeds.campaign import run_all

    if not keep:
        tally = run_all(wish, lambda so_far, _: progress.show(so_far))
    else:
        from herder.sim.seeds.kept import kept

        with kept(Path(keep).expanduser(), wish) as book:

            def on_seed(so_far: Tally, seed: int) -> None:
                book.keep(seed)
                progress.show(so_far)

            tally = run_all(wish, on_seed, book.tally, book.done)
    progress.end()
    return tally


def _replay(wish: Wish, seed: int, faults: str, *, as_json: bool) -> int:
    """Returns the exit code."""
    from herder.sim.seeds.plan import from_json
    from herder.sim.seeds.run import run_plan
    from herder.sim.seeds.summary import story

    plan = wish.plan(seed)
    result = run_plan(plan, from_json(_read(faults)) if faults else None, story=True)
    if as_json:
        say.as_json({
            "seed": seed, "trace": result.trace, "found": [str(finding) for finding in result.found], "paged": result.paged,
            "story": [{"at_s": round(at_s, 3), "what": words} for at_s, words in result.story],
        })  # fmt: skip
    else:
        say.console().print(story(result))
    return 1 if result.found else 0


def _read(file: str) -> bytes:
    try:
        return Path(file).expanduser().read_bytes()
    except OSError as problem:
        raise InvalidInput(
            f"{file} cannot be read: {problem.strerror}", "herder sim --json prints such lists"
        ) from None


class Progress:
    """One line that moves on a terminal; elsewhere one now and then. On stderr, so that stdout is the answer."""

    def __init__(self, wish: Wish, *, quiet: bool) -> None:
        self._wish = wish
        self._quiet = quiet
        self._moves = sys.stderr.isatty()
        self._said_s = 0.0

    def show(self, tally: Tally) -> None:
        """After each seed."""
        from herder.sim.seeds.summary import line

        if self._quiet or (not self._moves and tally.wall_s - self._said_s < LINE_EVERY_S):
            return
        self._said_s = tally.wall_s
        words = line(self._wish, tally)
        if self._moves:
            sys.stderr.write(f"\r\033[K{words}")
            sys.stderr.flush()
        else:
            say.note(words)

    def end(self) -> None:
        """Leave the line."""
        if self._moves and not self._quiet and self._said_s:
            sys.stderr.write("\n")
