"""Standard: another leads only behind a confirmed fence; where there is none nobody is promoted and a person is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from herder.lab import faults
from herder.lab.rig import Rig
from tests.acceptance.conftest import Stable
from tests.acceptance.stage import (
    happened,
    insider,
    last_seq,
    moves,
    needs_netns,
    nothing_lost,
    page,
    primary_of,
    query,
    told,
    until,
    until_well,
    writes_again,
    writing,
)

pytestmark = pytest.mark.slow

IN_THE_AIR = 20
"""Writes: acknowledged and not yet sent to the standby when the cable was pulled. At 100 a second two were ever seen."""


def test_an_engine_killed_is_started_again_in_place_and_loses_nothing(fenced: Rig, standard: str, tmp_path: Path):
    before, since = fenced.show(standard), last_seq(fenced)
    old, _ = primary_of(fenced, standard)
    with writing(fenced, standard, tmp_path) as account:
        began = faults.kill_engine(old["pid"])
        writes_again(fenced, standard, account, began)
        after, events = until_well(fenced, standard), moves(fenced, standard, since)
    nothing_lost(account)
    assert (after["term"], fenced.member(standard, "primary")["id"]) == (before["term"], old["id"]), told(events)
    assert happened(events, "restart", "restarted"), told(events)


@needs_netns
def test_a_silent_host_is_fenced_by_the_provider_before_another_leads(fenced: Rig, standard: str, tmp_path: Path):
    since = last_seq(fenced)
    old, server = primary_of(fenced, standard)
    with writing(fenced, standard, tmp_path) as account:
        began = faults.silence(server)
        try:
            writes_again(fenced, standard, account, began)
        finally:
            faults.unsilence(server)
        until_well(fenced, standard)
    events, kept = moves(fenced, standard, since), account.kept
    fence, promotion = happened(events, "failover", "fenced"), happened(events, "member", "promoted")
    assert len(fence) == len(promotion) == 1, told(events)
    assert fence[0]["seq"] < promotion[0]["seq"], told(events)
    assert [move["name"] for move in happened(events, "server", "fenced")] == [server["id"]], told(events)
    assert fenced.member(standard, old["id"])["role"] == "standby"
    assert (kept.doubled, kept.by_two) == (0, 0), kept
    assert kept.lost <= IN_THE_AIR, kept
    now = next(each for each in fenced.servers() if each["id"] == server["id"])
    assert now["incarnation"] == server["incarnation"] + 1, "a fenced incarnation never comes back"


@needs_netns
def test_without_a_fence_nobody_is_promoted_and_the_service_comes_back_with_its_host(
    unfenced: Rig, stable: Stable, tmp_path: Path
):
    before = stable.give(unfenced, "postgres", "standard")
    name, since = before["name"], last_seq(unfenced)
    old, server = primary_of(unfenced, name)
    query(before, "CREATE TABLE IF NOT EXISTS alone (word text)")
    with writing(unfenced, name, tmp_path) as account:
        faults.silence(server)
        try:
            told_of = until(lambda: page(unfenced, name, "fence_unconfirmed"), "a page says that no fence is confirmed")
            client = insider(before, old, server, "INSERT INTO alone VALUES ('served')")
            out, err = client.communicate(timeout=20)
            assert "INSERT 0 1" in out, f"on_isolation=serve: who reaches it is served; {err}"
            assert unfenced.show(name)["state"] == "unavailable"
        finally:
            heard = faults.unsilence(server)
        writes_again(unfenced, name, account, heard, 60.0)
        after, events = until_well(unfenced, name), moves(unfenced, name, since)
    assert happened(events, "failover", "unconfirmed"), told(events)
    assert "fence" in told_of["text"]
    assert not happened(events, "member", "promoted"), told(events)
    assert [member["role"] for member in after["members"]] == [member["role"] for member in before["members"]]
    until(lambda: page(unfenced, name, "fence_unconfirmed", "resolved"), "the page is over when all is well")
    assert query(after, "SELECT word FROM alone") == [("served",)]
    nothing_lost(account)
