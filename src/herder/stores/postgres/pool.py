"""Connections to the store's PostgreSQL, and what it means when one breaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from herder.model.errors import InvalidInput, Unreachable
from herder.stores.postgres.named import QUERIES

POOL_SIZE = 8
"""Connections. A controller has one append in flight a shard; the rest is reads of the API."""

CLOSE_S = 5.0
"""Seconds that `close` waits for a connection's farewell."""

SERVER_SHARE = 0.8
"""Of a statement's time: what is left is for the answer's way back."""

HINT = "look at the PostgreSQL that keeps herder's state (HERDER_DATABASE_URL, or its own under the data directory)"

_LOST = (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.PostgresConnectionError, asyncpg.InternalClientError)
"""The connection, not the statement, is at fault. TimeoutError: a frozen server's kernel still acknowledges TCP, so only
the client's own deadline ends the wait."""

_GOING_DOWN = frozenset({"57P01", "57P02", "57P03", "57P04", "57P05", "25P03"})
"""SQLSTATEs with which a server ends a session: shutdown, crash, not up yet, database dropped, idle too long."""

_NO_ROOM = "53"
"""Class of SQLSTATEs: disk full, out of memory, too many connections."""

_READ_ONLY = "25006"
"""The server became a standby under us."""

_TOO_SLOW = "57014"
"""statement_timeout: rolled back, for certain. (In a wait for a standby it is a warning, and the commit stands.)"""


def is_lost(error: BaseException) -> bool:
    """True when nobody can say from here whether the statement was committed."""
    if isinstance(error, asyncpg.ClientConfigurationError):
        return False
    if isinstance(error, _LOST):
        return True
    return isinstance(error, asyncpg.PostgresError) and error.sqlstate in _GOING_DOWN


def is_refused(error: BaseException) -> bool:
    """True when the server said that it cannot write now: nothing was written, and later it may be."""
    if not isinstance(error, asyncpg.PostgresError):
        return False
    state = error.sqlstate or ""
    return state.startswith(_NO_ROOM) or state in {_READ_ONLY, _TOO_SLOW}


def unreachable(error: BaseException) -> Unreachable:
    """The error as people read it."""
    reason = str(error) or type(error).__name__
    return Unreachable(f"the store does not answer: {reason}", HINT)


class Pool:
    """Opens connections when they are needed, keeps them for good, and drops any that is in doubt.

    A server that was killed and came back is met by new connections: nothing need be made again. Not asyncpg's pool:
    that resets a session when it comes back (a round trip more for every commit), closes idle ones after 300 s (the next
    commit, a failover perhaps, would pay for a new backend and new plans), and hands out one dead connection after the
    other when a server was lost without a word.
    """

    def __init__(self, dsn: str | None, options: dict[str, Any], *, connect_timeout_s: float, timeout_s: float) -> None:
        self._dsn = dsn
        self._connect_timeout_s = connect_timeout_s
        self._options = {
            "timeout": connect_timeout_s,
            "command_timeout": timeout_s,
            # For the life of the connection: asyncpg forgets statements after 300 s otherwise, idle or not.
            "max_cached_statement_lifetime": 0,
            # Of several hosts, the primary; and no standby that would refuse the first write.
            "target_session_attrs": "read-write",
            "server_settings": {
                "application_name": "herder",
                "idle_in_transaction_session_timeout": "10s",
                # The server gives up before the client does: then the answer is a certain one. It also bounds how long
                # a commit that nobody waits for any more may still be under way.
                "statement_timeout": str(round(timeout_s * 1000 * SERVER_SHARE)),
            },
        } | options
        self._slots = asyncio.Semaphore(POOL_SIZE)
        self._idle: list[Any] = []

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """A connection; Unreachable when there is none to be had, in which case nothing was sent.

        An error inside that puts the connection in doubt ends it at once: nobody waits for a frozen server's farewell.
        """
        try:
            await asyncio.wait_for(self._slots.acquire(), self._connect_timeout_s)
        except TimeoutError as error:
            raise unreachable(error) from error
        try:
            home = self._idle
            connection = await self._take()
            try:
                yield connection
            except BaseException as error:
                if is_lost(error):
                    self._drop_idle()
                if is_lost(error) or is_refused(error) or isinstance(error, asyncio.CancelledError):
                    connection.terminate()
                raise
            finally:
                self._give_back(connection, home)
        finally:
            self._slots.release()

    async def _take(self) -> Any:
        """The connection that came back last (its backend is the warmest), or a new one."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        try:
            connection = await asyncpg.connect(self._dsn, **self._options)
            await connection.execute(QUERIES["ensure_durable"])
        except asyncpg.ClientConfigurationError as error:
            raise InvalidInput(f"HERDER_DATABASE_URL cannot be used: {error}", HINT) from error
        except (*_LOST, asyncpg.PostgresError) as error:
            raise unreachable(error) from error
        return connection

    def _give_back(self, connection: Any, home: list[Any]) -> None:
        """Keep it, unless it is closed, in the middle of something, or from before a loss."""
        if home is self._idle and not connection.is_closed() and not connection.is_in_transaction():
            home.append(connection)
        else:
            connection.terminate()

    def _drop_idle(self) -> None:
        """What one connection met, the others will: they are not tried one by one, each to its own timeout."""
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.terminate()

    async def close(self) -> None:
        """Let go of connections; those in use go when their statement ends."""
        idle, self._idle = self._idle, []
        for connection in idle:
            try:
                await connection.close(timeout=CLOSE_S)
            except (*_LOST, asyncpg.PostgresError):
                connection.terminate()
