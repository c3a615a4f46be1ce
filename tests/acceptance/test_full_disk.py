"""An agent that cannot write its promises down makes none: it refuses, nobody is promoted on it, and a person is told."""

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
