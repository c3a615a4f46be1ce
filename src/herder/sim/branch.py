"""Histories of a log: every promotion forks a branch, and what was acknowledged on one survives only where it is held."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class Branch:
    """What one primary wrote. fork: the LSN in `parent` after which it begins. Identity, not timeline, tells two apart:
    two members that were promoted without knowing of each other have the same timeline and different branches.
    """

    number: int
    timeline: int
    parent: Branch | None
    fork: int

    def owner(self, lsn: int) -> Branch:
        """The branch of this chain on which the log up to `lsn` ends; at a fork's very point the older one."""
        branch = self
        while branch.parent is not None and lsn <= branch.fork:
            branch = branch.parent
        return branch

    def held(self, lsn: int, other: Branch) -> int:
        """How far into `other` a log that ends at (self, lsn) reaches; -1 when `other` is none of its ancestors."""
        branch, cut = self, lsn
        while branch is not other:
            if branch.parent is None:
                return -1
            cut = min(cut, branch.fork)
            branch = branch.parent
        return cut

    def common(self, lsn: int, other: Branch, at: int) -> int:
        """Where a log that ends at (self, lsn) and one that ends at (other, at) part, or the shorter one ends."""
        branch: Branch | None = self
        cut = lsn
        while branch is not None:
            if (held := other.held(at, branch)) >= 0:
                return min(cut, held)
            cut, branch = min(cut, branch.fork), branch.parent
        return 0

    def holds(self, lsn: int, other: Branch, at: int) -> bool:
        """Is a log that ends at (other, at) a prefix of the one that ends at (self, lsn)?"""
        return self.held(lsn, other.owner(at)) >= at


class Acknowledged:
    """The ledger of a service: how far clients had their commits confirmed, by branch. Commits are confirmed in order."""

    def __init__(self) -> None:
        self.reach: dict[Branch, int] = {}
        self.given_up = 0
        self.bytes = 0

    def confirm(self, branch: Branch, lsn: int) -> int:
        """All up to `lsn` of this branch is confirmed; returns how many bytes are new."""
        known = self.reach.get(branch, branch.fork)
        if lsn <= known:
            return 0
        self.reach[branch] = lsn
        self.bytes += lsn - known
        return lsn - known

    def losses(self, branch: Branch, lsn: int) -> list[int]:
        """Confirmed bytes that a log which ends at (branch, lsn) does not hold, of each branch of which it lacks some."""
        found = []
        for confirmed, reach in self.reach.items():
            missing = reach - max(branch.held(lsn, confirmed), confirmed.fork)
            if missing > 0:
                found.append(missing)
        return found

    def lost(self, branch: Branch, lsn: int) -> int:
        """All of them."""
        return sum(self.losses(branch, lsn))

    def only(self, branch: Branch, lsn: int, other: Branch, other_lsn: int) -> int:
        """Confirmed bytes that a log which ends at (branch, lsn) holds and one that ends at (other, other_lsn) does not."""
        total = 0
        for confirmed, reach in self.reach.items():
            mine = min(reach, branch.held(lsn, confirmed))
            theirs = max(other.held(other_lsn, confirmed), confirmed.fork)
            total += max(0, mine - theirs)
        return total
