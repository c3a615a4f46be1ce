"""The board: what was last heard of every server and member, and when. Folding a frame is all it does by itself."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from herder.ports.driver import Reading
from herder.ports.wire import MemberPulse, Pulse
from herder.pulse.detector import Limits, Rhythm, first_rhythm


@dataclass(slots=True)
class MemberTrack:
    """Times are the controller's monotonic seconds. pulse: the last one of this member. bytes_per_s: how fast its log
    grew between its last two readings.
    """

    pulse: MemberPulse
    heard_at: float
    alive_at: float
    upstream_at: float
    bytes_per_s: float = 0.0


@dataclass(slots=True)
class ServerTrack:
    """One server as heard. armed: silence counts (it has been heard in this incarnation by this controller)."""

    rhythm: Rhythm
    heard_at: float
    incarnation: int
    life: str = ""
    seq: int = 0
    agent_pid: int = 0
    rss_kb: int = 0
    disk_free: int = 0
    frames: int = 0
    members: dict[str, MemberTrack] = field(default_factory=dict)


class Board:
    """All servers by name. Frames that are old, doubled or of another incarnation are counted and refused."""

    def __init__(self, interval_s: float, limits: Limits) -> None:
        self.interval_s = interval_s
        self.limits = limits
        self.servers: dict[str, ServerTrack] = {}
        self.refused: Counter[str] = Counter()

    def expect(self, server: str, incarnation: int, now: float) -> None:
        """From now on this server's silence counts (used at start, and when a server is made)."""
        track = self.servers.get(server)
        if track is None or track.incarnation != incarnation:
            self.servers[server] = ServerTrack(first_rhythm(self.interval_s), now, incarnation)

    def forget(self, server: str) -> None:
        """The server is gone."""
        self.servers.pop(server, None)

    def fold(self, pulse: Pulse, now: float) -> bool:
        """Take a frame in; False when it is refused."""
        track = self.servers.get(pulse.server)
        if track is None:
            self.refused["unknown_server"] += 1
            return False
        if pulse.incarnation != track.incarnation:
            self.refused["other_incarnation"] += 1
            return False
        if pulse.life == track.life and pulse.seq <= track.seq:
            self.refused["out_of_order"] += 1
            return False
        if pulse.life == track.life:
            # an outage is not its rhythm: what was longer than its patience counts as just that
            gap_s = min(now - track.heard_at, track.rhythm.patience_s(self.limits))
            track.rhythm = track.rhythm.after(gap_s)
        track.heard_at, track.life, track.seq = now, pulse.life, pulse.seq
        track.agent_pid, track.rss_kb, track.disk_free = pulse.agent_pid, pulse.rss_kb, pulse.disk_free
        track.frames += 1
        for member in pulse.members:
            self._fold_member(track, member, now)
        return True

    def _fold_member(self, track: ServerTrack, pulse: MemberPulse, now: float) -> None:
        before = track.members.get(pulse.member)
        alive_at = now if pulse.reading.alive or before is None else before.alive_at
        lost = pulse.reading.upstream is False
        upstream_at = before.upstream_at if lost and before is not None else now
        track.members[pulse.member] = MemberTrack(pulse, now, alive_at, upstream_at, _rate(before, pulse, now))

    def silent_for(self, server: str, now: float) -> float:
        """Seconds since its last frame (0 when it is not expected)."""
        track = self.servers.get(server)
        return now - track.heard_at if track else 0.0

    def patience(self, server: str) -> float:
        """How much silence of this server is nothing to wonder about."""
        track = self.servers.get(server)
        rhythm = track.rhythm if track else first_rhythm(self.interval_s)
        return rhythm.patience_s(self.limits)

    def member(self, server: str, member: str) -> MemberTrack | None:
        """What was last heard of a member, None when nothing was."""
        track = self.servers.get(server)
        return track.members.get(member) if track else None

    def reading(self, server: str, member: str) -> Reading | None:
        """The last reading of a member, however old."""
        found = self.member(server, member)
        return found.pulse.reading if found else None

    def hold(self, seconds: float) -> None:
        """We did not listen for a while (our wire was gone, or we were stopped): that silence is ours, not theirs."""
        for track in self.servers.values():
            track.heard_at += seconds
            for member in track.members.values():
                member.heard_at += seconds
                member.alive_at += seconds
                member.upstream_at += seconds


def _rate(before: MemberTrack | None, pulse: MemberPulse, now: float) -> float:
    if before is None or before.pulse.reading.position is None or pulse.reading.position is None:
        return 0.0
    elapsed = now - before.heard_at
    grown = pulse.reading.position.lsn - before.pulse.reading.position.lsn
    return max(grown / elapsed, 0.0) if elapsed > 0.1 else before.bytes_per_s
