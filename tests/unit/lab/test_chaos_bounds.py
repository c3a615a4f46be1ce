"""Chaos touches what its own herder made, and refuses everything else, whatever it is told."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from herder.lab.chaos.acts import Acts, Target
from herder.lab.chaos.bounds import Bounds
from herder.lab.chaos.kinds import KINDS, On
from herder.lab.faults import NotPossible
from herder.lab.rig import Rig
from herder.model.errors import Refused
from herder.providers import netns

WAITS = [sys.executable, "-c", "import sys; sys.stdin.read()"]


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(WAITS, stdin=subprocess.PIPE, cwd="/")
    yield process
    process.kill()
    process.communicate()


def test_a_process_of_somebody_else_is_refused_and_lives(tmp_path: Path, bystander: subprocess.Popen[bytes]):
    with pytest.raises(Refused, match="not of"):
        Bounds(tmp_path).kill(bystander.pid)
    assert bystander.poll() is None


@pytest.mark.parametrize("pid", [-1, 0, 1])
def test_no_pid_and_the_first_process_are_never_killed(tmp_path: Path, pid: int):
    with pytest.raises(NotPossible):
        Bounds(tmp_path).kill(pid)


def test_a_process_that_works_in_the_directory_is_ours(tmp_path: Path):
    process = subprocess.Popen(WAITS, stdin=subprocess.PIPE, cwd=tmp_path)
    Bounds(tmp_path).kill(process.pid)
    process.communicate()
    assert process.returncode == -9


def test_a_process_that_has_ended_is_not_possible_rather_than_refused(tmp_path: Path):
    process = subprocess.Popen(WAITS, stdin=subprocess.PIPE, cwd=tmp_path)
    process.communicate()
    with pytest.raises(NotPossible):
        Bounds(tmp_path).kill(process.pid)


def test_a_server_of_another_herder_is_refused_for_every_kind(tmp_path: Path, bystander: subprocess.Popen[bytes]):
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    mine.mkdir()
    theirs.mkdir()
    server = {
        "id": "srv-1", "namespace": netns.namespace_name(netns.tag_of(theirs), "srv-1"), "agent_pid": bystander.pid,
        "directory": str(theirs / "servers/srv-1"), "address": "10.0.0.5",
    }  # fmt: skip
    member = {"id": "a-0", "role": "primary", "pid": bystander.pid}
    acts = Acts(Rig(directory=mine))
    for kind in (kind.name for kind in KINDS.values() if kind.on == On.MEMBER):
        with pytest.raises(Refused):
            acts.begin(kind, Target(member, server, (("x", "10.0.0.6"),)), 0.5)
    assert bystander.poll() is None


def test_a_server_without_a_namespace_is_known_by_its_directory(tmp_path: Path):
    bounds = Bounds(tmp_path)
    bounds.check_server({"id": "srv-1", "namespace": "", "directory": str(tmp_path / "servers/srv-1")})
    for home in ("", "/", str(tmp_path), str(tmp_path / "servers/srv-2")):
        with pytest.raises(Refused):
            bounds.check_server({"id": "srv-1", "namespace": "", "directory": home})
