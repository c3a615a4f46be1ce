"""An agent that cannot write its promises down makes none: it refuses, nobody is promoted on it, and a person is told. A primary
that cannot write its data gives way.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from herder.lab import faults
from herder.lab.rig import Rig
from tests.acceptance.stage import (
    Facts,
    happened,
    herder,
    last_seq,
    last_until,
    moves,
    needs_root,
    nothing_lost,
    page,
    primary_of,
    standby_of,
    told,
    until,
    until_well,
    writes_again,
    writing,
)

pytestmark = pytest.mark.slow

SIZE_MB = 2

DATA_MB = 512

GIVES_WAY_S = 20.0

LONG_S = 12.0
"""Seconds: longer than a standby may be without its stream (pulse/judge.py)."""

NEXT_TRY_S = 25.0
"""Seconds: a failed failover is tried again at growing intervals, of 20 s at most."""


@pytest.fixture
def cramped(unfenced: Rig, premium: str) -> Iterator[tuple[Facts, Path]]:
    """A standby whose agent keeps its promises on a small disk: laid while no agent runs, then one is started again."""
    member, server = standby_of(unfenced, premium)
    directory = Path(server["directory"]) / "agent"
    faults.kill_process(server["agent_pid"])
    faults.small_disk(directory, SIZE_MB)
    try:

        def back() -> bool:
            now = next(each for each in unfenced.servers() if each["id"] == server["id"])
            return now["agent_pid"] not in (0, server["agent_pid"]) and now["state"] == "available"

        until(back, "an agent runs on the small disk")
        until_well(unfenced, premium)
        yield member, directory
    finally:
        faults.free_disk(directory)
        faults.remove_small_disk(directory)


@contextmanager
def frozen(server: Facts) -> Iterator[None]:
    """The host of the primary stands still."""
    faults.freeze(server)
    try:
        yield
    finally:
        faults.thaw(server)


def short_of(rig: Rig, name: str, since: int, member: Facts) -> None:
    """The failover ends without a promotion because that member's agent promises nothing."""
    until(lambda: page(rig, name, "pledges_short"), "a page says which pledge is missing")
    events = moves(rig, name, since)
    short = happened(events, "failover", "short")
    assert member["id"] in short[0]["why"], told(events)
    assert "ledger cannot be written" in short[0]["why"], told(events)
    assert not happened(events, "member", "promoted"), "not without that pledge (S3)"


@needs_root
def test_an_agent_with_a_full_disk_refuses_and_nobody_is_promoted_until_the_primary_is_back(
    unfenced: Rig, premium: str, cramped: tuple[Facts, Path], tmp_path: Path
):
    member, directory = cramped
    since = last_seq(unfenced)
    _, server = primary_of(unfenced, premium)
    with writing(unfenced, premium, tmp_path) as account:
        faults.full_disk(directory)
        with frozen(server):
            short_of(unfenced, premium, since, member)
        thawed = time.monotonic()
        faults.free_disk(directory)
        writes_again(unfenced, premium, account, thawed, 45.0)
        until_well(unfenced, premium)
    nothing_lost(account)
    until(lambda: page(unfenced, premium, "pledges_short", "resolved"), "the page is over when all is well")


@needs_root
def test_the_failover_goes_on_when_the_disk_has_room_again(
    unfenced: Rig, premium: str, cramped: tuple[Facts, Path], tmp_path: Path
):
    member, directory = cramped
    since = last_seq(unfenced)
    _, server = primary_of(unfenced, premium)
    with writing(unfenced, premium, tmp_path) as account:
        faults.full_disk(directory)
        with frozen(server):
            short_of(unfenced, premium, since, member)
            last_until(time.monotonic() + LONG_S)
            freed = faults.free_disk(directory)
            writes_again(unfenced, premium, account, freed, NEXT_TRY_S)
        until_well(unfenced, premium)
    nothing_lost(account)


@needs_root
def test_a_primary_whose_disk_is_full_gives_way_to_a_standby_with_room(unfenced: Rig, premium: str, tmp_path: Path):
    old, server = primary_of(unfenced, premium)
    data = Path(server["directory"]) / "data"
    faults.kill_host(server)
    faults.small_disk(data, DATA_MB)
    until(lambda: unfenced.member(premium, old["id"])["role"] == "standby", "another leads")
    until_well(unfenced, premium)
    herder(unfenced, "switchover", premium, "--to", old["id"], "--json").json  # noqa: B018  asserts that it succeeded
    until_well(unfenced, premium)
    since = last_seq(unfenced)
    with writing(unfenced, premium, tmp_path) as account:
        full = faults.full_disk(data)
        until(lambda: primary_of(unfenced, premium)[0]["id"] != old["id"], "another leads", GIVES_WAY_S)
        writes_again(unfenced, premium, account, full + 5.0, GIVES_WAY_S)
        assert not faults.free_bytes(data), "it is full all the time"
        faults.free_disk(data)
        until_well(unfenced, premium)
    nothing_lost(account)
    assert happened(moves(unfenced, premium, since), "failover", "promoted"), told(moves(unfenced, premium, since))
