"""What happens by itself: faults and their end, writes and their replication, what pulses show, leases.

What a pulse means is the production `judge`; who is to be under a lease is the production `wanted`.
"""

from __future__ import annotations

from collections.abc import Iterator

from herder.fleet.leases import Wanted
from herder.ports.driver import Position, Reading, Role
from herder.ports.wire import MemberPulse
from herder.proof.product.acts import Act, harmed, in_reach, struck
from herder.proof.product.shelf import TERM, Kind, Shelf
from herder.proof.product.shelf import member_name as name
from herder.proof.product.small import (
    AGED,
    BOUND,
    DEAD,
    DEAF,
    EMPTY,
    FROZEN,
    OVERRIDES,
    PRIMARY,
    PROVIDER,
    STANDBY,
    STORE,
    STORM,
    TRASHED,
    UNBOUND,
    UP,
    Small,
    change,
    has,
    receive,
    serves,
    settle,
    stop,
    streams,
    timeline,
    write,
)
from herder.pulse.judge import Ages, Expected, judge

MOVING = ("failover", "switchover", "restart")
ROLES = {EMPTY: Role.NONE, PRIMARY: Role.PRIMARY, STANDBY: Role.STANDBY, TRASHED: Role.NONE}

JUST, LONG = 1.0, 100.0
"""Ages, seconds: within and past every patience of the judge."""


def faults(world: Small, kinds: frozenset[str]) -> Iterator[Act]:
    """What the world may do of these kinds: each costs one of its faults."""
    worse = struck(world)
    if worse is None:
        return
    for slot, member in enumerate(world.members):
        if member.host != DEAD and "die" in kinds:
            dead = change(worse, slot, host=DEAD, runs=False)
            yield Act(f"the host of {name(slot)} dies", settle(dead), fair=False, whom=slot)
        if member.host == UP and "freeze" in kinds:
            yield Act(
                f"the host of {name(slot)} freezes", settle(change(worse, slot, host=FROZEN)), fair=False, whom=slot
            )
        if member.control and "cut" in kinds:
            yield Act(
                f"{name(slot)} is cut off from the controller",
                change(worse, slot, control=False),
                fair=False,
                whom=slot,
            )
        if member.peers and "part" in kinds and len(world.members) > 1:
            yield Act(
                f"{name(slot)} is cut off from the other members",
                change(worse, slot, peers=False),
                fair=False,
                whom=slot,
            )
        if member.runs and member.host == UP and "exit" in kinds:
            yield Act(
                f"the engine of {name(slot)} exits", settle(change(worse, slot, runs=False)), fair=False, whom=slot
            )
        if member.role in (PRIMARY, STANDBY) and "lose" in kinds:
            lost = change(worse, slot, role=EMPTY, runs=False, lease=UNBOUND)
            yield Act(f"the disk of {name(slot)} is lost", settle(lost), fair=False, whom=slot)
        if "far" in kinds and not member.far and _is_left_behind(world, slot):
            yield Act(f"{name(slot)} falls far behind", change(worse, slot, far=True), fair=False, whom=slot)


_OUTSIDE = {
    "provider": (PROVIDER, "the provider stops answering"), "store": (STORE, "the object store stops taking anything"),
    "override": (OVERRIDES, "a role's commits are set to wait for nobody"),
}  # fmt: skip


def disasters(world: Small, kinds: frozenset[str]) -> Iterator[Act]:
    """What goes wrong outside of the service, or strikes it together with many others: each costs one fault."""
    worse = struck(world)
    if worse is None:
        return
    for kind, (bit, words) in _OUTSIDE.items():
        if kind in kinds and not world.outside & bit:
            yield Act(words, worse._replace(outside=worse.outside | bit), fair=False)
    if world.outside & STORM:
        return
    everybody = range(len(world.members))
    stormy = worse._replace(outside=worse.outside | STORM)
    if "power" in kinds:
        dark = stormy
        for slot in everybody:
            dark = change(dark, slot, host=DEAD, runs=False)
        yield Act("the whole zone loses its power", settle(dark), fair=False)
    mute = stormy
    for slot in everybody:
        mute = change(mute, slot, control=False)
    if "mute" in kinds:
        yield Act("the whole zone is cut off from the controller", mute, fair=False)
    if "deaf" in kinds:
        deaf = mute._replace(outside=mute.outside | DEAF)
        yield Act("the controller is cut off from everybody", deaf, fair=False)


def relief(world: Small) -> Iterator[Act]:
    """What is wrong outside ends."""
    for bit, words in _OUTSIDE.values():
        if world.outside & bit:
            yield Act(f"it is over: {words}", world._replace(outside=world.outside & ~bit))
    if world.outside & DEAF:
        heard = world._replace(outside=world.outside & ~(DEAF | STORM))
        for slot in range(len(world.members)):
            heard = change(heard, slot, control=True)
        yield Act("the controller hears everybody again", heard)
    elif world.outside & STORM and all(m.host == UP and m.control for m in world.members):
        yield Act("the rest of the zone is well again", world._replace(outside=world.outside & ~STORM))


def _is_left_behind(world: Small, slot: int) -> bool:
    """A standby that lacks what was acknowledged, while a primary goes on writing."""
    leads = any(serves(world, other) and member.branch == world.leads for other, member in enumerate(world.members))
    return leads and world.members[slot].role == STANDBY and not has(world, slot, world.acknowledged)


def mends(world: Small) -> Iterator[Act]:
    """What ends by itself in the end. A frozen host that thaws finds its lease over: its watchdog comes first."""
    for slot, member in enumerate(world.members):
        if member.host == FROZEN:
            thawed = change(world, slot, host=UP)
            if member.lease == AGED:
                thawed = change(thawed, slot, runs=False)
            yield Act(f"the host of {name(slot)} thaws", settle(thawed), whom=slot)
        if not member.control and not world.outside & DEAF:
            yield Act(
                f"the controller reaches {name(slot)} again", settle(change(world, slot, control=True)), whom=slot
            )
        if not member.peers:
            yield Act(
                f"{name(slot)} is linked to the other members again", settle(change(world, slot, peers=True)), whom=slot
            )


def data(world: Small) -> Iterator[Act]:
    """Replication."""
    for slot, member in enumerate(world.members):
        if (received := receive(world, slot)) is not None:
            yield Act(f"{name(slot)} receives what {name(member.source)} has", received, whom=slot)


def writes(world: Small) -> Iterator[Act]:
    """A client's. Nobody may use a service that is being made: until then nothing is written."""
    for slot in range(len(world.members)):
        if (written := write(world, slot)) is not None:
            yield Act(f"a client writes to {name(slot)}", written, whom=slot)


def signs(shelf: Shelf, world: Small, kind: Kind, *, full: bool = False) -> Iterator[Act]:
    """What pulses, closed connections and silence tell the log: an event for a machine each. full: disks may have no room, which
    is one of the faults.
    """
    for slot in range(kind.members):
        server = shelf.servers[slot]
        if in_reach(world, slot):
            if server.state in ("uncertain", "unavailable"):
                yield Act(
                    f"the pulse of the server of {name(slot)} is heard", world, besides=((kind.server(slot), "heard"),)
                )
            yield from _judged(shelf, world, kind, slot, full=full)
            if server.state == "available" and (worse := harmed(world)) is not None:
                words = f"pulses of the server of {name(slot)} are late"
                yield Act(words, worse, besides=((kind.server(slot), "silent"),), fair=False)
        elif server.state == "available" and not world.outside & DEAF:  # who is deaf judges nobody
            read = () if kind.sync else ((kind.member(slot), "last_read"),)
            besides = (*read, (kind.server(slot), "silent"))
            yield Act(f"the server of {name(slot)} is silent", world, besides=besides)
            if shelf.members[slot].state == "available":
                words = f"the connection of the agent of {name(slot)} closes"
                yield Act(words, world, besides=((kind.member(slot), "suspected"),), fair=False)


def _judged(shelf: Shelf, world: Small, kind: Kind, slot: int, *, full: bool) -> Iterator[Act]:
    """Whatever the production judge may make of a member's pulse, whether things are as they are for a moment or for long."""
    unit, member = shelf.members[slot], world.members[slot]
    held = shelf.playbook >= 0 and shelf.works[shelf.playbook].kind in MOVING
    deposing = (
        held and shelf.works[shelf.playbook].kind == "failover" and shelf.works[shelf.playbook].state != "repointing"
    )
    upstream = streams(world, slot, member.source) if member.role == STANDBY and member.runs else None
    reading = Reading(
        alive=member.runs, role=ROLES[member.role] if member.runs else Role.NONE, upstream=upstream,
        position=Position(timeline(world, slot), member.reach) if member.runs else None,
    )  # fmt: skip
    pulse = MemberPulse(
        member=name(slot), service="", term=TERM - member.behind, reading=reading, exited=not member.runs
    )
    told: set[tuple[int, str]] = set()
    worse = struck(world) if full and kind.sync and slot == shelf.primary else None
    seen = ((JUST, LONG, world), (LONG, LONG, world), (JUST, 0.0, world), (JUST, LONG, worse))
    for lost_s, settled_s, after in seen:
        if after is None:
            continue
        expected = Expected(
            kind.member(slot), unit.state, unit.role, unit.deposed, TERM, held=held, deposing=deposing,
            primary_well=shelf.members[shelf.primary].state == "available", settled_s=settled_s,
            relief="another" if after is worse else "",
        )  # fmt: skip
        for sign in judge(
            expected, pulse, Ages(deaf_s=0.0, upstream_lost_s=lost_s, full_s=LONG if after is worse else 0.0)
        ):
            target = slot if sign.about == "member" else shelf.primary
            if sign.about == "primary" and (target == slot or held):
                continue
            if (target, sign.event) not in told:
                told.add((target, sign.event))
                words = f"the pulse of {name(slot)} shows: {sign.why.partition(' for ')[0].partition(' at ')[0]}"
                yield Act(words, after, besides=((kind.member(target), sign.event),), whom=target, fair=after is world)


def leases(shelf: Shelf, world: Small, kind: Kind, want: Wanted) -> Iterator[Act]:
    """The lease of the primary: begun and confirmed, recorded, renewed, run out, given back."""
    slot = shelf.primary
    member, unit = world.members[slot], shelf.members[slot]
    reached = in_reach(world, slot) and member.runs and member.role == PRIMARY
    ident = kind.member(slot)
    if want.lease and reached and member.lease == UNBOUND and not unit.leased and want.renew:
        yield Act(f"{name(slot)} is put under a lease", change(world, slot, lease=BOUND), whom=slot)
    if want.lease and reached and member.lease == BOUND and not unit.leased and unit.state == "available":
        yield Act(f"the lease of {name(slot)} is recorded", world, besides=((ident, "leased"),))
    if want.renew and reached and member.lease == AGED:
        yield Act(f"the lease of {name(slot)} is renewed", change(world, slot, lease=BOUND), whom=slot)
    if unit.leased and (not want.keep or (reached and member.lease == UNBOUND)) and want.renew and reached:
        yield Act(f"nobody counts on the lease of {name(slot)} any more", world, besides=((ident, "released"),))
    if not unit.leased and not want.keep and reached and member.lease == BOUND and want.renew:
        yield Act(f"{name(slot)} is given its lease back", change(world, slot, lease=UNBOUND), whom=slot)
    for other, bound in enumerate(world.members):
        renewed = other == slot and want.renew and in_reach(world, other)
        if bound.lease != UNBOUND and serves(world, other) and not renewed:
            yield Act(
                f"the lease of {name(other)} runs out: its watchdog ends it",
                stop(world, other, clean=False),
                whom=other,
            )
