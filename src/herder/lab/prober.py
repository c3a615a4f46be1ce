"""Probers as a process of their own, one thread for each member's address: which member acknowledges a write, and when?

A client's multi-host URL adds its own timeouts to a failover; these do not: each knows one address, abandons a connect
or a statement after 0.3 s, and commits a row every 20 ms wherever its member lets it.
"""

from __future__ import annotations

import contextlib
import select
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote, unquote, urlsplit

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from herder.lab.writer import (
    TABLE,
    Abandoned,
    Book,
    NotSent,
    PostgresSession,
    Session,
    ValkeySession,
    connect_valkey,
    orders,
    prepare,
)

ABANDON_S = 0.3
"""Seconds that a connect or a statement may take: long beside a commit, short beside the gaps that are to be seen."""

STANDBY_S = 0.01
"""Seconds between two looks whether a standby leads now. Asked, not tried: each refused write is a line in its log."""


_TENURE = f"INSERT INTO {TABLE} (id, writer) VALUES ($1, $2) RETURNING left(pg_walfile_name(pg_current_wal_lsn()), 8)"  # noqa: S608


class Standby(Exception):
    """It answers and takes no writes now."""


class Probing(Session, Protocol):
    """A session that also tells in which tenure its member acknowledges: the time in which one member leads."""

    def write_told(self, ident: int) -> str:
        """One acknowledged write; PostgreSQL's timeline or Valkey's replication id, which each promotion changes."""


class PostgresProbe:
    """A direct connection to one member, made without libpq's own minimum of 2 s."""

    def __init__(self, conninfo: str, tag: str) -> None:
        self._session = PostgresSession(_connect(conninfo, ABANDON_S), tag, ABANDON_S)
        self._tag = tag
        self._leads = False

    def write(self, ident: int) -> None:
        """Raises Standby while it is one, Abandoned for all else."""
        self._await_lead()
        self._session.write(ident)

    def write_told(self, ident: int) -> str:
        """As `write`; the timeline is read by the very statement that writes."""
        self._await_lead()
        told = self._session.ask(_TENURE, [b"%d" % ident, self._tag.encode()]).get_value(0, 0)
        return told.decode("ascii") if told is not None else ""

    def _await_lead(self) -> None:
        if not self._leads:
            try:
                answer = self._session.ask("SELECT pg_is_in_recovery()", []).get_value(0, 0)
            except Abandoned as error:
                raise NotSent(str(error)) from error
            if answer != b"f":
                raise Standby
            self._leads = True

    def close(self) -> None:
        self._session.close()


def _connect(conninfo: str, timeout_s: float) -> pq.abc.PGconn:
    give_up = time.monotonic() + timeout_s
    connection: pq.abc.PGconn = pq.PGconn.connect_start(conninfo.encode())
    status: int = pq.PollingStatus.WRITING
    poll = select.poll()
    while status != pq.PollingStatus.OK:
        if status == pq.PollingStatus.FAILED or connection.status == pq.ConnStatus.BAD:
            raise Abandoned(connection.error_message.decode(errors="replace"))
        handle = connection.socket
        poll.register(handle, select.POLLIN if status == pq.PollingStatus.READING else select.POLLOUT)
        answered = poll.poll(max(give_up - time.monotonic(), 0) * 1000)
        with contextlib.suppress(KeyError):
            poll.unregister(handle)
        if not answered:
            connection.finish()
            raise Abandoned("no connection in time")
        status = connection.connect_poll()
    connection.nonblocking = 1
    return connection


class ValkeyProbe:
    """A direct connection to one Valkey."""

    def __init__(self, url: str, tag: str) -> None:
        self._session: ValkeySession = connect_valkey(url, tag, ABANDON_S)

    def write(self, ident: int) -> None:
        """Raises Standby from a replica, Abandoned for all else."""
        try:
            self._session.write(ident)
        except Abandoned as error:
            if "read only replica" in str(error):
                raise Standby from error
            raise

    def write_told(self, ident: int) -> str:
        """As `write`; the replication id is read in the same transaction."""
        try:
            return self._session.write_told(ident)
        except Abandoned as error:
            if "read only replica" in str(error):
                raise Standby from error
            raise

    def close(self) -> None:
        self._session.close()


@dataclass(frozen=True, slots=True)
class Pace:
    """every_s: seconds between writes. standby_s: between looks at a standby. tenures: are they written down too?"""

    every_s: float
    standby_s: float = STANDBY_S
    tenures: bool = False


def probe(connect: Callable[[], Probing], first: int, who: str, book: Book, pace: Pace, stop: threading.Event) -> None:
    """Write as `who` wherever it lets us, until `stop`. Ids from `first` on, so that no two probers share one."""
    session: Probing | None = None
    ident = first
    while not stop.is_set():
        began = time.monotonic()
        pause = pace.every_s
        try:
            if session is None:
                session = connect()
            ident += 1
            sent = time.monotonic()
            if pace.tenures:
                book.enter("A", ident, sent, f"{who}@{session.write_told(ident)}")
            else:
                session.write(ident)
                book.enter("A", ident, sent, who)
        except Standby:
            pause = pace.standby_s
        except (Abandoned, psycopg.Error) as error:
            if session is not None:
                if not isinstance(error, NotSent):
                    book.enter("U", ident, began, who)
                session.close()
                session = None
        stop.wait(max(began + pause - time.monotonic(), 0.001))
    if session is not None:
        session.close()


def main() -> None:
    """The process."""
    order, stop = orders()
    prepare(order)
    book = Book(order["ledger"])
    pace = Pace(order["every_s"], order.get("standby_s", STANDBY_S), order.get("tenures", False))
    threads = []
    for number, (member, address, port) in enumerate(order["members"]):
        connect = _connector(order, address, port)
        arguments = (connect, (number + 1) * 1_000_000_000, member, book, pace, stop)
        threads.append(threading.Thread(target=probe, args=arguments, name=member))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _connector(order: dict[str, Any], address: str, port: int) -> Callable[[], Probing]:
    tag = order["tag"]
    if order["engine"] == "postgres":
        given = conninfo_to_dict(order["url"])
        kept = {name: given[name] for name in ("user", "password", "dbname")}
        conninfo = make_conninfo("", host=address, port=port, **kept)
        return lambda: PostgresProbe(conninfo, tag)
    parts = urlsplit(order["url"])
    user, password = quote(unquote(parts.username or "")), quote(unquote(parts.password or ""))
    url = f"valkey://{user}:{password}@{address}:{port}/0"
    return lambda: ValkeyProbe(url, tag)


if __name__ == "__main__":
    main()
