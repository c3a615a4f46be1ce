"""The half of a state that stands outside the log: hosts, links, engines with their data, agents with their promises.

Data is a tree of branches, one a promotion. A member's log is a place in it (branch, how far), and so is the last write that
was acknowledged. How far is told by rank only: the smallest numbers that keep the order.
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
    """A branch: whose, from where, and its timeline, which PostgreSQL counts up from its parent's."""

    parent: int
    reach: int
    timeline: int


class Small(NamedTuple):
    """The small world. acknowledged: the last write of which a client was told; leads: the branch of the newest primary.

    flush: what the others must reach before a struck voter may be forgotten, -1 = nothing is struck. faults, orders: how
    often the world may still do harm, and a person ask for something. luck: how much bad luck there may still be, -1 = each
    piece is one of the faults. zombie: an effect's context that a controller without
    its shard goes on with. consent: the owner typed the name. broken: the rule that this state breaks, '' for none.
    outside: what is wrong outside of the service, a mask.
    """

    members: tuple[Member, ...]
    forks: tuple[Fork, ...]
    acknowledged: Point
    leads: int
    faults: int
    orders: int = 0
    flush: int = NOBODY
    zombie: Any = None
    consent: bool = False
    broken: str = ""
    outside: int = 0
    luck: int = -1


def change(world: Small, slot: int, **fields: Any) -> Small:
    """The same with one member changed."""
    members = list(world.members)
    members[slot] = members[slot]._replace(**fields)
    return world._replace(members=tuple(members))


def holds(forks: tuple[Fork, ...], branch: int, reach: int, point: Point) -> bool:
    """Is the point on the log that ends at (branch, reach)?"""
    while branch != point[0]:
        if branch < 0:
            return False
        parent, fork, _ = forks[branch]
        branch, reach = parent, min(reach, fork)
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
    """Branches that nothing stands on are dropped, and what counts how far is told by the smallest numbers."""
    used = {world.acknowledged[0], world.leads} | {m.branch for m in world.members if m.role in (PRIMARY, STANDBY)}
    for branch in range(len(world.forks) - 1, -1, -1):
        if branch in used and world.forks[branch].parent >= 0:
            used.add(world.forks[branch].parent)
    kept = sorted(used)
    while len(kept) > 1 and _is_bare(world, kept):
        kept.pop(0)
    number = {branch: place for place, branch in enumerate(kept)} | {NOBODY: NOBODY}
    forks = [world.forks[branch] for branch in kept]
    reaches = {world.acknowledged[1]} | {m.reach for m in world.members if m.role in (PRIMARY, STANDBY)}
    reaches |= {fork.reach for fork in forks if fork.parent in number and fork.parent >= 0}
    if world.flush >= 0:
        reaches.add(world.flush)
    rank = {reach: place for place, reach in enumerate(sorted(reaches))}
    return world._replace(
        members=tuple(_numbered(member, number, rank) for member in world.members),
        forks=tuple(
            Fork(number[f.parent], rank[f.reach], f.timeline) if number.get(f.parent, NOBODY) >= 0 else Fork(NOBODY, 0, f.timeline)
            for f in forks
        ),
        acknowledged=(number[world.acknowledged[0]], rank[world.acknowledged[1]]), leads=number[world.leads],
        flush=rank[world.flush] if world.flush >= 0 else NOBODY,
    )  # fmt: skip


def _is_bare(world: Small, kept: list[int]) -> bool:
    """Nothing stands on the first branch, and all else grows from one place of it."""
    first = kept[0]
    stands = {world.acknowledged[0], world.leads} | {m.branch for m in world.members if m.role in (PRIMARY, STANDBY)}
    grown = [branch for branch in kept[1:] if world.forks[branch].parent == first]
    return first not in stands and len(grown) == 1


def _numbered(member: Member, number: dict[int, int], rank: dict[int, int]) -> Member:
    if member.role not in (PRIMARY, STANDBY):
        return member._replace(branch=0, reach=0, waits=0, source=NOBODY)
    return member._replace(branch=number[member.branch], reach=rank[member.reach])


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


def at_rest(count: int, *, sync: bool, faults: int, orders: int, luck: int = -1) -> Small:
    """The world of a service that is well: the first member leads, the others follow it and have everything."""
    waits = (1 << count) - 2 if sync else 0
    primary = Member(role=PRIMARY, waits=waits, behind=FARTHEST)
    others = (Member(source=0, behind=FARTHEST) for _ in range(count - 1))
    return Small((primary, *others), (Fork(NOBODY, 0, 1),), (0, 0), 0, faults, orders, luck=luck)


def unmade(count: int, *, faults: int, orders: int, luck: int = -1) -> Small:
    """Nothing is there: no host, no data."""
    nobody = Member(host=DEAD, runs=False, role=EMPTY, behind=FARTHEST)
    return Small((nobody,) * count, (Fork(NOBODY, 0, 1),), (0, 0), 0, faults, orders, luck=luck)
