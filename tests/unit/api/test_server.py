"""Who may connect, and that stopping does not wait for those who do."""

import asyncio
import contextlib
import json
import socket
import stat
import time

import pytest

from herder.api.server import serve, token_beside
from herder.model.errors import Environment
from tests.unit.api.standin import StandIn


@contextlib.asynccontextmanager
async def serving(path, listen="", control=None):
    up = asyncio.Event()
    task = asyncio.ensure_future(serve(control or StandIn(), str(path), listen, up.set))
    started = asyncio.ensure_future(up.wait())
    async with asyncio.timeout(10):
        await asyncio.wait({task, started}, return_when=asyncio.FIRST_COMPLETED)
    started.cancel()
    try:
        if task.done():
            task.result()
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})


async def ask(reader, writer, route, *headers):
    writer.write("\r\n".join([f"GET {route} HTTP/1.1", "Host: herder", "Connection: close", *headers, "", ""]).encode())
    status = (await reader.readline()).split()[1]
    body = (await reader.read()).partition(b"\r\n\r\n")[2]
    writer.close()
    return int(status), body


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def test_the_socket_is_its_owners_alone_and_goes_with_the_server(tmp_path):
    path = tmp_path / "run" / "herder.sock"
    async with serving(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        status, body = await ask(*await asyncio.open_unix_connection(str(path)), "/v1/services")
        assert status == 200
        assert json.loads(body)[0]["name"] == "orders"
    assert not path.exists()


async def test_a_socket_that_a_dead_process_left_is_replaced(tmp_path):
    path = tmp_path / "herder.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with serving(path):
        assert (await ask(*await asyncio.open_unix_connection(str(path)), "/v1/healthz"))[0] == 200


async def test_a_deep_directory_may_be_longer_than_a_socket_path(tmp_path):
    path = tmp_path / ("d" * 80) / ("e" * 80) / "herder.sock"
    async with serving(path):
        assert path.exists()


async def test_tcp_needs_the_token_and_the_token_is_the_owners_alone(tmp_path):
    path, port = tmp_path / "herder.sock", free_port()
    async with serving(path, f"127.0.0.1:{port}"):
        assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600
        token = token_beside(path)
        answers = [
            (await ask(*await asyncio.open_connection("127.0.0.1", port), route, *headers))[0]
            for route, *headers in (
                ("/v1/healthz",),
                ("/v1/services",),
                ("/v1/services", "Authorization: Bearer wrong"),
                ("/v1/services", f"Authorization: Bearer {token}"),
            )
        ]
    assert answers == [200, 401, 401, 200]


async def test_the_token_stays_the_same_over_a_restart(tmp_path):
    path = tmp_path / "herder.sock"
    assert token_beside(path) == token_beside(path) != ""


async def test_a_taken_port_is_said_in_words(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(Environment, match="the port is taken"):
            async with serving(tmp_path / "herder.sock", f"127.0.0.1:{other.getsockname()[1]}"):
                pass


async def test_stopping_does_not_wait_for_a_stream_that_is_open(tmp_path):
    path = tmp_path / "herder.sock"
    async with serving(path) as task:
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b"GET /v1/services/orders/watch-url HTTP/1.1\r\nHost: herder\r\n\r\n")
        assert b"200" in await reader.readline()
        began = time.monotonic()
        task.cancel()
        await asyncio.wait({task}, timeout=5)
        assert task.cancelled()
        assert time.monotonic() - began < 1.0
        writer.close()
