"""How long things take, in seconds. Measured on 2 cores where a figure exists (anchors: pledge 0.03, promotion 0.10, start 0.1)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """Durations; each is drawn between its figure and `spread` times it."""

    spread: float = 1.5
    launch: float = 2.0
    boot: float = 3.0
    fence: float = 0.3
    provider: float = 0.02
    destroy: float = 0.02
    agent_start: float = 0.5
    create_primary: float = 0.3
    base_copy: float = 2.0
    rewind: float = 0.8
    start: float = 0.1
    recovery: float = 0.3
    stop: float = 0.08
    pledge: float = 0.03
    promote: float = 0.10
    setting: float = 0.01
    checkpoint: float = 0.05
    clear_up: float = 0.02
    lease: float = 0.05
    commit: float = 0.0006
