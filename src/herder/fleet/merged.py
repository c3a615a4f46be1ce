"""What relays' frames say against what the log expects, for thousands of members at once.

Almost always a frame says what the log knows. So a member that was found as expected is remembered with the version of
its machine, and it is looked at again only when that version or its own flags have changed: two gathers a frame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from herder.engine.bulk import Bulk
from herder.engine.decide import Input
from herder.engine.world import Machine, World
from herder.machines.registry import BY_KIND
from herder.pulse.board import Board
from herder.pulse.detector import any_of
from herder.pulse.fleet_frame import ALIVE, EXITED, PRIMARY, STANDBY, UPSTREAM, UPSTREAM_KNOWN
from herder.pulse.fold import Folded
from herder.pulse.slots import Slots, as_slots
from herder.pulse.tracks import MemberTrack

Words = NDArray[np.uint32]

MANY = 64
"""More events of one kind out of one frame go in as one."""

JUDGED_PER_S = 5_000
"""Members judged one by one in a second at most (40 us each): when a million are ill at once, each has its turn. What is
not judged now is judged with a later frame."""

ArchivingHook = Callable[[Words, bool], None]
Judge = Callable[[Machine, MemberTrack, float], None]


def state_codes(kind: str, *states: str) -> NDArray[np.uint8]:
    """The codes of a kind's states."""
    return np.array([BY_KIND[kind].state_codes[state] for state in states], np.uint8)


@dataclass(slots=True, eq=False)
class _Odd:
    """Members whose flags or log have changed: arrays of shape (n,), of one frame."""

    slots: Slots
    members: Words
    flags: NDArray[np.uint8]
    states: NDArray[np.uint8]

    def some(self, chosen: NDArray[np.bool_]) -> _Odd:
        return _Odd(self.slots[chosen], self.members[chosen], self.flags[chosen], self.states[chosen])

    def says(self, flag: int) -> NDArray[np.bool_]:
        said: NDArray[np.bool_] = self.flags & flag != 0
        return said


class Merged:
    """Judges folded frames. judge: the judgement of one member, which sends its own events."""

    def __init__(
        self, world: Callable[[], World], board: Board, submit: Callable[[Input | Bulk], None], judge: Judge,
        on_archiving: ArchivingHook | None,
    ) -> None:  # fmt: skip
        self._world = world
        self._board = board
        self._submit = submit
        self._judge = judge
        self.on_archiving = on_archiving
        self._left = float(JUDGED_PER_S)
        self._left_at = 0.0
        self._turn = 0
        self._member = {state: code for code, state in enumerate(BY_KIND["member"].state_names)}

    def take(self, folded: Folded, now: float) -> None:
        """Everything that a frame means, as events."""
        if folded.strangers is not None:
            self._find_homes(folded.strangers)
        if self.on_archiving is not None and folded.stalled is not None and folded.resumed is not None:
            for members, stalled in ((folded.stalled, True), (folded.resumed, False)):
                if len(members):
                    self.on_archiving(members, stalled)
        if len(folded.server_ids):
            self._heard(folded, now)
            self._judge_those(folded, now)

    def _find_homes(self, strangers: Words) -> None:
        """Rows refused because their member was not known to live there: the log may have moved it since."""
        world = self._world()
        for home, member in strangers[:MANY].tolist():
            server = world.find(home)
            if server is not None and server.kind == "server" and server.data.get("member") == member:
                self._board.assign(home, member)

    def _heard(self, folded: Folded, now: float) -> None:
        """Servers that were silent are heard again. A life that the log has counted out (a boot waited for it and gave up) is
        not: it is expected no more.
        """
        world, s = self._world(), self._board.of_servers
        versions = world.columns.version[folded.server_ids]
        new = versions != s.known[folded.servers]
        if not any_of(new):
            return
        slots, servers = as_slots(folded.servers)[new], folded.server_ids[new]
        away = np.isin(world.columns.state[servers], state_codes("server", "uncertain", "unavailable"))
        s.known[slots[~away]] = versions[new][~away]
        slots, servers = slots[away], servers[away]
        lives = world.fact(servers, "incarnation", 1, np.uint32)
        other = lives != s.incarnation[slots]
        self._submit_all("server", "heard", servers[~other], "its pulse is back")
        self._board.expect_many(servers[other], None, lives[other], now)

    def _judge_those(self, folded: Folded, now: float) -> None:
        world, m = self._world(), self._board.of_members
        members = folded.member_ids
        if int(members.max()) >= world.size:
            return  # a member that is not in the log: nothing is expected of it
        new = world.columns.version[members] != m.judged[folded.members]
        if not any_of(new):
            return
        slots, members = as_slots(folded.members)[new], members[new]
        odd = _Odd(slots, members, m.flags[slots], world.columns.state[members])
        told = world.columns.kind[members] == BY_KIND["member"].code
        told &= world.fact(members, "server", 0, np.uint32) == m.home[slots]
        as_expected, well = self._sort(world, odd)
        settled = odd.some(as_expected & told)
        m.judged[settled.slots] = world.columns.version[settled.members]
        if np.count_nonzero(well & told) > MANY:
            self._submit_all("member", "well", odd.members[well & told], "it answers as the log expects")
            told &= ~well
        self._one_by_one(odd.some(told & ~as_expected), now)

    def _sort(self, world: World, odd: _Odd) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """(nothing follows while neither flags nor log change, the log thinks it ill and it is well): masks of shape (n,).
        The same words as pulse.judge, for arrays; what is in neither is judged there.
        """
        names = self._member
        available = odd.states == names["available"]
        doubted = (odd.states == names["uncertain"]) | (odd.states == names["unavailable"])
        alive, exited = odd.says(ALIVE), odd.says(EXITED)
        leads = world.fact(odd.members, "role", "", "U8") == "primary"
        plays = np.where(leads, odd.says(PRIMARY), odd.says(STANDBY))
        streams = odd.says(UPSTREAM_KNOWN) & odd.says(UPSTREAM)
        cut_off = odd.says(UPSTREAM_KNOWN) & ~odd.says(UPSTREAM)
        deposed = world.fact(odd.members, "deposed", 0, bool)
        good = alive & plays & ~exited
        quiet = (
            (available & good & (leads | ~cut_off))
            | (doubted & ~good & ~(exited & (odd.states == names["uncertain"])))
            | (doubted & (deposed | (~leads & ~streams)) & ~exited)
            | ~(available | doubted)
        )
        return quiet, doubted & good & ~deposed & (leads | streams)

    def _one_by_one(self, odd: _Odd, now: float) -> None:
        if not len(odd.slots):
            return
        self._left = min(self._left + max(now - self._left_at, 0.0) * JUDGED_PER_S, float(JUDGED_PER_S))
        self._left_at = now
        count = min(int(self._left), len(odd.slots))
        self._left -= count
        world, board = self._world(), self._board
        first = self._turn % len(odd.slots)  # not always the same ones, when there are too many
        self._turn += count
        for ordinal in range(first, first + count):
            slot, ident = (int(column[ordinal % len(odd.slots)]) for column in (odd.slots, odd.members))
            member = world.get(ident)
            track = board.track_at(slot, member.name)
            if track is not None:
                self._judge(member, track, now)

    def _submit_all(self, kind: str, event: str, machines: Words, why: str) -> None:
        if len(machines) > MANY:
            self._submit(Bulk(kind, event, machines, why=why, actor="pulse"))
            return
        for machine in machines.tolist():
            self._submit(Input(machine, event, {}, actor="pulse"))
