"""The control plane may die at any moment: data services do not notice, and what was half done is finished afterwards."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from herder.lab import faults
from herder.lab.rig import Rig
from tests.acceptance.stage import (
    Eye,
    happened,
    last_seq,
    last_until,
    moves,
    not_held_up,
    nothing_lost,
    pids,
    primary_of,
    runs,
    standby_of,
    told,
    until,
    until_well,
    writes_again,
    writing,
)

pytestmark = pytest.mark.slow

AWAY_S = 3.0
"""Seconds without a control plane: longer than the patience with a silent server, had somebody counted."""

LEADERSHIP = ("failover", "switchover", "restart")


def nobody_was_replaced(rig: Rig, name: str, since: int) -> None:
    events = moves(rig, name, since)
    assert not [event for event in events if event["kind"] in LEADERSHIP], told(events)


def test_killed_and_started_again_it_finds_all_running_and_nobody_noticed(unfenced: Rig, premium: str, tmp_path: Path):
    before, engines, since = unfenced.show(premium), pids(unfenced, premium), last_seq(unfenced)
    agents = {server["id"]: server["agent_pid"] for server in unfenced.servers()}
    with writing(unfenced, premium, tmp_path) as account:
        gone = unfenced.kill_control_plane(everything=True)
        last_until(gone + AWAY_S)
        unfenced.start_control_plane()
        after = until_well(unfenced, premium)
        assert pids(unfenced, premium) == engines
        last_until(time.monotonic() + AWAY_S)  # what a controller does wrong after its start it does in its first beats
        nobody_was_replaced(unfenced, premium, since)
    nothing_lost(account)
    not_held_up(account)
    assert after["term"] == before["term"]
    until(
        lambda: {server["id"]: server["agent_pid"] for server in unfenced.servers()} == agents, "the same agents report"
    )


@pytest.mark.parametrize("everything", [False, True], ids=["the controller", "the controller, its store and NATS"])
def test_killed_while_it_collects_pledges_it_finishes_the_failover(
    unfenced: Rig, premium: str, tmp_path: Path, everything: bool
):
    before, since = unfenced.show(premium), last_seq(unfenced)
    old, _ = primary_of(unfenced, premium)
    _, slow = standby_of(unfenced, premium)
    eye = Eye(unfenced, premium)
    with writing(unfenced, premium, tmp_path) as account:
        os.kill(slow["agent_pid"], signal.SIGSTOP)  # its pledge takes long enough to be in the middle of it
        try:
            faults.kill_engine(old["pid"])
            eye.until_doing("failover: pledging")
            gone = unfenced.kill_control_plane(everything=everything)
        finally:
            os.kill(slow["agent_pid"], signal.SIGCONT)
            eye.close()
        unfenced.start_control_plane()
        writes_again(unfenced, premium, account, gone, 60.0)
        after = until_well(unfenced, premium)
    nothing_lost(account)
    events = moves(unfenced, premium, since)
    assert happened(events, "failover", "pledged") or happened(events, "failover", "short"), told(events)
    assert len(happened(events, "member", "promoted")) <= 1, told(events)
    assert after["term"] > before["term"], told(events)


def test_killed_while_it_promotes_it_finishes_the_failover(unfenced: Rig, premium: str, tmp_path: Path):
    before, since = unfenced.show(premium), last_seq(unfenced)
    old, _ = primary_of(unfenced, premium)
    eye = Eye(unfenced, premium)
    with writing(unfenced, premium, tmp_path) as account:
        faults.kill_engine(old["pid"])
        eye.until_doing("failover: promoting", "failover: repointing")
        gone = unfenced.kill_control_plane(everything=False)
        eye.close()
        unfenced.start_control_plane()
        writes_again(unfenced, premium, account, gone)
        after = until_well(unfenced, premium)
    nothing_lost(account)
    events = moves(unfenced, premium, since)
    assert len(happened(events, "member", "promoted")) == 1, told(events)
    assert after["term"] == before["term"] + 1, told(events)


@pytest.mark.parametrize("step", ["founding", "cloning"])
def test_killed_while_it_provisions_it_finishes_the_service(unfenced: Rig, step: str):
    name = f"half-{step}"
    if not unfenced.answers():
        unfenced.start_control_plane()
    unfenced.create("postgres", name, "premium", wait=False)
    eye = Eye(unfenced, name)
    eye.until_doing(f"provision: {step}")
    unfenced.kill_control_plane(everything=step == "founding")
    eye.close()
    unfenced.start_control_plane()
    after = until_well(unfenced, name, 90.0)
    assert len(after["voters"]) == 2
    assert all(runs(pid) for pid in pids(unfenced, name).values())
    unfenced.api("DELETE", f"/v1/services/{name}", {"consent": name})


def test_an_agent_killed_leaves_its_engine_alone_and_comes_back(unfenced: Rig, premium: str, tmp_path: Path):
    since, engines = last_seq(unfenced), pids(unfenced, premium)
    _, server = primary_of(unfenced, premium)
    with writing(unfenced, premium, tmp_path) as account:
        faults.kill_process(server["agent_pid"])

        def back() -> bool:
            now = next(each for each in unfenced.servers() if each["id"] == server["id"])
            return now["agent_pid"] not in (0, server["agent_pid"]) and now["state"] == "available"

        until(back, "an agent runs again")
        until_well(unfenced, premium)
    nothing_lost(account)
    not_held_up(account)
    assert pids(unfenced, premium) == engines
    nobody_was_replaced(unfenced, premium, since)


def test_all_agents_and_the_control_plane_killed_at_once_is_no_failover(unfenced: Rig, premium: str, tmp_path: Path):
    since, engines = last_seq(unfenced), pids(unfenced, premium)
    servers = {member["server"] for member in unfenced.show(premium)["members"]}
    agents = [server["agent_pid"] for server in unfenced.servers() if server["id"] in servers]
    with writing(unfenced, premium, tmp_path) as account:
        unfenced.kill_control_plane(everything=True)
        for agent in agents:
            faults.kill_process(agent)
        unfenced.start_control_plane()
        until_well(unfenced, premium)
        assert pids(unfenced, premium) == engines
    nothing_lost(account)
    not_held_up(account)
    nobody_was_replaced(unfenced, premium, since)
