"""What was last heard of a member, of a server, and by its own agent only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from herder.ports.wire import MemberPulse
from herder.pulse.detector import Rhythm

FULL_BYTES = 1024**2
"""Less than this free is none: PostgreSQL's log grows by 16 MB, its tables by up to 512 kB."""


@dataclass(slots=True)
class MemberTrack:
    """Times are the controller's monotonic seconds. pulse: the last one of this member. bytes_per_s: how fast its log
    grew between its last two readings. upstream_at: when it was last not known to lack its stream, which is since when it may be
    judged for that; streamed_at: when it was last known to have it, which bounds what it may lack (-inf: never by this controller,
    which may have begun to listen long after it was lost).
    """

    pulse: MemberPulse
    heard_at: float
    alive_at: float
    upstream_at: float
    bytes_per_s: float = 0.0
    streamed_at: float = 0.0


@dataclass(frozen=True, slots=True)
class ServerTrack:
    """One server as heard, at the moment of asking. members: those its own agent told of."""

    rhythm: Rhythm
    heard_at: float
    incarnation: int
    life: str
    seq: int
    agent_pid: int
    rss_kb: int
    disk_free: int
    frames: int
    machine: int
    members: Mapping[str, MemberTrack]


@dataclass(slots=True)
class AgentTrack:
    """What only a server's own agent tells."""

    life: str = ""
    pid: int = 0
    rss_kb: int = 0
    disk_free: int = 0
    full_since: float = math.inf
    members: dict[str, MemberTrack] = field(default_factory=dict)

    def weigh(self, disk_free: int, now: float) -> None:
        """How much room it tells of."""
        self.disk_free = disk_free
        self.full_since = math.inf if disk_free >= FULL_BYTES else min(self.full_since, now)
