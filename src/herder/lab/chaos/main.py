"""`herder chaos` from beginning to end: everything it makes is in one throw-away directory, and gone when it returns."""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from herder.lab.chaos import report
from herder.lab.chaos.acts import Acts, possible
from herder.lab.chaos.course import Course
from herder.lab.chaos.kinds import CLOCK_NOTE, KINDS
from herder.lab.chaos.report import Outcome
from herder.lab.chaos.schedule import PLANE, Planned, draw
from herder.lab.demo import left_behind
from herder.lab.rig import Rig
from herder.model.errors import HerderError, InvalidInput
from herder.model.plans import PLANS

Facts = dict[str, Any]

FAILOVERS_PER_HOUR = 1_000
"""The default of 1 would block the second fault of a service, which is right in the night and wrong here."""

MIX = "mix"
ENGINES, SOME_PLANS = ("postgres", "valkey"), ("premium", "standard")


@dataclass(frozen=True, slots=True)
class Options:
    """As on the command line. kinds: names, all when empty. directory: '' for a temporary one."""

    minutes: float = 3.0
    services: int = 3
    seed: int = 1
    plan: str = "premium"
    engine: str = "postgres"
    kinds: tuple[str, ...] = ()
    directory: str = ""
    as_json: bool = False
    keep: bool = False


def wanted(options: Options) -> dict[str, tuple[str, str]]:
    """Name -> (engine, plan). A mix alternates plans, and engines every two services, so that four have all pairs."""
    found = {}
    for number in range(options.services):
        engine = ENGINES[number // 2 % 2] if options.engine == MIX else options.engine
        plan = SOME_PLANS[number % 2] if options.plan == MIX else options.plan
        found[f"chaos-{number}"] = (engine, plan)
    return found


def main(options: Options) -> int:
    """Run it. Returns 0; 1 when something is not as promised."""
    began = time.monotonic()
    _check(options)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    rig = Rig({"failovers_per_hour": str(FAILOVERS_PER_HOUR)}, _place(options.directory), keep=options.keep)
    course = Course(rig, wanted(options), lambda line: console.print(line, markup=False))
    try:
        outcome = _run(options, course)
    except (KeyboardInterrupt, SystemExit):
        left = left_behind(rig.path, course.namespaces)
        course.say(f"Ended early. Left of it: {'; '.join(left) or 'nothing'}.")
        raise
    left = left_behind(rig.path, course.namespaces)
    if options.keep:
        course.say(f"its files are kept: {rig.path}")
        left = [words for words in left if not words.startswith("directory ")]
    outcome.bad += [f"left running: {words}" for words in left]
    outcome.took_s = time.monotonic() - began
    if options.as_json:
        print(json.dumps(outcome.facts(), indent=2, ensure_ascii=False), flush=True)
    else:
        width = None if sys.stdout.isatty() else 200
        report.show(Console(width=width, highlight=False), outcome)
    return 0 if outcome.passed else 1


def _check(options: Options) -> None:
    for name in options.kinds:
        if name not in KINDS:
            raise InvalidInput(f"there is no fault '{name}'", f"choose from: {', '.join(KINDS)}")
    for what, given, known in (("plan", options.plan, SOME_PLANS), ("engine", options.engine, ENGINES)):
        if given not in (*known, MIX):
            raise InvalidInput(f"chaos runs on no {what} '{given}'", f"choose from: {', '.join((*known, MIX))}")


def _place(directory: str) -> Path | None:
    return Path(directory).expanduser().resolve() if directory else None


def _run(options: Options, course: Course) -> Outcome:
    """From nothing to nothing: everything is ended when this returns or raises."""
    with course.rig:
        course.make()
        kinds, left_out = _kinds(options, course)
        members = [PLANS[plan].members for _, plan in course.services.values()]
        schedule = draw(options.seed, options.minutes * 60, members, kinds)
        _tell(schedule, list(course.services), left_out, course)
        acts = Acts(course.rig)
        failed = ""
        try:
            _break(course, schedule, acts)
        except (HerderError, OSError, AssertionError) as error:  # what was seen so far is worth more than a trace
            failed = f"the run broke off: {error!r}"
            traceback.print_exc()
        finally:
            course.end()
        outcome = _account(options, course, left_out)
        outcome.bad += [failed] if failed else []
        return outcome


def _break(course: Course, schedule: Sequence[Planned], acts: Acts) -> None:
    full = sorted({fault.service for fault in schedule if fault.kind == "disk-full" and fault.service != PLANE})
    names = list(course.services)
    course.lay_disks([names[number] for number in full], acts)
    course.load()
    course.break_things(schedule, acts)
    course.await_well()
    course.checkpoint()


def _kinds(options: Options, course: Course) -> tuple[list[str], dict[str, str]]:
    """Names that this machine can do, in a fixed order, and why the others are left out."""
    has = possible(course.rig)
    chosen = [name for name in KINDS if not options.kinds or name in options.kinds]
    left_out = {}
    for name in chosen:
        missing = [need.value for need in KINDS[name].needs if not has[need]]
        if missing:
            left_out[name] = f"this machine has no {', no '.join(missing)}"
    left = [name for name in chosen if name not in left_out]
    if not left:
        raise InvalidInput("none of these faults is possible here", "; ".join(left_out.values()))
    return left, left_out


def _tell(schedule: Sequence[Planned], names: Sequence[str], left_out: dict[str, str], course: Course) -> None:
    course.say(f"{len(schedule)} faults to come:")
    for fault in schedule:
        who = "control plane" if fault.service == PLANE else f"{names[fault.service]} {_who(fault.member)}"
        lasts = f" for {fault.lasts_s:.1f} s" if fault.lasts_s else ""
        course.say(f"  {fault.at_s:7.1f} s  {fault.kind}, {who}{lasts}{', two at once' * (fault.twin >= 0)}")
    for name, why in left_out.items():
        course.say(f"left out: {name}: {why}")
    if any(fault.kind == "clock-jump" for fault in schedule):
        course.say(CLOCK_NOTE)


def _who(member: int) -> str:
    return f"standby {member}" if member else "primary"


def _account(options: Options, course: Course, left_out: dict[str, str]) -> Outcome:
    """What came of it: the clients are stopped, the control plane runs."""
    accounts = []
    bad = []
    for name in [name for name in course.services if name in course.loads]:
        try:
            accounts.append(report.account_of(course, name))
        except Exception as error:  # noqa: BLE001  a service that cannot be read is a finding, and not the last one
            bad.append(f"{name} cannot be audited: {error!r}")
    course.fetch_events()
    report.tell_effects(course)
    pages: list[Facts] = []
    playbooks: list[Facts] = []
    with suppress(HerderError):
        pages = course.rig.api("GET", "/v1/pages")
        playbooks = course.rig.api("GET", "/v1/playbooks")["playbooks"]
    gaps = report.plane_gaps(course)
    bad += report.verdict(course, accounts)
    return Outcome(options.seed, options.minutes, accounts, course.happened, pages, playbooks, left_out, gaps, bad)
