"""What was last read of an asynchronous primary, as far as a promotion's bound needs it (S4).

A controller that heard the primary knows it from its board. It writes it down with the records that are made anyway when the
primary falls silent and when it is fenced, so that a successor which never heard the primary can say what a promotion would lose.
Where there is no note, a standby's agent may remember what its upstream told last. Since a note, or since that, nobody watched,
so the successor takes the primary to have written on all that time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from herder.engine.world import Machine, World
from herder.ports.clock import Clock
from herder.ports.driver import Heard, Position, Role
from herder.pulse.board import Board
from herder.pulse.tracks import MemberTrack

FACT = "last_read"
"""The fact of the primary, and of a failover, that holds a note."""


@dataclass(frozen=True, slots=True)
class LastRead:
    """position: where the primary's log ended, `age_s` ago; bytes_per_s: how fast it grew then.

    writes_s: seconds that it may have written on; lag_s: for how long the candidate may lack all that was written.
    streams: it had followers, or has no replication history: only then is the history of the position the one that counts.
    """

    position: Position
    bytes_per_s: float
    age_s: float
    writes_s: float
    lag_s: float
    streams: bool

    @property
    def reached(self) -> Position:
        """Where the primary's log may end by now."""
        at = self.position
        return Position(at.timeline, at.lsn + int(self.bytes_per_s * self.writes_s), at.history)


Track = Callable[[Machine], MemberTrack | None]


def track_by(board: Board, world: World) -> Track:
    """What a controller's board holds of a member."""

    def track(member: Machine) -> MemberTrack | None:
        return board.member(world.get(member.data["server"]).name, member.name, member.id)

    return track


def stream_lag_s(track: Track, primary: Machine, standby: Machine) -> float:
    """Seconds by which the standby's stream was lost before the primary was last seen alive; inf when unknown."""
    leads, follows = track(primary), track(standby)
    if leads is None or follows is None or follows.pulse.reading.upstream is None:
        return float("inf")
    return max(leads.alive_at - follows.streamed_at, 0.0)


def note(world: World, board: Board, clock: Clock, primary: Machine) -> dict[str, Any]:
    """What the log is to hold of an asynchronous primary: {'last_read': ...}; {} where there is nothing to tell, or nobody who
    could need it (it does not lead, its commits wait for voters, or it has no standby).

    at_ms: by this controller's clock. led_ms: since when it led like that; what was read of an earlier time says nothing.
    """
    service = world.get(primary.data["service"])
    if service.data["sync"] or service.data["primary"] != primary.id or len(service.data["members"]) < 2:
        return {}
    track = track_by(board, world)
    last = track(primary)
    at = last.pulse.reading.position if last is not None else None
    if last is None or at is None or last.pulse.reading.role is not Role.PRIMARY:
        return {}
    standbys = (world.get(ident) for ident in service.data["members"] if ident != primary.id)
    lags = [(standby.id, stream_lag_s(track, primary, standby)) for standby in standbys]
    read_ms = clock.now_ms() - int((clock.monotonic() - last.alive_at) * 1000)
    return {FACT: {
        "at_ms": read_ms, "led_ms": primary.data.get("led_ms", 0), "timeline": at.timeline, "lsn": at.lsn, "history": at.history,
        "streams": bool(last.pulse.reading.streaming), "bytes_per_s": int(last.bytes_per_s),
        "lags": [[ident, round(lag_s, 3)] for ident, lag_s in lags if lag_s != float("inf")],
    }}  # fmt: skip


def noted(facts: Mapping[str, Any], primary: Machine, candidate: int, now_ms: int) -> LastRead | None:
    """A note of another controller (or of this one), for a candidate; None when there is none of this lead."""
    told = facts.get(FACT)
    if not told or told["led_ms"] != primary.data.get("led_ms", 0):
        return None
    age_s = max(now_ms - told["at_ms"], 0) / 1000
    lag_s = dict(map(tuple, told["lags"])).get(candidate, float("inf"))
    at = Position(told["timeline"], told["lsn"], told["history"])
    return LastRead(at, told["bytes_per_s"], age_s, age_s, lag_s + age_s, told["streams"] or not told["history"])


def remembered(heard: Heard | None, timeline: int) -> LastRead | None:
    """What the candidate's own agent remembers of its upstream. timeline: where the present primary began to write; one that did
    not reach it heard another. Until then the candidate had everything, or knew what it lacked.
    """
    if heard is None or heard.position.timeline < timeline:
        return None
    return LastRead(heard.position, heard.bytes_per_s, heard.age_s, heard.age_s, heard.age_s, streams=True)
