"""Folding relays' frames into the board's arrays: everything is checked, refused row by row, and scattered.

A relay sends the same members in the same order again and again. What was found out about such a block of rows (slots,
that the members are where they are said to be, that nobody stands in it twice) is kept; the next frame with the same
bytes in its first four columns needs only its numbers compared. The keepsake is dropped whenever what it rests on may
have changed (`generation`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from herder.pulse.detector import Limits, after_many, any_of, patience_many
from herder.pulse.fleet_frame import (
    ALIVE,
    ARCHIVING_STALLED,
    POSITION,
    UPSTREAM,
    UPSTREAM_KNOWN,
    Bitmap,
    Header,
    Rows,
)
from herder.pulse.present import Present
from herder.pulse.slots import NOBODY, SEVERAL, Finder, Members, Servers, Slots, Where, Words, as_slots, where

RUN_ROWS = 8_192
"""Rows scattered as one at most: their columns stay in the core's own cache."""

UNJUDGED = 0xFFFF_FFFF
"""No machine has this version: the member is looked at again."""

TOO_SOON_S = 0.1
"""Two readings closer than this do not say how fast a log grows."""

NEVER = -np.inf
"""When a member was heard that was not yet."""

Mask = NDArray[np.bool_]


NEARLY = 64
"""A stretch of slots in which no more than one in so many is missing is folded as a whole."""


@dataclass(slots=True, eq=False)
class _Block:
    """A block of rows that was found in order once. servers, members: their slots, one server a row."""

    who: bytes
    generation: int
    servers: Where
    members: Where
    server_ids: Words
    member_ids: Words
    running: bool = False


@dataclass(slots=True)
class _Relay:
    """A relay's present life. stream: a number of its own for (relay, epoch, life); before: of its life before."""

    epoch: int
    life: int
    seq: int
    stream: int
    before: int = 0
    blocks: dict[bytes, _Block] = field(default_factory=dict)
    present: Present = field(default_factory=Present)


@dataclass(slots=True, eq=False)
class Folded:
    """What a frame changed. servers, members: slots heard; ids beside them. strangers: (server, member) machine ids, shape
    (n, 2), of rows whose member is not the one the log has there. stalled, resumed: members whose archiving changed.
    """

    servers: Where
    members: Where
    server_ids: Words
    member_ids: Words
    refused: int = 0
    strangers: Words | None = None
    stalled: Words | None = None
    resumed: Words | None = None


_NONE: Slots = np.empty(0, np.intp)
_NOBODY: Words = np.empty(0, np.uint32)


class Folder:
    """Takes frames of relays in. `refused` counts rows by reason; lost counts frames that a relay sent and we missed."""

    def __init__(
        self, servers: Servers, members: Members, found: tuple[Finder, Finder], limits: Limits, nominal_s: float,
        refused: Counter[str],
    ) -> None:  # fmt: skip
        self._s = servers
        self._m = members
        self._server_at, self._member_at = found
        self._limits = limits
        self._nominal_s = nominal_s
        self._refused = refused
        self._relays: dict[int, _Relay] = {}
        self._blocks: dict[int, tuple[_Relay, bytes]] = {}
        self._blocks_made = 0
        self._streams = 0
        self.generation = 0
        self.lost = 0

    def changed(self) -> None:
        """Who is where, or in which incarnation, may have changed: nothing found out before holds."""
        self.generation += 1

    def rows(self, frame: Rows, now: float) -> Folded:
        """Take readings in. now: monotonic seconds."""
        relay = self._relay(frame.header, len(frame))
        if relay is None:
            return _nothing(len(frame))
        block = self._known(relay, frame)
        if block is not None and not any_of(frame.seq <= self._s.seq[block.servers]):
            return self._scatter(block.servers, block.members, block.server_ids, block.member_ids, frame, now)
        return self._rows_checked(frame, relay, now)

    def many(self, frames: Sequence[Rows | Bitmap], now: float) -> list[Folded]:
        """Take several frames in, as `rows` and `bitmap` would one after the other. Those of known blocks that follow each
        other are scattered as one: what numpy costs a call is shared by all of them.
        """
        folded: list[Folded] = []
        run: list[tuple[_Relay, _Block, Rows]] = []
        left = RUN_ROWS
        for frame in frames:
            if isinstance(frame, Bitmap):
                folded += self._run(run, now)
                folded.append(self.bitmap(frame, now))
                continue
            relay = self._relay(frame.header, len(frame))
            if relay is None:
                folded.append(_nothing(len(frame)))
                continue
            block = self._known(relay, frame)
            if block is None or block.running or left <= 0:
                folded += self._run(run, now)
                left = RUN_ROWS
            if block is None:
                folded.append(self._rows_checked(frame, relay, now))
            else:
                block.running = True
                left -= len(frame)
                run.append((relay, block, frame))
        return folded + self._run(run, now)

    def _run(self, run: list[tuple[_Relay, _Block, Rows]], now: float) -> list[Folded]:
        """Frames of known blocks, none of them twice (no server is in two blocks); empties the list."""
        if not run:
            return []
        for _, block, _ in run:
            block.running = False
        blocks, frames = [block for _, block, _ in run], [frame for _, _, frame in run]
        servers = _joined([block.servers for block in blocks])
        seq = np.concatenate([frame.seq for frame in frames])
        if any_of(seq <= self._s.seq[servers]):  # some row is late: each frame by itself
            again = [self._rows_checked(frame, relay, now) for relay, _, frame in run]
            run.clear()
            return again
        run.clear()
        told = Rows(
            frames[0].header, frames[0].who, np.concatenate([frame.lsn for frame in frames]), seq,
            np.concatenate([frame.timeline for frame in frames]), np.concatenate([frame.flags for frame in frames]),
        )  # fmt: skip
        members = _joined([block.members for block in blocks])
        return [self._scatter(servers, members, self._s.machine[servers], self._m.machine[members], told, now)]

    def _known(self, relay: _Relay, frame: Rows) -> _Block | None:
        """What was found out about this block of rows, None when it does not hold (any more)."""
        who = frame.who.tobytes()
        block = relay.blocks.get(who[:4])
        return block if block is not None and block.generation == self.generation and block.who == who else None

    def _scatter(
        self, servers: Where, members: Where, server_ids: Words, member_ids: Words, frame: Rows, now: float
    ) -> Folded:
        """Rows that are in order, one a server."""
        folded = Folded(servers, members, server_ids, member_ids)
        apart = self._beat(servers, now, None)
        self._s.seq[servers] = frame.seq
        self._tell(folded, members, frame, now, apart=apart)
        return folded

    def bitmap(self, frame: Bitmap, now: float) -> Folded:
        """Take in who was heard with nothing changed. Only a server that this life of this relay told of whole counts."""
        count = len(frame)
        relay = self._relay(frame.header, count)
        if relay is None or not count:
            return _nothing(count)
        slots = relay.present.slots(frame, self._server_at)
        ok = self._drop(slots != NOBODY, np.ones(count, bool), "unknown_server")
        ok = self._drop((self._s.via[slots] == relay.stream) & (self._s.only[slots] >= 0), ok, "not_told_whole")
        if not ok.all():
            slots = slots[ok]
        if not len(slots):
            return _nothing(count)
        at = where(slots)
        members = where(self._s.only[at].astype(np.intp))
        folded = Folded(at, members, self._s.machine[at], self._m.machine[members], count - len(slots))
        self._beat_nearly_all(at, now)
        self._m.heard_at[members] = now
        return folded

    def _beat_nearly_all(self, at: Where, now: float) -> None:
        """Of a rack some are always missing. The whole stretch is done without a gather, three times as fast, and what was
        there before is put back for those few.
        """
        if isinstance(at, slice) or len(at) < NEARLY or len(at) < (at[-1] - at[0] + 1) * (1 - 1 / NEARLY):
            self._beat(at, now, None)
            return
        first, stretch = int(at[0]), slice(int(at[0]), int(at[-1]) + 1)
        others = np.ones(stretch.stop - first, bool)
        others[at - first] = False
        rest = np.flatnonzero(others) + first
        s = self._s
        columns: tuple[NDArray[Any], ...] = (s.interval_s, s.deviation_s, s.deadline, s.heard_at, s.frames)
        kept = [column[rest] for column in columns]
        self._beat(stretch, now, None)
        for column, values in zip(columns, kept, strict=True):
            column[rest] = values

    # a relay's frames, in order

    def _relay(self, header: Header, rows: int) -> _Relay | None:
        """The relay's present life, None when the frame is not to be taken."""
        slot = self._server_at.one(header.relay)
        if slot == NOBODY:
            self._no("unknown_relay", rows)
            return None
        epoch = int(self._s.incarnation[slot])
        if header.epoch != epoch:
            self._no("older_epoch" if header.epoch < epoch else "future_epoch", rows)
            return None
        relay = self._relays.get(header.relay)
        if relay is None or relay.epoch != epoch or relay.life != header.life:
            self._streams += 1
            before = relay.stream if relay is not None else 0
            relay = self._relays[header.relay] = _Relay(epoch, header.life, header.seq, self._streams, before)
            return relay
        if header.seq <= relay.seq:
            self._no("out_of_order", rows)
            return None
        self.lost += header.seq - relay.seq - 1
        relay.seq = header.seq
        return relay

    def _no(self, reason: str, rows: int) -> None:
        self._refused[reason] += max(rows, 1)

    # rows that nothing is known of yet

    def _rows_checked(self, frame: Rows, relay: _Relay, now: float) -> Folded:
        s = self._s
        slots = self._server_at.many(frame.server)
        ok, same = self._servers_right(frame, slots)
        homes, ok, strangers = self._members_right(frame, slots, ok)
        ok = self._doubles(homes, frame.seq, ok)
        refused = len(frame) - int(np.count_nonzero(ok))
        if refused == len(frame):
            return _nothing(refused, strangers)
        if refused:
            slots, homes, same, frame = slots[ok], homes[ok], same[ok], frame.some(ok)
        via = s.via[slots]
        if ((via != relay.stream) & (via != relay.before) & (via != 0)).any():
            self.changed()  # another relay told of them before: what is kept of that one's rows no longer holds
        latest = _latest(slots, frame.seq)
        once = slice(None) if latest is None else latest
        servers = where(slots[once])
        apart = self._beat(servers, now, same[once]) and latest is None
        s.seq[servers], s.life[servers], s.via[servers] = frame.seq[once], frame.life[once], relay.stream
        members = where(homes)
        folded = Folded(servers, members, s.machine[servers], self._m.machine[members], refused, strangers)
        self._tell(folded, members, frame, now, apart=apart)
        if not refused and latest is None:
            block = _Block(frame.who.tobytes(), self.generation, servers, members, folded.server_ids, folded.member_ids)
            self._keep(relay, block)
        return folded

    def _keep(self, relay: _Relay, block: _Block) -> None:
        """Remember a block, and forget those that one of its servers stood in before: no server is in two."""
        for number in np.unique(self._s.block[block.servers]).tolist():
            holder, key = self._blocks.pop(number, (relay, b""))
            holder.blocks.pop(key, None)
        self._blocks_made += 1
        key = block.who[:4]
        relay.blocks[key] = block
        self._blocks[self._blocks_made] = (relay, key)
        self._s.block[block.servers] = self._blocks_made

    def _servers_right(self, frame: Rows, slots: Slots) -> tuple[Mask, Mask]:
        """Rows whose server may be told of now; and those of an agent's life that was heard before."""
        s = self._s
        ok = self._drop(slots != NOBODY, np.ones(len(slots), bool), "unknown_server")
        known = s.incarnation[slots]
        ok = self._drop(frame.incarnation >= known, ok, "older_incarnation")
        ok = self._drop(frame.incarnation <= known, ok, "future_incarnation")
        bound = s.relay[slots]
        ok = self._drop((bound == 0) | (bound == frame.header.relay), ok, "not_its_server")
        same = (frame.life == s.life[slots]) & (s.frames[slots] > 0)
        return self._drop(~same | (frame.seq > s.seq[slots]), ok, "out_of_order"), same

    def _members_right(self, frame: Rows, slots: Slots, ok: Mask) -> tuple[Slots, Mask, Words | None]:
        """Members' slots (made for those heard first); rows whose member lives there; and those whose member does not."""
        s, m = self._s, self._m
        homes = self._member_at.many(frame.member)
        expected = s.member[slots]
        right = ((expected == 0) | (expected == frame.member)) & (frame.member != 0)
        new = ok & right & (homes == NOBODY)
        if new.any():
            at = np.flatnonzero(new)
            _, first = np.unique(frame.member[at], return_index=True)
            self.make_members(frame.member[at[first]], frame.server[at[first]], slots[at[first]])
            homes = self._member_at.many(frame.member)
        right &= (homes != NOBODY) & (m.home[homes] == frame.server)
        wrong = ok & ~right
        if not wrong.any():
            return homes, ok, None
        strangers = np.stack((frame.server[wrong], frame.member[wrong]), axis=1)
        return homes, self._drop(right, ok, "not_its_member"), strangers

    def make_members(self, machines: Words, homes: Words, servers: Slots) -> None:
        """Slots for members that have none, one a machine id; homes: their servers' machine ids, servers: their slots."""
        s, m = self._s, self._m
        made = m.take(len(machines))
        m.machine[made], m.home[made], m.judged[made] = machines, homes, UNJUDGED
        m.heard_at[made], m.flags[made] = NEVER, 0xFF  # flags that nobody sends: what comes first is news
        self._member_at.put(machines, made)
        before = s.only[servers]
        s.only[servers] = np.where(before == NOBODY, made, SEVERAL)
        alone, counts = np.unique(servers, return_counts=True)
        s.only[alone[counts > 1]] = SEVERAL

    def _doubles(self, homes: Slots, seq: Words, ok: Mask) -> Mask:
        """A member that stands in the frame twice is taken once, as told last."""
        at = np.flatnonzero(ok)
        kept = _latest(homes[at], seq[at])
        if kept is None:
            return ok
        left = np.zeros(len(ok), bool)
        left[at[kept]] = True
        self._refused["doubled"] += len(at) - len(kept)
        return left

    def _drop(self, right: Mask, ok: Mask, reason: str) -> Mask:
        left = ok & right
        dropped = int(np.count_nonzero(ok)) - int(np.count_nonzero(left))
        if dropped:
            self._refused[reason] += dropped
        return left

    # scattering

    def _beat(self, at: Where, now: float, same: Mask | None) -> bool:
        """Servers were heard. same: those in the life that was heard before (None = all): only they have a rhythm.
        Returns whether all came after half a beat or more.
        """
        s, limits = self._s, self._limits
        before, spread = s.interval_s[at], s.deviation_s[at]
        gap = now - s.heard_at[at]
        if any_of(gap > limits.floor_s):
            # an outage is not its rhythm: what was longer than its patience counts as just that
            gap = np.minimum(gap, patience_many(before, spread, limits))
        interval, deviation = after_many(before, spread, gap, self._nominal_s)
        if same is not None and not same.all():
            interval, deviation = np.where(same, interval, before), np.where(same, deviation, spread)
        s.interval_s[at] = interval
        s.deviation_s[at] = deviation
        s.deadline[at] = now + limits.floor_s  # nobody's patience is shorter; whose is longer is found when this passes
        s.heard_at[at] = now
        s.frames[at] += 1
        return not any_of(gap < self._nominal_s / 2)

    def _tell(self, folded: Folded, at: Where, frame: Rows, now: float, *, apart: bool) -> None:
        """Members' readings. apart: all came late enough after the ones before to say how fast a log grows."""
        m = self._m
        if m.flags[at].tobytes() != frame.flags.tobytes():
            self._turned(folded, as_slots(at), frame, now)
        if apart:
            m.lsn_before[at] = m.lsn[at]
            m.before_at[at] = m.heard_at[at]
        else:
            slots = as_slots(at)
            slots = slots[now - m.heard_at[slots] > TOO_SOON_S]
            m.lsn_before[slots] = m.lsn[slots]
            m.before_at[slots] = m.heard_at[slots]
        m.lsn[at] = frame.lsn
        m.timeline[at] = frame.timeline
        m.heard_at[at] = now

    def _turned(self, folded: Folded, slots: Slots, frame: Rows, now: float) -> None:
        """Members that say something new of themselves: since when it is so, and that somebody must look."""
        m, flags, lsn = self._m, frame.flags, frame.lsn
        turned = np.flatnonzero(m.flags[slots] != flags)
        slots, flags = slots[turned], flags[turned]
        heard = m.heard_at[slots]
        first = heard == NEVER
        before, last = np.where(first, 0, m.flags[slots]), np.where(first, now, heard)
        died = (before & ALIVE != 0) & (flags & ALIVE == 0) | first
        m.alive_at[slots[died]] = last[died]
        lost = ~_lost(before) & _lost(flags) | first
        m.upstream_at[slots[lost]] = last[lost]
        m.streamed[slots[flags & UPSTREAM != 0]] = True
        unknown = before & flags & POSITION == 0
        m.lsn[slots[unknown]] = lsn[turned][unknown]  # it has grown by nothing that is known
        stalls, stalled = flags & ARCHIVING_STALLED != 0, before & ARCHIVING_STALLED != 0
        if (stalls != stalled).any():
            folded.stalled = m.machine[slots[stalls & ~stalled]]
            folded.resumed = m.machine[slots[~stalls & stalled]]
        m.flags[slots] = flags
        m.judged[slots] = UNJUDGED


def _lost(flags: NDArray[np.uint8]) -> Mask:
    lost: Mask = flags & (UPSTREAM | UPSTREAM_KNOWN) == UPSTREAM_KNOWN
    return lost


def _nothing(refused: int, strangers: Words | None = None) -> Folded:
    return Folded(_NONE, _NONE, _NOBODY, _NOBODY, refused, strangers)


def _joined(parts: list[Where]) -> Where:
    """Several slots as one index: a slice when they follow each other."""
    first, end = parts[0], -1
    for part in parts:
        if not isinstance(part, slice) or part.start != end >= 0:
            return np.concatenate([as_slots(each) for each in parts])
        end = part.stop
    assert isinstance(first, slice)
    return slice(first.start, end)


def _latest(slots: Slots, seq: Words) -> Slots | None:
    """For each slot the row with the highest seq, as ordinals; None when no slot stands there twice."""
    if not len(slots):
        return None
    ordered = np.sort(slots)
    if not (ordered[1:] == ordered[:-1]).any():
        return None
    order = np.lexsort((seq, slots))
    last = np.append(slots[order][1:] != slots[order][:-1], True)
    latest: Slots = order[last]
    return latest
