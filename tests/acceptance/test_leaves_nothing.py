"""A herder for a test leaves nothing running and nothing lying about, however its owner ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from herder.lab.rig import Rig
from herder.providers import netns, procs
from tests.acceptance.stage import until

pytestmark = pytest.mark.slow

OWNER = """
import json, signal, sys
from herder.lab.rig import Rig
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
with Rig() as rig:
    made = rig.create("valkey", "short-lived", "dev")
    print(json.dumps([str(rig.path), made["url"]]), flush=True)
    signal.pause()
"""


def traces(directory: Path) -> list[str]:
    """Everything that a herder of that directory left: processes, kernel objects, files."""
    tag = netns.tag_of(directory)
    named = [
        pid
        for pid in map(int, filter(str.isdigit, os.listdir("/proc")))
        if str(directory) in " ".join(procs.command_line(pid))
    ]
    pids = {*procs.working_under(directory), *named} - {os.getpid()}
    left = [f"process {' '.join(procs.command_line(pid))}" for pid in pids]
    left += [f"namespace {name}" for name in netns.names_of(tag)]
    left += [f"link {name}" for name in (*netns.links_of(tag), netns.bridge_name(tag)) if netns.link_exists(name)]
    groups = (Path(f"/sys/fs/cgroup/{place}herder-{tag}") for place in ("", "unified/"))
    left += [f"cgroup {group}" for group in groups if group.exists()]
    return left + ([f"directory {directory}"] if directory.exists() else [])


def test_a_rig_that_is_closed_leaves_nothing():
    with Rig() as rig:
        rig.create("valkey", "short-lived", "dev")
        assert len(traces(rig.path)) > 4, "there is something to leave"
    assert traces(rig.path) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=lambda number: number.name)
def test_a_rig_whose_owner_is_killed_leaves_nothing(number: signal.Signals):
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert owner.stdout is not None
        said = owner.stdout.readline()
        directory = Path(json.loads(said)[0])
        assert len(traces(directory)) > 4, "there is something to leave"
        owner.send_signal(number)
        owner.wait(30)
        until(lambda: not traces(directory), f"nothing is left of {directory}", 30.0)
    finally:
        owner.kill()
        owner.communicate()
