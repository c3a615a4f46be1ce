"""Waiting for what the world will show: noticed soon, looked for rarely."""

from __future__ import annotations

from typing import Any

import pytest

from herder.remedies.hands import LATER, Hands
from herder.sim.clock import SimClock, run
from tests.unit.remedies.test_ours import Asked


def waited(comes_s: float, timeout_s: float) -> tuple[bool, float, int]:
    """Whether it came, after how many seconds that was known, and with how many looks."""

    async def main() -> Any:
        hands: Hands = Asked().hands
        assert isinstance(hands.clock, SimClock)
        began, looks = hands.clock.monotonic(), 0

        def ready() -> bool:
            nonlocal looks
            looks += 1
            return hands.clock.monotonic() - began >= comes_s

        came = await hands.until(ready, timeout_s)
        return came, hands.clock.monotonic() - began, looks

    return run(main)


@pytest.mark.parametrize("comes_s", [0.0, 0.1, 2.0, 25.0])
def test_what_comes_is_noticed_a_step_or_a_twentieth_later(comes_s: float):
    came, known_s, _ = waited(comes_s, 30.0)
    assert came
    assert known_s - comes_s <= max(0.02, comes_s * LATER) + 1e-6


def test_a_long_wait_costs_a_hundred_looks_and_not_a_thousand():
    came, known_s, looks = waited(99.0, 30.0)
    assert not came
    assert 30.0 <= known_s <= 30.03
    assert looks < 150
