"""Valkey: asynchronous, so what a fault may cost is bounded, a planned move costs nothing, and an empty node never leads."""

from __future__ import annotations

import contextlib
import random
import time
from pathlib import Path

import pytest
import valkey

from herder.lab import faults
from herder.lab.rig import Rig
from herder.lab.writer import UrlWatch
from tests.acceptance.stage import (
    happened,
    herder,
    last_seq,
    last_until,
    moves,
    nothing_lost,
    pids,
    primary_of,
    replication,
    told,
    until,
    until_well,
    writes_again,
    writing,
)

pytestmark = pytest.mark.slow

LOOKED_AT_S = 0.4
"""Seconds in which the primary's agent has read its new history."""

FILLED_MB = 120

IN_THE_AIR = 50
"""Writes: acknowledged and not yet with the replica when the host died."""


def test_an_engine_killed_is_started_again_with_all_it_acknowledged(fenced: Rig, cart: str, tmp_path: Path):
    since = last_seq(fenced)
    old, _ = primary_of(fenced, cart)
    with writing(fenced, cart, tmp_path) as account:
        began = faults.kill_engine(old["pid"])
        writes_again(fenced, cart, account, began)
        until_well(fenced, cart)
    nothing_lost(account)
    events = moves(fenced, cart, since)
    assert happened(events, "restart", "restarted"), told(events)
    assert fenced.member(cart, "primary")["id"] == old["id"], told(events)


def test_a_host_killed_is_fenced_and_its_replica_leads(fenced: Rig, cart: str, tmp_path: Path):
    since = last_seq(fenced)
    old, server = primary_of(fenced, cart)
    with writing(fenced, cart, tmp_path) as account:
        began = faults.kill_host(server)
        writes_again(fenced, cart, account, began)
        until_well(fenced, cart)
    events, kept = moves(fenced, cart, since), account.kept
    fence, promotion = happened(events, "failover", "fenced"), happened(events, "member", "promoted")
    assert len(fence) == len(promotion) == 1, told(events)
    assert fence[0]["seq"] < promotion[0]["seq"], told(events)
    assert fenced.member(cart, old["id"])["role"] == "standby", "the old primary rejoined"
    assert (kept.doubled, kept.by_two) == (0, 0), kept
    assert kept.lost <= IN_THE_AIR, kept


def fill(rig: Rig, name: str) -> None:
    """So much data that a copy of it takes a while."""
    with contextlib.closing(valkey.Valkey.from_url(rig.show(name)["url"], socket_timeout=10)) as client:
        for batch in range(FILLED_MB):
            client.mset({f"filler:{batch}:{number}": random.randbytes(50_000) for number in range(20)})
    until_well(rig, name)


def test_a_replica_that_may_not_lead_follows_again_when_its_primary_is_back(fenced: Rig, cart: str, tmp_path: Path):
    fill(fenced, cart)
    since = last_seq(fenced)
    old, server = primary_of(fenced, cart)
    replica = fenced.member(cart, "standby")

    def split() -> bool:
        shown = fenced.show(cart)
        with contextlib.suppress(valkey.ValkeyError):
            leads, follows = replication(shown, old), replication(shown, replica)
            return leads["connected_slaves"] == 1 and leads["master_replid"] != follows["master_replid"]
        return False

    with writing(fenced, cart, tmp_path) as account:
        parted = time.monotonic()
        faults.kill_engine(pids(fenced, cart)[old["id"]])
        until(split, "the primary began a new history that its replica has not yet")
        last_until(time.monotonic() + LOOKED_AT_S)
        frozen = faults.freeze(
            server
        )  # silent, so that it is fenced; one that was killed refuses, and is started in place
        writes_again(fenced, cart, account, frozen)
        until_well(fenced, cart)
    assert happened(moves(fenced, cart, since), "failover", "create"), told(moves(fenced, cart, since))
    assert (account.kept.doubled, account.kept.by_two) == (0, 0), account.kept
    entries = {entry.id: entry for entry in (*account.ledger.written, *account.ledger.probed)}
    assert not [ident for ident in account.kept.lost_ids if entries[ident].at < parted], "what the replica had is kept"


def test_a_switchover_hands_over_by_failover_and_the_watched_url_follows(fenced: Rig, cart: str, tmp_path: Path):
    since = last_seq(fenced)
    before, (old, _) = fenced.show(cart), primary_of(fenced, cart)
    watch = UrlWatch(fenced.files.socket, cart, before["url"])
    with writing(fenced, cart, tmp_path) as account:
        herder(fenced, "switchover", cart, "--json").json  # noqa: B018  asserts that it succeeded
        writes_again(fenced, cart, account, time.monotonic())
        after = until_well(fenced, cart)
    nothing_lost(account)
    assert happened(moves(fenced, cart, since), "switchover", "moved"), told(moves(fenced, cart, since))
    assert fenced.member(cart, old["id"])["role"] == "standby"
    assert after["url"] != before["url"]
    until(lambda: watch.url == after["url"], "watch-url says the new primary's URL")


def test_a_host_that_froze_and_thawed_follows_the_new_primary(fenced: Rig, cart: str, tmp_path: Path):
    old, server = primary_of(fenced, cart)
    with writing(fenced, cart, tmp_path) as account:
        began = faults.freeze(server)
        try:
            writes_again(fenced, cart, account, began)
        finally:
            with contextlib.suppress(faults.NotPossible):  # fenced: there is nothing left to thaw
                faults.thaw(server)
        until_well(fenced, cart)
    assert fenced.member(cart, old["id"])["role"] == "standby"
    assert (account.kept.doubled, account.kept.by_two) == (0, 0), account.kept
    assert account.kept.lost <= IN_THE_AIR, account.kept
