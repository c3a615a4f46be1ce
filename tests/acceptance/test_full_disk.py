"""An agent that cannot write its promises down makes none: it refuses, nobody is promoted on it, and a person is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from herder.lab import faults
from herder.lab.rig import Rig
from tests.acceptance.stage import (
    Facts,
    happened,
    last_seq,
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


@needs_root
def test_an_agent_with_a_full_disk_refuses_and_nobody_is_promoted_on_it(
    unfenced: Rig, premium: str, cramped: tuple[Facts, Path], tmp_path: Path
):
    member, directory = cramped
    since = last_seq(unfenced)
    old, _ = primary_of(unfenced, premium)
    with writing(unfenced, premium, tmp_path) as account:
        faults.full_disk(directory)
        faults.kill_engine(old["pid"])
        until(lambda: page(unfenced, premium, "pledges_short"), "a page says which pledge is missing")
        short = happened(moves(unfenced, premium, since), "failover", "short")
        assert member["id"] in short[0]["why"], told(short)
        assert "ledger cannot be written" in short[0]["why"], told(short)
        assert not happened(moves(unfenced, premium, since), "member", "promoted"), "not without that pledge (S3)"
        freed = faults.free_disk(directory)
        writes_again(unfenced, premium, account, freed, 60.0)
        until_well(unfenced, premium)
    nothing_lost(account)
    until(lambda: page(unfenced, premium, "pledges_short", "resolved"), "the page is over when all is well")
