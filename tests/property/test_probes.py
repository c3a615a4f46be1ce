"""A look at an engine from outside meets whatever listens there: it ends with one of its four words, and in time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from herder.drivers.postgres.probe import probe as postgres
from herder.drivers.valkey.probe import probe as valkey

WORDS = {"serving", "starting", "refused", "silent"}
TIMEOUT_S = 0.5

ANSWERS = {
    "nothing, and hangs up": (b"", True),
    "nothing, and waits": (b"", False),
    "a line without an end": (b"x" * 200_000, False),
    "zeroes": (bytes(100_000), True),
    "a length of 4 billion": (b"R\xff\xff\xff\xff", False),
    "a length of nothing": (b"R\0\0\0\0", True),
    "half a head": (b"R\0", True),
    "no UTF-8": (b"\xff\xfe\r\n", True),
    "another protocol": (b"HTTP/1.1 400 Bad Request\r\n\r\n", True),
}


@asynccontextmanager
async def listener(answer: bytes, *, ends: bool) -> AsyncIterator[int]:
    """A server on a free port that answers each connection so. ends: it then hangs up, else it waits for good."""
    still: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        still.add(writer)
        writer.write(answer)
        if ends:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in still:
            writer.transport.abort()


@pytest.mark.parametrize("look", [postgres, valkey], ids=["postgres", "valkey"])
@pytest.mark.parametrize(("answer", "ends"), ANSWERS.values(), ids=ANSWERS.keys())
async def test_whatever_answers_is_one_of_four_words(
    look: Callable[[str, int, float], Awaitable[str]], answer: bytes, ends: bool
):
    async with listener(answer, ends=ends) as port:
        began = time.monotonic()
        said = await look("127.0.0.1", port, TIMEOUT_S)
        assert said in WORDS - {"refused"}
        assert (said == "silent") or answer, "silence is not an answer"
        assert time.monotonic() - began < 10 * TIMEOUT_S
