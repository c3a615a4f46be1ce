"""The half of a state that stands outside the log: hosts, links, engines with their data, agents with their promises.

Data is a tree of branches, one a promotion. A member's log is a place in it (branch, how far), and so is the last write that
was acknowledged. How far is told by rank only: the smallest numbers that keep the order, and the order is kept within a
timeline only (`normal`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

UP, FROZEN, DEAD = range(3)
EMPTY, PRIMARY, STANDBY, TRASHED = range(4)
NOBODY = -1
FARTHEST = 3
UNBOUND, BOUND, AGED = range(3)

PROVIDER, STORE, DEAF, STORM, OVERRIDES = (1 << bit for bit in range(5))
"""What is wrong outside of the service (`Small.outside`): the provider does not answer; the object store takes nothing; the
controller's own pulse does not come back; what befell this service befell many; a role's commits wait for nobody."""

Point = tuple[int, int]
"""A place in the tree: (branch, how far)."""

NOWHERE: Point = (NOBODY, NOBODY)


class Member(NamedTuple):
    """One member with its server.

    host: UP, FROZEN, DEAD. control, peers: its links to the controller and to other members. old: it runs a life that the
    log has counted out. runs: its engine's processes are there. role: what its data directory is. source: whom it streams
    from. branch, reach: how far its log goes. waits: W, the members (mask) one of whom a commit waits for. behind, rank:
    what its agent promised, as terms behind the service's and as a place in the order of states. lease: none, renewed, or
    not renewed since the count began; it is on the agent's disk, so it outlives the host. far: more is missing than the plan allows to lose.
    """

    host: int = UP
    control: bool = True
    peers: bool = True
    old: bool = False
    runs: bool = True
    role: int = STANDBY
    source: int = NOBODY
    branch: int = 0
    reach: int = 0
    waits: int = 0
    behind: int = 0
    rank: int = 0
    lease: int = UNBOUND
    far: bool = False


class Fork(NamedTuple):
    """A branch: whose, from where, and its timeline, which PostgreSQL counts up from its parent's. apart: how far it goes is
    told without regard to how far its parent's timeline goes (`normal`).
    """

    parent: int
    reach: int
    timeline: int
    apart: bool = False


class Small(NamedTuple):
    """The small world. acknowledged: the last write of which a client was told; leads: the branch of the newest primary.

    flush: what the others must reach before a struck voter may be forgotten, NOWHERE = nothing is struck. faults, orders: how
    often the world may still do harm, and a person ask for something. luck: how much bad luck there may still be, -1 = each
    piece is one of the faults. zombie: an effect's context that a controller without
    its shard goes on with; zombies: how many there may still be. consent: the owner typed the name. broken: the rule that this state breaks, '' for none.
    outside: what is wrong outside of the service, a mask.
    """

    members: tuple[Member, ...]
    forks: tuple[Fork, ...]
    acknowledged: Point
    leads: int
    faults: int
    orders: int = 0
    flush: Point = NOWHERE
    zombie: Any = None
    consent: bool = False
    broken: str = ""
    outside: int = 0
    luck: int = -1
    zombies: int = 0


def change(world: Small, slot: int, **fields: Any) -> Small:
    """The same with one member changed."""
    members = list(world.members)
    members[slot] = members[slot]._replace(**fields)
    return world._replace(members=tuple(members))


def holds(forks: tuple[Fork, ...], branch: int, reach: int, point: Point) -> bool:
    """Is the point on the log that ends at (branch, reach)? Whatever stands on a branch has all that is before its fork."""
    while branch != point[0]:
        if branch < 0:
            return False
        branch, reach = forks[branch][:2]
    return branch >= 0 and reach >= point[1]


def has(world: Small, slot: int, point: Point) -> bool:
    """Does a member's data hold the point?"""
    member = world.members[slot]
    return member.role in (PRIMARY, STANDBY) and holds(world.forks, member.branch, member.reach, point)


def timeline(world: Small, slot: int) -> int:
    """The number of the timeline that a member is on."""
    return world.forks[world.members[slot].branch].timeline


def serves(world: Small, slot: int) -> bool:
    """It runs as a primary and can act at this moment."""
    member = world.members[slot]
    return member.runs and member.host == UP and member.role == PRIMARY


def streams(world: Small, slot: int, source: int) -> bool:
    """Does a standby receive from this source, whose log is a continuation of its own?"""
    member = world.members[slot]
    if not (member.runs and member.host == UP and member.role == STANDBY and member.source == source >= 0):
        return False
    upstream = world.members[source]
    linked = member.peers and upstream.peers
    return (
        linked
        and serves(world, source)
        and holds(world.forks, upstream.branch, upstream.reach, (member.branch, member.reach))
    )


def can_acknowledge(world: Small, slot: int) -> bool:
    """Would a write that a client sends now be acknowledged?"""
    if not serves(world, slot):
        return False
    waits = world.members[slot].waits
    return not waits or any(waits >> other & 1 and streams(world, other, slot) for other in range(len(world.members)))


def settle(world: Small) -> Small:
    """Primaries acknowledge what they may, then numbers are made small again. What breaks a rule is noted."""
    for slot in range(len(world.members)):
        world = _acknowledge(world, slot)
    return normal(world)


def _acknowledge(world: Small, slot: int) -> Small:
    if not serves(world, slot):
        return world
    member = world.members[slot]
    points: list[Point] = []
    if not member.waits:
        points.append((member.branch, member.reach))
    points += [
        (world.members[other].branch, world.members[other].reach)
        for other in range(len(world.members))
        if member.waits >> other & 1 and streams(world, other, slot)
    ]
    for point in points:
        if holds(world.forks, *world.acknowledged, point):
            continue
        if member.branch != world.leads and not world.broken:
            world = world._replace(broken="S1: a primary that another has followed acknowledges a write")
        elif not holds(world.forks, *point, world.acknowledged) and not world.broken:
            world = world._replace(broken="S3: a write is acknowledged on a history that lacks an acknowledged one")
        world = world._replace(acknowledged=point)
    return world


def write(world: Small, slot: int) -> Small | None:
    """A client writes; None when what was written before still waits for its acknowledgement."""
    member = world.members[slot]
    if not serves(world, slot) or not holds(world.forks, *world.acknowledged, (member.branch, member.reach)):
        return None
    return settle(change(world, slot, reach=member.reach + 1))


def busy(world: Small) -> Small:
    """The same with a write under way at every primary that waits for somebody: clients make no pause."""
    for slot, member in enumerate(world.members):
        if member.waits:
            world = write(world, slot) or world
    return world


def receive(world: Small, slot: int) -> Small | None:
    """A standby has received and flushed all that its source has; None when there is nothing."""
    member = world.members[slot]
    if not streams(world, slot, member.source):
        return None
    upstream = world.members[member.source]
    if (member.branch, member.reach, member.far) == (upstream.branch, upstream.reach, False):
        return None
    return settle(change(world, slot, branch=upstream.branch, reach=upstream.reach, far=False))


def promote(world: Small, slot: int, waits: int, *, sync: bool) -> Small:
    """The engine takes writes from here on, on a branch of its own; its set is in force first."""
    member = world.members[slot]
    if member.role == PRIMARY:
        return settle(change(world, slot, waits=waits))
    broken, acknowledged = world.broken, world.acknowledged
    if not has(world, slot, acknowledged):
        if sync:
            broken = broken or "S3: an acknowledged write is lost by a promotion"
        elif member.far:
            broken = broken or "S4: more is lost by a promotion than the plan allows"
        acknowledged = (member.branch, member.reach)
    branch = len(world.forks)
    fork = Fork(member.branch, member.reach, world.forks[member.branch].timeline + 1)
    if any(other.timeline == fork.timeline and other.apart for other in world.forks):
        raise Forgotten("two branches of one timeline are compared, and how far the first goes is not known any more")
    world = world._replace(forks=(*world.forks, fork), leads=branch, acknowledged=acknowledged, broken=broken)
    return settle(change(world, slot, role=PRIMARY, source=NOBODY, branch=branch, waits=waits, far=False))


def stop(world: Small, slot: int, *, clean: bool) -> Small:
    """No process is left. clean: standbys in reach have received everything."""
    if clean and serves(world, slot):
        for other in range(len(world.members)):
            world = (receive(world, other) or world) if world.members[other].source == slot else world
    return settle(change(world, slot, runs=False))


def copied(world: Small, slot: int, source: int) -> Small:
    """The member's data is the source's now, and it follows it."""
    upstream = world.members[source]
    return settle(change(world, slot, runs=True, role=STANDBY, source=source, branch=upstream.branch, reach=upstream.reach,
                         waits=0, lease=UNBOUND, far=False))  # fmt: skip


def normal(world: Small) -> Small:
    """Branches that nothing stands on are dropped, and what counts how far is told by the smallest numbers.

    A place on another timeline is compared by the timeline alone (elections) or by way of the forks between (`holds`), so how
    far two timelines go need not be told in the same numbers: but for a branch that may yet be grown from the older beside
    the newer, where elections would compare the two. Once nobody stands on the older who could be promoted, they are told
    apart; should somebody be promoted there all the same, the search ends with an error.
    """
    stands = [world.acknowledged, *((m.branch, m.reach) for m in world.members if m.role in (PRIMARY, STANDBY))]
    if world.flush != NOWHERE:
        stands.append(world.flush)
    kept = _kept(world.forks, {world.leads, *(branch for branch, _ in stands)})
    number = {branch: place for place, branch in enumerate(kept)} | {NOBODY: NOBODY}
    forks = _apart(world, kept)
    rank = _ranks(forks, kept, stands)
    return world._replace(
        members=tuple(_numbered(member, number, rank) for member in world.members),
        forks=tuple(
            Fork(number[f.parent], rank[f.parent][f.reach], f.timeline, f.apart) if number.get(f.parent, NOBODY) >= 0
            else Fork(NOBODY, 0, f.timeline) for f in (forks[branch] for branch in kept)
        ),
        acknowledged=_place(world.acknowledged, number, rank), leads=number[world.leads],
        flush=_place(world.flush, number, rank) if world.flush != NOWHERE else NOWHERE,
    )  # fmt: skip


class Forgotten(RuntimeError):
    """An order that was not kept is asked for."""


Rank = dict[int, dict[int, int]]
"""Branch -> how far -> its number."""


def _kept(forks: tuple[Fork, ...], stood: set[int]) -> list[int]:
    """Branches that something stands on or grew from; the oldest only while more than one thing does."""
    used = set(stood)
    for branch in range(len(forks) - 1, -1, -1):
        if branch in used and forks[branch].parent >= 0:
            used.add(forks[branch].parent)
    kept = sorted(used)
    while len(kept) > 1 and _is_bare(forks, kept, stood):
        kept.pop(0)
    return kept


def _apart(world: Small, kept: list[int]) -> dict[int, Fork]:
    """The branches that are kept. Who may be promoted: a standby; and a primary that waits for nobody, which may hand over."""
    able = {
        world.forks[m.branch].timeline
        for m in world.members
        if m.role == STANDBY or (m.role == PRIMARY and not m.waits)
    }
    forks = {branch: world.forks[branch] for branch in kept}
    return {
        branch: fork._replace(apart=fork.apart or (fork.parent in forks and forks[fork.parent].timeline not in able))
        for branch, fork in forks.items()
    }


def _ranks(forks: dict[int, Fork], kept: list[int], stands: list[Point]) -> Rank:
    """Numbers of timelines that are told together."""
    group = {fork.timeline: fork.timeline for fork in forks.values()}
    for branch in kept:
        fork = forks[branch]
        if fork.parent in forks and not fork.apart:
            joined = group[forks[fork.parent].timeline]
            group = {line: joined if of == group[fork.timeline] else of for line, of in group.items()}
    reaches: dict[int, set[int]] = {}
    for branch, reach in stands:
        reaches.setdefault(group[forks[branch].timeline], set()).add(reach)
    for fork in forks.values():
        if fork.parent in forks:
            reaches.setdefault(group[forks[fork.parent].timeline], set()).add(fork.reach)
    ranks = {line: {reach: place for place, reach in enumerate(sorted(of))} for line, of in reaches.items()}
    return {branch: ranks.get(group[forks[branch].timeline], {}) for branch in kept}


def _place(point: Point, number: dict[int, int], rank: Rank) -> Point:
    return number[point[0]], rank[point[0]][point[1]]


def _is_bare(forks: tuple[Fork, ...], kept: list[int], stood: set[int]) -> bool:
    """Nothing stands on the first branch, and all else grows from one place of it."""
    first = kept[0]
    return first not in stood and sum(forks[branch].parent == first for branch in kept[1:]) == 1


def _numbered(member: Member, number: dict[int, int], rank: Rank) -> Member:
    if member.role not in (PRIMARY, STANDBY):
        return member._replace(branch=0, reach=0, waits=0, source=NOBODY)
    return member._replace(branch=number[member.branch], reach=rank[member.branch][member.reach])


def turn_small(world: Small, turn: tuple[int, ...]) -> Small:
    """The same with members in another order. turn: old slot -> new slot."""
    members: list[Member] = list(world.members)
    for old, member in enumerate(world.members):
        source = turn[member.source] if member.source >= 0 else NOBODY
        members[turn[old]] = member._replace(source=source, waits=turned_mask(member.waits, turn))
    zombie = world.zombie.turned(turn) if world.zombie is not None else None
    return world._replace(members=tuple(members), zombie=zombie)


def turned_mask(mask: int, turn: tuple[int, ...]) -> int:
    """A mask of old slots as one of new slots."""
    return sum(1 << turn[slot] for slot in range(len(turn)) if mask >> slot & 1)


def at_rest(count: int, *, sync: bool, faults: int, orders: int, luck: int = -1, zombies: int = 0) -> Small:
    """The world of a service that is well: the first member leads, the others follow it and have everything."""
    waits = (1 << count) - 2 if sync else 0
    primary = Member(role=PRIMARY, waits=waits, behind=FARTHEST)
    others = (Member(source=0, behind=FARTHEST) for _ in range(count - 1))
    return Small((primary, *others), (Fork(NOBODY, 0, 1),), (0, 0), 0, faults, orders, luck=luck, zombies=zombies)


def unmade(count: int, *, faults: int, orders: int, luck: int = -1) -> Small:
    """Nothing is there: no host, no data."""
    nobody = Member(host=DEAD, runs=False, role=EMPTY, behind=FARTHEST)
    return Small((nobody,) * count, (Fork(NOBODY, 0, 1),), (0, 0), 0, faults, orders, luck=luck)
