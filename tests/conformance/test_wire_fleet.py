"""Relays' frames over every wire: they arrive whole and in order, and a relay speaks in its own name only."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from herder.drivers.binaries import nats_server
from herder.ports.wire import RelayWire, Wire
from herder.pulse.fleet_frame import Header, encode_rows, rows
from herder.wire.credentials import Authority, User, new_keys, new_user_seed, public_key
from herder.wire.memory import MemoryHub, MemoryRelayWire, MemoryWire
from herder.wire.nats import NatsRelayWire, NatsWire
from herder.wire.own import OwnNats
from tests.unit.agent.wait import let_pass, until
from tests.unit.engine.yard import VirtualClock

RELAY = 7


def frame(seq: int, relay: int = RELAY, count: int = 100) -> bytes:
    servers = range(1, count + 1)
    told = rows(Header(relay, 1, 1, seq), server=list(servers), incarnation=1, life=1, member=1, seq=seq, flags=1)  # type: ignore[arg-type]
    return encode_rows(told)


def user_of(keys: str) -> User:
    seed = new_user_seed()
    return User(Authority(keys).relay_jwt(RELAY, public_key(seed)), seed)


@contextlib.asynccontextmanager
async def nats(directory: Path) -> AsyncIterator[tuple[OwnNats, str]]:
    let_pass(directory)
    keys = new_keys(1_700_000_000)
    server = OwnNats(str(nats_server()), directory, keys)
    await server.ensure()
    try:
        yield server, keys
    finally:
        await server.stop()


Made = tuple[Wire, RelayWire]


@pytest.fixture(params=["memory", "nats"])
async def made(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Made]:
    if request.param == "memory":
        hub = MemoryHub(VirtualClock())
        yield MemoryWire(hub), MemoryRelayWire(hub, RELAY)
        return
    async with nats(tmp_path) as (server, keys):
        wire, relay = NatsWire(server.url, keys), NatsRelayWire(server.url, RELAY, user_of(keys))
        await wire.connect()
        await relay.connect(5)
        yield wire, relay
        await relay.close()
        await wire.close()


async def test_frames_arrive_whole_and_in_order(made: Made) -> None:
    wire, relay = made
    seen: list[bytes] = []
    await wire.subscribe_fleet(seen.append)
    sent = [frame(seq, count=1 + 977 * seq % 3000) for seq in range(200)]
    for each in sent:
        await relay.publish_fleet(each)
    await until(lambda: len(seen) == len(sent), "all frames")
    assert seen == sent


async def test_a_relay_cannot_speak_for_another(made: Made) -> None:
    wire, relay = made
    seen: list[bytes] = []
    await wire.subscribe_fleet(seen.append)
    for each in (frame(1, relay=8), b"", b"short", frame(2)):
        await relay.publish_fleet(each)
    await until(lambda: bool(seen), "the honest frame")
    assert seen == [frame(2)]
    assert wire.refused == {"impostor": 3}  # type: ignore[attr-defined]


async def test_a_frame_that_cannot_be_folded_does_not_end_the_feed(
    made: Made, caplog: pytest.LogCaptureFixture
) -> None:
    wire, relay = made
    seen: list[bytes] = []

    def take(data: bytes) -> None:
        seen.append(data)
        if len(seen) == 1 and isinstance(wire, NatsWire):
            raise ValueError("a bug")

    await wire.subscribe_fleet(take)
    await relay.publish_fleet(frame(1))
    await relay.publish_fleet(frame(2))
    await until(lambda: len(seen) == 2, "the second frame")


async def test_the_feed_comes_back_with_its_server(tmp_path: Path) -> None:
    async with nats(tmp_path) as (server, keys):
        wire, relay = NatsWire(server.url, keys), NatsRelayWire(server.url, RELAY, user_of(keys))
        await wire.connect()
        await relay.connect(5)
        seen: list[bytes] = []
        await wire.subscribe_fleet(seen.append)
        await server.stop()
        await server.ensure()
        await until(_sent_until(relay, seen), "a frame after the restart")
        await relay.close()
        await wire.close()


def _sent_until(relay: NatsRelayWire, seen: list[bytes]) -> Callable[[], bool]:
    sending: list[asyncio.Task[None]] = []

    def arrived() -> bool:
        sending.append(asyncio.ensure_future(relay.publish_fleet(frame(1))))
        return bool(seen)

    return arrived


@pytest.mark.parametrize("subject", ["herder.fleet.8", "herder.pulse.0.s1", "herder.join", "herder.agent.s1.job"])
async def test_nats_refuses_what_is_not_its_own(tmp_path: Path, subject: str) -> None:
    async with nats(tmp_path) as (server, keys):
        wire, relay = NatsWire(server.url, keys), NatsRelayWire(server.url, RELAY, user_of(keys))
        await wire.connect()
        await relay.connect(5)
        relay._subject = subject
        await relay.publish_fleet(frame(1, relay=8))
        await until(lambda: "permissions violation" in relay._link.last_error.lower(), "the refusal")
        await relay.close()
        await wire.close()
