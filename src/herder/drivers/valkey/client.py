"""A kept connection to each local engine, and what INFO says as a frozen value."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import msgspec

from herder.drivers.valkey.config import ADMIN_USER
from herder.model.errors import Conflict, Refused, Unreachable
from herder.ports.driver import MemberSpec, Position, Role

if TYPE_CHECKING:
    from valkey.asyncio.connection import Connection

CALL_S = 5.0
"""Seconds for one command. Role changes answer in under a millisecond; more means a stuck engine."""


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """One INFO. offset: written (primary) or received and applied (standby), in bytes of history `replid`.

    settled: the append-only file holds what memory holds (no rewrite is pending that must finish first).
    replicas: 'address:port' -> (state, acknowledged offset).
    """

    role: Role
    run_id: str
    pid: int
    loading: bool
    loading_percent: float
    replid: str
    replid2: str
    offset: int
    upstream: tuple[str, int] | None
    link_up: bool
    link_age_s: float | None
    syncing: bool
    failover: str
    replicas: dict[str, tuple[str, int]]
    keys: int
    settled: bool
    aof_buffer: int

    @property
    def position(self) -> Position:
        return Position(0, self.offset, self.replid)


def _pairs(text: str) -> dict[str, str]:
    return dict(item.split("=", 1) for item in text.split(",") if "=" in item)


def parse_info(text: str) -> Look:
    """INFO's text -> Look. Parsed here and not by the library, which turns an id of digits into a number."""
    raw = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    role = Role.PRIMARY if raw.get("role") == "master" else Role.STANDBY
    replicas: dict[str, tuple[str, int]] = {}
    for name, value in raw.items():
        if name.startswith("slave") and name[5:].isdigit():
            pairs = _pairs(value)
            replicas[f"{pairs['ip']}:{pairs['port']}"] = (pairs["state"], int(pairs["offset"]))
    age = int(raw.get("master_last_io_seconds_ago", "-1"))
    offset = raw["master_repl_offset"] if role is Role.PRIMARY else raw.get("slave_repl_offset", "0")
    return Look(
        role=role,
        run_id=raw["run_id"],
        pid=int(raw["process_id"]),
        loading=raw.get("loading", "0") != "0",
        loading_percent=float(raw.get("loading_loaded_perc", "0")),
        replid=raw["master_replid"],
        replid2=raw["master_replid2"],
        offset=int(offset),
        upstream=(raw["master_host"], int(raw["master_port"])) if "master_host" in raw else None,
        link_up=raw.get("master_link_status") == "up",
        link_age_s=float(age) if age >= 0 else None,
        syncing=raw.get("master_sync_in_progress", "0") != "0",
        failover=raw.get("master_failover_state", "no-failover"),
        replicas=replicas,
        keys=sum(
            int(_pairs(value)["keys"]) for name, value in raw.items() if name.startswith("db") and "keys=" in value
        ),
        settled=raw.get("aof_enabled") == "1"
        and raw.get("aof_rewrite_in_progress") == "0"
        and raw.get("aof_rewrite_scheduled") == "0"
        and raw.get("aof_last_write_status") == "ok",
        aof_buffer=int(raw.get("aof_buffer_length", "0")),
    )


class _Line:
    """One connection and the lock that keeps its answers in order."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.lock = asyncio.Lock()
        self.used = False


def connection_to(host: str, port: int, user: str, password: str, timeout_s: float) -> Connection:
    """A connection that is not yet open. The library is loaded here, so that an agent without Valkey never does."""
    from valkey.asyncio.connection import Connection  # noqa: PLC0415  7 MB, see above

    return Connection(
        host=host,
        port=port,
        username=user,
        password=password,
        protocol=2,
        decode_responses=True,
        socket_connect_timeout=timeout_s,
        lib_name=None,
        lib_version=None,
    )


class Lines:
    """Admin connections, one for each local engine, opened at first use and kept between calls."""

    def __init__(self) -> None:
        self._lines: dict[tuple[str, int, str], _Line] = {}

    async def call(self, spec: MemberSpec, *words: str, timeout_s: float = CALL_S) -> Any:
        """Run one command as the admin user. A kept connection that turns out dead is opened anew once.

        Unreachable: nobody answered. Refused: wrong password. Conflict: the engine answered with an error.
        """
        key = (spec.address, spec.port, spec.admin_password)
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = _Line(
                connection_to(spec.address, spec.port, ADMIN_USER, spec.admin_password, timeout_s)
            )
        again = line.used
        try:
            return await self._ask(line, words, timeout_s)
        except (OSError, EOFError, TimeoutError) as error:
            await self._drop(key, line)
            if again and not isinstance(error, TimeoutError):
                return await self.call(spec, *words, timeout_s=timeout_s)
            raise Unreachable(
                f"{spec.member}: valkey-server at {spec.address}:{spec.port} does not answer ({_reason(error)})",
                "see whether its process runs, and the log beside its data directory",
            ) from None
        except asyncio.CancelledError:
            await self._drop(key, line)
            raise

    async def _ask(self, line: _Line, words: tuple[str, ...], timeout_s: float) -> Any:
        from valkey import exceptions as errors  # noqa: PLC0415  loaded late, with the library

        try:
            async with asyncio.timeout(timeout_s), line.lock:
                await line.connection.send_command(*words)
                line.used = True
                return await line.connection.read_response()
        except errors.TimeoutError:
            raise TimeoutError("timed out") from None
        except errors.AuthenticationError as error:
            raise Refused(f"valkey-server does not accept our password: {error}", "rebuild the member") from None
        except errors.BusyLoadingError:
            raise Conflict("valkey-server is loading its data set", "ask again") from None
        except errors.ConnectionError as error:
            raise ConnectionError(str(error)) from None
        except errors.ResponseError as error:
            raise Conflict(f"valkey-server answered {words[0]} with: {error}", "see its log") from None

    async def _drop(self, key: tuple[str, int, str], line: _Line) -> None:
        if self._lines.get(key) is line:
            del self._lines[key]
        await hang_up(line.connection)

    async def look(self, spec: MemberSpec, timeout_s: float = CALL_S) -> Look:
        """INFO, parsed."""
        words = ("INFO", "server", "replication", "persistence", "keyspace")
        return parse_info(await self.call(spec, *words, timeout_s=timeout_s))

    async def close(self) -> None:
        for key, line in list(self._lines.items()):
            await self._drop(key, line)


async def hang_up(connection: Connection) -> None:
    """Close without waiting for the peer."""
    with contextlib.suppress(Exception):
        await connection.disconnect(nowait=True)


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__
