"""The agent's program with real processes over NATS: joins, answers, beats, adopts, leaves engines running."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from herder.drivers import processes
from herder.drivers.binaries import nats_server
from herder.ports.provider import Launch
from herder.ports.wire import Job, JobReply, JobStatus, MemberPulse, Pulse
from herder.wire.credentials import new_keys
from herder.wire.nats import NatsWire
from herder.wire.own import OwnNats
from tests.unit.agent.test_supervise import free_port
from tests.unit.agent.toy import kill_first, spec_of
from tests.unit.agent.wait import later, let_pass, until

ROOT = Path(__file__).parents[3]


class House:
    """One server's directory with its agent, and a control plane that listens."""

    def __init__(self, home: Path, own: OwnNats, wire: NatsWire) -> None:
        self.home = home
        self.own = own
        self.wire = wire
        self.spec = spec_of("m1", home / "data" / "m1", free_port())
        self.pulses: list[Pulse] = []
        self.gone: list[str] = []
        self.tokens: dict[str, tuple[str, int]] = {}
        self.agent: subprocess.Popen[bytes] | None = None

    async def check(self, token_hash: str) -> tuple[str, int] | None:
        return self.tokens.pop(token_hash, None)

    def launch(self, incarnation: int, secret: str) -> None:
        token, token_hash = self.wire.join_token(secret)
        self.tokens[token_hash] = ("s1", incarnation)
        launch = Launch(
            server="s1", incarnation=incarnation, nats_url=self.own.url, join_token=token, engine_user="",
            settings={"pulse_interval_s": "0.2"},
        )  # fmt: skip
        (self.home / "agent").mkdir(exist_ok=True)
        (self.home / "agent" / "launch.json").write_bytes(msgspec.json.encode(launch))

    async def start(self) -> None:
        log = (self.home / "agent" / "agent.log").open("ab")
        environment = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "PATH": os.defpath}
        argv = [sys.executable, "-m", "tests.unit.agent.toy_agent", str(self.home)]
        with log:
            self.agent = subprocess.Popen(argv, env=environment, stderr=log, stdout=log, start_new_session=True)  # noqa: ASYNC220  outlives us
        pid = self.agent.pid
        await until(lambda: bool(self.pulses) and self.pulses[-1].agent_pid == pid, "the first pulse")

    def end(self, number: int) -> int:
        assert self.agent is not None
        self.agent.send_signal(number)
        code = self.agent.wait(10)
        self.agent = None
        return code

    async def ask(self, name: str, order: int, **changes: object) -> JobReply:
        plain: dict[str, object] = {
            "intent": f"i{order}", "name": name, "server": "s1", "incarnation": 1, "member": "m1", "term": 1,
            "order": order, "spec": self.spec, "wait_s": 20.0,
        }  # fmt: skip
        return await self.wire.ask(Job(**(plain | changes)), 25)  # type: ignore[arg-type]

    @property
    def member(self) -> MemberPulse | None:
        return self.pulses[-1].members[0] if self.pulses and self.pulses[-1].members else None

    async def sees(self, what: str, **wanted: object) -> None:
        def true() -> bool:
            member = self.member
            flat = {"exited": member.exited, "alive": member.reading.alive} if member is not None else {}
            return bool(flat) and all(flat[name] == value for name, value in wanted.items())

        await until(true, what)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    let_pass(tmp_path)
    keys = new_keys(1_700_000_000)
    own = OwnNats(str(nats_server()), tmp_path, keys)
    wire = NatsWire(await own.ensure(), keys)
    await wire.connect()
    home = tmp_path / "s1"
    home.mkdir()
    house = House(home, own, wire)
    await wire.serve_joins(house.check)
    await wire.subscribe_pulses(lambda pulse, data: house.pulses.append(pulse))
    await wire.subscribe_disconnects(house.gone.append)
    house.launch(1, "hush")
    await house.start()
    yield house
    if house.agent is not None:
        house.end(signal.SIGKILL)
    await processes.kill_within(home / "data" / "m1")
    await wire.close()
    await own.stop()


async def test_an_agent_makes_a_member_and_tells_its_end(house: House) -> None:
    reply = await house.ask("create_primary", 1, args={"sync": {}})
    assert reply.status is JobStatus.DONE
    await house.sees("it runs", alive=True, exited=False)
    assert (await house.ask("read", 0, term=0, spec=None)).result["role"] == "primary"
    kill_first(house.spec)
    await house.sees("its end", exited=True, alive=False)
    assert processes.within(house.home / "data" / "m1") == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_an_agent_that_ends_leaves_engines_and_the_next_adopts_them(house: House, number: int) -> None:
    assert (await house.ask("create_primary", 1, args={"sync": {}})).status is JobStatus.DONE
    await house.sees("it runs", alive=True)
    assert house.member is not None
    pid = house.member.reading.pid
    code = house.end(number)
    assert code == (0 if number == signal.SIGTERM else -signal.SIGKILL)
    await until(lambda: house.gone == ["s1"], "the disconnect")
    await house.start()
    await house.sees("it runs still", alive=True)
    assert (house.member.reading.pid, house.member.term) == (pid, 1)
    assert (await house.ask("create_primary", 1, args={"sync": {}})).status is JobStatus.DONE  # the stored result
    assert (await house.ask("stop", 0, term=1, intent="late")).status is JobStatus.REFUSED
    assert house.member.reading.pid == pid


async def test_a_second_agent_of_the_same_server_does_not_start(house: House) -> None:
    argv = [sys.executable, "-m", "herder.agent.main", str(house.home)]
    environment = {"PYTHONPATH": str(ROOT / "src"), "PATH": os.defpath}
    second = await asyncio.to_thread(
        subprocess.run, argv, env=environment, capture_output=True, text=True, timeout=20, check=False
    )
    assert second.returncode == 4
    assert "another agent runs" in second.stderr


async def test_a_thawed_agent_says_how_long_it_was_frozen(house: House) -> None:
    assert house.agent is not None
    house.agent.send_signal(signal.SIGSTOP)
    try:
        seen = len(house.pulses)
        await later(1.5)  # the freeze itself is what is tested
    finally:
        house.agent.send_signal(signal.SIGCONT)
    await until(lambda: any(pulse.paused_ms > 1000 for pulse in house.pulses[seen:]), "the thaw")


async def test_an_agent_finds_a_restarted_nats_server(house: House) -> None:
    os.kill(house.own.pid, signal.SIGKILL)
    await until(lambda: house.own._find() == 0, "it died")
    seen = len(house.pulses)
    await house.own.ensure()
    await until(lambda: len(house.pulses) > seen, "a pulse over the new server")


async def test_the_next_incarnation_joins_with_its_own_token(house: House) -> None:
    house.end(signal.SIGTERM)
    house.launch(2, "hush again")
    await house.start()
    assert house.pulses[-1].incarnation == 2
    assert house.tokens == {}
    reply = await house.ask("read", 0, term=0)
    assert (reply.status, "incarnation 2" in reply.error) == (JobStatus.REFUSED, True)


async def test_its_keys_are_for_its_eyes_only(house: House) -> None:
    assert (await house.ask("checkpoint", 1)).status is JobStatus.DONE
    for name in ("membership.json", "ledger.json"):
        assert (house.home / "agent" / name).stat().st_mode & 0o777 == 0o600
