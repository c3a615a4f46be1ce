"""What the acceptance tests share: a service that is looked at from outside, its log since a moment, and the real CLI.

Nothing here knows how herder heals; it asks what anybody may ask (the API, the CLI, /proc) and waits under a deadline.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import psycopg
import pytest
import valkey
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from herder.cli.urls import find_psql
from herder.directory import socket_address
from herder.lab.ledger import Ledger, Report
from herder.lab.rig import Rig
from herder.lab.story import is_of, well
from herder.model.errors import TimedOut, Unreachable
from herder.providers import procs

Facts = dict[str, Any]
T = TypeVar("T")

WELL_S = 60.0
"""Seconds a service may take until it could stand the next fault: two cores are shared with all that is measured."""

LOOK_S = 0.05
"""Seconds between looks, each of which costs herder and its engines some milliseconds of two cores that all share."""

NOTICED_S = 2.0
"""A writer that waits longer than this was held up; shorter ones happen on two cores that all share."""

EVERY_S = 0.01
"""Seconds between a writer's writes."""


def needs_root(test: T) -> T:
    """Mark a test or a class of them."""
    may = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk, and being somebody else, need root")
    return pytest.mark.needs_root(may(test))


def needs_netns(test: T) -> T:
    """Mark a test or a class of them."""
    lacks = os.geteuid() != 0 or shutil.which("ip") is None
    why = "a cable can only be pulled where servers are network namespaces: needs root and iproute2"
    return pytest.mark.needs_netns(pytest.mark.skipif(lacks, reason=why)(test))


class Whole(Rig):
    """A rig that looks once at each process: between two looks a backend of an engine may begin, and is not herder's own."""

    def _own_servers(self, among: Iterable[int] | None = None) -> list[int]:
        servers = f"{self.path / 'servers'}/"
        watchdog = self._watchdog.pid if self._watchdog is not None else 0
        inside = {pid: _cwd(pid) for pid in procs.working_under(self.path, among) if pid != watchdog}
        own = [pid for pid, cwd in inside.items() if cwd and not cwd.startswith(servers)]
        everybody = map(int, filter(str.isdigit, os.listdir("/proc"))) if among is None else among
        nats = [pid for pid in everybody if self._is_nats(pid)]
        return [pid for pid in {*own, *nats} if procs.start_ticks(pid) is not None]

    def kill_control_plane(self, *, everything: bool) -> float:
        """And until the store's first process is buried: the next one takes a zombie's lock for a living one's.

        That is a fault of its own, with a test of its own in test_store.py.
        """
        gone = super().kill_control_plane(everything=everything)
        if everything:
            lock = self.path / "store" / "run" / ".s.PGSQL.5432.lock"
            first = int(lock.read_text().split()[0]) if lock.exists() else 0
            until(lambda: not Path(f"/proc/{first}").exists() or runs(first), "the killed store is buried")
        return gone

    def _is_nats(self, pid: int) -> bool:
        words = procs.command_line(pid)
        return bool(words) and "nats-server" in words[0] and any(str(self.path) in word for word in words)


def _cwd(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return ""


# --- waiting ------------------------------------------------------------------------------------------------------


def until(true: Callable[[], T], what: str, timeout_s: float = 30.0) -> T:
    """The first answer that is true. A control plane that is away meanwhile has not answered."""
    give_up = time.monotonic() + timeout_s
    while True:
        with suppress(Unreachable, TimedOut):
            if answer := true():
                return answer
        if time.monotonic() > give_up:
            raise AssertionError(f"never came within {timeout_s:g} s: {what}")
        threading.Event().wait(LOOK_S)


def last_until(at: float) -> None:
    """How long a fault lasts is part of the fault."""
    threading.Event().wait(max(at - time.monotonic(), 0.0))


def until_well(rig: Rig, name: str, timeout_s: float = WELL_S) -> Facts:
    """Until the service could stand the next fault: all members serve and are enrolled, their servers run, and every
    standby says itself that it follows (herder's word is not taken for it).
    """

    seen: list[Facts] = []

    def is_well() -> Facts | None:
        shown, servers = rig.show(name), {server["id"]: server for server in rig.servers()}
        seen[:] = [shown]
        return shown if well(shown, servers) and not _astray(shown) else None

    try:
        return until(is_well, f"{name} is well", timeout_s)
    except AssertionError as error:
        astray = [_astray(shown) for shown in seen]
        raise AssertionError(f"{error}; {seen}; astray: {astray}\n{told(moves(rig, name)[-40:])}") from None


def _astray(service: Facts) -> list[str]:
    """Members that should follow and do not, or cannot be asked."""
    found = []
    for member in service["members"]:
        try:
            follows = member["role"] == "primary" or _follows(service, member)
        except (psycopg.Error, valkey.ValkeyError) as error:
            found.append(f"{member['id']}: {error}")
        else:
            found += [] if follows else [str(member["id"])]
    return found


def _follows(service: Facts, member: Facts) -> bool:
    if service["engine"] == "postgres":
        return bool(query(service, "SELECT 1 FROM pg_stat_wal_receiver WHERE pid IS NOT NULL", member))
    return replication(service, member)["master_link_status"] == "up"


def replication(service: Facts, member: Facts) -> Facts:
    """What a Valkey says of its replication."""
    password = unquote(urlsplit(service["url"]).password or "")
    where = {"host": member["address"], "port": member["port"], "username": "app", "password": password}
    with closing(valkey.Valkey(**where, socket_timeout=2, socket_connect_timeout=2)) as client:
        found: Any = client.info("replication")
    return dict(found)


# --- looking ------------------------------------------------------------------------------------------------------


def last_seq(rig: Rig) -> int:
    """The last record of the log."""
    return max((event["seq"] for event in rig.events(limit=1)), default=0)


def moves(rig: Rig, name: str, since: int = 0) -> list[Facts]:
    """What the log says of a service, its members, their servers and its playbooks after a record."""
    service = rig.show(name)
    return [event for event in rig.events(limit=2000) if event["seq"] > since and is_of(event, service)]


def told(events: list[Facts]) -> str:
    """Moves as lines, for a test that fails."""
    return "\n".join(
        f"{event['seq']} {event['kind']} {event['name']}: {event['source']} -{event['event']}-> {event['target']} "
        f"({event['why']})"
        for event in events
    )


def happened(events: list[Facts], kind: str, event: str) -> list[Facts]:
    """The moves of that kind of machine by that event."""
    return [move for move in events if (move["kind"], move["event"]) == (kind, event)]


def page(rig: Rig, name: str, reason: str, state: str = "open") -> Facts | None:
    """A page about the service for that reason, in that state."""
    pages: list[Facts] = rig.api("GET", "/v1/pages")
    found = (p for p in pages if (p["subject"], p["reason"], p["state"]) == (name, reason, state))
    return next(found, None)


def pids(rig: Rig, name: str) -> dict[str, int]:
    """The engine of each member, once all are known."""

    def known() -> dict[str, int]:
        found = {member["id"]: member["pid"] for member in rig.show(name)["members"]}
        return found if all(found.values()) else {}

    return until(known, f"the engines of {name} are known")


def primary_of(rig: Rig, name: str) -> tuple[Facts, Facts]:
    """The primary and the server that it runs on."""
    member = rig.member(name, "primary")
    return member, rig.server_of(member)


def standby_of(rig: Rig, name: str) -> tuple[Facts, Facts]:
    """One standby and the server that it runs on."""
    member = rig.member(name, "standby")
    return member, rig.server_of(member)


def runs(pid: int) -> bool:
    """Is it a process (a zombie is none)?"""
    return procs.start_ticks(pid) is not None


def diverged(member: Facts) -> list[Path]:
    """Directories in which a member's divergent log is kept beside its data."""
    data = Path(member["data_dir"])
    return [path for path in data.parent.glob(f"{data.name}.diverged-*") if any(path.iterdir())]


class Eye:
    """Sees what a service is doing a few hundred times a second: one connection, kept open."""

    def __init__(self, rig: Rig, name: str) -> None:
        self._connection = http.client.HTTPConnection("herder", timeout=5.0)
        self._connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with socket_address(rig.files.socket) as address:
            self._connection.sock.connect(address)
        self._route = f"/v1/services/{name}"

    def doing(self) -> str:
        """The playbook that holds the service and its step."""
        self._connection.request("GET", self._route)
        shown = json.loads(self._connection.getresponse().read())
        return str(shown["doing"])

    def until_doing(self, *wanted: str, timeout_s: float = 20.0) -> str:
        """As soon as one of these is under way."""
        give_up = time.monotonic() + timeout_s
        while (found := self.doing()) not in wanted:
            assert time.monotonic() < give_up, f"never seen doing {' or '.join(wanted)}; at last: {found or 'nothing'}"
        return found

    def close(self) -> None:
        """Let go."""
        self._connection.close()


# --- writing ------------------------------------------------------------------------------------------------------


@dataclass
class Account:
    """A writer's ledger, and what it and the database say when the writing is over."""

    ledger: Ledger
    report: Report | None = None

    @property
    def kept(self) -> Report:
        """What came of it; known after the writing."""
        assert self.report is not None, "the account is made when the writing has ended"
        return self.report


@contextmanager
def writing(rig: Rig, name: str, directory: Path) -> Iterator[Account]:
    """A steady writer and a prober for each member; at the end the account of the time in between."""
    account = Account(Ledger(rig.show(name), rig.files.socket, directory, every_s=EVERY_S))
    account.ledger.start()
    began = time.monotonic()
    try:
        yield account
    finally:
        account.ledger.stop()
    account.report = account.ledger.report(began, time.monotonic(), rig.show(name)["url"])


def writes_again(rig: Rig, name: str, account: Account, after: float, timeout_s: float = 30.0) -> None:
    """A write that was sent after that time is acknowledged."""
    try:
        account.ledger.await_write(after, timeout_s)
    except TimedOut as error:
        raise AssertionError(f"{error.message}\n{told(moves(rig, name)[-40:])}\n{rig.status()}") from None


def nothing_lost(account: Account) -> None:
    """The promise of premium: everything acknowledged is there, once, and nobody acknowledged behind its successor."""
    kept = account.kept
    assert kept.acked > 0
    assert (kept.lost, kept.doubled, kept.by_two) == (0, 0, 0), kept


def not_held_up(account: Account) -> None:
    """No writer noticed anything."""
    kept = account.kept
    assert kept.gap_s is not None
    assert kept.gap_s < NOTICED_S, f"writes stood still for {kept.gap_s:.2f} s"


def query(service: Facts, statement: str, member: Facts | None = None) -> list[tuple[Any, ...]]:
    """Rows of a statement through the service's URL, or from one member."""
    url = make_conninfo(service["url"], connect_timeout=5)
    if member is not None:
        given = conninfo_to_dict(service["url"])
        kept = {key: given[key] for key in ("user", "password", "dbname")}
        url = make_conninfo("", host=member["address"], port=member["port"], connect_timeout=5, **kept)
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def insider(service: Facts, member: Facts, server: Facts, statement: str) -> subprocess.Popen[str]:
    """psql on the very server of a member: a client that a pulled cable does not cut off."""
    given = conninfo_to_dict(service["url"])
    where = make_conninfo("", host=member["address"], port=member["port"], user=given["user"], dbname=given["dbname"])
    return subprocess.Popen(
        ["ip", "netns", "exec", server["namespace"], str(find_psql()), where, "-X", "-c", statement],
        env=os.environ | {"PGPASSWORD": str(given["password"]), "PGCONNECT_TIMEOUT": "5"},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


# --- the command line ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """stdout of a command that was asked for JSON."""
        assert self.code == 0, self
        return json.loads(self.out)

    @property
    def error(self) -> Facts:
        """stderr of a command that failed and was asked for JSON."""
        assert self.code != 0, self
        found: Facts = json.loads(self.err.splitlines()[-1])
        return found


def herder(rig: Rig, *words: str, timeout_s: float = 90.0) -> Said:
    """The real command line, as a person types it."""
    words, rest = (words[: words.index("--")], words[words.index("--") :]) if "--" in words else (words, ())
    done = subprocess.run(
        [sys.executable, "-m", "herder.cli.main", *words, f"--dir={rig.path}", *rest],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s, check=False,
    )  # fmt: skip
    return Said(done.returncode, done.stdout, done.stderr)
