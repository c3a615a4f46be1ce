"""What was kept of a divergent log stays for the plan's days, counted in the minutes of an agent's life."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from herder.agent.kept import grow_older, kept_logs, size_of
from herder.ports.driver import MemberSpec

DAY = 24 * 60


def member(base: Path, days: int = 7) -> MemberSpec:
    return MemberSpec(
        service="orders", member="orders-0", slot=0, engine="postgres", major=18, address="", port=0,
        data_dir=str(base / "orders-0"), memory_mb=0, database="", user="", password="", admin_password="",
        replication_password="", kept_days=days,
    )  # fmt: skip


def keep(base: Path, name: str) -> Path:
    path = base / f"orders-0.diverged-{name}"
    path.mkdir()
    (path / "log").write_bytes(b"x" * 5000)
    return path


def test_it_is_removed_after_the_plans_days_and_not_before(tmp_path):
    spec, path = member(tmp_path), keep(tmp_path, "a")
    assert grow_older(spec, 6 * DAY) == []
    later = keep(tmp_path, "b")
    assert grow_older(spec, DAY - 1) == []
    assert grow_older(spec, 1) == [path]
    assert (path.exists(), kept_logs(spec)) == (False, [later])


def test_nothing_else_of_the_member_is_touched(tmp_path):
    others = [tmp_path / name for name in ("orders-0", "orders-0.diverged.half", "orders-0.log", "orders-1.diverged-a")]
    for path in others:
        path.mkdir()
    assert grow_older(member(tmp_path), 100 * DAY) == []
    assert all(path.exists() for path in others)


def test_a_clock_that_jumps_makes_nothing_older(tmp_path):
    spec, path = member(tmp_path), keep(tmp_path, "a")
    for file in (path, path / "log"):
        os.utime(file, (0, 0))  # as if made in 1970
    assert grow_older(spec, 10) == []
    assert path.exists()


@pytest.mark.parametrize("damage", ["", "twelve\n", "12"])
def test_an_age_that_was_not_written_whole_counts_as_none_or_as_what_is_there(tmp_path, damage):
    spec, path = member(tmp_path, days=1), keep(tmp_path, "a")
    (path / "herder.age").write_text(damage)
    assert grow_older(spec, DAY - 13) == []
    assert path.exists()


def test_holes_take_no_room(tmp_path):
    path = keep(tmp_path, "a")
    with (path / "hole").open("wb") as file:
        file.truncate(10_000_000)
    assert 5000 <= size_of(path) < 100_000
