"""One NATS connection that is always being kept. Reconnecting is done here and not by nats-py.

nats-py's own reconnection ends for ever on some errors ("Authentication Timeout" after a host was frozen, "Maximum
Connections"), keeps stale messages to send later, and can hang while closing a dead socket. Here each connection is a
fresh client that may not reconnect; when it ends, another one is opened and the subscriptions are made again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from herder.model.errors import Unreachable
from herder.wire.credentials import User

log = logging.getLogger(__name__)

PING_INTERVAL_S = 1
PINGS_OUTSTANDING = 2
"""A dead link is noticed within 3 s, which is under the silence ceiling of the detector."""

RETRY_FLOOR_S = 0.1
RETRY_CEILING_S = 1.0
"""A restarted nats-server is found again within 0.1 s; a fleet that cannot reach it asks once a second, jittered."""

CONNECT_TIMEOUT_S = 2
CLOSE_TIMEOUT_S = 1.0
PENDING_MESSAGES = 65_536
PENDING_BYTES = 64 * 1024 * 1024

OnMessage = Callable[[Msg], Awaitable[None]]


class Link:
    """Keeps a connection to `url` as `user`. on_up is called after every (re)connect, on_error with what goes wrong."""

    def __init__(
        self, url: str, user: User, *, name: str, inbox_prefix: str = "_INBOX", on_up: Callable[[], None] | None = None
    ) -> None:
        self._url = url
        self._user = user
        self._name = name
        self._inbox_prefix = inbox_prefix
        self._on_up = on_up
        self._subscriptions: list[tuple[str, str, OnMessage]] = []
        self._client: Client | None = None
        self._opening: Client | None = None  # connected, its subscriptions perhaps still being made
        self._up = asyncio.Event()
        self._down = asyncio.Event()
        self._down.set()
        self._keeper: asyncio.Task[None] | None = None
        self.last_error = ""
        self.refused = False  # the server said no to these credentials
        self.dropped = 0  # messages lost because this side was too slow

    def open(self) -> None:
        """Begin to keep the connection; returns at once."""
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep(), name=f"nats link {self._name}")

    @property
    def client(self) -> Client | None:
        """The live client, None while there is no connection."""
        client = self._client
        return client if client is not None and client.is_connected else None

    async def connected(self, timeout_s: float) -> Client:
        """Wait for a live client. Raises Unreachable with the last error."""
        try:
            async with asyncio.timeout(timeout_s):
                while (client := self.client) is None:
                    self._up.clear()
                    await self._up.wait()
        except TimeoutError:
            why = f": {self.last_error}" if self.last_error else ""
            raise Unreachable(f"no connection to NATS at {self._url}{why}", "is nats-server running there?") from None
        return client

    async def subscribe(self, subject: str, on_message: OnMessage, *, queue: str = "") -> None:
        """Subscribe now and after every reconnect."""
        self._subscriptions.append((subject, queue, on_message))
        client = self._opening
        if client is not None and client.is_connected:
            await self._subscribe(client, subject, queue, on_message)
            with contextlib.suppress(nats.errors.Error, TimeoutError, OSError):
                await _barrier(client)  # so that whoever speaks right after this is heard

    async def request(self, subject: str, data: bytes, timeout_s: float) -> bytes:
        """Ask and wait for one answer. Raises Unreachable: at once when nobody listens or the link breaks."""
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        client = await self.connected(timeout_s)
        self._down.clear()
        asking = asyncio.create_task(client.request(subject, data, timeout=max(0.001, until - loop.time())))
        broken = asyncio.create_task(self._down.wait())
        try:
            await asyncio.wait({asking, broken}, return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                raise Unreachable("the connection to NATS broke while waiting for an answer", "ask again")
            return asking.result().data
        except nats.errors.NoRespondersError:
            raise Unreachable(f"nobody listens on {subject}") from None
        except (nats.errors.TimeoutError, TimeoutError):
            raise Unreachable(f"no answer on {subject} within {timeout_s:g} s") from None
        except (nats.errors.Error, OSError) as error:
            raise Unreachable(f"NATS: {error}") from None
        finally:
            asking.cancel()
            broken.cancel()

    async def close(self) -> None:
        """Stop keeping it."""
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
            self._keeper = None

    async def _keep(self) -> None:
        wait_s = RETRY_FLOOR_S
        while True:
            client = Client()
            ended = asyncio.Event()
            try:
                await self._connect(client, ended)
                wait_s = RETRY_FLOOR_S
                self.refused = False
                self._client = client
                self._up.set()
                if self._on_up is not None:
                    self._on_up()
                await _until_over(client, ended)
            except nats.errors.NoServersError:
                pass  # on_error has been told the reason
            except (nats.errors.Error, OSError, TimeoutError) as error:
                self._note(error)
            except Exception:
                # nats-py raises bare exceptions on odd server answers; a link that stops here would never come back.
                log.exception("nats link %s", self._name)
            finally:
                self._client = self._opening = None
                self._down.set()
                await _close(client)
            await asyncio.sleep(wait_s * (0.5 + random.random()))  # noqa: S311 (jitter, not a secret)
            wait_s = min(RETRY_CEILING_S, wait_s * 1.6)

    async def _connect(self, client: Client, ended: asyncio.Event) -> None:
        async def on_error(error: Exception) -> None:
            self._note(error)

        async def on_closed() -> None:
            ended.set()

        await client.connect(
            servers=[self._url],
            name=self._name,
            error_cb=on_error,
            closed_cb=on_closed,
            allow_reconnect=False,
            max_reconnect_attempts=1,  # its default tries 60 times, 2 s apart, inside connect()
            reconnect_time_wait=0,
            connect_timeout=CONNECT_TIMEOUT_S,
            ping_interval=PING_INTERVAL_S,
            max_outstanding_pings=PINGS_OUTSTANDING,
            user_jwt_cb=lambda: bytearray(self._user.jwt.encode()),
            signature_cb=self._user.sign,
            inbox_prefix=self._inbox_prefix,
        )
        # From here on `subscribe` makes its own; what it was given before stands in this copy. Nothing falls between.
        self._opening = client
        for subject, queue, on_message in list(self._subscriptions):
            await self._subscribe(client, subject, queue, on_message)
        await _barrier(client)

    async def _subscribe(self, client: Client, subject: str, queue: str, on_message: OnMessage) -> None:
        await client.subscribe(
            subject,
            queue=queue,
            cb=on_message,
            pending_msgs_limit=PENDING_MESSAGES,
            pending_bytes_limit=PENDING_BYTES,
        )

    def _note(self, error: Exception) -> None:
        if isinstance(error, nats.errors.SlowConsumerError):
            self.dropped += 1
        text = str(error) or type(error).__name__
        self.refused = self.refused or "authorization violation" in text.lower()
        if text != self.last_error:  # once for each new reason, not ten times a second
            log.warning("nats link %s: %s", self._name, text)
        self.last_error = text


async def _barrier(client: Client) -> None:
    """Return when the server has taken what was sent before.

    Twice, because nats-py writes flush's PING to the socket at once while a SUB still waits for its flusher task: one
    flush is overtaken (seen as "nobody listens" in 1 of 40 runs). By the first PONG the flusher has run.
    """
    await client.flush(CONNECT_TIMEOUT_S)
    await client.flush(CONNECT_TIMEOUT_S)


async def _until_over(client: Client, ended: asyncio.Event) -> None:
    """Return when the connection has ended. The poll is for closings that hang before their callback."""
    while client.is_connected and not ended.is_set():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await ended.wait()


async def _close(client: Client) -> None:
    """Close within a bound: a black-holed socket with unsent bytes would wait for TCP to give up (15 minutes)."""
    with contextlib.suppress(Exception):
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await client.close()
    transport = getattr(client, "_transport", None)
    writer = getattr(transport, "_bare_io_writer", None)
    if writer is not None:
        with contextlib.suppress(Exception):
            writer.transport.abort()
