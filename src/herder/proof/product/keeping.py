"""What the other effects do to the small world: rebuild, strike, provision, destroy, and those of members and servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from herder.proof.product import leading
from herder.proof.product.acts import Act, Rules, ask, harmed, in_reach, promised, slots, unheard
from herder.proof.product.context import Context
from herder.proof.product.leading import runs_as_standby
from herder.proof.product.shelf import member_name as name
from herder.proof.product.small import (
    DEAD,
    EMPTY,
    NOWHERE,
    PRIMARY,
    STANDBY,
    TRASHED,
    UP,
    Small,
    change,
    copied,
    has,
    serves,
    settle,
    stop,
    streams,
)
from herder.remedies.verdict import LOOKS, Looks, judge_looks

Handler = Callable[[Context, Small, Rules], Iterator[Act]]


def place_member(job: Context, world: Small, rules: Rules) -> Iterator[Act]:
    """Its server runs by the log."""
    if job.well:
        yield Act("its server runs", world, "placed", whom=job.slot)
    else:
        yield Act("its server does not run", world, "no_place", whom=job.slot)
    if (worse := harmed(world)) is not None:
        yield Act("its address cannot be moved", worse, "no_place", fair=False, whom=job.slot)


def rejoin_member(job: Context, world: Small, rules: Rules) -> Iterator[Act]:
    """A living standby is pointed at the primary; else it is stopped for sure and rewound or copied."""
    slot, source = job.slot, job.primary
    asked = ask(world, slot, job)
    if asked is not None and job.stays and runs_as_standby(world, slot):
        follows = settle(change(asked, slot, source=source))
        yield Act(f"{name(slot)} is pointed at {name(source)}", follows, "rejoined", (("how", "followed"),), whom=slot)
        yield Act(f"{name(slot)} is pointed at {name(source)}; the answer is lost", follows, whom=slot)
    if asked is not None:
        stopped = stop(asked, slot, clean=False)
        if stopped != world:
            yield Act(f"{name(slot)} is stopped for its rejoin", stopped, whom=slot)
        linked = world.members[slot].peers and world.members[source].peers
        if linked and serves(stopped, source):
            joined = copied(stopped, slot, source)
            yield Act(
                f"{name(slot)} is rewound or copied from {name(source)}",
                joined,
                "rejoined",
                (("how", "copied"),),
                whom=slot,
            )
            yield Act(f"{name(slot)} is rewound or copied from {name(source)}; the answer is lost", joined, whom=slot)
        else:
            yield Act(f"{name(slot)} cannot be copied from {name(source)}", stopped, "failed", whom=slot)
    elif in_reach(world, slot):
        yield Act(f"the agent of {name(slot)} refuses", world, "failed", whom=slot)
    if (worse := harmed(world)) is not None:
        yield Act(f"the rejoin of {name(slot)} fails", worse, "failed", fair=False, whom=slot)


def await_catch_up(job: Context, world: Small, rules: Rules) -> Iterator[Act]:
    """The primary sends to it, and it is near: it may still lack the last writes."""
    slot = job.slot
    if streams(world, slot, job.primary) and in_reach(world, job.primary) and not world.members[slot].far:
        yield Act(f"{name(slot)} is caught up", world, "caught_up", whom=slot)
    else:
        yield Act(f"{name(slot)} does not stream", world, "failed", whom=slot)


def load_sync_set(job: Context, world: Small, rules: Rules) -> Iterator[Act]:
    """All that are recorded as voters are put in force on the primary of the log."""
    yield from _load(job, world, job.primary, job.recorded & ~(1 << job.primary), 1 << job.slot if job.slot >= 0 else 0)


def load_first_sync_set(job: Context, world: Small, rules: Rules) -> Iterator[Act]:
    """The first one."""
    yield from _load(job, world, job.primary, job.keep, job.keep)


def _load(job: Context, world: Small, primary: int, waits: int, wanted: int) -> Iterator[Act]:
    asked = ask(world, primary, job)
    if asked is not None and serves(world, primary):
        loaded = settle(change(asked, primary, waits=waits))
        words = f"{name(primary)} waits for {', '.join(map(name, slots(waits))) or 'nobody'}"
        yield Act(f"{words}; the answer is lost", loaded, whom=primary)
        if loaded.members[primary].waits & wanted == wanted:
            yield Act(words, loaded, "enrolled", whom=primary)
    else:
        yield Act(f"the sync set of {name(primary)} is not loaded", world, "failed", whom=primary)
    if (worse := harmed(world)) is not None:
        yield Act(f"the sync set of {name(primary)} is not loaded", worse, "failed", fair=False, whom=primary)


def shrink_sync_set(job: Context, world: Small, rules: Rules) -> Iterator[Act]:
    """The smaller set is put in force, then the others are seen to reach the primary's position of that moment."""
    primary = job.primary
    asked = ask(world, primary, job)
    if asked is not None and serves(world, primary):
        member = world.members[primary]
        shrunk = settle(change(asked, primary, waits=job.keep)._replace(flush=(member.branch, member.reach)))
        yield Act(
            f"{name(primary)} waits for {', '.join(map(name, slots(job.keep))) or 'nobody'} only", shrunk, whom=primary
        )
    else:
        yield Act(f"the sync set of {name(primary)} is not loaded", world, "failed", whom=primary)
    if (
        promised(world, primary, job)
        and world.flush != NOWHERE
        and all(_flushed(world, s, primary) for s in slots(job.keep))
    ):
        yield Act(
            "those that are kept have flushed past that moment", world._replace(flush=NOWHERE), "shrunk", whom=primary
        )
    if (worse := harmed(world)) is not None:
        yield Act("not all that are kept have flushed past that moment", worse, "failed", fair=False, whom=primary)


def _flushed(world: Small, slot: int, primary: int) -> bool:
    return streams(world, slot, primary) and has(world, slot, world.flush)


def await_servers(job: Context, world: Small, rules: Rules) -> Iterator[Act]:
    """All servers run by the log."""
    if job.up == job.everybody:
        yield Act("its servers run", world, "hired")
    else:
        yield Act("not all servers came up", world, "failed", fair=False)


def found_primary(job: Context, world: Small, rules: Rules) -> Iterator[Act]:
    """The first primary, asynchronous until its standbys are there."""
    slot = job.primary
    if (asked := ask(world, slot, job)) is not None:
        if asked.members[slot].role == EMPTY:
            asked = change(asked, slot, role=PRIMARY, runs=True, branch=0, reach=asked.acknowledged[1], waits=0)
        made = settle(change(asked, slot, runs=True))
        yield Act(f"{name(slot)} is made", made, "founded", whom=slot)
        yield Act(f"{name(slot)} is made; the answer is lost", made, whom=slot)
    if (worse := harmed(world)) is not None or not in_reach(world, slot):
        yield Act(f"{name(slot)} is not made", worse or world, "failed", fair=False, whom=slot)


def clone_standbys(job: Context, world: Small, rules: Rules) -> Iterator[Act]:
    """Each is copied from the primary."""
    primary, standbys = job.primary, job.everybody & ~(1 << job.primary)
    for slot in slots(standbys):
        linked = world.members[slot].peers and world.members[primary].peers
        asked = ask(world, slot, job)
        if asked is not None and linked and serves(world, primary) and not streams(world, slot, primary):
            yield Act(f"{name(slot)} is copied from {name(primary)}", copied(asked, slot, primary), whom=slot)
    if all(streams(world, slot, primary) for slot in slots(standbys)):
        yield Act("the standbys stream", world, "cloned", (("added", standbys),))
    if (worse := harmed(world)) is not None or not all(in_reach(world, slot) for slot in slots(job.everybody)):
        yield Act("a copy fails", worse or world, "failed", fair=False)


def stop_members(job: Context, world: Small, rules: Rules) -> Iterator[Act]:
    """Every member whose server may run is stopped; the others are taken for stopped."""
    yield from _each_member(job, world, "stopped", lambda w, slot: stop(w, slot, clean=True))


def trash_members(job: Context, world: Small, rules: Rules) -> Iterator[Act]:
    """Each agent moves its member's data to the trash."""
    yield from _each_member(job, world, "trashed", lambda w, s: settle(change(w, s, runs=False, role=TRASHED)))


def _each_member(job: Context, world: Small, event: str, do: Callable[[Small, int], Small]) -> Iterator[Act]:
    wanted = list(slots(job.asked & job.everybody))
    for slot in wanted:
        if (asked := ask(world, slot, job)) is not None and (done := do(asked, slot)) != world:
            yield Act(f"{name(slot)} is {event}", done, whom=slot)
    if all(promised(world, slot, job) and _is(world, slot, event) for slot in wanted):
        yield Act(f"all members are {event}", world, event)
    elif not all(in_reach(world, slot) for slot in wanted):
        yield Act("a member does not answer", world, "failed", fair=False)
    if (worse := harmed(world)) is not None:
        yield Act("it fails on a member", worse, "failed", fair=False)


def _is(world: Small, slot: int, event: str) -> bool:
    member = world.members[slot]
    return member.role == TRASHED if event == "trashed" else not member.runs


# ---- members and servers


def ask_vantages(job: Context, world: Small, rules: Rules) -> Iterator[Act]:
    """The other members' agents, the controller and the provider look; the verdict is the production one."""
    slot = job.slot
    member = world.members[slot]
    provider = member.host != DEAD if rules.fences else None
    truth = _looks(job, world, provider=provider, seen="silent" if member.host != UP or not member.peers else "")
    if judge_looks(truth).dead:
        server = 2 + job.everybody.bit_length() + slot
        besides = ((server, "gone"),) if provider is False else ()
        facts = (("evidence", "gone" if provider is False else "seen"),)
        yield Act(
            f"several vantage points agree that {name(slot)} does not serve",
            world,
            "seen_dead",
            facts,
            besides,
            whom=slot,
        )
    elif (worse := harmed(world)) is not None and judge_looks(
        _looks(job, world, provider=provider, seen="silent")
    ).dead:
        facts = (("evidence", "seen"),)
        yield Act(
            f"several vantage points miss {name(slot)}, which serves", worse, "seen_dead", facts, fair=False, whom=slot
        )


def _looks(job: Context, world: Small, *, provider: bool | None, seen: str) -> Looks:
    """What they see; seen: what whoever looks over the network sees, '' = the truth."""
    slot, member = job.slot, world.members[job.slot]
    truth = "serving" if member.runs else "refused"
    reached = member.host == UP and member.control
    probes = {"controller": seen or truth if reached else "silent"}
    ages: dict[str, float] = {}
    for other in slots(job.up & ~(1 << slot)):
        if in_reach(world, other):
            met = member.host == UP and member.peers and world.members[other].peers
            probes[name(other)] = seen or truth if met else "silent"
            if streams(world, other, slot) and not seen:
                ages[name(other)] = 0.1
    silent = not reached or member.old or bool(seen)
    return Looks(probes, ages, provider, 60.0 if silent else 0.1, 1.5, LOOKS)


def watch_server(job: Context, world: Small, rules: Rules) -> Iterator[Act]:
    """The provider says twice that nothing of it runs."""
    if world.members[job.slot].host == DEAD:
        yield Act(f"the provider says that the server of {name(job.slot)} is gone", world, "gone", whom=job.slot)


def launch_server(job: Context, world: Small, rules: Rules) -> Iterator[Act]:
    """It is made, and its agent joins."""
    made = change(world, job.slot, host=UP, old=False) if world.members[job.slot].host == DEAD else world
    if in_reach(made, job.slot):
        yield Act(f"the server of {name(job.slot)} is made", made, "up", whom=job.slot)
    yield Act(f"the server of {name(job.slot)} is made; the answer is lost", made, whom=job.slot)
    if (worse := harmed(world)) is not None:
        yield Act(
            f"the provider cannot make the server of {name(job.slot)}", worse, "failed", fair=False, whom=job.slot
        )


def boot_server(job: Context, world: Small, rules: Rules) -> Iterator[Act]:
    """It is started as its new life; a life that the log has counted out and that runs is ended first."""
    slot, member = job.slot, world.members[job.slot]
    if member.host != DEAD and member.old and not rules.fences:
        kept = settle(change(_taken_back(world, slot), slot, old=False))
        if in_reach(kept, slot):
            yield Act(f"an older life of the server of {name(slot)} runs and is taken back", kept, "up", whom=slot)
        yield Act(f"an older life of the server of {name(slot)} stands in the way", world, "failed", whom=slot)
        return
    if member.host == DEAD or member.old:
        member = member._replace(host=UP, old=False, runs=False)
    if world.zombie is not None and world.zombie.past >> slot & 1:
        world = unheard(world, 1 << slot)
    booted = settle(change(world, slot, **member._asdict()))
    if in_reach(booted, slot):
        yield Act(f"the server of {name(slot)} is booted", booted, "up", (("member_back", False),), whom=slot)
        back = _brought_back(job, booted) if job.planned else None
        if back is not None:
            works = slot == job.primary or streams(back, slot, job.primary)
            words = f"the server of {name(slot)} is booted with its member{'' if works else ', which does not stream'}"
            yield Act(words, back, "up", (("member_back", works),), whom=slot)
    if booted != world:
        yield Act(f"the server of {name(slot)} is booted; the answer is lost", booted, whom=slot)
    if (worse := harmed(world)) is not None:
        yield Act(f"the server of {name(slot)} does not boot", worse, "failed", fair=False, whom=slot)


def _taken_back(world: Small, slot: int) -> Small:
    """The life that a controller without its shard knows is the present one again."""
    zombie = world.zombie
    return world if zombie is None else world._replace(zombie=zombie._replace(past=zombie.past & ~(1 << slot)))


def _brought_back(job: Context, world: Small) -> Small | None:
    asked = ask(world, job.slot, job)
    if asked is None or not job.well or asked.members[job.slot].role not in (PRIMARY, STANDBY):
        return None
    return settle(change(asked, job.slot, runs=True))


def end_server(job: Context, world: Small, rules: Rules) -> Iterator[Act]:
    """A planned reboot: its engine stops cleanly, then its life is ended; not when it leads or may be needed."""
    slot = job.slot
    if job.needed or not rules.fences:
        yield Act(f"{name(slot)} is needed as it is", world, "kept", whom=slot)
        return
    if (asked := ask(world, slot, job)) is not None:
        ended = settle(change(stop(asked, slot, clean=True), slot, host=DEAD, runs=False))
        yield Act(f"the server of {name(slot)} is ended for its reboot", ended, "ended", whom=slot)
        yield Act(f"the server of {name(slot)} is ended for its reboot; the answer is lost", ended, whom=slot)
    elif world.members[slot].host == DEAD:
        yield Act(f"the server of {name(slot)} was ended before", world, "ended", whom=slot)
    if (worse := harmed(world)) is not None:
        yield Act(f"the engine of {name(slot)} does not stop", worse, "kept", fair=False, whom=slot)


def destroy_server(job: Context, world: Small, rules: Rules) -> Iterator[Act]:
    """It is given back, its directory goes to the provider's trash."""
    gone = settle(change(world, job.slot, host=DEAD, runs=False, role=TRASHED, lease=0))
    yield Act(f"the server of {name(job.slot)} is given back", gone, "destroyed", whom=job.slot)


HANDLERS: dict[str, Handler] = {
    "fence_primary": leading.fence_primary, "await_lease": leading.await_lease, "collect_pledges": leading.collect_pledges,
    "promote_candidate": leading.promote_candidate, "withdraw_promotion": leading.withdraw_promotion,
    "repoint_standbys": leading.repoint_standbys,
    "end_primary": leading.end_primary, "prepare_switchover": leading.prepare_switchover,
    "drain_primary": leading.drain_primary, "look_who_leads": leading.look_who_leads,
    "promote_drained": leading.promote_drained,
    "restart_primary": leading.restart_primary, "place_member": place_member, "rejoin_member": rejoin_member,
    "await_catch_up": await_catch_up, "load_sync_set": load_sync_set, "shrink_sync_set": shrink_sync_set,
    "await_servers": await_servers, "found_primary": found_primary, "clone_standbys": clone_standbys,
    "load_first_sync_set": load_first_sync_set, "stop_members": stop_members, "trash_members": trash_members,
    "ask_vantages": ask_vantages, "watch_server": watch_server, "launch_server": launch_server,
    "boot_server": boot_server, "end_server": end_server, "destroy_server": destroy_server,
}  # fmt: skip
"""Effect -> what it may do to the small world. Each outcome is the production handler's."""
