"""All mutants, several at once, and the report of who noticed them."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from herder.proof.mutants.judge import Verdict, judge
from herder.proof.mutants.parts import Mutant

WANTED = 0.95
"""The share that must be killed; a mutant that nobody notices is a check that is missing, or a mutant that breaks nothing."""

_at_work: list[Mutant] = []
"""What a worker judges, by number: changes are functions, which do not travel between processes. Set before they are forked."""


@dataclass(frozen=True, slots=True)
class Report:
    """All verdicts, in the order of the mutants."""

    verdicts: tuple[Verdict, ...]

    @property
    def survivors(self) -> tuple[Verdict, ...]:
        """Those that nobody noticed."""
        return tuple(verdict for verdict in self.verdicts if verdict.killed is None)

    @property
    def share(self) -> float:
        """Of all, how many were killed."""
        return 1 - len(self.survivors) / max(len(self.verdicts), 1)

    @property
    def ok(self) -> bool:
        """Enough were killed, and each survivor is explained."""
        return self.share >= WANTED and not any(verdict.unexplained for verdict in self.verdicts)


def run(mutants: Sequence[Mutant], processes: int = 1) -> Iterator[Verdict]:
    """Verdicts as they come, in the order of the mutants. Raises InvalidInput for a mutant that changes nothing."""
    if processes < 2 or len(mutants) < 2:
        yield from map(judge, mutants)
        return
    _at_work[:] = mutants
    with ProcessPoolExecutor(processes, multiprocessing.get_context("fork")) as pool:
        yield from pool.map(_judge, range(len(mutants)))


def _judge(number: int) -> Verdict:
    return judge(_at_work[number])


def line(verdict: Verdict, *, traces: bool = False) -> Iterator[str]:
    """One verdict for people; traces: with the way there."""
    if verdict.killed is None:
        yield f"  survived  {verdict.name}: {verdict.what}"
        yield f"            {verdict.lives or 'nobody noticed, and nobody said why it may live'}"
        return
    noticed = verdict.killed
    yield f"  killed    {verdict.name}: {noticed.check}, {noticed.rule} at {noticed.where}: {noticed.what}"
    if traces:
        yield from (f"              {number}. {step}" for number, step in enumerate(noticed.trace, 1))


def summary(report: Report, seconds: float) -> Iterator[str]:
    """Totals: by check, and whether that is enough."""
    by_check = Counter(verdict.killed.check for verdict in report.verdicts if verdict.killed is not None)
    told = ", ".join(f"{count} by {check}" for check, count in by_check.most_common())
    killed = len(report.verdicts) - len(report.survivors)
    yield f"{killed} of {len(report.verdicts)} mutants killed ({report.share:.1%}) in {seconds:.0f} s: {told}"
    unexplained = [verdict.name for verdict in report.survivors if verdict.unexplained]
    if report.survivors:
        yield f"{len(report.survivors)} survived, {len(report.survivors) - len(unexplained)} of them explained"
    if unexplained:
        yield f"not explained: {', '.join(unexplained)}"


def as_plain(report: Report, seconds: float) -> dict[str, Any]:
    """For `--json`."""
    return {
        "ok": report.ok, "mutants": len(report.verdicts), "killed": len(report.verdicts) - len(report.survivors),
        "share": round(report.share, 4), "seconds": round(seconds, 1),
        "verdicts": [asdict(verdict) | {"seconds": round(verdict.seconds, 2)} for verdict in report.verdicts],
    }  # fmt: skip
