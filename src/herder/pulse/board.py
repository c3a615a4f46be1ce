"""The board: what was last heard of every server and member, and when. Folding frames is all it does by itself.

Two kinds of senders: an agent tells of its own server, whole (`fold`), and its members' readings are kept as they came;
a relay merges the pulses of many servers into frames of columns (`fold_frame`), which are scattered into arrays. A server
has one slot however it is heard.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from zlib import crc32

import msgspec
import numpy as np
from numpy.typing import NDArray

from herder.ports.driver import Position, Reading
from herder.ports.wire import MemberPulse, Pulse
from herder.pulse.detector import Limits, Rhythm, first_rhythm, patience_many
from herder.pulse.fleet_frame import (
    ALIVE,
    EXITED,
    POSITION,
    UPSTREAM,
    UPSTREAM_KNOWN,
    Bitmap,
    FrameError,
    Rows,
    decode,
    role_of,
)
from herder.pulse.fold import Folded, Folder
from herder.pulse.slots import NOBODY, Finder, Members, Servers, Slots, Words
from herder.pulse.tracks import AgentTrack, MemberTrack, ServerTrack

LOOK_AGAIN_S = 0.25
"""A server that was found silent is found again after this long while it stays silent, not at every tick."""


class Board:
    """All servers. Frames that are old, doubled or of another incarnation are counted by reason and refused."""

    def __init__(self, interval_s: float, limits: Limits) -> None:
        self.interval_s = interval_s
        self.limits = limits
        self.refused: Counter[str] = Counter()
        self.of_servers = Servers()
        self.of_members = Members()
        self._server_at, self._member_at = Finder(), Finder()
        self._named: dict[str, int] = {}  # slots of servers that have a name of their own
        self._names: dict[int, str] = {}
        self._agents: dict[int, AgentTrack] = {}
        self._none_before = -math.inf  # nobody's deadline lies before it
        self._folder = Folder(
            self.of_servers, self.of_members, (self._server_at, self._member_at), limits, interval_s, self.refused
        )

    # who is expected

    def expect(self, server: str, incarnation: int, now: float, *, machine: int = 0, member: int = 0) -> None:
        """From now on this server's silence counts (used at start, and when a server is made). machine: its id; relays can
        tell of it only when it is given. member: the id of the one on it, 0 = whoever is heard.
        """
        slot = self.slot(server)
        if slot == NOBODY and machine:
            slot = self._server_at.one(machine)
        if slot == NOBODY:
            slot = int(self.of_servers.take(1)[0])
            self._begin(np.array([slot], np.intp), np.array([incarnation], np.uint32), now)
        elif int(self.of_servers.incarnation[slot]) != incarnation:
            self._agents.pop(slot, None)
            self._begin(np.array([slot], np.intp), np.array([incarnation], np.uint32), now)
        if server != f"server-{machine}":
            self._named[server], self._names[slot] = slot, server
        if machine and int(self.of_servers.machine[slot]) != machine:
            self.of_servers.machine[slot] = machine
            self._server_at.put(np.array([machine], np.uint32), slot)
            self._folder.changed()
        if member:
            self.assign(machine, member)

    def expect_many(
        self,
        machines: Words,
        names: Sequence[str] | None,
        incarnations: NDArray[Any],
        now: float,
        members: Words | None = None,
    ) -> None:
        """`expect` for many: machine ids, each once, shape (n,). names: None = all are called server-<id>. members: the
        ids of the members on them, 0 = whoever is heard.
        """
        slots = self._server_at.many(machines)
        new = slots == NOBODY
        if new.any():
            made = self.of_servers.take(int(np.count_nonzero(new)))
            self._server_at.put(machines[new], made)
            slots[new] = made
            self.of_servers.machine[made] = machines[new]
        other = new | (self.of_servers.incarnation[slots] != incarnations)
        for slot in slots[other & ~new].tolist():
            self._agents.pop(slot, None)
        self._begin(slots[other], np.broadcast_to(incarnations, machines.shape)[other], now)
        for slot, name in zip(slots.tolist(), names or (), strict=names is not None):
            self._named[name], self._names[slot] = slot, name
        if members is not None:
            self._assign(slots, machines, members)

    def _begin(self, slots: Slots, incarnations: NDArray[Any], now: float) -> None:
        """A new incarnation: nothing of the one before holds, but which member the log has there."""
        s, rhythm = self.of_servers, first_rhythm(self.interval_s)
        fresh = ~s.armed[slots]
        s.only[slots[fresh]] = NOBODY
        patience_s = rhythm.patience_s(self.limits)
        s.heard_at[slots], s.interval_s[slots], s.deviation_s[slots] = now, rhythm.interval_s, rhythm.deviation_s
        s.deadline[slots] = now + patience_s
        self._expects_by(now + patience_s)
        s.incarnation[slots], s.armed[slots] = incarnations, True
        s.life[slots] = s.seq[slots] = s.frames[slots] = s.via[slots] = s.known[slots] = 0
        self._folder.changed()

    def assign(self, server: int, member: int) -> None:
        """The log says: this member (machine id) lives on that server (machine id), and no other does."""
        slot = self._server_at.one(server)
        if slot != NOBODY:
            self._assign(np.array([slot], np.intp), np.array([server], np.uint32), np.array([member], np.uint32))

    def _assign(self, slots: Slots, machines: Words, members: Words) -> None:
        s, m = self.of_servers, self.of_members
        moved = s.member[slots] != members
        slots, machines, members = slots[moved], machines[moved], members[moved]
        s.member[slots] = members
        held = members != 0
        slots, machines, members = slots[held], machines[held], members[held]
        homes = self._member_at.many(members)
        new = homes == NOBODY
        s.only[slots] = NOBODY
        if new.any():
            self._folder.make_members(members[new], machines[new], slots[new])
        m.home[homes[~new]] = machines[~new]
        s.only[slots[~new]] = homes[~new]
        self._folder.changed()

    def bind_relay(self, servers: Words, relay: int) -> None:
        """Only this relay (the machine id of the server it runs on) may tell of these servers; 0 = any relay may."""
        slots = self._server_at.many(servers)
        self.of_servers.relay[slots[slots != NOBODY]] = relay
        self._folder.changed()

    def forget(self, server: str) -> None:
        """The server is gone."""
        slot = self.slot(server)
        if slot == NOBODY:
            return
        s = self.of_servers
        self._agents.pop(slot, None)
        self._named.pop(self._names.pop(slot, ""), None)
        if s.machine[slot]:
            self._server_at.put(s.machine[slot : slot + 1].copy(), NOBODY)
        if s.only[slot] >= 0:
            self._forget_member(int(s.only[slot]), int(s.machine[slot]))
        s.machine[slot], s.armed[slot], s.deadline[slot] = 0, False, np.inf
        s.free.append(slot)
        self._folder.changed()

    def _forget_member(self, slot: int, home: int) -> None:
        m = self.of_members
        if int(m.home[slot]) == home:  # it may have moved to another server since
            self._member_at.put(m.machine[slot : slot + 1].copy(), NOBODY)
            m.machine[slot] = m.home[slot] = 0
            m.free.append(slot)

    # slots

    def slot(self, server: str) -> int:
        """A server's slot by its name, NOBODY when it is not expected."""
        found = self._named.get(server)
        if found is not None:
            return found
        kind, _, digits = server.rpartition("-")
        if kind != "server" or not (digits.isascii() and digits.isdigit()) or len(digits) > 9:
            return NOBODY
        return self._server_at.one(int(digits))

    def slots(self, machines: Words) -> Slots:
        """Servers' slots by machine id, NOBODY for those that are not expected; shape (n,)."""
        return self._server_at.many(machines)

    def name(self, slot: int) -> str:
        """What the server in a slot is called."""
        return self._names.get(slot) or f"server-{self.of_servers.machine[slot]}"

    @property
    def servers(self) -> Mapping[str, ServerTrack]:
        """All that are expected, by name; each is put together when it is looked at."""
        return _Tracks(self)

    # folding

    def fold(self, pulse: Pulse, now: float) -> bool:
        """Take an agent's frame in; False when it is refused."""
        slot, s = self.slot(pulse.server), self.of_servers
        if slot == NOBODY:
            return self._refuse("unknown_server")
        if pulse.incarnation != int(s.incarnation[slot]):
            return self._refuse("other_incarnation")
        agent = self._agents.get(slot)
        if agent is None:
            agent = self._agents[slot] = AgentTrack()
        if agent.life:
            same = agent.life == pulse.life
        else:  # a relay spoke for it until now, which tells of a life by this
            same = crc32(pulse.life.encode()) == int(s.life[slot]) and int(s.frames[slot]) > 0
        if pulse.seq < 0:
            return self._refuse("no_count")
        if same and pulse.seq <= int(s.seq[slot]):
            return self._refuse("out_of_order")
        self._expects_by(now + self.limits.floor_s)
        rhythm = self._rhythm(slot)
        if same:
            # an outage is not its rhythm: what was longer than its patience counts as just that
            rhythm = rhythm.after(min(now - float(s.heard_at[slot]), rhythm.patience_s(self.limits)))
        patience_s = rhythm.patience_s(self.limits)
        s.interval_s[slot], s.deviation_s[slot] = rhythm.interval_s, rhythm.deviation_s
        s.deadline[slot], s.heard_at[slot] = now + patience_s, now
        if agent.life != pulse.life:
            s.life[slot] = crc32(pulse.life.encode())
        s.seq[slot] = min(pulse.seq, 0xFFFF_FFFF)
        s.frames[slot] += 1
        agent.life, agent.pid, agent.rss_kb = pulse.life, pulse.agent_pid, pulse.rss_kb
        agent.weigh(pulse.disk_free, now)
        for member in pulse.members:
            _fold_member(agent, member, now)
        return True

    def _refuse(self, reason: str) -> bool:
        self.refused[reason] += 1
        return False

    def fold_frame(self, data: bytes, now: float) -> Folded | None:
        """Take a relay's frame in, row by row; None when the bytes are no frame."""
        self._expects_by(now + self.limits.floor_s)
        try:
            frame = decode(data)
        except FrameError as error:
            self.refused[f"frame_{error.fault}"] += 1
            return None
        return self._folder.rows(frame, now) if isinstance(frame, Rows) else self._folder.bitmap(frame, now)

    def fold_frames(self, frames: Sequence[bytes], now: float) -> list[Folded]:
        """Several frames that came together, in their order: the same result as one after the other, at a third of the
        price where they are small. What came of them may stand together.
        """
        self._expects_by(now + self.limits.floor_s)
        decoded: list[Rows | Bitmap] = []
        for data in frames:
            try:
                decoded.append(decode(data))
            except FrameError as error:
                self.refused[f"frame_{error.fault}"] += 1
        return self._folder.many(decoded, now)

    @property
    def lost_frames(self) -> int:
        """Frames that relays sent and that never came, by the gaps in their counts."""
        return self._folder.lost

    # reading

    def silent(self, now: float) -> Slots:
        """Slots of servers that have been silent for longer than their patience, ascending. One comparison each; whose
        deadline was only the floor has it set right here.
        """
        s = self.of_servers
        if now <= self._none_before:
            return np.empty(0, np.intp)
        slots = np.flatnonzero(s.deadline[: s.count] < now)
        if not len(slots):
            # deadlines only move away while frames are folded, so until the nearest of now there is nothing to look for
            self._none_before = self._nearest()
            return slots
        exact = s.heard_at[slots] + patience_many(s.interval_s[slots], s.deviation_s[slots], self.limits)
        waits = exact >= now
        s.deadline[slots[waits]] = exact[waits]
        return slots[~waits]

    def nearest(self, horizon: float) -> float:
        """Nobody's deadline lies before this. Exact where what is known of it does not reach the horizon."""
        if self._none_before <= horizon:
            self._none_before = self._nearest()
        return self._none_before

    def _nearest(self) -> float:
        s = self.of_servers
        return float(np.minimum.reduce(s.deadline[: s.count], initial=math.inf))  # `min` is this behind a slow door

    def _expects_by(self, deadline: float) -> None:
        """A deadline was set: the next scan may not be later."""
        self._none_before = min(self._none_before, deadline)

    def look_again(self, slots: Slots, now: float, after_s: float = LOOK_AGAIN_S) -> None:
        """These were found silent: `silent` gives them again after so many seconds, unless they are heard."""
        self.of_servers.deadline[slots] = now + after_s
        self._expects_by(now + after_s)

    def silent_for(self, server: str, now: float) -> float:
        """Seconds since its last frame (0 when it is not expected)."""
        slot = self.slot(server)
        return now - float(self.of_servers.heard_at[slot]) if slot != NOBODY else 0.0

    def room(self, server: str) -> int | None:
        """Bytes free on its fullest disk, as its own agent last told; None when that has told nothing yet."""
        agent = self._agents.get(self.slot(server))
        return agent.disk_free if agent is not None and agent.pid else None

    def full_for(self, server: str, now: float) -> float:
        """Seconds for which its agent has told of a disk without room (0 when it has some, or when it does not tell)."""
        agent = self._agents.get(self.slot(server))
        return max(now - agent.full_since, 0.0) if agent is not None else 0.0

    def patience(self, server: str) -> float:
        """How much silence of this server is nothing to wonder about."""
        slot = self.slot(server)
        rhythm = self._rhythm(slot) if slot != NOBODY else first_rhythm(self.interval_s)
        return rhythm.patience_s(self.limits)

    def _rhythm(self, slot: int) -> Rhythm:
        s = self.of_servers
        return Rhythm(float(s.interval_s[slot]), float(s.deviation_s[slot]), self.interval_s)

    def told(self, server: str, member: str) -> MemberTrack | None:
        """What a server's own agent last told of a member, whatever a relay told since."""
        agent = self._agents.get(self.slot(server))
        return agent.members.get(member) if agent is not None else None

    def member(self, server: str, member: str, machine: int = 0) -> MemberTrack | None:
        """What was last heard of a member, by its agent or by a relay; None when nothing was. machine: its id, needed for
        a member with a name of its own that only relays tell of.
        """
        slot = self.slot(server)
        if slot == NOBODY:
            return None
        agent = self._agents.get(slot)
        told = agent.members.get(member) if agent is not None else None
        found = self._member_at.one(machine or _id_in(member, "member-"))
        if found == NOBODY or int(self.of_members.home[found]) != int(self.of_servers.machine[slot]):
            return told
        if told is not None and told.heard_at >= float(self.of_members.heard_at[found]):
            return told
        return self.track_at(found, member, told)

    def track_at(self, slot: int, name: str, told: MemberTrack | None = None) -> MemberTrack | None:
        """A member as relays told of it, from its slot; what they do not tell is taken from `told`, its agent's word."""
        m = self.of_members
        heard_at, flags = float(m.heard_at[slot]), int(m.flags[slot])
        if heard_at == -np.inf:
            return told
        known = flags & POSITION
        reading = msgspec.structs.replace(
            told.pulse.reading if told is not None else Reading(alive=False),
            alive=bool(flags & ALIVE),
            role=role_of(flags),
            upstream=bool(flags & UPSTREAM) if flags & UPSTREAM_KNOWN else None,
            position=Position(int(m.timeline[slot]), int(m.lsn[slot])) if known else None,
        )
        exited = bool(flags & EXITED)
        if told is None:
            pulse = MemberPulse(member=name, service="", term=0, reading=reading, exited=exited)
        else:
            pulse = msgspec.structs.replace(told.pulse, reading=reading, exited=exited)
        alive_at = heard_at if reading.alive else float(m.alive_at[slot])
        upstream_at = float(m.upstream_at[slot]) if reading.upstream is False else heard_at
        rate = self._bytes_per_s(slot) if known else 0.0
        streamed_at = min(upstream_at, alive_at) if m.streamed[slot] else -math.inf
        return MemberTrack(pulse, heard_at, alive_at, upstream_at, rate, streamed_at)

    def _bytes_per_s(self, slot: int) -> float:
        m = self.of_members
        elapsed = float(m.heard_at[slot] - m.before_at[slot])
        return max(int(m.lsn[slot]) - int(m.lsn_before[slot]), 0) / elapsed if elapsed > 0 else 0.0

    def reading(self, server: str, member: str, machine: int = 0) -> Reading | None:
        """The last reading of a member, however old."""
        found = self.member(server, member, machine)
        return found.pulse.reading if found else None

    def hold(self, seconds: float) -> None:
        """We did not listen for a while (our wire was gone, or we were stopped): that silence is ours, not theirs."""
        s, m = self.of_servers, self.of_members
        for times in (s.heard_at, s.deadline):
            times[: s.count] += seconds
        for times in (m.heard_at, m.alive_at, m.upstream_at, m.before_at):
            times[: m.count] += seconds
        for agent in self._agents.values():
            for member in agent.members.values():
                member.heard_at += seconds
                member.alive_at += seconds
                member.upstream_at += seconds
                member.streamed_at += seconds

    def _track(self, slot: int) -> ServerTrack:
        s, agent = self.of_servers, self._agents.get(slot) or AgentTrack()
        return ServerTrack(
            self._rhythm(slot), float(s.heard_at[slot]), int(s.incarnation[slot]), agent.life, int(s.seq[slot]),
            agent.pid, agent.rss_kb, agent.disk_free, int(s.frames[slot]), int(s.machine[slot]), agent.members,
        )  # fmt: skip


class _Tracks(Mapping[str, ServerTrack]):
    """Servers by name, for people and tests."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def __getitem__(self, server: str) -> ServerTrack:
        slot = self._board.slot(server)
        if slot == NOBODY:
            raise KeyError(server)
        return self._board._track(slot)  # noqa: SLF001  it is the board's own

    def __iter__(self) -> Iterator[str]:
        armed = self._board.of_servers.armed[: self._board.of_servers.count]
        return (self._board.name(slot) for slot in np.flatnonzero(armed).tolist())

    def __len__(self) -> int:
        return int(np.count_nonzero(self._board.of_servers.armed[: self._board.of_servers.count]))


def _fold_member(agent: AgentTrack, pulse: MemberPulse, now: float) -> None:
    before = agent.members.get(pulse.member)
    alive_at = now if pulse.reading.alive or before is None else before.alive_at
    lost = pulse.reading.upstream is False
    upstream_at = before.upstream_at if lost and before is not None else now
    streamed_at = now if pulse.reading.upstream else before.streamed_at if before is not None else -math.inf
    agent.members[pulse.member] = MemberTrack(pulse, now, alive_at, upstream_at, _rate(before, pulse, now), streamed_at)


def _rate(before: MemberTrack | None, pulse: MemberPulse, now: float) -> float:
    if before is None or before.pulse.reading.position is None or pulse.reading.position is None:
        return 0.0
    elapsed = now - before.heard_at
    grown = pulse.reading.position.lsn - before.pulse.reading.position.lsn
    return max(grown / elapsed, 0.0) if elapsed > 0.1 else before.bytes_per_s


def _id_in(name: str, before: str) -> int:
    digits = name.removeprefix(before)
    return int(digits) if digits != name and digits.isascii() and digits.isdigit() and len(digits) < 10 else 0
