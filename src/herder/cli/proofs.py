"""What `herder verify` does besides: mutants, and a playbook from a file. Runs here, without a control plane."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

from herder.machines.registry import TABLES
from herder.model.errors import InvalidInput
from herder.proof import playbook_file
from herder.proof.mutants import MUTANTS, given
from herder.proof.mutants.run import Report, as_plain, line, run, summary
from herder.proof.product import diagrams


def mutants(path: str, *, as_json: bool, traces: bool, directory: str) -> int:
    """Break everything in turn, or only as a file says. 0 when enough is noticed and each survivor is explained, else 1.
    directory: where diagrams of how they were noticed go, '' = nowhere.
    """
    began, chosen, verdicts = time.perf_counter(), given.read(Path(path)) if path else MUTANTS, []
    for verdict in run(chosen, processes=max(len(os.sched_getaffinity(0)), 1)):
        verdicts.append(verdict)
        if not as_json:
            print("\n".join(line(verdict, traces=traces)), flush=True)
    report, seconds = Report(tuple(verdicts)), time.perf_counter() - began
    print(json.dumps(as_plain(report, seconds), indent=2) if as_json else "\n".join(summary(report, seconds)))
    if directory:
        noticed = [(verdict.name, verdict.killed) for verdict in verdicts if verdict.killed is not None]
        ways = [diagrams.from_words(how.rule, name, how.what, how.trace) for name, how in noticed if how.trace]
        written = diagrams.write(tuple(ways), Path(directory))
        print("\n".join(map(str, written)), file=sys.stderr)
    return 0 if report.ok else 1


def playbook(path: str, *, as_json: bool) -> int:
    """Put a playbook of your own before the checks. 0 when every rule holds, else 1."""
    file = playbook_file.read(Path(path))
    found = [(file.line(each), each) for each in playbook_file.check(file)]
    if as_json:
        findings = [{"line": at, **asdict(each)} for at, each in found]
        told = {"ok": not found, "playbook": file.table.kind, "replaces": file.replaces, "findings": findings}
        print(json.dumps(told, indent=2))
        return 1 if found else 0
    print(f"{file.table.kind}: {len(file.table.states)} states, {len(file.table.rows)} rows")
    print(f"looked at: {playbook_file.searched(file)}")
    for at, each in found:
        place = f"{path}, line {at}" if at else each.where
        print(f"{place}: {each.rule} does not hold: {each.what}")
        print("".join(f"    {number}. {step}\n" for number, step in enumerate(each.trace, 1)), end="")
    print(
        f"{len(found)} finding(s)"
        if found
        else "every rule holds; herder does not run it: it runs the tables it was built with"
    )
    return 1 if found else 0


def show_playbook(kind: str) -> int:
    """One of herder's own playbooks as such a file."""
    table = next((each for each in TABLES if each.kind == kind and not each.unit), None)
    if table is None:
        raise InvalidInput(f"no playbook is called '{kind}'", f"choose one of: {', '.join(playbook_file.playbooks())}")
    print(playbook_file.written(table), end="")
    return 0
