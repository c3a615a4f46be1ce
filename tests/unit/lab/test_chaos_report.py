"""What a chaos run tells in the end: who did what after which fault, what failed, and JSON with stable fields."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from herder.lab.chaos.course import Course, Happened
from herder.lab.chaos.load import Load
from herder.lab.chaos.report import Outcome, plane_gaps, show, tell_effects, verdict
from herder.lab.chaos.schedule import PLANE, Planned
from herder.lab.chaos.tally import Account, spread
from herder.lab.ledger import Entry
from herder.lab.rig import Rig

SERVICE = {
    "name": "chaos-0", "engine": "postgres", "url": "postgresql://", "term": 1,
    "members": [
        {"id": f"chaos-0-{n}", "server": f"srv-{n}", "address": "", "port": 1, "voter": n > 0, "role": ""}
        for n in range(3)
    ],
}  # fmt: skip


def fault(number: int, at_ms: int, kind: str, *, service: str = "chaos-0", lasts_s: float = 0.0) -> Happened:
    planned = Planned(number, at_ms / 1000, kind, 0 if service else PLANE, 0, lasts_s, 0.5)
    return Happened(
        planned, service, "chaos-0-0 on srv-0 (primary)", "done", at_ms / 1000, at_ms / 1000 + lasts_s, at_ms
    )


def move(seq: int, at_ms: int, kind: str, name: str, event: str, why: str) -> dict[str, object]:
    return {"seq": seq, "at_ms": at_ms, "kind": kind, "name": name, "event": event, "target": "x", "why": why}


@pytest.fixture
def course(tmp_path: Path) -> Course:
    made = Course(Rig(directory=tmp_path), {"chaos-0": ("postgres", "premium")}, lambda line: None)
    made.loads["chaos-0"] = Load(SERVICE, tmp_path, tmp_path, 0.02)
    return made


def account(**broken: object) -> Account:
    facts = {"acked": 10, "members": 3, "members_read": 3, "totals": 4} | broken
    return Account("chaos-0", "postgres", "premium", sync=True, bound_s=60.0, bound_bytes=1 << 24, **facts)  # type: ignore[arg-type]


def outcome(course: Course, found: Account) -> Outcome:
    bad = verdict(course, [found])
    return Outcome(7, 1.0, [found], course.happened, [], [], {"loss": "no nftables"}, [0.1], bad)


def test_what_herder_did_is_told_to_the_fault_before_it_and_not_to_the_next(course: Course):
    course.happened += [fault(0, 1_000, "engine-killed"), fault(1, 60_000, "agent-killed")]
    moves = [
        move(5, 1_500, "failover", "chaos-0/failover-9", "pledged", "enough pledges"),
        move(6, 1_600, "member", "chaos-0-1", "promoted", "chaos-0-1 leads from 2:0/5"),
        move(7, 1_700, "member", "other-1", "promoted", "other-1 leads"),
    ]
    course.events = {(event["seq"],): event for event in moves}
    tell_effects(course)
    assert course.happened[0].effect == "promoted chaos-0-1 behind pledges of 2 voters"
    assert course.happened[1].effect == "herder did nothing"


def test_a_fault_that_could_not_be_done_says_why_in_place_of_an_effect(course: Course):
    missed = fault(0, 1_000, "engine-killed")
    missed.state, missed.on = "not possible", "process 12 does not run"
    course.happened.append(missed)
    tell_effects(course)
    assert missed.effect == "process 12 does not run"
    assert "no fault was done, so nothing is shown" in verdict(course, [account()])


def test_clients_that_have_stopped_are_not_without_writes(course: Course, monkeypatch: pytest.MonkeyPatch):
    acked = [Entry(number, at, at, "") for number, at in enumerate([9.9, 10.0, 10.5, 11.0])]
    monkeypatch.setattr(Load, "written", acked)
    course.happened.append(fault(0, 10_000, "store-killed", service=""))
    course.ended = 11.2
    assert plane_gaps(course) == [0.5]
    course.happened.append(fault(1, 9_000, "engine-killed"))
    assert plane_gaps(course) == [], "its own fault explains it"


def test_a_controller_that_ended_by_itself_fails_the_run(course: Course):
    course.happened.append(fault(0, 1_000, "engine-killed"))
    assert verdict(course, [account()]) == []
    course.crashes.append("herder up ended by itself (exit 1)")
    assert verdict(course, [account()]) == course.crashes


def test_the_report_is_json_with_the_verdict_and_every_fault(course: Course):
    course.happened += [fault(0, 1_000, "engine-killed"), fault(1, 2_000, "store-killed", service="")]
    told = json.loads(json.dumps(outcome(course, account(lost=2)).facts()))
    assert (told["passed"], told["lost"], told["seed"], told["faults_done"]) == (False, 2, 7, 2)
    assert [row["service"] for row in told["faults"]] == ["chaos-0", "control plane"]
    assert told["services"][0]["lost"] == 2
    assert "loses none" in told["failed"][0]


def test_the_report_for_people_ends_with_the_sums_and_says_what_failed(course: Course):
    course.happened.append(fault(0, 1_000, "host-frozen", lasts_s=3.0))
    course.happened[0].gap_s = 2.5
    text = StringIO()
    show(Console(file=text, width=200), outcome(course, account(by_two=1, gaps=spread([2.5]))))
    lines = text.getvalue().splitlines()
    assert any("FAILED" in line and "old primary" in line for line in lines)
    assert "1 acknowledged by two" in lines[-1]
    assert any("host-frozen" in line and "3.0 s" in line and "2.50 s" in line for line in lines)
