"""herder's own store goes back in time: agents know terms that the log has lost, so it decides nothing more and says so."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from herder.lab import faults
from herder.lab.rig import Rig
from tests.acceptance.stage import (
    Whole,
    herder,
    needs_root,
    not_held_up,
    nothing_lost,
    page,
    pids,
    primary_of,
    query,
    until,
    until_well,
    writing,
)

pytestmark = pytest.mark.slow


@pytest.fixture
def rig() -> Iterator[Rig]:
    with Whole({"fencing": "false", "failovers_per_hour": "100"}) as made:
        yield made


def copied(source: Path, target: Path) -> None:
    """With owners and modes, as a backup of a stopped store would be; sockets are no files to copy."""

    def sockets(folder: str, names: list[str]) -> set[str]:
        return {name for name in names if (Path(folder) / name).is_socket()}

    shutil.copytree(source, target, symlinks=True, ignore=sockets)
    for path in (target, *target.rglob("*")):
        seen = (source / path.relative_to(target)).lstat()
        os.chown(path, seen.st_uid, seen.st_gid, follow_symlinks=False)


@needs_root
def test_a_store_that_went_back_in_time_freezes_the_control_plane_and_nothing_else(rig: Rig, tmp_path: Path):
    rig.create("postgres", "orders", "premium")
    until_well(rig, "orders")
    store, older, newer = rig.path / "store", rig.path / "store.older", rig.path / "store.newer"
    rig.kill_control_plane(everything=True)
    copied(store, older)
    rig.start_control_plane()
    faults.kill_engine(pids(rig, "orders")[primary_of(rig, "orders")[0]["id"]])
    until(lambda: rig.show("orders")["term"] == 2, "a failover raised the term")
    until_well(rig, "orders")
    engines, leads = pids(rig, "orders"), primary_of(rig, "orders")[0]["id"]
    with writing(rig, "orders", tmp_path) as account:
        rig.kill_control_plane(everything=True)
        store.rename(newer)
        older.rename(store)
        rig.start_control_plane()
        until(lambda: rig.status()["controller"]["frozen"], "an agent's term tells that the store has gone back")
        said = rig.status()
        assert "gone back" in said["us"]
        until(lambda: page(rig, "orders", "store_went_back"), "a page says so")
        for words in (
            ("create", "postgres", "other"),
            ("switchover", "orders"),
            ("destroy", "orders", "--consent=orders"),
        ):
            refused = herder(rig, *words, "--json")
            assert (refused.code, refused.error["error"]) == (5, "refused"), refused
        assert len([each for each in rig.api("GET", "/v1/pages") if each["reason"] == "store_went_back"]) == 1
        rig.kill_control_plane(everything=True)
        store.rename(older)
        newer.rename(store)
        rig.start_control_plane()
        after = until_well(rig, "orders")
        assert not rig.status()["controller"]["frozen"], "a store that is whole again ends it"
    nothing_lost(account)
    not_held_up(account)
    assert pids(rig, "orders") == engines
    assert primary_of(rig, "orders")[0]["id"] == leads
    assert query(after, "SELECT 1") == [(1,)]


def test_a_killed_store_starts_again_when_its_number_belongs_to_another_process_of_its_user(rig: Rig):
    rig.create("postgres", "notes", "dev")
    engine = pids(rig, "notes")["notes-0"]
    rig.kill_control_plane(everything=True)
    lock = rig.path / "store" / "run" / ".s.PGSQL.5432.lock"
    _, rest = lock.read_text().split("\n", 1)
    lock.write_text(f"{engine}\n{rest}")  # as after a reboot, when numbers are given out anew
    rig.start_control_plane()
    assert rig.show("notes")["state"] == "available"
