"""What may be done in the small world, and by whom: a step, what it does there, and what the log hears of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from herder.proof.product.context import Context
from herder.proof.product.shelf import STEP
from herder.proof.product.small import DEAD, FARTHEST, STANDBY, UP, Member, Small, change

Facts = tuple[tuple[str, Any], ...]


UNAWARE = 0
"""The `ident` of work that a controller without its shard goes on with. `asks`: agents that have let in nothing newer since."""


class Act(NamedTuple):
    """One step. what: in words; world: as it is afterwards; event: the outcome that the log hears, '' = none (yet, or lost);
    facts: that it brings; besides: events for other machines that come with it (machine, event); fair: it happens when the
    world no longer does its worst. whom: the slot it is done to, -1 = nobody's.
    """

    what: str
    world: Small
    event: str = ""
    facts: Facts = ()
    besides: tuple[tuple[int, str], ...] = ()
    fair: bool = True
    whom: int = -1


class Rules(NamedTuple):
    """What the world is able to do. fences: the provider can end a server for sure."""

    fences: bool = True


def in_reach(world: Small, slot: int) -> bool:
    """Does its agent answer the controller, as the life that the log knows?"""
    member = world.members[slot]
    return member.host == UP and member.control and not member.old


def refuses(world: Small, slot: int, job: Context) -> bool:
    """Its agent has promised to something newer (S10). agent.jobs: (term, order) lower than the mark."""
    if job.ident == UNAWARE:
        return not job.asks >> slot & 1
    member = world.members[slot]
    return job.behind > member.behind or (job.behind == member.behind and job.rank < member.rank)


def ask(world: Small, slot: int, job: Context) -> Small | None:
    """The world after the agent has let the job in and promised; None when it does not hear of it or refuses."""
    if job.ident == UNAWARE:
        return world if _lets_unaware_in(world.members[slot], slot, job) else None
    if not in_reach(world, slot) or refuses(world, slot, job):
        return None
    return change(unheard(world, 1 << slot), slot, behind=job.behind, rank=job.rank)


def _lets_unaware_in(member: Member, slot: int, job: Context) -> bool:
    """Its jobs name the life that it knows."""
    knows = bool(job.past >> slot & 1) == member.old
    return member.host == UP and member.control and knows and bool(job.asks >> slot & 1)


def unheard(world: Small, whom: int) -> Small:
    """Members (mask) that let in nothing more of a controller that lost its shard: they heard a newer one, or live anew."""
    zombie = world.zombie
    if zombie is None or not zombie.asks & whom:
        return world
    return world._replace(zombie=zombie._replace(asks=zombie.asks & ~whom, past=zombie.past & ~whom))


def counted_out(world: Small, aged: int) -> Small:
    """Lives (mask of servers) were counted out of the log: who lost its shard before knows those, and no newer ones."""
    zombie = world.zombie
    if zombie is None or not zombie.asks & aged:
        return world
    world = unheard(world, sum(1 << slot for slot in slots(aged) if world.members[slot].host == DEAD))
    return world._replace(zombie=world.zombie._replace(past=world.zombie.past | world.zombie.asks & aged))


def moved_marks(world: Small, ranks: tuple[tuple[int, int, int], ...]) -> Small:
    """Marks after a step of the log. ranks: states that go on, as (before, after, whom they ask)."""
    members = tuple(
        member._replace(rank=_moved(member.rank, [(b, a) for b, a, asks in ranks if asks >> slot & 1]))
        if not member.behind
        else member
        for slot, member in enumerate(world.members)
    )
    return world._replace(members=members)


def _moved(rank: int, ranks: list[tuple[int, int]]) -> int:
    base = rank - rank % STEP
    for before, after in ranks:
        if before == base:
            return after + rank % STEP
    return max((after + 1 for before, after in ranks if before < rank), default=0)


Marks = tuple[tuple[tuple[int, int, bool], ...], ...]
"""For each member the marks of all that may ask its agent, as (-terms behind, rank, is it asked about), the older first."""

PROMISES = frozenset({
    "await_lease", "collect_pledges", "promote_drained", "shrink_sync_set", "stop_members", "trash_members",
})  # fmt: skip
"""Effects that look whether what an agent let in last was their own (`promised`)."""


def squashed(world: Small, marks: Marks) -> Small:
    """What agents promised, told only as far as it decides about those that may still ask them.

    That is: which of them it refuses, all that are older than what it let in last; and whether that was of one who asks about
    it. Whoever may ask later without being due now begins a state of its own then, which is newer than all of these.
    """
    members = []
    for slot, member in enumerate(world.members):
        mark = -member.behind, member.rank
        told = -FARTHEST, 0
        for behind, rank, looks in marks[slot]:
            if (behind, rank) < mark:
                told = behind, rank + 1
            elif (behind, rank) == mark and looks:
                told = mark
        members.append(member._replace(behind=-told[0], rank=told[1]))
    return world._replace(members=tuple(members))


def promised(world: Small, slot: int, job: Context) -> bool:
    """The newest that its agent let in is of this very state."""
    member = world.members[slot]
    return job.ident != UNAWARE and (member.behind, member.rank) == (job.behind, job.rank)


def harmed(world: Small) -> Small | None:
    """The world after one more piece of bad luck, which is one of its faults where luck is not counted by itself; None when
    there may be no more.
    """
    if world.luck >= 0:
        return world._replace(luck=world.luck - 1) if world.luck else None
    return struck(world)


def may_harm(world: Small) -> bool:
    """May there be one more piece of bad luck?"""
    return (world.luck if world.luck >= 0 else world.faults) > 0


def struck(world: Small) -> Small | None:
    """The world after one more fault; None when it has done all the harm that it may."""
    return world._replace(faults=world.faults - 1) if world.faults > 0 else None


def is_standby(world: Small, slot: int) -> bool:
    """Its data is a standby's."""
    return world.members[slot].role == STANDBY


def slots(mask: int) -> Iterator[int]:
    """The slots of a mask."""
    slot = 0
    while mask:
        if mask & 1:
            yield slot
        mask >>= 1
        slot += 1
