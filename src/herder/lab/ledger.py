"""A steady writer whose acknowledged writes are kept outside the database, and what they say afterwards.

The writes are made by processes of their own (`lab.writer`, `lab.prober`), so that neither herder nor whoever breaks
things disturbs them; they know a URL or addresses and nothing of faults. Here: their ledgers read back, the arithmetic
(pure), and the audit against what the database has. All times are CLOCK_MONOTONIC seconds, which Linux counts alike in
every process.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from herder.model.errors import Environment, TimedOut

CLIENT = "psycopg, the URL as given, connect_timeout=1 (psycopg makes that 2 s for each host), a statement abandoned after 1 s"
"""The client that `gap_s` is measured with, in words; Valkey's: valkey-py, 1 s for connects and answers, watch-url."""

PROBERS = "one prober for each member's address, a commit every 20 ms, connects and statements abandoned after 0.3 s"
"""What `server_gap_s` is measured with."""

READY_S = 30.0
STOP_S = 10.0

ACK, UNKNOWN = "A", "U"


@dataclass(frozen=True, slots=True)
class Entry:
    """One write whose acknowledgement was seen (ack), or of which it is not known whether it was made.

    who: the member that acknowledged it, where that is known (probers). sent, at: seconds, CLOCK_MONOTONIC.
    """

    id: int
    sent: float
    at: float
    who: str
    ack: bool = True


@dataclass(frozen=True, slots=True)
class Report:
    """What a run cost its clients. gap_s, server_gap_s: the longest time without an acknowledged write around the fault,
    seen by the client and by the probers; None where nothing was measured. by_two: writes that another member
    acknowledged after the new primary's first acknowledgement (S1; counted by the probers). gap_after_s: how long after
    the fault the probers' gap began; what begins seconds later is not the failover's.
    """

    acked: int
    lost: int
    doubled: int
    unknown: int
    gap_s: float | None
    server_gap_s: float | None
    by_two: int = 0
    gap_after_s: float | None = None
    lost_ids: tuple[int, ...] = ()
    doubled_ids: tuple[int, ...] = ()

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Audit:
    """The ledger against the database: ids acknowledged and not there, ids there more than once."""

    acked: int
    lost: tuple[int, ...]
    doubled: tuple[int, ...]


# --- arithmetic (pure) --------------------------------------------------------------------------------------------


def gap(acked_at: Sequence[float], since: float, until: float) -> float | None:
    """The longest time between two consecutive acknowledgements that overlaps [since, until]; None without any.

    The interval that the fault falls into counts whole, from the last acknowledgement before it. When nothing is
    acknowledged at the end, the time until `until` counts: the gap was at least that long.
    """
    found = longest(acked_at, since, until)
    return None if found is None else found[1] - found[0]


def longest(acked_at: Sequence[float], since: float, until: float) -> tuple[float, float] | None:
    """From when to when the gap lasted."""
    times = sorted(at for at in acked_at if at <= until)
    if not times:
        return None
    pairs = [(earlier, later) for earlier, later in pairwise([*times, until]) if later > since]
    return max(pairs, key=lambda pair: pair[1] - pair[0], default=(until, until))


def audit(acked: Iterable[int], present: Iterable[int]) -> Audit:
    """Ids of the ledger against ids of the database. A write whose acknowledgement was not seen may be there or not."""
    counts = Counter(present)
    wanted = list(acked)
    lost = tuple(sorted(ident for ident in wanted if ident not in counts))
    doubled = tuple(sorted(ident for ident, times in counts.items() if times > 1))
    return Audit(len(wanted), lost, doubled)


def acknowledged_by_two(entries: Iterable[Entry], since: float) -> list[Entry]:
    """Writes that somebody else acknowledged although the new primary already did (one change of primary in the window).

    The new primary is the member of the last acknowledgement. Counted is what was *sent* to another after the new one's
    first answer: an answer that was merely slow to be read is no proof.
    """
    acked = sorted((entry for entry in entries if entry.ack and entry.at >= since), key=lambda entry: entry.at)
    if not acked:
        return []
    leader = acked[-1].who
    first = next(entry.at for entry in acked if entry.who == leader)
    return [entry for entry in acked if entry.who != leader and entry.sent > first]


def overtaken(entries: Iterable[Entry]) -> list[Entry]:
    """Writes acknowledged in a tenure after another member's later one had begun to acknowledge (S1), in a whole run.

    `who` is MEMBER@TENURE. Tenures are in the order of their first acknowledgements; what was *sent* to an earlier one
    after that of a later one is counted, however often leadership came and went.
    """
    acked = [entry for entry in entries if entry.ack]
    first: dict[str, float] = {}
    for entry in acked:
        first[entry.who] = min(entry.at, first.get(entry.who, entry.at))
    over: dict[str, float] = {}
    for who, began in first.items():
        later = [at for other, at in first.items() if at > began and _member(other) != _member(who)]
        over[who] = min(later, default=float("inf"))
    return [entry for entry in acked if entry.sent > over[entry.who]]


def _member(who: str) -> str:
    return who.partition("@")[0]


def read_ledger(text: str) -> list[Entry]:
    """Entries of a ledger file: kind, id, sent, at, who, separated by tabs; a line that is not whole yet is left out."""
    entries = []
    for line in text.splitlines(keepends=True):
        parts = line.rstrip("\n").split("\t")
        if line.endswith("\n") and len(parts) == 5:
            entries.append(Entry(int(parts[1]), float(parts[2]), float(parts[3]), parts[4], parts[0] == ACK))
    return entries


# --- processes ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Scribe:
    """One writing process and its ledger file, read as it grows."""

    path: Path
    process: subprocess.Popen[bytes]
    entries: list[Entry] = field(default_factory=list)
    _offset: int = 0

    def poll(self) -> list[Entry]:
        with self.path.open("rb") as file:
            file.seek(self._offset)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._offset += len(whole)
        self.entries += read_ledger(whole.decode("ascii"))
        return self.entries

    def stop(self) -> None:
        """Its stdin closed tells it; it ends after the statement that is under way."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Ledger:
    """A writer and its probers on one service, from `start` to `stop`.

    service: as `show`. socket: of the control plane, for `watch-url`, which Valkey's clients follow. directory: where
    the ledger files go: outside the database. Files: NAME.TAG.writer and NAME.TAG.prober. probers: `every_s`,
    `standby_s` and `tenures` of `prober.Pace`, where they differ from the usual.
    """

    def __init__(
        self,
        service: Mapping[str, Any],
        socket: Path,
        directory: Path,
        *,
        every_s: float = 0.005,
        probe: bool = True,
        probers: Mapping[str, Any] | None = None,
    ) -> None:
        self.service = dict(service)
        self.tag = f"{self.service['name']}-{time.time_ns() // 1_000_000}"
        self._socket = socket
        self._directory = directory
        self._every_s = every_s
        self._probe = probe
        self._probers: dict[str, Any] = {"every_s": 0.02} | dict(probers or {})
        self._writer: _Scribe | None = None
        self._prober: _Scribe | None = None
        self._wanted: dict[str, dict[str, Any]] = {}
        self._besides: dict[str, _Scribe] = {}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Begin to write; returns once each process had a write acknowledged. Raises Environment, TimedOut."""
        try:
            self._writer = self._begin("writer", every_s=self._every_s)
            if self._probe:
                self._prober = self._begin("prober", **self._probers)
            for role, how in self._wanted.items():
                self._besides[role] = self._begin(role, **how)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the writing; what was written stays to be audited."""
        for scribe in (self._writer, self._prober, *self._besides.values()):
            if scribe is not None and scribe.process.poll() is None:
                scribe.stop()

    def begin_besides(self, role: str, **how: Any) -> None:
        """At `start` run `herder.lab.ROLE` too, which takes the writer's orders and keeps a ledger as it does."""
        self._wanted[role] = how

    def besides(self, role: str) -> list[Entry]:
        """Its entries so far."""
        return self._besides[role].poll() if role in self._besides else []

    def _begin(self, role: str, **how: Any) -> _Scribe:
        path = self._directory / f"{self.tag}.{role}"
        path.touch()
        members = [[member["id"], member["address"], member["port"]] for member in self.service["members"]]
        order = {
            "engine": self.service["engine"], "url": self.service["url"], "name": self.service["name"],
            "socket": str(self._socket), "members": members, "tag": f"{self.tag}-{role}", "ledger": str(path), **how,
        }  # fmt: skip
        with path.with_suffix(f".{role}-errors").open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", f"herder.lab.{role}"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                stderr=errors, start_new_session=True,
            )  # fmt: skip
        assert process.stdin is not None
        process.stdin.write(json.dumps(order).encode() + b"\n")
        process.stdin.flush()
        scribe = _Scribe(path, process)
        _await_first(scribe, role)
        return scribe

    # --- while it runs --------------------------------------------------------------------------------------------

    @property
    def written(self) -> list[Entry]:
        """The writer's entries so far."""
        return self._writer.poll() if self._writer is not None else []

    @property
    def probed(self) -> list[Entry]:
        """The probers' entries so far."""
        return self._prober.poll() if self._prober is not None else []

    def acked(self) -> int:
        """Writes acknowledged so far, the probers' besides."""
        return sum(entry.ack for entry in (*self.written, *self.probed))

    def silent_s(self) -> float:
        """Seconds since the client's last acknowledgement."""
        last = max((entry.at for entry in reversed(self.written[-50:]) if entry.ack), default=0.0)
        return time.monotonic() - last

    def await_write(self, after: float, timeout_s: float = 30.0) -> float:
        """Until the client had a write acknowledged that it sent after that time; returns when. Raises TimedOut.

        After the kill of an engine's first process that may still be the old primary: a busy backend goes on for a while.
        """
        give_up = time.monotonic() + timeout_s
        while time.monotonic() < give_up:
            for entry in self.written[-50:]:
                if entry.ack and entry.sent > after:
                    return entry.at
            time.sleep(0.02)
        raise TimedOut(f"no write was acknowledged for {timeout_s:g} s")

    def gap(self, since: float, until: float) -> float | None:
        """As the client saw it: `gap` of the writer's acknowledgements."""
        return gap([entry.at for entry in self.written if entry.ack], since, until)

    def server_gap(self, since: float, until: float) -> float | None:
        """Without the client's own timeouts: no prober of any member had an acknowledgement."""
        return gap([entry.at for entry in self.probed if entry.ack], since, until)

    # --- afterwards -----------------------------------------------------------------------------------------------

    def audit(self, url: str = "") -> Audit:
        """Everything acknowledged so far against what the database has now; url: of the present primary."""
        from herder.lab.writer import present  # noqa: PLC0415  drivers of both engines, which only an audit needs here

        target = url or self.service["url"]
        parts = []
        for role, entries in (("writer", self.written), ("prober", self.probed)):
            acked = [entry.id for entry in entries if entry.ack]  # before the look: what is acked later is not missing
            if entries:
                parts.append(audit(acked, present(self.service["engine"], target, f"{self.tag}-{role}")))
        lost = tuple(ident for part in parts for ident in part.lost)
        doubled = tuple(ident for part in parts for ident in part.doubled)
        return Audit(sum(part.acked for part in parts), lost, doubled)

    def report(self, since: float, until: float, url: str = "") -> Report:
        """The window's gaps, and the audit of all that was written."""
        found = self.audit(url)
        unknown = sum(not entry.ack for entry in (*self.written, *self.probed))
        span = longest([entry.at for entry in self.probed if entry.ack], since, until)
        two = acknowledged_by_two([entry for entry in self.probed if entry.at <= until], since)
        return Report(
            found.acked, len(found.lost), len(found.doubled), unknown, self.gap(since, until),
            self.server_gap(since, until), len(two), None if span is None else span[0] - since, found.lost, found.doubled,
        )  # fmt: skip


def _await_first(scribe: _Scribe, role: str) -> None:
    give_up = time.monotonic() + READY_S
    while not any(entry.ack for entry in scribe.poll()):
        if scribe.process.poll() is not None:
            words = scribe.path.with_suffix(f".{role}-errors").read_text(errors="replace")
            raise Environment(f"the {role} ended: {words.strip()[-500:]}")
        if time.monotonic() > give_up:
            scribe.stop()
            raise TimedOut(f"the {role} had no write acknowledged in {READY_S:g} s")
        time.sleep(0.01)
