"""A host whose processes end one after the other is no server that runs."""

from __future__ import annotations

from typing import Any

import pytest

from herder.engine.decide import Input
from herder.engine.effects import Outcome
from herder.engine.world import Machine
from herder.remedies import vantage
from herder.remedies.hands import Hands
from herder.remedies.verdict import Looks
from herder.sim.clock import run
from tests.machines import sample
from tests.unit.remedies.test_ours import Asked


class Ending(Asked):
    """A provider that says at its later looks what it is told to say."""

    def __init__(self, says: bool) -> None:
        super().__init__()
        self.says = says
        self.told: list[Input] = []
        self.hands = Hands(
            **{name: getattr(self.hands, name) for name in Hands.__slots__} | {"submit": self.told.append}
        )

    async def alive(self, server: str) -> bool:
        self.counts["alive"] += 1
        return self.says


def test_silence_is_looked_at_three_times_in_a_row_before_it_counts(monkeypatch: pytest.MonkeyPatch):
    """Found by ninety hours of jitter: a fifth of all messages lost made two vantage points of three miss a primary that served."""
    saw = ["silent", "serving", "silent", "silent", "silent"]

    async def look(hands: Hands, member: Machine, timeout_s: float) -> Looks:
        seen = saw.pop(0)
        return Looks({"controller": seen, "orders-1": seen}, {}, True, 9.0, 2.4)

    monkeypatch.setattr(vantage, "_look", look)
    asked = Ending(True)

    async def main() -> Outcome:
        found: Any = await vantage.ask_vantages(asked.hands, asked.world.get(sample.MEMBERS[0]))
        return found

    assert run(main).event is vantage.Seen.SEEN_DEAD
    assert saw == []


@pytest.mark.parametrize("says", [True, False])
def test_who_is_known_dead_while_its_provider_still_saw_something_run_is_looked_for_once_more(
    monkeypatch: pytest.MonkeyPatch, *, says: bool
):
    async def look(hands: Hands, member: Machine, timeout_s: float) -> Looks:
        return Looks({"controller": "refused", "orders-1": "refused"}, {}, True, 0.4, 1.5)

    monkeypatch.setattr(vantage, "_look", look)
    asked = Ending(says)

    async def main() -> Outcome:
        found: Any = await vantage.ask_vantages(asked.hands, asked.world.get(sample.MEMBERS[0]))
        return found

    outcome = run(main)
    assert outcome.facts["evidence"]["provider"] is says
    assert [item.event for item in asked.told] == ([] if says else ["gone"])
    assert asked.counts["alive"] == 1
