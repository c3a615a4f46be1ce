"""The writing client as a process of its own: `python -m herder.lab.writer`, its orders as a line of JSON on stdin.

About 200 single-row commits a second, each with an id that is never used twice and in a table without a unique
constraint, so that a doubled write would show. A statement is abandoned after a second; what was not acknowledged is
*unknown* and is tried again as another write. It ends when its stdin does.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import psycopg
import valkey
from psycopg import pq
from psycopg.conninfo import make_conninfo
from valkey.backoff import NoBackoff
from valkey.retry import Retry

from herder.directory import socket_address

ABANDON_S = 1.0
"""Seconds after which the client gives a statement up. `tcp_user_timeout` does not: the kernel of a frozen host still
acknowledges what its process will not read."""

RECONNECT_S = 0.01
"""Seconds between two tries to connect."""

TABLE = "herder_ledger"

_INSERT = f"INSERT INTO {TABLE} (id, writer) VALUES ($1, $2)"  # noqa: S608  a name of ours


class Abandoned(Exception):
    """No acknowledgement was seen: it may have been written or not."""


class NotSent(Abandoned):
    """It was not even tried."""


class Session(Protocol):
    """A connection that writes. Every failure is Abandoned, after which the session is of no more use."""

    def write(self, ident: int) -> None:
        """One acknowledged write."""

    def close(self) -> None:
        """Drop the connection without a word."""


class Book:
    """The ledger's file: a line at a time, appended by one write(2), so that a killed process leaves whole lines."""

    def __init__(self, path: str) -> None:
        self._handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def enter(self, kind: str, ident: int, sent: float, who: str) -> None:
        """kind: 'A' acknowledged, 'U' unknown; the time is now."""
        os.write(self._handle, f"{kind}\t{ident}\t{sent:.6f}\t{time.monotonic():.6f}\t{who}\n".encode("ascii"))


# --- PostgreSQL ---------------------------------------------------------------------------------------------------


class PostgresSession:
    """One connection of libpq; statements go over its asynchronous calls, because only there can one be given up."""

    def __init__(self, connection: pq.abc.PGconn, tag: str, abandon_s: float, owner: object = None) -> None:
        self._connection = connection
        self._owner = owner  # psycopg closes a connection that is collected as garbage
        self._tag = tag.encode()
        self._abandon_s = abandon_s

    def write(self, ident: int) -> None:
        self.ask(_INSERT, [b"%d" % ident, self._tag])

    def ask(self, sql: str, values: list[Any]) -> pq.abc.PGresult:
        """The result of one statement. Raises Abandoned for whatever is not its success."""
        give_up = time.monotonic() + self._abandon_s
        connection = self._connection
        try:
            connection.send_query_params(sql.encode(), values)
            while connection.flush():
                _await(connection.socket, select.POLLOUT | select.POLLIN, give_up)
            found = None
            while True:
                while connection.is_busy():
                    _await(connection.socket, select.POLLIN, give_up)
                    connection.consume_input()
                result = connection.get_result()
                if result is None:
                    break
                found = result
        except psycopg.Error as error:
            raise Abandoned(str(error)) from error
        if found is None or found.status not in (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK):
            raise Abandoned(found.error_message.decode(errors="replace") if found is not None else "no result")
        return found

    def close(self) -> None:
        # Shut before libpq says goodbye: nothing may be waited for here.
        with (
            contextlib.suppress(OSError, psycopg.Error),
            socket.socket(fileno=os.dup(self._connection.socket)) as twin,
        ):
            twin.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(psycopg.Error):
            self._connection.finish()


def _await(handle: int, events: int, give_up: float) -> None:
    poll = select.poll()
    poll.register(handle, events)
    if not poll.poll(max(give_up - time.monotonic(), 0) * 1000):
        raise Abandoned("no answer in time")


def connect_postgres(url: str, tag: str) -> PostgresSession:
    """As a user's program would: psycopg, the URL as given, connect_timeout=1. Raises Abandoned."""
    try:
        connection = psycopg.connect(make_conninfo(url, connect_timeout=1), autocommit=True)
    except psycopg.Error as error:
        raise Abandoned(str(error)) from error
    connection.pgconn.nonblocking = 1
    return PostgresSession(connection.pgconn, tag, ABANDON_S, owner=connection)


# --- Valkey -------------------------------------------------------------------------------------------------------


class ValkeySession:
    """One connection to one Valkey; ids are pushed on a list, so that a doubled one shows."""

    def __init__(self, client: valkey.Valkey, tag: str) -> None:
        self._client = client
        self._key = f"{TABLE}:{tag}"

    def write(self, ident: int) -> None:
        with _named_failures():
            self._client.rpush(self._key, ident)

    def write_told(self, ident: int) -> str:
        """As `write`; returns the replication id under which it was written, read in the same transaction."""

        def told(both: Any) -> None:
            both.rpush(self._key, ident)
            both.info("replication")

        return str(self.together(told)[1]["master_replid"])

    def together(self, ask: Callable[[Any], None]) -> list[Any]:
        """The answers of the commands that `ask` gives a pipeline: all of them are done, or none is."""
        with _named_failures():
            both: Any = self._client.pipeline(transaction=True)
            ask(both)
            answers: list[Any] = both.execute()
            return answers

    def close(self) -> None:
        with contextlib.suppress(valkey.ValkeyError, OSError):
            self._client.close()  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def _named_failures() -> Iterator[None]:
    try:
        yield
    except valkey.ResponseError as error:
        raise NotSent(str(error)) from error  # refused, in words: it was not done
    except (valkey.ValkeyError, OSError) as error:
        raise Abandoned(str(error)) from error


def connect_valkey(url: str, tag: str, timeout_s: float) -> ValkeySession:
    """Connects and answers may take `timeout_s` each, and nothing is tried twice. Raises NotSent."""
    try:
        client = valkey.Valkey.from_url(
            url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, retry=Retry(NoBackoff(), 0),
            retry_on_timeout=False, single_connection_client=True,
        )  # fmt: skip
    except (valkey.ValkeyError, OSError) as error:
        raise NotSent(str(error)) from error
    return ValkeySession(client, tag)


class UrlWatch:
    """Follows `/v1/services/NAME/watch-url`, as `herder watch-url NAME` does; keeps the last URL while nobody answers."""

    def __init__(self, socket_path: Path, name: str, url: str) -> None:
        self.url = url
        self._path = socket_path
        self._name = name
        threading.Thread(target=self._follow, daemon=True, name="watch-url").start()

    def _follow(self) -> None:
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException, ValueError, KeyError):
                self._listen()
            time.sleep(0.05)

    def _listen(self) -> None:
        connection = http.client.HTTPConnection("herder")
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with socket_address(self._path) as address:
                connection.sock.connect(address)
            connection.request("GET", f"/v1/services/{self._name}/watch-url")
            answer = connection.getresponse()
            while answer.status == 200 and (line := answer.readline()):
                self.url = json.loads(line)["url"]
        finally:
            connection.close()


# --- the loop -----------------------------------------------------------------------------------------------------


def write_steadily(
    connect: Callable[[], Session], book: Book, *, every_s: float, stop: threading.Event, stale: Callable[[], bool]
) -> None:
    """Write until `stop`. stale: is the session's address no longer the one to write to?"""
    session: Session | None = None
    ident = 0
    due = time.monotonic()
    while not stop.is_set():
        if session is None or stale():
            if session is not None:
                session.close()
            session = _connected(connect)
            if session is None:
                stop.wait(RECONNECT_S)
                continue
        ident += 1
        sent = time.monotonic()
        try:
            session.write(ident)
        except Abandoned as error:
            if not isinstance(error, NotSent):
                book.enter("U", ident, sent, "")
            print(f"{sent:.3f} {ident}: {error}", file=sys.stderr, flush=True)
            session.close()
            session = None
            stop.wait(RECONNECT_S)
            continue
        book.enter("A", ident, sent, "")
        due = max(due + every_s, sent)  # what a fault held up is not made up for by a burst
        stop.wait(max(due - time.monotonic(), 0))
    if session is not None:
        session.close()


def _connected(connect: Callable[[], Session]) -> Session | None:
    try:
        return connect()
    except Abandoned:
        return None


def orders() -> tuple[dict[str, Any], threading.Event]:
    """What stdin says, and an event that is set when stdin ends: our owner wants no more, or is no more."""
    order: dict[str, Any] = json.loads(sys.stdin.buffer.readline())
    stop = threading.Event()

    def until_end() -> None:
        while os.read(0, 1024):
            pass
        stop.set()

    threading.Thread(target=until_end, daemon=True, name="stdin").start()
    return order, stop


def prepare(order: dict[str, Any]) -> None:
    """Make the table where it is missing."""
    if order["engine"] != "postgres":
        return
    with psycopg.connect(order["url"], autocommit=True, connect_timeout=5) as connection:
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS {TABLE}"
            "(id bigint NOT NULL, writer text NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp())"
        )


def present(engine: str, url: str, tag: str) -> list[int]:
    """Every id that the database has of one writer, as often as it has it."""
    if engine == "postgres":
        with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
            rows = connection.execute(f"SELECT id FROM {TABLE} WHERE writer = %s", [tag]).fetchall()  # noqa: S608
            return [row[0] for row in rows]
    with contextlib.closing(valkey.Valkey.from_url(url, socket_timeout=10, socket_connect_timeout=5)) as client:
        items: Any = client.lrange(f"{TABLE}:{tag}", 0, -1)  # typed as if it could be awaited
        return [int(item) for item in items]


def main() -> None:
    """The process."""
    order, stop = orders()
    prepare(order)
    book = Book(order["ledger"])
    if order["engine"] == "postgres":
        write_steadily(
            lambda: connect_postgres(order["url"], order["tag"]), book, every_s=order["every_s"], stop=stop,
            stale=lambda: False,
        )  # fmt: skip
        return
    watch = UrlWatch(Path(order["socket"]), order["name"], order["url"])
    used = [""]

    def connect() -> Session:
        used[0] = watch.url
        return connect_valkey(used[0], order["tag"], ABANDON_S)

    write_steadily(
        connect, book, every_s=order["every_s"], stop=stop, stale=lambda: used[0] != watch.url
    )  # fmt: skip


if __name__ == "__main__":
    main()
