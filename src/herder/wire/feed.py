"""Relays' frames from NATS, over a connection of their own that reads little else.

nats-py spends some 15 us on a message (a task, a queue and eight regular expressions), which is half of what a frame of
100 members may cost. This side only subscribes, so it needs a dozen lines of the protocol: INFO, CONNECT, SUB, MSG, PING.
A frame is handed over in the read that brought it; when we are slow, TCP slows the server, which drops us at last, and
relays' next frames say everything again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import msgspec

from herder.wire.credentials import User
from herder.wire.frame import FRAME_MAX
from herder.wire.link import CONNECT_TIMEOUT_S, PING_INTERVAL_S, PINGS_OUTSTANDING, RETRY_CEILING_S, RETRY_FLOOR_S

log = logging.getLogger(__name__)

READ_BYTES = 256 * 1024
"""Taken in one go: some 75 frames of 100 members, 2 ms of folding, before others on the loop have their turn."""

LINE_MAX = 4096
ROOM = FRAME_MAX + LINE_MAX + READ_BYTES

OnFrame = Callable[[str, bytes], None]


class Feed:
    """Keeps a subscription to `subject` and calls on_frame(subject of the message, payload) for each message."""

    def __init__(self, url: str, user: User, subject: str, on_frame: OnFrame) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "127.0.0.1", parts.port or 4222)
        self._user = user
        self._subject = subject
        self._on_frame = on_frame
        self._keeper: asyncio.Task[None] | None = None
        self._up = asyncio.Event()
        self.last_error = ""

    def open(self) -> None:
        """Begin to keep it; returns at once."""
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep(), name=f"nats feed {self._subject}")

    async def up(self, timeout_s: float) -> bool:
        """Wait until the subscription stands; False when it does not within timeout_s."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._up.wait()
        return self._up.is_set()

    async def close(self) -> None:
        """Let go."""
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
            self._keeper = None

    async def _keep(self) -> None:
        wait_s = RETRY_FLOOR_S
        while True:
            reader = _Reader(self._user, self._subject, self._on_frame, self._up)
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    await asyncio.get_running_loop().create_connection(partial(_same, reader), *self._address)
                    await reader.stands.wait()
                wait_s = RETRY_FLOOR_S
                await reader.until_over()
            except (OSError, TimeoutError) as error:
                self._note(str(error) or type(error).__name__)
            finally:
                self._up.clear()
                reader.end()
            self._note(reader.error)
            await asyncio.sleep(wait_s * (0.5 + random.random()))  # noqa: S311 (jitter, not a secret)
            wait_s = min(RETRY_CEILING_S, wait_s * 1.6)

    def _note(self, error: str) -> None:
        if error and error != self.last_error:
            log.warning("nats feed %s: %s", self._subject, error)
            self.last_error = error


def _same(reader: _Reader) -> _Reader:
    return reader


class _Reader(asyncio.BufferedProtocol):
    """One connection. Bytes between `_begin` and `_end` of the buffer are not read yet."""

    def __init__(self, user: User, subject: str, on_frame: OnFrame, up: asyncio.Event) -> None:
        self._user = user
        self._subject = subject
        self._on_frame = on_frame
        self._up = up
        self._buffer = bytearray(ROOM)
        self._view = memoryview(self._buffer)
        self._begin = self._end = 0
        self._transport: asyncio.Transport | None = None
        self._over = asyncio.Event()
        self._unanswered = 0
        self.stands = asyncio.Event()
        self.error = ""

    async def until_over(self) -> None:
        """Return when the connection has ended, or the server no longer answers."""
        while not self._over.is_set() and self._unanswered < PINGS_OUTSTANDING:
            self._unanswered += 1
            self._write(b"PING\r\n")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PING_INTERVAL_S):
                    await self._over.wait()
        self.error = self.error or "the connection ended"

    def end(self) -> None:
        """Close at once, whatever was not sent."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a TCP one

    def connection_lost(self, exc: Exception | None) -> None:
        self.error = self.error or (str(exc) if exc is not None else "")
        self._over.set()
        self.stands.set()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._view[self._end : self._end + READ_BYTES]

    def buffer_updated(self, nbytes: int) -> None:
        self._end += nbytes
        try:
            self._read()
        except ValueError as error:
            self._fail(f"not the NATS protocol: {error}")
        left = self._end - self._begin
        if self._end + READ_BYTES > ROOM or not left:  # what is not whole yet goes to the front
            self._view[:left] = bytes(self._view[self._begin : self._end])
            self._begin, self._end = 0, left

    def _read(self) -> None:
        buffer, view = self._buffer, self._view
        while not self._over.is_set():
            stop = buffer.find(b"\r\n", self._begin, min(self._begin + LINE_MAX, self._end))
            if stop < 0:
                if self._end - self._begin > LINE_MAX and not buffer.startswith(b"INFO", self._begin):
                    raise ValueError("a line without an end")
                return
            if buffer.startswith(b"MSG ", self._begin):
                words = buffer[self._begin : stop].split()
                size = int(words[-1])
                if size > FRAME_MAX or len(words) < 4:
                    raise ValueError(f"a message of {size} bytes")
                if self._end < stop + size + 4:
                    return
                self._begin = stop + size + 4
                self._take(words[1].decode(), bytes(view[stop + 2 : stop + 2 + size]))
            else:
                line = bytes(view[self._begin : stop])
                self._begin = stop + 2
                self._answer(line)

    def _take(self, subject: str, data: bytes) -> None:
        self._unanswered = 0
        try:
            self._on_frame(subject, data)
        except Exception:
            log.exception("a frame on %s could not be folded in", subject)

    def _answer(self, line: bytes) -> None:
        word = line[:4].upper()
        if word == b"PING":
            self._write(b"PONG\r\n")
        elif word == b"PONG":
            self._unanswered = 0
            self.stands.set()
            self._up.set()
        elif word == b"INFO":
            if not self.stands.is_set():
                self._greet(line[5:])
        elif word == b"-ERR":
            self._fail(line[5:].decode(errors="replace").strip("' "))

    def _greet(self, told: bytes) -> None:
        info: dict[str, Any] = msgspec.json.decode(told)
        if info.get("tls_required"):
            self._fail("the server wants TLS")
            return
        hello: dict[str, Any] = {
            "verbose": False, "pedantic": False, "lang": "python", "version": "1", "protocol": 1, "name": "herder feed",
        }  # fmt: skip
        if info.get("nonce"):
            hello |= {"jwt": self._user.jwt, "sig": self._user.sign(info["nonce"]).decode()}
        connect = b"CONNECT " + msgspec.json.encode(hello)
        self._write(b"%s\r\nSUB %s 1\r\nPING\r\n" % (connect, self._subject.encode()))

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _fail(self, why: str) -> None:
        self.error = why
        self._over.set()
        self.stands.set()
        self.end()
