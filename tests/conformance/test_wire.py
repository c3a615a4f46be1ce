"""Every wire keeps the same promises; the one over NATS also keeps agents to their own subjects."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import nats.errors
import pytest
from nats.aio.client import Client

from herder.drivers.binaries import nats_server
from herder.model.errors import Refused, Unreachable
from herder.ports.wire import FRAME_VERSION, AgentWire, Job, JobReply, JobStatus, Pulse, Wire
from herder.wire.credentials import Authority, User, new_keys, new_user_seed, public_key, read_join_token
from herder.wire.frame import encode
from herder.wire.memory import MemoryAgentWire, MemoryHub, MemoryWire
from herder.wire.nats import NatsAgentWire, NatsWire, join
from herder.wire.own import OwnNats
from tests.unit.agent.wait import later, let_pass, until


class LoopClock:
    """Real time."""

    def now_ms(self) -> int:
        return 0

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await later(seconds)


class Wires:
    """A controller's wire and a maker of agents' wires."""

    def __init__(self, controller: Wire, agent: Callable[[str], AgentWire]) -> None:
        self.controller = controller
        self._agent = agent
        self.agents: list[AgentWire] = []

    async def agent(self, server: str) -> AgentWire:
        wire = self._agent(server)
        self.agents.append(wire)
        if isinstance(wire, NatsAgentWire):
            await wire.connect(5)
        return wire


@contextlib.asynccontextmanager
async def own_nats(directory: Path) -> AsyncIterator[tuple[OwnNats, str]]:
    let_pass(directory)
    keys = new_keys(1_700_000_000)
    server = OwnNats(str(nats_server()), directory, keys)
    await server.ensure()
    try:
        yield server, keys
    finally:
        await server.stop()


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[tuple[OwnNats, str]]:
    async with own_nats(tmp_path) as made:
        yield made


@pytest.fixture(params=["memory", "nats"])
async def wires(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Wires]:
    if request.param == "memory":
        hub = MemoryHub(LoopClock())
        yield Wires(MemoryWire(hub), lambda server: MemoryAgentWire(hub, server))
        return
    async with own_nats(tmp_path) as (server, keys):
        wire = NatsWire(server.url, keys)
        await wire.connect()
        made = Wires(wire, lambda name: NatsAgentWire(server.url, name, user_of(keys, name)))
        yield made
        for agent in made.agents:
            await agent.close()
        await wire.close()


def user_of(keys: str, server: str) -> User:
    seed = new_user_seed()
    return User(Authority(keys).agent_jwt(server, public_key(seed)), seed)


def pulse(server: str, seq: int = 1) -> Pulse:
    return Pulse(
        version=FRAME_VERSION, server=server, incarnation=1, agent_pid=1, life="x", seq=seq, sent_ms=0, paused_ms=0,
        rss_kb=0, disk_free=0,
    )  # fmt: skip


def job(server: str = "s1") -> Job:
    return Job(intent="i", name="read", server=server, incarnation=1, member="m1", term=0, order=0)


async def echo_member(asked: Job) -> JobReply:
    return JobReply(intent=asked.intent, status=JobStatus.DONE, result=asked.member)


async def test_a_pulse_arrives(wires: Wires) -> None:
    seen: list[Pulse] = []
    await wires.controller.subscribe_pulses(lambda frame, data: seen.append(frame))
    agent = await wires.agent("s1")
    await agent.publish_pulse(pulse("s1"))
    await until(lambda: seen == [pulse("s1")], "the pulse")


async def test_a_pulse_for_another_server_does_not_arrive(wires: Wires) -> None:
    seen: list[str] = []
    await wires.controller.subscribe_pulses(lambda frame, data: seen.append(frame.server))
    agent = await wires.agent("s1")
    await agent.publish_pulse(pulse("s2"))
    await agent.publish_pulse(pulse("s1"))
    await until(lambda: bool(seen), "the honest pulse")
    assert seen == ["s1"]
    assert wires.controller.refused == {"impostor": 1}  # type: ignore[attr-defined]


async def test_a_job_is_answered(wires: Wires) -> None:
    agent = await wires.agent("s1")
    await agent.serve(echo_member)
    assert (await wires.controller.ask(job(), 5)).result == "m1"


async def test_a_missing_agent_is_unreachable_at_once(wires: Wires) -> None:
    async with asyncio.timeout(2):
        with pytest.raises(Unreachable):
            await wires.controller.ask(job("nobody"), 60)


async def test_an_agent_that_does_not_answer_in_time_is_unreachable(wires: Wires) -> None:
    agent = await wires.agent("s1")

    async def never(asked: Job) -> JobReply:
        await asyncio.Event().wait()
        raise AssertionError

    await agent.serve(never)
    with pytest.raises(Unreachable):
        await wires.controller.ask(job(), 0.1)


async def test_a_handlers_bug_is_an_answer(wires: Wires) -> None:
    agent = await wires.agent("s1")

    async def broken(asked: Job) -> JobReply:
        raise ValueError("a bug")

    await agent.serve(broken)
    reply = await wires.controller.ask(job(), 5)
    assert (reply.status, reply.error) == (JobStatus.FAILED, "ValueError: a bug")


async def test_a_slow_job_does_not_hold_up_another(wires: Wires) -> None:
    agent = await wires.agent("s1")
    release = asyncio.Event()

    async def handle(asked: Job) -> JobReply:
        if asked.name == "slow":
            await release.wait()
        return JobReply(intent=asked.intent, status=JobStatus.DONE)

    await agent.serve(handle)
    slow = asyncio.create_task(wires.controller.ask(msgspec.structs.replace(job(), name="slow"), 10))
    assert (await wires.controller.ask(job(), 5)).status is JobStatus.DONE
    assert not slow.done()
    release.set()
    assert (await slow).status is JobStatus.DONE


async def test_an_agent_that_goes_is_told(wires: Wires) -> None:
    gone: list[str] = []
    await wires.controller.subscribe_disconnects(gone.append)
    agent = await wires.agent("s1")
    await agent.close()
    await until(lambda: gone == ["s1"], "the disconnect")


async def test_the_controller_hears_itself(wires: Wires) -> None:
    assert await wires.controller.echo(2)


# Over NATS only: what the server itself forbids.


class Spy:
    """A raw client with a user's rights; permission errors are collected."""

    def __init__(self) -> None:
        self.client = Client()
        self.errors: list[str] = []
        self.heard: list[str] = []

    async def connect(self, url: str, user: User, inbox: str = "_INBOX") -> None:
        async def on_error(error: Exception) -> None:
            self.errors.append(str(error).lower())

        try:
            await self.client.connect(
                url, error_cb=on_error, allow_reconnect=False, max_reconnect_attempts=1, inbox_prefix=inbox,
                user_jwt_cb=lambda: bytearray(user.jwt.encode()), signature_cb=user.sign,
            )  # fmt: skip
        except BaseException:
            self.client._transport.close()  # nats-py leaves it open
            raise

    async def hear(self, subject: str) -> None:
        async def take(message: object) -> None:
            self.heard.append(subject)

        await self.client.subscribe(subject, cb=take)
        await self.client.flush()

    def forbidden(self, verb: str, subject: str) -> bool:
        return any(
            f"permissions violation for {verb} to" in error and subject.lower() in error for error in self.errors
        )


@pytest.mark.parametrize(
    "subject",
    ["herder.pulse.0.s2", "herder.agent.s1.job", "herder.agent.s2.job", "herder.join", "_INBOX.x", "herder.echo.x"],
)
async def test_an_agent_may_publish_its_own_pulse_only(own: tuple[OwnNats, str], subject: str) -> None:
    server, keys = own
    spy = Spy()
    await spy.connect(server.url, user_of(keys, "s1"))
    await spy.client.publish("herder.pulse.0.s1", b"fine")
    await spy.client.publish(subject, b"forged")
    await until(lambda: spy.forbidden("publish", subject), "the refusal")
    assert len(spy.errors) == 1
    await spy.client.close()


@pytest.mark.parametrize(
    "subject", [">", "herder.>", "herder.agent.s2.job", "herder.agent.*.job", "herder.pulse.0.s2", "_INBOX.>", "$SYS.>"]
)
async def test_an_agent_hears_its_own_jobs_only(own: tuple[OwnNats, str], subject: str) -> None:
    server, keys = own
    spy = Spy()
    await spy.connect(server.url, user_of(keys, "s1"))
    await spy.hear("herder.agent.s1.job")
    assert spy.errors == []
    await spy.hear(subject)
    await until(lambda: spy.forbidden("subscription", subject), "the refusal")
    await spy.client.close()


async def test_a_stranger_does_not_get_in(own: tuple[OwnNats, str]) -> None:
    server, _ = own
    with pytest.raises((nats.errors.Error, OSError)):
        await Spy().connect(server.url, user_of(new_keys(1), "s1"))


async def test_a_stolen_jwt_without_its_seed_does_not_get_in(own: tuple[OwnNats, str]) -> None:
    server, keys = own
    with pytest.raises((nats.errors.Error, OSError)):
        await Spy().connect(server.url, User(user_of(keys, "s1").jwt, new_user_seed()))


class Tokens:
    """The store's one-use tokens."""

    def __init__(self) -> None:
        self.open: dict[str, tuple[str, int]] = {}

    async def check(self, token_hash: str) -> tuple[str, int] | None:
        return self.open.pop(token_hash, None)


@pytest.fixture
async def joining(own: tuple[OwnNats, str]) -> AsyncIterator[tuple[NatsWire, Tokens]]:
    server, keys = own
    wire = NatsWire(server.url, keys)
    await wire.connect()
    tokens = Tokens()
    await wire.serve_joins(tokens.check)
    yield wire, tokens
    await wire.close()


async def test_a_join_token_works_once(joining: tuple[NatsWire, Tokens]) -> None:
    wire, tokens = joining
    token, token_hash = wire.join_token("hush")
    tokens.open[token_hash] = ("s1", 1)
    seed = new_user_seed()
    user = await join(wire.url, token, "s1", 1, seed)
    agent = NatsAgentWire(wire.url, "s1", user)
    await agent.connect(5)
    await agent.serve(echo_member)
    assert (await wire.ask(job(), 5)).result == "m1"
    await agent.close()
    with pytest.raises(Refused):
        await join(wire.url, token, "s1", 1, new_user_seed())
    # The same key may ask again: its answer may have been lost.
    assert await join(wire.url, token, "s1", 1, seed) == user


async def test_a_join_token_is_for_one_server_and_incarnation(joining: tuple[NatsWire, Tokens]) -> None:
    wire, tokens = joining
    for server, incarnation in (("s2", 1), ("s1", 2)):
        token, token_hash = wire.join_token(f"hush {server}")
        tokens.open[token_hash] = ("s1", 1)
        with pytest.raises(Refused):
            await join(wire.url, token, server, incarnation, new_user_seed())


async def test_a_join_tokens_user_can_do_nothing_else(joining: tuple[NatsWire, Tokens]) -> None:
    wire, _ = joining
    opened = read_join_token(wire.join_token("hush")[0])
    spy = Spy()
    await spy.connect(wire.url, User(opened.jwt, ""), opened.inbox)
    await spy.client.publish("herder.pulse.0.s1", b"forged")
    await until(lambda: spy.forbidden("publish", "herder.pulse.0.s1"), "the refusal")
    await spy.hear("_INBOX.>")
    await until(lambda: spy.forbidden("subscription", "_INBOX.>"), "the refusal")
    await spy.client.close()


async def test_a_killed_nats_server_comes_back_and_all_find_it(own: tuple[OwnNats, str]) -> None:
    server, keys = own
    wire = NatsWire(server.url, keys)
    await wire.connect()
    agent = NatsAgentWire(server.url, "s1", user_of(keys, "s1"))
    await agent.connect(5)
    await agent.serve(echo_member)
    old, url = server.pid, server.url
    keeping = asyncio.create_task(server.keep())
    os.kill(old, signal.SIGKILL)
    await until(lambda: server.pid not in (0, old), "the restart")

    async def answers() -> bool:
        try:
            return (await wire.ask(job(), 1)).result == "m1"
        except Unreachable:
            return False

    await until(answers, "an answer over the new server")
    assert server.url == url
    keeping.cancel()
    await agent.close()
    await wire.close()


async def test_the_next_controller_adopts_the_nats_server(own: tuple[OwnNats, str], tmp_path: Path) -> None:
    server, keys = own
    again = OwnNats(str(nats_server()), tmp_path, keys)
    assert (await again.ensure(), again.pid) == (server.url, server.pid)
    (tmp_path / "nats" / "nats.pid").unlink()
    assert (await again.ensure(), again.pid) == (server.url, server.pid)


async def test_garbage_on_the_wire_is_counted(own: tuple[OwnNats, str]) -> None:
    server, keys = own
    wire = NatsWire(server.url, keys)
    await wire.connect()
    seen: list[Pulse] = []
    await wire.subscribe_pulses(lambda frame, data: seen.append(frame))
    spy = Spy()
    await spy.connect(server.url, user_of(keys, "s1"))
    for data in (b"", b"\xff", b"\x01garbage", encode(pulse("s1"))):
        await spy.client.publish("herder.pulse.0.s1", data)
    await until(lambda: len(seen) == 1, "the good one")
    assert wire.refused == {"empty": 1, "newer": 1, "garbage": 1}
    await spy.client.close()
    await wire.close()
