"""Whole small fleets under faults: they end well, and the same seed leaves the same trace."""

import os
import subprocess
import sys

import pytest

from herder.sim.faults import Rates
from herder.sim.small import run_small


@pytest.mark.parametrize("seed", [1, 2])
def test_a_small_fleet_survives_its_faults_and_ends_well(seed):
    result = run_small(seed, services=3, hours=0.1, rates=Rates().times(4))
    assert result.wrong == []
    assert result.unwell == []
    assert sum(result.faults.values()) > 3
    assert result.lost["premium"] == 0


def test_the_same_seed_leaves_the_same_trace_whatever_python_hashes():
    code = (
        "from herder.sim.small import run_small; from herder.sim.faults import Rates;"
        "print(run_small(9, 3, 0.05, Rates().times(8)).trace_hash)"
    )
    traces = {
        subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True,
            env=os.environ | {"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(traces) == 1
