"""The lease on real processes: nothing can fence the old primary, and it has stopped by itself before another leads.

Without the lease (`on_isolation=serve`) nobody is promoted there: tests/acceptance/test_standard.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from herder.lab import faults
from herder.lab.rig import Rig
from herder.providers import procs
from tests.acceptance.conftest import SETTINGS, Stable
from tests.acceptance.stage import (
    Facts,
    happened,
    herder,
    last_seq,
    last_until,
    moves,
    needs_netns,
    primary_of,
    query,
    runs,
    standby_of,
    told,
    until,
    until_well,
)

pytestmark = pytest.mark.slow

LEASE_S = 3.0
WAIT_S = LEASE_S + 2.0
"""What a failover waits: the lease, the clocks' skew and one second."""

LATE_S = 1.5
"""What two busy cores may add to a wait."""

THAW_WINDOW_S = 0.25
"""Decision 6 states 50 ms, measured with other work on both cores; here a test run of any machine must pass."""

INSIDE = """
import sys, time, psycopg
with psycopg.connect(sys.argv[1], autocommit=True) as connection:
    while True:
        sent = time.monotonic()
        connection.execute("INSERT INTO inside VALUES (1)")
        print(sent, time.monotonic(), flush=True)
"""


@pytest.fixture(scope="module")
def leasing() -> Iterator[Rig]:
    """A herder whose provider may not fence and whose owner wants an isolated primary to stop."""
    with Rig(SETTINGS | {"fencing": "false", "on_isolation": "stop", "lease_s": f"{LEASE_S:g}"}) as rig:
        yield rig


def given(rig: Rig, stable: Stable, engine: str) -> Facts:
    """A standard service that is well and whose primary is under its lease."""
    name = stable.give(rig, engine, "standard")["name"]
    until(lambda: rig.member(name, "primary")["leased"], "the primary is under its lease")
    return rig.show(name)


def address_of(service: Facts, member: Facts) -> str:
    """libpq's words for one member."""
    known = conninfo_to_dict(service["url"])
    kept = {key: known[key] for key in ("user", "password", "dbname")}
    return make_conninfo("", host=member["address"], port=member["port"], connect_timeout=5, **kept)


@contextmanager
def inside(service: Facts, member: Facts, server: Facts) -> Iterator[list[tuple[float, float]]]:
    """A client on the primary's own server, which no pulled cable cuts off; when its writes were sent and acknowledged."""
    query(service, "CREATE TABLE IF NOT EXISTS inside (number int)")
    words = ["ip", "netns", "exec", server["namespace"], sys.executable, "-c", INSIDE, address_of(service, member)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=os.environ)
    acks: list[tuple[float, float]] = []
    assert process.stdout is not None
    lines = process.stdout

    def enter(line: str) -> None:
        sent, seen = map(float, line.split())
        acks.append((sent, seen))

    def read() -> None:
        for line in lines:
            enter(line)

    reader = threading.Thread(target=read)
    enter(lines.readline())
    reader.start()
    try:
        yield acks
    finally:
        process.kill()
        process.wait()
        reader.join()
        lines.close()


class Client(threading.Thread):
    """Writes to one member as fast as it answers, patiently, until the connection ends; (sent, acknowledged) times."""

    def __init__(self, service: Facts, member: Facts) -> None:
        super().__init__(daemon=True)
        self._where = address_of(service, member)
        self.acks: list[tuple[float, float]] = []
        self.error = ""

    def run(self) -> None:
        try:
            with psycopg.connect(self._where, autocommit=True) as connection:
                while True:
                    sent = time.monotonic()
                    connection.execute("INSERT INTO inside VALUES (2)")
                    self.acks.append((sent, time.monotonic()))
        except psycopg.Error as error:
            self.error = str(error)


def waited_s(events: list[Facts]) -> float:
    """Between 'nothing can fence it' and 'the lease is over', by the log."""
    begun, over = happened(events, "failover", "unconfirmed"), happened(events, "failover", "lease_over")
    assert len(begun) == len(over) == 1, told(events)
    return float(over[0]["at_ms"] - begun[0]["at_ms"]) / 1000


def first_write(service: Facts, old: str, timeout_s: float = 30.0) -> float:
    """When the member that was not the primary first acknowledged a write."""
    other = next(member for member in service["members"] if member["id"] != old)

    def wrote() -> float:
        try:
            query(service, "INSERT INTO inside VALUES (3)", other)
        except psycopg.Error:
            return 0.0
        return time.monotonic()

    return until(wrote, f"{other['id']} takes writes", timeout_s)


@needs_netns
def test_cut_off_it_stops_by_itself_and_only_then_another_leads(leasing: Rig, stable: Stable):
    service, since = given(leasing, stable, "postgres"), last_seq(leasing)
    name = service["name"]
    old, server = primary_of(leasing, name)
    with inside(service, old, server) as acks:
        began = faults.silence(server)
        try:
            until(lambda: not runs(old["pid"]), "the cut-off primary is stopped")
            stopped = time.monotonic()
            new_ack = first_write(service, old["id"])
        finally:
            faults.unsilence(server)
    after, events = until_well(leasing, name), moves(leasing, name, since)
    sent, acked = acks[-1]
    assert sent > began, "cut off, it served whoever reached it"
    assert stopped - began < LEASE_S + LATE_S
    # Sent, not seen: on a busy machine a client reads an answer some milliseconds after its server is gone.
    assert sent <= stopped < new_ack, "nothing is acknowledged by one that is stopped"
    assert acked < new_ack, "S1: nothing was acknowledged by two"
    assert WAIT_S <= waited_s(events) < WAIT_S + LATE_S, told(events)
    assert leasing.member(name, old["id"])["role"] == "standby"
    assert not happened(events, "server", "fenced"), told(events)
    assert query(after, "SELECT count(*) FROM inside WHERE number = 3")[0][0] >= 1


@needs_netns
def test_frozen_and_thawed_it_acknowledges_no_longer_than_the_window(leasing: Rig, stable: Stable):
    service, since = given(leasing, stable, "postgres"), last_seq(leasing)
    name = service["name"]
    old, server = primary_of(leasing, name)
    query(service, "CREATE TABLE IF NOT EXISTS inside (number int)")
    clients = [Client(service, old) for _ in range(4)]
    for client in clients:
        client.start()
    until(lambda: all(client.acks for client in clients), "all clients write")
    began, ticks = faults.freeze(server), procs.start_ticks(old["pid"])
    try:
        first_write(service, old["id"])
        last_until(began + 12.0)
    finally:
        frozen = faults.processes(server)
        thawed = time.monotonic()
        faults.thaw(server)
    for client in clients:
        client.join(10.0)
    assert old["pid"] in frozen
    until(lambda: procs.start_ticks(old["pid"]) != ticks, "the thawed primary is stopped")
    after = [at for client in clients for _, at in client.acks if at > thawed]
    assert max(after, default=thawed) - thawed < THAW_WINDOW_S, f"{len(after)} writes were acknowledged after the thaw"
    events = moves(leasing, name, since)
    assert waited_s(events) >= WAIT_S, told(events)
    until_well(leasing, name)
    assert leasing.member(name, old["id"])["role"] == "standby"


@needs_netns
def test_valkey_is_bound_alike(leasing: Rig, stable: Stable):
    service, since = given(leasing, stable, "valkey"), last_seq(leasing)
    name = service["name"]
    old, server = primary_of(leasing, name)
    faults.silence(server)
    try:
        until(lambda: not runs(old["pid"]), "the cut-off primary is stopped", LEASE_S + LATE_S)
        until(lambda: leasing.member(name, "primary")["id"] != old["id"], "another leads")
    finally:
        faults.unsilence(server)
    until_well(leasing, name)
    assert waited_s(moves(leasing, name, since)) >= WAIT_S


def test_without_a_control_plane_it_stops_and_comes_back_with_it(leasing: Rig, stable: Stable):
    service, since = given(leasing, stable, "postgres"), last_seq(leasing)
    name = service["name"]
    old, server = primary_of(leasing, name)
    leasing.kill_control_plane(everything=False)
    until(lambda: not runs(old["pid"]), "what the owner chose: it stops", LEASE_S + LATE_S)
    record = Path(server["directory"], "agent", "leases", f"{old['id']}.fired")
    until(record.exists, "its watchdog says what it did")
    assert "stopped by its lease: no renewal for" in record.read_text()
    leasing.start_control_plane()
    until(lambda: happened(moves(leasing, name, since), "restart", "restarted"), "it is started again in place")
    until_well(leasing, name)
    events = moves(leasing, name, since)
    assert leasing.member(name, "primary")["id"] == old["id"], told(events)


def test_a_lone_primary_is_let_off(leasing: Rig, stable: Stable):
    service, since = given(leasing, stable, "postgres"), last_seq(leasing)
    name = service["name"]
    old, _ = primary_of(leasing, name)
    other, server = standby_of(leasing, name)
    faults.kill_host(server)
    until(lambda: not leasing.member(name, "primary")["leased"], "the log counts on the lease no more")
    events = moves(leasing, name, since)
    assert happened(events, "member", "released"), told(events)
    until(lambda: not watchdogs(old), "its watchdog is gone")
    until_well(leasing, name)
    until(lambda: leasing.member(name, "primary")["leased"], f"with {other['id']} back there is a lease again")
    assert primary_of(leasing, name)[0]["pid"] == old["pid"], "nothing was stopped"


def test_whoever_creates_one_is_told_what_it_costs(leasing: Rig):
    said = herder(leasing, "create", "postgres", "warned", "--plan", "standard")
    assert "on_isolation is 'stop'" in said.err
    assert "on_isolation" not in herder(leasing, "create", "postgres", "alone", "--plan", "dev").err
    assert "on_isolation" not in herder(leasing, "create", "postgres", "quorum", "--plan", "premium").err


def watchdogs(member: Facts) -> list[int]:
    """Watchdogs of a member's lease."""
    return [
        int(pid)
        for pid in os.listdir("/proc")
        if pid.isdigit() and {"-S", member["data_dir"]} <= {*procs.command_line(int(pid))}
    ]
