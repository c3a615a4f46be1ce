"""`herder bench failover`: break a service while it is written to, and measure how long nobody could write.

Each plan has a herder of its own. Premium runs with the provider's fencing off, since its pledges must do without;
standard and Valkey run with it. Every run waits until all is well, audits the ledger, and only then comes the next.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from herder.bench.metrics import ANCHORS, Metric, metric, not_possible
from herder.lab import faults
from herder.lab.ledger import CLIENT, PROBERS, Ledger, Report
from herder.lab.rig import Rig, make_directory
from herder.model.errors import HerderError

Facts = dict[str, Any]
Say = Callable[[str], None]

NAME = "bench"
OVERRIDE = {"failovers_per_hour": "100000"}
"""One automatic failover an hour is the rule; a benchmark makes many, and says so."""

SETTLE_S = 1.0
"""Seconds of undisturbed writing before the fault and after all is well."""

FREEZE_S = 15.0
SILENT_S = 10.0
"""Seconds until the cable is plugged in again."""

DOWN_S = 2.0
"""Seconds that the whole control plane is gone."""

WELL_S = 90.0

FENCES = {
    "fenced": "the old primary stopped, confirmed by its agent or the provider",
    "lease_over": "its lease ran out",
    "drained": "stopped cleanly, confirmed by its agent",
    "moved": "the engine handed over by itself (FAILOVER)",
    "pledged": "pledges of the voters",
    "unconfirmed": "none confirmed",
}
"""Events that say what proved that the old primary acknowledges nothing more, the stronger proof first."""

NOT_HERE = "not possible here"


@dataclass(frozen=True, slots=True)
class Run:
    """One fault and what came of it. fence: how the old primary was kept from acknowledging. trouble: '' when all was
    well in the end.
    """

    report: Report | None
    fence: str
    trouble: str = ""
    events: list[Facts] = field(default_factory=list)


def measure(runs: int, plans: Sequence[str], which: Sequence[str], place: Path | None, say: Say) -> list[Metric]:
    """All metrics of the plans under the faults."""
    metrics: list[Metric] = []
    for plan in plans:
        found = _plan(plan, runs, which, place, say)
        for fault in which:
            metrics += _metrics(plan, fault, found[fault])
    return metrics


def _plan(plan: str, runs: int, which: Sequence[str], place: Path | None, say: Say) -> dict[str, list[Run]]:
    """Runs by fault. A run that does not end well gets the next one a new herder."""
    found: dict[str, list[Run]] = {fault: [] for fault in which}
    left = [(fault, number) for fault in which for number in range(runs)]
    while left:
        with started(plan, place, say) as rig:
            while left:
                fault, number = left.pop(0)
                if fault == "host_silent" and not rig.namespaces:
                    found[fault].append(Run(None, "", NOT_HERE))
                    continue
                run = one_run(rig, plan, fault)
                found[fault].append(run)
                say(f"{plan} {fault} {number + 1}/{runs}: {_in_words(run)}")
                if run.trouble or _hurt(plan, run):
                    tell_events(run, say)
                    break
    return found


def started(plan: str, place: Path | None, say: Say) -> contextlib.AbstractContextManager[Rig]:
    """A herder with the service of a plan on it."""
    settings = {"fencing": "false" if plan == "premium" else "true", **OVERRIDE}
    say(f"{plan}: a new herder; override: {', '.join(f'{name}={text}' for name, text in settings.items())}")
    directory = make_directory(prefix="herder-bench-", places=[place] if place else None)

    @contextlib.contextmanager
    def made() -> Any:
        with Rig(settings, directory) as rig:
            (rig.path / "ledgers").mkdir()
            rig.create("valkey" if plan == "valkey" else "postgres", NAME, "premium" if plan == "valkey" else plan)
            rig.until_well(WELL_S)
            yield rig

    return made()


def one_run(rig: Rig, plan: str, fault: str) -> Run:
    """Write, break, wait until all is well, audit."""
    since_ms = int(time.time() * 1000)
    trouble = ""
    report = None
    try:
        with Ledger(rig.show(NAME), rig.files.socket, rig.path / "ledgers") as ledger:
            time.sleep(SETTLE_S)
            since_ms = int(time.time() * 1000)
            began = time.monotonic()
            before = rig.show(NAME)
            break_it(rig, fault)
            try:
                if fault == "control_plane_killed":
                    rig.until_well(WELL_S)
                else:
                    rig.until_healed(before, WELL_S)
                ledger.await_write(time.monotonic(), WELL_S)
            except HerderError as error:
                trouble = error.message
            until = time.monotonic()
            time.sleep(SETTLE_S)
            ledger.stop()
            report = ledger.report(began, until, rig.show(NAME)["url"])
    except (HerderError, OSError) as error:
        trouble = trouble or f"{type(error).__name__}: {error}"
    events: list[Facts] = []
    with contextlib.suppress(HerderError):
        events = [event for event in rig.events(NAME) if event["at_ms"] >= since_ms - 100]
    return Run(report, fence_of(events), trouble, events)


def break_it(rig: Rig, fault: str) -> None:
    """Make the fault happen, and end where the world ends it too."""
    primary = rig.member(NAME, "primary")
    server = rig.server_of(primary)
    if fault == "engine_killed":
        faults.kill_engine(primary["pid"])
    elif fault == "host_killed":
        faults.kill_host(server)
    elif fault == "host_silent":
        faults.silence(server)
        time.sleep(SILENT_S)
        with contextlib.suppress(faults.NotPossible):  # fenced meanwhile and made anew: there is nothing to plug in
            faults.unsilence(server)
    elif fault == "host_frozen":
        faults.freeze(server)
        time.sleep(FREEZE_S)
        with contextlib.suppress(faults.NotPossible):
            faults.thaw(server)
        time.sleep(SETTLE_S)
    elif fault == "switchover":
        rig.api("POST", f"/v1/services/{NAME}/switchover", {})
    else:
        rig.kill_control_plane(everything=True)
        time.sleep(DOWN_S)
        rig.start_control_plane()


def fence_of(events: Sequence[Facts]) -> str:
    """What kept the old primary from acknowledging, by the log."""
    playbooks = [event for event in events if event["kind"] in ("failover", "switchover", "restart")]
    seen = {event["event"] for event in playbooks}
    for name, words in FENCES.items():
        if name in seen:
            by_provider = name == "fenced" and any(e["kind"] == "server" and e["event"] == "fenced" for e in events)
            return "the provider ended its incarnation" if by_provider else words
    if any(event["kind"] == "restart" for event in playbooks):
        return "none needed: restarted in place"
    return "none needed: the primary stayed"


def _hurt(plan: str, run: Run) -> bool:
    """Something was lost or doubled where nothing may be: the evidence is told, the next run begins afresh."""
    report = run.report
    return report is not None and plan == "premium" and bool(report.lost or report.doubled or report.by_two)


def _in_words(run: Run) -> str:
    report = run.report
    if report is None:
        return run.trouble
    gaps = (
        f"gap {_seconds(report.gap_s)}, server gap {_seconds(report.server_gap_s)} from {_seconds(report.gap_after_s)}"
    )
    wrong = f"{report.lost} lost, {report.doubled} doubled, {report.by_two} by two, {report.unknown} unknown"
    return f"{gaps}; of {report.acked}: {wrong}; {run.fence}{'; TROUBLE: ' if run.trouble else ''}{run.trouble}"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f} s"


def tell_events(run: Run, say: Say) -> None:
    """The log of a run that went wrong."""
    if run.report is not None and (run.report.lost_ids or run.report.doubled_ids):
        say(f"  lost {run.report.lost_ids[:20]} doubled {run.report.doubled_ids[:20]}")
    begin = run.events[0]["at_ms"] if run.events else 0
    for event in run.events:
        say(f"  {event['at_ms'] - begin:6d} ms {event['kind']} {event['name']}: {event['source']} "
            f"--{event['event']}--> {event['target']}  {event['why']} [{event['actor']}]")  # fmt: skip


def _metrics(plan: str, fault: str, runs: Sequence[Run]) -> list[Metric]:
    name = f"{plan}.{fault}"
    if all(run.trouble == NOT_HERE for run in runs):
        units = {"gap_s": "s", "server_gap_s": "s", "lost": "writes", "double": "writes"}
        return [not_possible(f"{name}.{what}", unit, NOT_HERE) for what, unit in units.items()]
    reports = [run.report for run in runs if run.report is not None]
    fence = "fence: " + " | ".join(dict.fromkeys(run.fence for run in runs))
    troubles = [f"trouble in a run: {run.trouble}" for run in runs if run.trouble]
    anchor = None if plan == "valkey" else ANCHORS[fault]
    # the client waits for its own timeouts behind a host that says nothing: what is promised there is the server's gap
    by_client = None if fault in ("host_silent", "host_frozen") else anchor
    client = "valkey-py, 1 s for an answer, follows watch-url" if plan == "valkey" else CLIENT
    lost = [float(report.lost) for report in reports]
    doubled = [float(max(report.doubled, report.by_two)) for report in reports]
    return [
        metric(f"{name}.gap_s", "s", [report.gap_s for report in reports], anchor=by_client,
               notes=[fence, f"client: {client}", *troubles]),
        metric(f"{name}.server_gap_s", "s", [report.server_gap_s for report in reports], anchor=anchor,
               notes=[fence, PROBERS]),
        metric(f"{name}.lost", "writes", lost, notes=[fence, f"{sum(lost):g} in all runs"]),
        metric(f"{name}.double", "writes", doubled,
               notes=[fence, f"{sum(doubled):g} in all runs: there twice, or acknowledged by two members"]),
    ]  # fmt: skip
