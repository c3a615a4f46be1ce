"""Playbooks counted from moves in words: what the PostgreSQL store does in one statement, for simulation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from herder.ports.store import HistoryRow, PlaybookRuns
from herder.stores.rows import ENDS, EXERCISER, PLAYBOOK_KINDS, percentile


@dataclass(slots=True)
class _Run:
    kind: str
    exercised: bool
    began_ms: int
    end: str = ""
    took_ms: int = 0
    called: bool = False


def playbook_runs(history: Iterable[tuple[int, HistoryRow]], since_ms: int) -> list[PlaybookRuns]:
    """history: (shard, row) in the order of the log, shard by shard. A line for many machines at once (machine 0) is not
    counted: nobody could say which began when.
    """
    rows = [(shard, row) for shard, row in history if row.at_ms >= since_ms and row.machine]
    paged = {
        (shard, row.seq, row.service) for shard, row in rows if row.kind == "page" and row.event in ("create", "again")
    }
    exercising: set[tuple[int, str]] = set()
    runs: dict[tuple[int, int], _Run] = {}
    for shard, row in rows:
        service, key = (shard, row.service), (shard, row.machine)
        if row.kind == "service" and row.event == "exercise_began":
            exercising.add(service)
        elif row.kind == "service" and row.event in ("exercise_ended", "exercise_failed"):
            exercising.discard(service)
        if row.kind not in PLAYBOOK_KINDS:
            continue
        if row.event == "create":
            runs[key] = _Run(row.kind, row.actor == EXERCISER or service in exercising, row.at_ms)
        if key not in runs:
            continue
        if (shard, row.seq, row.service) in paged:
            runs[key].called = True
        if row.target in ENDS and row.source != row.target:
            runs[key].end, runs[key].took_ms = row.target, row.at_ms - runs[key].began_ms
    groups: dict[tuple[str, bool], list[_Run]] = {}
    for run in runs.values():
        groups.setdefault((run.kind, run.exercised), []).append(run)
    return [_counted(kind, exercised, groups[kind, exercised]) for kind, exercised in sorted(groups)]


def _counted(kind: str, exercised: bool, runs: Sequence[_Run]) -> PlaybookRuns:  # noqa: FBT001  a key of the groups
    took = sorted(run.took_ms for run in runs if run.end == "done")
    ended = {end: sum(run.end == end for run in runs) for end in ENDS}
    return PlaybookRuns(
        kind=kind, exercised=exercised, began=len(runs), running=sum(not run.end for run in runs), **ended,
        needed_person=sum(run.called or run.end == "paged" for run in runs), p50_ms=percentile(took, 0.5),
        p90_ms=percentile(took, 0.9), max_ms=float(took[-1]) if took else None,
    )  # fmt: skip
