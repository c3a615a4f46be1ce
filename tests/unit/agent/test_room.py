"""How much room a pulse tells of: that of the fullest disk, ours or a member's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import pytest

from herder.agent.ledger import Ledger
from herder.agent.pulse import Pulser
from herder.ports.driver import MemberSpec
from herder.ports.provider import Launch


def spec_of(member: str, data: Path) -> MemberSpec:
    return MemberSpec(
        service="orders", member=member, slot=0, engine="postgres", major=18, address="", port=0, data_dir=str(data),
        memory_mb=0, database="", user="", password="", admin_password="", replication_password="",
    )  # fmt: skip


class Disk(NamedTuple):
    """What statvfs says of a disk."""

    f_bavail: int
    f_frsize: int


class Looking:
    """A supervisor of members whose data lies there."""

    def __init__(self, *places: Path) -> None:
        self.places = places

    def specs(self) -> tuple[MemberSpec, ...]:
        return tuple(spec_of("orders-0", place) for place in self.places)

    async def look_all(self, budget_s: float) -> None:
        """They were looked at."""

    def frames(self) -> tuple[()]:
        return ()


def launch() -> Launch:
    return Launch(server="srv-1", incarnation=1, nats_url="", join_token="", engine_user="", settings={})


@pytest.mark.parametrize(("home", "data", "told"), [(100, 7, 7), (3, 7, 3), (100, None, 0)])
async def test_a_pulse_tells_of_the_fullest_disk(monkeypatch, tmp_path, home, data, told):
    disks = {tmp_path: home, tmp_path / "data" / "orders-0": data}

    def statvfs(path: Path) -> Disk:
        if path not in disks:
            raise FileNotFoundError(path)
        if (free := disks[path]) is None:
            raise OSError("it does not answer")
        return Disk(free, 4096)

    monkeypatch.setattr(os, "statvfs", statvfs)
    watched = Looking(tmp_path / "data" / "orders-0", tmp_path / "data" / "orders-1")
    pulser = Pulser(launch(), tmp_path, watched, Ledger(tmp_path))
    assert pulser.frame(0).disk_free == home * 4096, "before the first look there is only our own"
    await pulser._weigh()
    assert pulser.frame(0).disk_free == told * 4096
