"""DBOS beside herder: installed on demand into an environment of its own, measured on the same PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import herder
from herder.bench.engine_ground import Ground, environment
from herder.model.errors import HerderError

REQUIREMENTS = Path(herder.__file__).parents[2] / "requirements" / "bench.txt"
INSTALL_S = 180.0
MEASURE_S = 60.0
SECONDS = 3.0
"""For each of the two ways; their figures settle within one."""

HOW = "DBOS 3.4, five steps a workflow, the same PostgreSQL with fsync on"


@dataclass(frozen=True, slots=True)
class Peer:
    """Durable steps a second, the better of two ways; None when it could not be measured, and why or how."""

    steps_per_s: float | None
    why: str
    ways: dict[str, float]


def measure(ground: Ground) -> Peer:
    """Install and measure. What cannot be had here is said, never guessed."""
    try:
        python = _install(ground.directory / "peer")
        script = Path(__file__).with_name("engine_dbos.py")
        ways = ground.run([python, "-I", str(script), ground.url("peer"), str(SECONDS)], MEASURE_S)
    except (HerderError, OSError, subprocess.TimeoutExpired) as error:
        return Peer(None, f"DBOS could not be measured here: {_short(error)}", {})
    best = max(ways, key=lambda way: ways[way])
    return Peer(ways[best], f"{HOW}; {best.replace('_', ' ')}", {way: round(rate, 1) for way, rate in ways.items()})


def _install(path: Path) -> str:
    """Its Python. Only what the lock file names, by hash, from the index that pip is set to here."""
    if not REQUIREMENTS.exists():
        raise HerderError(f"there is no {REQUIREMENTS}: run from a checkout of herder")
    python = str(path / "bin" / "python")
    pip = [python, "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--quiet"]
    for words in (
        [sys.executable, "-m", "venv", str(path)],
        [*pip, "--require-hashes", "--requirement", str(REQUIREMENTS)],
    ):
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=INSTALL_S, check=False, stdin=subprocess.DEVNULL,
            env=environment(),
        )  # fmt: skip
        if done.returncode != 0:
            raise HerderError(f"{words[-1]}: {_last(done.stderr)}")
    return python


def _last(text: str) -> str:
    lines = [line for line in text.splitlines() if line.startswith("ERROR")] or text.splitlines()
    return lines[-1] if lines else "it said nothing"


def _short(error: Exception) -> str:
    return (error.message if isinstance(error, HerderError) else str(error))[-300:]
