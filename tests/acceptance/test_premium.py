"""Premium: whatever single fault happens to its primary, no acknowledged write is lost, and no provider need fence."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from herder.lab import faults
from herder.lab.rig import Rig
from tests.acceptance.stage import (
    Facts,
    diverged,
    happened,
    herder,
    insider,
    last_seq,
    last_until,
    moves,
    needs_netns,
    nothing_lost,
    primary_of,
    query,
    told,
    until,
    until_well,
    writes_again,
    writing,
)

pytestmark = pytest.mark.slow

FROZEN_S = 10.0


def another_leads(rig: Rig, name: str, before: Facts, since: int) -> list[Facts]:
    """The new primary leads under a higher term behind pledges; the old one follows it and is waited for again."""
    after, events = until_well(rig, name), moves(rig, name, since)
    old = next(member for member in before["members"] if member["role"] == "primary")
    now = next(member for member in after["members"] if member["id"] == old["id"])
    assert after["term"] > before["term"], told(events)
    assert (now["role"], now["voter"]) == ("standby", True), told(events)
    assert [member["role"] for member in after["members"]].count("primary") == 1
    pledged, promoted = happened(events, "failover", "pledged"), happened(events, "member", "promoted")
    assert len(pledged) == len(promoted) == 1, told(events)
    assert pledged[0]["seq"] < promoted[0]["seq"], told(events)
    assert not happened(events, "server", "fenced"), "nobody may fence here"
    return events


def test_an_engine_killed_costs_no_acknowledged_write(unfenced: Rig, premium: str, tmp_path: Path):
    before, since = unfenced.show(premium), last_seq(unfenced)
    with writing(unfenced, premium, tmp_path) as account:
        began = faults.kill_engine(primary_of(unfenced, premium)[0]["pid"])
        writes_again(unfenced, premium, account, began)
        another_leads(unfenced, premium, before, since)
    nothing_lost(account)


def test_a_host_killed_costs_no_acknowledged_write(unfenced: Rig, premium: str, tmp_path: Path):
    before, since = unfenced.show(premium), last_seq(unfenced)
    _, server = primary_of(unfenced, premium)
    with writing(unfenced, premium, tmp_path) as account:
        began = faults.kill_host(server)
        writes_again(unfenced, premium, account, began)
        another_leads(unfenced, premium, before, since)
    nothing_lost(account)
    booted = next(each for each in unfenced.servers() if each["id"] == server["id"])
    assert booted["incarnation"] > server["incarnation"], "a host that died comes back as another incarnation"


@needs_netns
def test_a_silent_host_costs_no_acknowledged_write(unfenced: Rig, premium: str, tmp_path: Path):
    before, since = unfenced.show(premium), last_seq(unfenced)
    _, server = primary_of(unfenced, premium)
    with writing(unfenced, premium, tmp_path) as account:
        began = faults.silence(server)
        try:
            writes_again(unfenced, premium, account, began)
        finally:
            faults.unsilence(server)
        events = another_leads(unfenced, premium, before, since)
    nothing_lost(account)
    looked = happened(events, "member", "seen_dead")
    assert looked, told(events)
    assert "silent" in looked[0]["why"], "silence alone is nobody's proof: others looked (S6)"


def test_a_thawed_primary_acknowledges_nothing_and_its_divergent_log_is_kept(
    unfenced: Rig, premium: str, tmp_path: Path
):
    before, since = unfenced.show(premium), last_seq(unfenced)
    old, server = primary_of(unfenced, premium)
    kept = set(diverged(old))
    with writing(unfenced, premium, tmp_path) as account:
        began = faults.freeze(server)
        try:
            writes_again(unfenced, premium, account, began)
            last_until(began + FROZEN_S)
        finally:
            thawed = faults.thaw(server)
        another_leads(unfenced, premium, before, since)
        writes_again(unfenced, premium, account, thawed)
    nothing_lost(account)
    leads = unfenced.member(premium, "primary")["id"]
    assert {entry.who for entry in account.ledger.probed if entry.ack and entry.sent > thawed} == {leads}
    assert set(diverged(old)) > kept, "what a dethroned primary wrote alone is kept beside its data (S5)"


def test_a_switchover_moves_the_primary_to_the_member_named_and_loses_nothing(
    unfenced: Rig, premium: str, tmp_path: Path
):
    before = unfenced.show(premium)
    old, to = unfenced.member(premium, "primary"), unfenced.member(premium, "standby")
    with writing(unfenced, premium, tmp_path) as account:
        moved = herder(unfenced, "switchover", premium, "--to", to["id"], "--json").json
        writes_again(unfenced, premium, account, time.monotonic())
        after = until_well(unfenced, premium)
    nothing_lost(account)
    assert moved["term"] == after["term"] == before["term"] + 1
    roles = {member["id"]: member["role"] for member in after["members"]}
    assert (roles[to["id"]], roles[old["id"]]) == ("primary", "standby")


@needs_netns
class TestIsolated:
    """A primary that was cut off from its voters goes on running, and may acknowledge nothing."""

    def test_its_clients_commits_hang_and_are_never_acknowledged(self, unfenced: Rig, premium: str):
        before, since = unfenced.show(premium), last_seq(unfenced)
        old, server = primary_of(unfenced, premium)
        query(before, "CREATE TABLE IF NOT EXISTS isolated (word text)")
        insert = "INSERT INTO isolated VALUES ('alone')"
        faults.silence(server)
        client = insider(before, old, server, insert)
        try:
            until_another_writes(unfenced, premium, old)
            with pytest.raises(subprocess.TimeoutExpired):
                client.wait(1.0)
            seen = insider(before, old, server, "SELECT count(*) FROM isolated").communicate(timeout=10)[0]
            assert "0" in seen.split(), "it still runs, and does not show the commit that waits"
        finally:
            faults.unsilence(server)
        out, err = client.communicate(timeout=60)
        another_leads(unfenced, premium, before, since)
        assert client.returncode != 0, "its session is ended when its agent learns the term"
        assert "INSERT 0 1" not in out, err
        assert query(unfenced.show(premium), "SELECT word FROM isolated") == [("cut off",)]


def until_another_writes(rig: Rig, name: str, old: Facts) -> None:
    """Another member takes a write through the URL."""
    until(lambda: rig.member(name, "primary")["id"] != old["id"], f"another than {old['id']} leads")
    query(rig.wait(name, "available", 30.0), "INSERT INTO isolated VALUES ('cut off')")
