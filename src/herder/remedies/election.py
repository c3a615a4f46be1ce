"""Who may lead next, and are there enough pledges to know? Pure; the arithmetic of safety.md.

A commit was acknowledged only when k of the voters V had it. A pledge is a voter's promise to take nothing more from the
old primary, with how far it reaches. q pledges with k + q > |V| meet every set of k: at least one pledger has every
acknowledged commit, and the one that reaches farthest has them all.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from herder.ports.driver import Position

SYNC_K = 1
"""A sync plan's primary waits for ANY 1."""


def pledges_needed(voters: int, k: int = SYNC_K) -> int:
    """q, the smallest number with k + q > |V|; never less than one."""
    return max(voters - k + 1, 1)


@dataclass(frozen=True, slots=True)
class Elected:
    """The candidate, its position, and the voters of its term (never empty on a sync plan)."""

    candidate: int
    position: Position
    new_voters: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Short:
    """Not enough pledges: needed, had, and who is missing."""

    needed: int
    had: int
    missing: tuple[int, ...]


def elect_sync(
    voters: Collection[int],
    members: Collection[int],
    pledges: Mapping[int, Position],
    timeline: int = 0,
    cramped: Collection[int] = (),
) -> Elected | Short:
    """Sync plan. voters: V of the log; members: all of the service but the old primary; pledges: member -> position.

    timeline: where the present primary began to write. A voter that has not reached it never followed this primary, so
    it may lack what its predecessor's other voters had: its pledge does not count.
    cramped: see `farthest`. A pledge of a member that is no voter proves nothing towards the quorum, and it may not lead: it may lack commits
    that only voters had to have.
    """
    binding = {
        member: position for member, position in pledges.items() if member in voters and position.timeline >= timeline
    }
    needed = pledges_needed(len(voters))
    if len(binding) < needed or not voters:
        missing = tuple(sorted(set(voters) - set(binding)))
        return Short(needed, len(binding), missing)
    candidate = farthest(binding, cramped)
    followers = sorted(set(pledges) - {candidate})
    new_voters = tuple(followers) or tuple(sorted(set(members) - {candidate}))
    if not new_voters:
        return Short(needed, len(binding), (candidate,))
    return Elected(candidate, binding[candidate], new_voters)


def elect_async(pledges: Mapping[int, Position], history: str = "", cramped: Collection[int] = ()) -> Elected | Short:
    """Async plan, behind a fence: the one that reaches farthest; the loss bound is checked by `loss`.

    history: the old primary's replication id, '' when it has none or it is not known. Offsets of another history say
    nothing about this one (a Valkey primary that was restarted counts from zero), so its holders may not lead. cramped: see
    `farthest`.
    """
    eligible = {member: at for member, at in pledges.items() if not history or at.history == history}
    if not eligible:
        return Short(1, 0, tuple(sorted(pledges)))
    candidate = farthest(eligible, cramped)
    return Elected(candidate, eligible[candidate], ())


def farthest(pledges: Mapping[int, Position], cramped: Collection[int] = ()) -> int:
    """Highest (timeline, lsn); of equal ones one that is not cramped (its disk has no room to lead), then the lower id, so
    that a repeated election elects the same.
    """
    return min(pledges, key=lambda member: (-pledges[member].timeline, -pledges[member].lsn, member in cramped, member))


def may_lead_drained(
    candidate: int, voters: Collection[int], pledges: Mapping[int, Position], timeline: int = 0
) -> str:
    """Planned move whose old primary is stopped, but whose candidate is not known to have everything: why it may not lead,
    '' when it may. It needs the quorum of a failover, by the same rule of fresh pledges, and that nobody reaches farther.
    """
    if candidate not in pledges:
        return "it did not pledge"
    binding = [member for member in voters if member in pledges and pledges[member].timeline >= timeline]
    if voters and len(binding) < pledges_needed(len(voters)):
        return "it has not everything, and too few voters that followed the old primary pledged to know"
    if any(at.reach > pledges[candidate].reach for at in pledges.values()):
        return "another that pledged reaches farther"
    return ""


@dataclass(frozen=True, slots=True)
class Bound:
    """A plan's limit of loss, in bytes and seconds."""

    max_bytes: int
    max_s: float


@dataclass(frozen=True, slots=True)
class Loss:
    """What promotion may lose at most. bytes: behind the old primary's last known position; lag_s: how long the
    standby's stream had been without a message when the primary was last known well.
    """

    bytes: int
    lag_s: float

    def within(self, bound: Bound) -> bool:
        """May it be promoted by itself (S4)?"""
        return self.bytes <= bound.max_bytes and self.lag_s <= bound.max_s


def loss(last_known: Position | None, candidate: Position, lag_s: float) -> Loss:
    """Upper estimate from what was last read of the primary; an unknown position counts as no byte, only the age."""
    if last_known is None or candidate.timeline > last_known.timeline:
        return Loss(0, lag_s)
    return Loss(max(last_known.lsn - candidate.lsn, 0), lag_s)
