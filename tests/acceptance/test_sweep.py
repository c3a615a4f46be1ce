"""`herder sweep` as a person runs it: in simulation, and with kill -9 of a real `herder up` when a record is in its log."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

SWEEP = [sys.executable, "-m", "herder.cli.main", "sweep", "--json"]


def told(*words: str) -> tuple[int, dict]:
    done = subprocess.run(
        [*SWEEP, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_a_destroy_ends_the_same_wherever_it_is_killed_once():
    code, facts = told("--playbook=destroy", "--plan=dev", "--again=10", "--jobs=2")
    assert (code, facts["differences"]) == (0, 0), facts["scenes"]
    (scene,) = facts["scenes"]
    assert scene["points"]["controller"] > 5
    assert scene["killed_once"] > 50
    assert scene["killed_twice"] == 10


def test_herder_killed_for_real_in_a_switchover_ends_it_when_it_is_back():
    code, facts = told("--real", "--playbook=switchover", "--sample=1")
    assert code == 0, facts
    assert len(facts["kills"]) == 1
    assert all(kill["wrong"] == [] for kill in facts["kills"])
    assert facts["records"]["switchover"] > 4
    assert facts["acked"] > 100
    assert (facts["lost"], facts["doubled"], facts["by_two"]) == (0, 0, 0)
