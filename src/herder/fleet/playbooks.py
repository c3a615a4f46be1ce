"""How playbooks did: how often each ran, ended well, needed a person, and how long it took. Pure: counts in, view out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from herder.model.shares import wilson
from herder.ports.store import PlaybookRuns


def view(runs: Sequence[PlaybookRuns], since_ms: int, days: float) -> dict[str, Any]:
    """`herder playbooks --json`. Each kind of playbook that ran, what was real before what was exercised."""
    rows = sorted(runs, key=lambda run: (run.kind, run.exercised))
    return {"since_ms": since_ms, "days": days, "playbooks": [row_view(run) for run in rows]}


def row_view(run: PlaybookRuns) -> dict[str, Any]:
    """One row. success: of those that ended, with the 95 % interval; one that gave way changed nothing and did not succeed.

    Times in seconds, of those that ended well.
    """
    ended = run.began - run.running
    low, high = wilson(run.done, ended)
    return {
        "playbook": run.kind, "exercised": run.exercised, "began": run.began, "running": run.running, "well": run.done,
        "gave_way": run.abandoned, "failed": run.failed + run.paged, "needed_person": run.needed_person,
        "success": run.done / ended if ended else None, "success_low": low, "success_high": high,
        "p50_s": _seconds(run.p50_ms), "p90_s": _seconds(run.p90_ms), "max_s": _seconds(run.max_ms),
    }  # fmt: skip


def _seconds(ms: float | None) -> float | None:
    return None if ms is None else round(ms / 1000, 3)
