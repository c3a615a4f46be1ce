"""`herder chaos` as a person runs it: it breaks real services, accounts for every write, and leaves nothing, however it ends."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from herder.lab.rig import make_directory
from herder.providers import netns
from tests.acceptance.stage import needs_netns, until
from tests.acceptance.test_leaves_nothing import traces

pytestmark = pytest.mark.slow

CHAOS = [sys.executable, "-m", "herder.cli.main", "chaos", "--services=1"]


@pytest.fixture
def directory() -> Path:
    """Where engines' user may go; chaos removes it."""
    return make_directory()


def test_a_premium_service_that_is_broken_at_random_loses_nothing(directory: Path):
    done = subprocess.run(
        [*CHAOS, "--minutes=0.25", "--seed=4", "--faults=engine-killed,controller-killed", "--json", f"--dir={directory}"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    told = json.loads(done.stdout)
    assert done.returncode == 0, (told["failed"], done.stderr)
    assert told["passed"]
    assert told["faults_done"] > 0
    assert any(fault["kind"] == "engine-killed" and fault["state"] == "done" for fault in told["faults"]), told[
        "faults"
    ]
    (service,) = told["services"]
    assert (service["lost"], service["doubled"], service["by_two"], service["wrong"]) == (0, 0, 0, [])
    assert service["acked"] > 100
    assert service["members_read"] == service["members"] == 3
    assert service["totals"] >= 3
    assert traces(directory) == []


@needs_netns
@pytest.mark.skipif(shutil.which("nft") is None, reason="needs nftables")
def test_killed_while_a_cable_loses_packets_and_a_disk_is_full_it_leaves_nothing(directory: Path):
    run = subprocess.Popen(
        [*CHAOS, "--minutes=1", "--seed=1", "--plan=standard", "--faults=loss,disk-full", f"--dir={directory}"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert run.stderr is not None
        lines = iter(run.stderr.readline, "")
        assert any(re.search(r" s +(loss|disk-full): chaos-0", line) for line in lines), "a fault began"
        assert rules_and_mounts(directory), "there is something to leave"
        run.send_signal(signal.SIGKILL)
        run.wait(30)
        until(lambda: not traces(directory) and not rules_and_mounts(directory), "nothing is left", 60.0)
    finally:
        run.kill()
        run.communicate()


def rules_and_mounts(directory: Path) -> list[str]:
    """What faults leave in the kernel."""
    tag = f"faults_v{netns.tag_of(directory)}_"
    told = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    return [line for line in told.splitlines() if tag in line] + [
        line for line in mounts if line.split()[4].startswith(f"{os.path.realpath(directory)}/")
    ]
