"""A bank: money moves between accounts, and its total must never change. `python -m herder.lab.bank` moves it.

Each transfer is one transaction of several statements (Valkey: MULTI), which also notes itself in a journal; so every
account must hold what it began with and what the journal says since, on whichever member one looks and at any moment. Acknowledged
transfers are kept outside the database as the writer's are, and must be in the journal once.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import psycopg
import valkey
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from herder.lab.writer import (
    ABANDON_S,
    Abandoned,
    Book,
    PostgresSession,
    Session,
    UrlWatch,
    ValkeySession,
    connect_postgres,
    connect_valkey,
    orders,
    write_steadily,
)

ACCOUNTS = 40
EACH = 1_000
"""So the total is 40,000. Few accounts: that transfers meet each other is wanted."""

MOST = 50
"""Moved at once, at most; an account may be overdrawn."""

ACCOUNT, JOURNAL = "herder_bank_account", "herder_bank_journal"

LOOK_S = 5.0
"""Seconds a look at the total may take."""

_OPEN = f"""
CREATE TABLE IF NOT EXISTS {ACCOUNT} (id int PRIMARY KEY, balance bigint NOT NULL);
CREATE TABLE IF NOT EXISTS {JOURNAL} (id bigint NOT NULL, debit int NOT NULL, credit int NOT NULL, amount bigint NOT NULL);
INSERT INTO {ACCOUNT} SELECT n, {EACH} FROM generate_series(0, {ACCOUNTS - 1}) n ON CONFLICT DO NOTHING
"""  # noqa: S608  names and numbers of ours

_AUDIT = f"""
WITH moved AS (
    SELECT id, sum(amount) AS amount FROM (
        SELECT credit AS id, amount FROM {JOURNAL} UNION ALL SELECT debit, -amount FROM {JOURNAL}
    ) AS sides GROUP BY id
)
SELECT count(*), coalesce(sum(balance), 0), count(*) FILTER (WHERE balance <> {EACH} + coalesce(amount, 0))
FROM {ACCOUNT} LEFT JOIN moved USING (id)
"""  # noqa: S608  one statement, so one snapshot


@dataclass(frozen=True, slots=True)
class Total:
    """What one member holds. astray: accounts that do not hold what the journal says."""

    accounts: int
    total: int
    astray: int

    @property
    def right(self) -> bool:
        """A member that has not heard of the bank yet has nothing wrong either."""
        return self.accounts == 0 or (self.accounts, self.total, self.astray) == (ACCOUNTS, ACCOUNTS * EACH, 0)


class Unread(Exception):
    """The member does not answer, or loads its data just now."""


# --- looking at it ------------------------------------------------------------------------------------------------


def member_url(service: Mapping[str, Any], member: Mapping[str, Any]) -> str:
    """The URL of one member of a service, as `show`."""
    if service["engine"] == "postgres":
        given = conninfo_to_dict(service["url"])
        kept = {name: given[name] for name in ("user", "password", "dbname")}
        return make_conninfo("", host=member["address"], port=member["port"], **kept)
    parts = urlsplit(service["url"])
    user, password = quote(unquote(parts.username or "")), quote(unquote(parts.password or ""))
    return f"valkey://{user}:{password}@{member['address']}:{member['port']}/0"


def read_total(engine: str, url: str) -> Total:
    """One consistent look. Raises Unread."""
    try:
        return _postgres_total(url) if engine == "postgres" else _valkey_total(url)
    except (psycopg.Error, valkey.ValkeyError, OSError) as error:
        raise Unread(str(error)) from error


def _postgres_total(url: str) -> Total:
    options = f"-c statement_timeout={int(LOOK_S * 1000)}"
    with psycopg.connect(make_conninfo(url, connect_timeout=2, options=options), autocommit=True) as connection:
        known = connection.execute("SELECT to_regclass(%s), to_regclass(%s)", [ACCOUNT, JOURNAL]).fetchone()
        if known is None or None in known:
            return Total(0, 0, 0)
        found = connection.execute(_AUDIT).fetchone()
        assert found is not None
        return Total(int(found[0]), int(found[1]), int(found[2]))


def _valkey_total(url: str) -> Total:
    with contextlib.closing(valkey.Valkey.from_url(url, socket_timeout=LOOK_S, socket_connect_timeout=2)) as client:
        both: Any = client.pipeline(transaction=True)
        both.hgetall(ACCOUNT)
        both.lrange(JOURNAL, 0, -1)
        held, journal = both.execute()
    expected = dict.fromkeys(range(ACCOUNTS), EACH)
    for line in journal:
        _, debit, credit, amount = map(int, line.split(b":"))
        expected[debit] -= amount
        expected[credit] += amount
    balances = {int(account): int(balance) for account, balance in held.items()}
    return Total(len(balances), sum(balances.values()), sum(expected[a] != held_ for a, held_ in balances.items()))


def journal(engine: str, url: str) -> list[int]:
    """The id of every transfer in the journal, as often as it is there."""
    if engine == "postgres":
        with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
            return [row[0] for row in connection.execute(f"SELECT id FROM {JOURNAL}").fetchall()]  # noqa: S608
    with contextlib.closing(valkey.Valkey.from_url(url, socket_timeout=10, socket_connect_timeout=5)) as client:
        lines: Any = client.lrange(JOURNAL, 0, -1)
        return [int(line.split(b":")[0]) for line in lines]


# --- moving money -------------------------------------------------------------------------------------------------

Draw = Callable[[], tuple[int, int, int]]
"""Debit, credit, amount of the next transfer."""


def draws(seed: str) -> Draw:
    """Two different accounts each time."""
    chance = random.Random(seed)

    def draw() -> tuple[int, int, int]:
        debit, credit = chance.sample(range(ACCOUNTS), 2)
        return debit, credit, chance.randint(1, MOST)

    return draw


class PostgresTeller:
    """Transfers over one connection. A statement without an answer leaves the transfer unknown, and the session is over."""

    def __init__(self, session: PostgresSession, draw: Draw) -> None:
        self._session = session
        self._draw = draw

    def write(self, ident: int) -> None:
        """One transfer, committed. Raises Abandoned."""
        debit, credit, amount = self._draw()
        ask = self._session.ask
        ask("BEGIN", [])
        ask(f"UPDATE {ACCOUNT} SET balance = balance - $1 WHERE id = $2", _values(amount, debit))  # noqa: S608
        ask(f"UPDATE {ACCOUNT} SET balance = balance + $1 WHERE id = $2", _values(amount, credit))  # noqa: S608
        ask(f"INSERT INTO {JOURNAL} VALUES ($1, $2, $3, $4)", _values(ident, debit, credit, amount))  # noqa: S608
        said = ask("COMMIT", []).command_status
        if said != b"COMMIT":  # of a transaction that has failed it says ROLLBACK, and no error
            raise Abandoned(f"the commit was answered with {said!r}")

    def close(self) -> None:
        self._session.close()


def _values(*numbers: int) -> list[bytes]:
    return [b"%d" % number for number in numbers]


class ValkeyTeller:
    """Transfers over one connection to one Valkey."""

    def __init__(self, session: ValkeySession, draw: Draw) -> None:
        self._session = session
        self._draw = draw

    def write(self, ident: int) -> None:
        """One transfer. Raises Abandoned."""
        debit, credit, amount = self._draw()

        def transfer(both: Any) -> None:
            both.hincrby(ACCOUNT, debit, -amount)
            both.hincrby(ACCOUNT, credit, amount)
            both.rpush(JOURNAL, f"{ident}:{debit}:{credit}:{amount}")

        self._session.together(transfer)

    def close(self) -> None:
        self._session.close()


def open_accounts(order: Mapping[str, Any]) -> None:
    """Open what is missing, by the service's own URL."""
    if order["engine"] == "postgres":
        with psycopg.connect(order["url"], autocommit=True, connect_timeout=5) as connection:
            connection.execute(_OPEN)  # several statements and no parameters: one transaction
        return
    with contextlib.closing(valkey.Valkey.from_url(order["url"], socket_timeout=5)) as client:
        together: Any = client.pipeline(transaction=True)
        for account in range(ACCOUNTS):
            together.hsetnx(ACCOUNT, str(account), str(EACH))
        together.execute()


def main() -> None:
    """The process."""
    order, stop = orders()
    open_accounts(order)
    draw = draws(order["tag"])
    book = Book(order["ledger"])
    watch = None if order["engine"] == "postgres" else UrlWatch(Path(order["socket"]), order["name"], order["url"])
    used = [order["url"]]

    def connect() -> Session:
        if watch is None:
            return PostgresTeller(connect_postgres(order["url"], order["tag"]), draw)
        used[0] = watch.url
        return ValkeyTeller(connect_valkey(used[0], order["tag"], ABANDON_S), draw)

    write_steadily(
        connect, book, every_s=order["every_s"], stop=stop,
        stale=lambda: watch is not None and used[0] != watch.url,
    )  # fmt: skip


if __name__ == "__main__":
    main()
