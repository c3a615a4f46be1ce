"""What `herder verify` does besides: mutants, and a playbook from a file. Runs here, without a control plane."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from herder.proof.mutants import MUTANTS, given
from herder.proof.mutants.run import Report, as_plain, line, run, summary


def mutants(path: str, *, as_json: bool, traces: bool) -> int:
    """Break everything in turn, or only as a file says. 0 when enough is noticed and each survivor is explained, else 1."""
    began, chosen, verdicts = time.perf_counter(), given.read(Path(path)) if path else MUTANTS, []
    for verdict in run(chosen, processes=max(len(os.sched_getaffinity(0)), 1)):
        verdicts.append(verdict)
        if not as_json:
            print("\n".join(line(verdict, traces=traces)), flush=True)
    report, seconds = Report(tuple(verdicts)), time.perf_counter() - began
    print(json.dumps(as_plain(report, seconds), indent=2) if as_json else "\n".join(summary(report, seconds)))
    return 0 if report.ok else 1
