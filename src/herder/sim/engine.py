"""One service's engines at the level that the safety rules speak of: who writes where, who has flushed what, who confirmed.

Between two events conditions are constant, so time passes in one step: `advance` grows logs by rate times seconds. Nothing
here knows asyncio; `now` is passed in. Every primary that could confirm a write always has clients beside it: that is the
worst case for rule S1, whatever the clients' network looks like.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from herder.model.errors import HerderError, InvalidInput, NoData, Refused
from herder.ports.driver import Heard, Position, Reading, Role, SyncSet
from herder.sim.branch import Acknowledged, Branch

FIRST_LSN = 0x3000000
WINDOW_BYTES = 4096
"""Commits under way: what a primary has written and nobody confirmed while its standbys are away."""

END_OF_RECOVERY_BYTES = 168
SHUTDOWN_RECORD_BYTES = 120
FLUSH_DELAY_S = 0.001
"""A standby has flushed what its primary wrote this long ago."""

CATCH_UP_BYTES_S = 100 * 1024**2
RETRY_S = 0.1  # wal_retrieve_retry_interval
RECEIVER_TIMEOUT_S = 3.0  # wal_receiver_timeout
SENDER_TIMEOUT_S = 6.0  # wal_sender_timeout
NEVER = float("inf")


class Terrain(Protocol):
    """What engines stand on."""

    def awake(self, host: str) -> bool:
        """It runs and is not frozen."""

    def flows(self, source: str, target: str) -> bool:
        """Packets get through in this direction now."""


class Data(StrEnum):
    """A data directory."""

    NONE = "none"
    WHOLE = "whole"
    HALF = "half"  # a copy or a rewind was cut short: only good for copying anew


@dataclass(slots=True, eq=False)
class Engine:
    """One member. lsn: the end of its log on disk; standby: what its files say; source: whom it follows, durable.

    ready_at: it answers from then on (crash recovery). stalled_at: since when its stream brings nothing, though open.
    kept: bytes of divergent log that lie beside the data; kept_before: those of them that are older than its last copy.
    stuck: its disk is full; it answers and takes no writes. heard: what its agent remembers of its upstream: when it heard last, and where the upstream's log ended then.
    """

    member: str
    host: str
    data: Data = Data.NONE
    standby: bool = False
    running: bool = False
    ready_at: float = 0.0
    pid: int = 0
    branch: Branch | None = None
    lsn: int = 0
    sync: SyncSet = field(default_factory=SyncSet)
    source: str = ""
    streaming: bool = False
    retry_at: float = 0.0
    stalled_at: float | None = None
    sender_until: float = 0.0
    rest: Position | None = None
    exit_line: str = ""
    kept: int = 0
    kept_before: int = 0
    stuck: bool = False
    heard: tuple[float, Position] | None = None

    def answers(self, now: float) -> bool:
        """It runs and has ended its recovery."""
        return self.running and now >= self.ready_at

    def leads(self, now: float) -> bool:
        """It takes writes (whether they are confirmed is another matter)."""
        return self.answers(now) and not self.standby

    @property
    def position(self) -> Position:
        """(timeline, lsn) of its log's end."""
        if self.branch is None:
            return Position(0, 0)
        return Position(self.branch.owner(self.lsn).timeline, self.lsn)


@dataclass(slots=True)
class Tally:
    """What clients saw, in seconds and bytes. doubled: two engines confirmed writes at the same time; longest_s: the longest
    time on end in which they did.
    """

    confirmed_s: float = 0.0
    doubled_s: float = 0.0
    longest_s: float = 0.0
    doubled: list[tuple[float, str, str]] = field(default_factory=list)
    first_s: float = NEVER


class Cluster:
    """All engines of a service."""

    def __init__(self, service: str, terrain: Terrain, bytes_per_s: float) -> None:
        self.service = service
        self.terrain = terrain
        self.bytes_per_s = bytes_per_s
        self.engines: dict[str, Engine] = {}
        self.confirmed = Acknowledged()
        self.tally = Tally()
        self.overwritten: list[tuple[float, str, int]] = []  # when, whose data, confirmed bytes that nobody kept
        self.at = 0.0
        self._doubled_until = self._doubled_on = 0.0
        self._branches = 0
        self._pids = 1000

    # --- time

    def advance(self, now: float) -> None:
        """Let the time since the last event pass under the conditions that held since then."""
        seconds = now - self.at
        if seconds <= 0:
            return
        awake = self.terrain.awake
        confirming = [
            e.member for e in self.engines.values()
            if e.running and not e.standby and not e.stuck and now >= e.ready_at and awake(e.host) and self._write(e, now)
        ]  # fmt: skip
        self._cascade(seconds)
        if confirming:
            self.tally.first_s = min(self.tally.first_s, self.at)
            self.tally.confirmed_s += seconds
        if len(confirming) > 1:
            self._doubled(seconds, now, confirming)
        self.at = now

    def _doubled(self, seconds: float, now: float, confirming: list[str]) -> None:
        tally = self.tally
        going_on = bool(tally.doubled) and self._doubled_until == self.at
        self._doubled_on = self._doubled_on + seconds if going_on else seconds
        self._doubled_until = now
        tally.doubled_s += seconds
        tally.longest_s = max(tally.longest_s, self._doubled_on)
        tally.doubled.append((self.at, confirming[0], confirming[1]))

    def _write(self, primary: Engine, now: float) -> bool:
        """Grow the log of a primary whose host is awake, its standbys', and what is confirmed; True when anything was."""
        seconds = now - max(self.at, primary.ready_at)
        branch = primary.branch
        if seconds <= 0 or branch is None:
            return False
        before = primary.lsn
        primary.lsn = int(before + self.bytes_per_s * seconds)
        terrain, voters = self.terrain, primary.sync.members
        followers = [
            e for e in self.engines.values()
            if e.streaming and e.running and e.source == primary.member and e is not primary
            and terrain.awake(e.host) and terrain.flows(primary.host, e.host)
        ]  # fmt: skip
        heard = [e for e in followers if e.member in voters and terrain.flows(e.host, primary.host)] if voters else []
        if 0 < primary.sync.k > len(heard):
            reach = self.confirmed.reach.get(branch, branch.fork)
            primary.lsn = max(before, min(primary.lsn, max(reach, before - WINDOW_BYTES) + WINDOW_BYTES))
        reach = primary.lsn - int(self.bytes_per_s * FLUSH_DELAY_S)
        for standby in followers:
            self._receive(standby, reach, seconds)
        k = primary.sync.k
        if k == 0:
            return self.confirmed.confirm(branch, primary.lsn) > 0
        if len(heard) < k:
            return False
        flushed = max([e.lsn for e in heard]) if k == 1 else sorted([e.lsn for e in heard], reverse=True)[k - 1]
        return self.confirmed.confirm(branch, flushed) > 0

    def _receive(self, standby: Engine, reach: int, seconds: float) -> None:
        if reach > standby.lsn:
            standby.lsn = max(standby.lsn, min(reach, int(standby.lsn + CATCH_UP_BYTES_S * seconds)))

    def _cascade(self, seconds: float) -> None:
        """Standbys of a standby (a candidate before its promotion) get what it holds."""
        engines = self.engines
        for e in engines.values():
            if e.streaming and (source := engines.get(e.source)) is not None and source.standby:
                break
        else:
            return
        for source in engines.values():
            if source.standby and source.running:
                for standby in self._followers(source):
                    if self._moves(source, standby):
                        self._receive(standby, source.lsn, seconds)

    def _followers(self, source: Engine) -> Iterator[Engine]:
        return (e for e in self.engines.values() if e.streaming and e.source == source.member and e is not source)

    def _moves(self, source: Engine, standby: Engine) -> bool:
        """The stream brings something now."""
        terrain = self.terrain
        return (
            standby.running
            and terrain.awake(source.host)
            and terrain.awake(standby.host)
            and terrain.flows(source.host, standby.host)
        )

    # --- streams

    def settle(self, now: float) -> float:
        """Let streams break and connect as they must; returns when to look again (NEVER: at the next event)."""
        self.advance(now)
        return min((self._settle_one(engine, now) for engine in self.engines.values()), default=NEVER)

    def _settle_one(self, standby: Engine, now: float) -> float:
        if not self.terrain.awake(standby.host):
            return NEVER  # a frozen one notices nothing until it thaws
        if not standby.standby or not standby.answers(now):
            self._drop(standby, now)
            return standby.ready_at if standby.running and standby.ready_at > now else NEVER
        source = self.engines.get(standby.source)
        if source is None:
            self._drop(standby, now)
            return NEVER
        if standby.streaming:
            return self._keep_stream(source, standby, now)
        if not self._linked(source, standby):
            return NEVER
        due = max(standby.retry_at, source.ready_at)
        if now < due:
            return due
        if not self._fits(source, standby):
            return NEVER if source.leads(now) else now + RETRY_S
        standby.streaming, standby.stalled_at, standby.branch = True, None, source.branch
        return NEVER

    def _keep_stream(self, source: Engine, standby: Engine, now: float) -> float:
        if self._linked(source, standby):
            standby.stalled_at = None
            standby.branch = source.branch if self._fits(source, standby) else standby.branch
            return NEVER
        reset = not source.running and self.terrain.awake(source.host)  # its kernel says so
        if reset and self.terrain.flows(source.host, standby.host):
            self._drop(standby, now)
            return NEVER
        if standby.stalled_at is None:
            standby.stalled_at = now
        due = standby.stalled_at + RECEIVER_TIMEOUT_S
        if now < due:
            return due
        self._drop(standby, now)
        return NEVER

    def _linked(self, source: Engine, standby: Engine) -> bool:
        back = self.terrain.flows(standby.host, source.host)
        return source.running and self._moves(source, standby) and back

    def _fits(self, source: Engine, standby: Engine) -> bool:
        """What the standby holds is a prefix of what the source holds."""
        if source.branch is None or standby.branch is None:
            return False
        return source.branch.holds(source.lsn, standby.branch, standby.lsn)

    def _drop(self, standby: Engine, now: float) -> None:
        if not standby.streaming:
            return
        standby.streaming = False
        standby.retry_at = now + RETRY_S
        standby.sender_until = (standby.stalled_at or now) + SENDER_TIMEOUT_S if standby.stalled_at else 0.0
        standby.stalled_at = None

    # --- what is seen

    def read(self, member: str, now: float, *, recalls: bool = False) -> Reading:
        """What its agent reads. recalls: its driver remembers what a standby's upstream told last."""
        self.advance(now)
        engine = self.engines.get(member)
        if engine is None or not engine.running:
            return Reading(alive=False, detail=engine.exit_line if engine is not None else "there is no data")
        if not engine.answers(now):
            return Reading(alive=False, pid=engine.pid, detail="the database system is starting up")
        if not engine.standby:
            return Reading(
                alive=True, role=Role.PRIMARY, position=engine.position, streaming=self._streaming(engine, now),
                sync=engine.sync, system_id=self.service, pid=engine.pid,
            )  # fmt: skip
        age = (now - engine.stalled_at if engine.stalled_at is not None else 0.01) if engine.streaming else None
        return Reading(
            heard=self._heard(engine, now) if recalls else None, alive=True, role=Role.STANDBY, position=engine.position, received=engine.lsn, upstream=engine.streaming,
            upstream_age_s=age, sync=engine.sync, system_id=self.service, pid=engine.pid,
        )  # fmt: skip

    def _heard(self, standby: Engine, now: float) -> Heard | None:
        """What its agent remembers, once the stream brings nothing. It looked while the stream did."""
        source = self.engines.get(standby.source)
        if standby.streaming and standby.stalled_at is None and source is not None:
            standby.heard = (now, source.position)
            return None
        if standby.heard is None:
            return None
        at_s, position = standby.heard
        return Heard(position, now - at_s, self.bytes_per_s)

    def _streaming(self, primary: Engine, now: float) -> dict[str, int]:
        return {
            e.member: e.lsn
            for e in self.engines.values()
            if e.source == primary.member and e is not primary and (e.streaming or now < e.sender_until)
        }

    def confirms(self, now: float) -> list[str]:
        """Primaries that could confirm a write at this moment."""
        return [e.member for e in self.engines.values() if e.leads(now) and self._could_confirm(e)]

    def _could_confirm(self, primary: Engine) -> bool:
        if not self.terrain.awake(primary.host):
            return False
        heard = [s for s in self._followers(primary) if s.member in primary.sync.members and self._linked(primary, s)]
        return len(heard) >= primary.sync.k

    # --- small things that actions need

    def new_branch(self, parent: Branch | None, fork: int) -> Branch:
        """A promotion (or a founding) begins to write."""
        self._branches += 1
        return Branch(self._branches, parent.owner(fork).timeline + 1 if parent else 1, parent, fork)

    def overwrite(self, engine: Engine, upstream: Engine, now: float) -> None:
        """A copy of `upstream` takes the place of an engine's data: what was confirmed and only it held must lie kept."""
        if engine.branch is not None and upstream.branch is not None:
            only = self.confirmed.only(engine.branch, engine.lsn, upstream.branch, upstream.lsn)
            if only > engine.kept - engine.kept_before:
                self.overwritten.append((now, engine.member, only))
        engine.kept_before = engine.kept

    def new_pid(self) -> int:
        """Of an engine that is started."""
        self._pids += 1
        return self._pids

    def has(self, member: str) -> Engine:
        """The engine, with whole data. Raises NoData, Refused."""
        engine = self.engines.get(member)
        if engine is None or engine.data is Data.NONE:
            raise NoData(f"there is no data of {member} here", "look for its volume")
        if engine.data is Data.HALF:
            raise Refused(f"a rejoin of {member} was begun and not ended", "ask for the rejoin again")
        return engine

    def up(self, member: str, now: float) -> Engine:
        """The engine, answering. Raises HerderError."""
        engine = self.has(member)
        if not engine.answers(now):
            raise HerderError(f"{member} does not answer: {engine.exit_line or 'it is starting up'}")
        return engine

    def check_sync(self, sync: SyncSet) -> None:
        """As the driver does: more confirmations than members would silently mean none."""
        if sync.k < 0 or sync.k > len(set(sync.members)):
            raise InvalidInput(f"ANY {sync.k} of {len(sync.members)} members", "name at least k members, or set k to 0")
