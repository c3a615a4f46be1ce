"""While it is us, units are hardly asked about; when it is them after all, or over, they are asked at the usual pace."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Any, cast

import pytest

from herder.engine.world import Machine
from herder.ports.provider import Launch, ServerHandle
from herder.pulse.board import Board
from herder.pulse.detector import Limits
from herder.remedies.hands import Hands
from herder.remedies.ours import OURS_PAUSE_S, is_ours
from herder.remedies.servers import watch_server
from herder.remedies.vantage import ask_vantages
from herder.sim.clock import SimClock, pass_time, run
from tests.machines import sample

INCIDENT = 30
LASTS_S = 60.0
"""As long as the incident of these tests is ours."""

NOT_NEEDED = ("wire", "nats_url", "engine_user", "agent_settings", "probe_timeout_s", "lease_s", "sure")


class Asked:
    """One primary that is uncertain on a server that is silent: who is asked about it, and how often."""

    def __init__(self, state: str = "", scope: str = "zone:local") -> None:
        self.world = sample.small("postgres", "dev", 1)
        sample.change(self.world, sample.MEMBERS[0], state="uncertain")
        sample.change(self.world, sample.SERVERS[0], state="uncertain")
        if state:
            sample.put(self.world, INCIDENT, "incident", state, name="incident-30", scope=scope, scopes=[scope])
        self.counts: Counter[str] = Counter()
        self.clock = SimClock()
        rest: dict[str, Any] = dict.fromkeys(NOT_NEEDED) | {"probe_timeout_s": 0.5, "agent_settings": {}}
        self.hands = Hands(
            world=lambda: self.world, board=Board(1.0, Limits(1.5, 8.0)), provider=cast(Any, self), clock=self.clock,
            submit=lambda item: None, probe=self.probe, mint_join=self.mint, **rest,
        )  # fmt: skip

    @property
    def server(self) -> Machine:
        return self.world.get(sample.SERVERS[0])

    async def probe(self, engine: str, address: str, port: int, timeout_s: float) -> str:
        self.counts["probe"] += 1
        return "silent"

    async def mint(self, server: str, incarnation: int) -> str:
        return "join"

    async def alive(self, server: str) -> bool:
        self.counts["alive"] += 1
        return True

    async def boot(self, launch: Launch) -> ServerHandle:
        self.counts["boot"] += 1
        return ServerHandle(server=launch.server, incarnation=1, address="", namespace="", directory="", pid=1)

    def over(self) -> None:
        sample.change(self.world, INCIDENT, state="over")

    def during(self, ask: Any, machine: int, seconds: float = LASTS_S) -> Counter[str]:
        """What is asked while a handler works on a machine."""

        async def main() -> Counter[str]:
            task = asyncio.create_task(ask(self.hands, self.world.get(machine)))
            await pass_time(seconds)
            assert not task.done()
            task.cancel()
            return self.counts

        return run(main)


def member_asked(state: str = "", scope: str = "zone:local") -> int:
    return Asked(state, scope).during(ask_vantages, sample.MEMBERS[0])["probe"]


def server_asked(state: str = "", scope: str = "zone:local") -> Counter[str]:
    return Asked(state, scope).during(watch_server, sample.SERVERS[0])


@pytest.mark.parametrize(
    ("state", "ours", "perhaps"),
    [
        ("", False, False),
        ("verifying", False, True),
        ("ours", True, True),
        ("recovering", False, False),
        ("over", False, False),
    ],
)
def test_it_is_us_where_an_incident_says_so_and_perhaps_while_it_asks(state: str, *, ours: bool, perhaps: bool):
    asked = Asked(state)
    assert is_ours(asked.hands, asked.server) is ours
    assert is_ours(asked.hands, asked.server, perhaps=True) is perhaps


def test_an_incident_elsewhere_says_nothing_of_a_server():
    asked = Asked("ours", "zone:far")
    assert not is_ours(asked.hands, asked.server)
    assert is_ours(asked.hands, replace(asked.server, data=asked.server.data | {"zone": "far"}))
    assert is_ours(Asked("ours", "fleet").hands, asked.server)


def test_while_it_is_us_a_member_is_asked_about_four_times_a_minute():
    assert member_asked("ours") == round(LASTS_S / OURS_PAUSE_S)
    assert member_asked() > 5 * member_asked("ours")


def test_an_incident_elsewhere_slows_no_question():
    assert member_asked("ours", "zone:far") == member_asked()
    assert server_asked("ours", "zone:far") == server_asked()


def test_a_server_is_asked_about_as_rarely_and_its_agent_is_let_be():
    usual, slow = server_asked(), server_asked("ours")
    assert slow == Counter(alive=round(LASTS_S / OURS_PAUSE_S))
    assert usual["alive"] > 3 * slow["alive"]
    assert usual["boot"] > 0


def test_while_it_may_be_us_a_server_is_asked_about_as_ever_and_its_agent_is_let_be():
    assert server_asked("verifying") == Counter(alive=server_asked()["alive"])


def test_when_it_is_over_the_next_question_comes_within_the_pause():
    asked = Asked("ours")

    async def main() -> tuple[int, int]:
        task = asyncio.create_task(ask_vantages(asked.hands, asked.world.get(sample.MEMBERS[0])))
        await pass_time(1)
        asked.over()
        before = asked.counts["probe"]
        await pass_time(OURS_PAUSE_S + 10)
        task.cancel()
        return before, asked.counts["probe"]

    before, after = run(main)
    assert before == 1
    assert after > 4
