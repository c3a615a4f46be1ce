"""What the effects that change who leads do to the small world: failover, switchover, restart in place.

Each is an adversarial relation: any of its jobs may be done at any time while the effect is due, in any order, with or without
an answer that arrives. So it holds nothing that a controller's death could take, and a crash between any two commits is
in every state. Elections and their arithmetic are the production functions.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from herder.ports.driver import Position
from herder.proof.product.acts import (
    UNAWARE,
    Act,
    Rules,
    ask,
    harmed,
    in_reach,
    is_standby,
    promised,
    refuses,
    slots,
)
from herder.proof.product.context import Context
from herder.proof.product.shelf import member_name as name
from herder.proof.product.small import (
    AGED,
    BOUND,
    DEAD,
    NOBODY,
    PRIMARY,
    STANDBY,
    Small,
    change,
    has,
    promote,
    receive,
    settle,
    stop,
    streams,
    timeline,
)
from herder.remedies.election import Elected, elect_async, elect_sync, may_lead_drained
from herder.remedies.enrolment import successors
from herder.remedies.switchover import Looked, Seen, who_leads


def fence_primary(job: Context, world: Small, rules: Rules) -> Iterator[Act]:
    """Its agent stops it, or the provider ends its server; both may happen without the answer arriving."""
    old, server = job.old, _server_ident(job)
    if (asked := ask(world, old, job)) is not None:
        stopped = stop(asked, old, clean=False)
        yield Act(f"its agent stops {name(old)}", stopped, whom=old)
        yield Act(f"its agent stops {name(old)} and says so", stopped, "fenced", whom=old)
    if rules.fences and job.ident != UNAWARE:  # a fence names a life: one of the past ends nobody
        ended = settle(change(world, old, host=DEAD, runs=False))
        yield Act(f"the provider ends the server of {name(old)}; the answer is lost", ended, whom=old)
        yield Act(
            f"the provider ends the server of {name(old)}", ended, "fenced", besides=((server, "fenced"),), whom=old
        )
        if (worse := harmed(world)) is not None:
            yield Act("the provider does not answer", worse, "unconfirmed", fair=False)
    elif not in_reach(world, old) or refuses(world, old, job):
        yield Act("nothing can fence it", world, "unconfirmed")
    elif (worse := harmed(world)) is not None:
        yield Act("its agent does not answer in time", worse, "unconfirmed", fair=False)


def _server_ident(job: Context) -> int:
    return 2 + job.everybody.bit_length() + job.old


def await_lease(job: Context, world: Small, rules: Rules) -> Iterator[Act]:
    """The standbys pledge, then lease and skew pass: what was not renewed meanwhile has been ended by its watchdog."""
    if not job.leased:
        yield Act("no lease is on record", world, "lease_void")
        return
    for act in _pledges(job, world):
        old = act.world.members[job.old]
        aged = change(act.world, job.old, lease=AGED) if old.lease == BOUND else act.world
        yield act._replace(world=aged)
    if any(promised(world, slot, job) for slot in slots(job.standbys)):
        ended = stop(world, job.old, clean=False) if world.members[job.old].lease == AGED else world
        yield Act("lease, skew and a second have passed", ended, "lease_over", whom=job.old)


def _pledges(job: Context, world: Small) -> Iterator[Act]:
    for slot in slots(job.standbys):
        if (asked := ask(world, slot, job)) is not None and is_standby(world, slot):
            pledged = settle(change(asked, slot, source=NOBODY, runs=True))
            if pledged != world:
                yield Act(f"{name(slot)} pledges", pledged, whom=slot)


def collect_pledges(job: Context, world: Small, rules: Rules) -> Iterator[Act]:
    """Standbys pledge one by one; the handler elects among those whose answers have come."""
    yield from _pledges(job, world)
    pledged = [slot for slot in slots(job.standbys) if _has_pledged(world, slot, job)]
    everyone = len(pledged) == job.standbys.bit_count()
    seen: set[tuple[str, tuple[tuple[str, object], ...]]] = set()
    for count in range(len(pledged) + 1):
        for answered in itertools.combinations(pledged, count):
            for event, facts in _elections(job, world, answered):
                if (event, facts) in seen:
                    continue
                seen.add((event, facts))
                missing = any(in_reach(world, slot) for slot in slots(job.standbys) if slot not in answered)
                fair = count == len(pledged) and (everyone or not missing)
                yield Act(
                    f"pledges of {_names(answered)} have come", world, event, facts, fair=fair or event == "pledged"
                )


def _has_pledged(world: Small, slot: int, job: Context) -> bool:
    return promised(world, slot, job) and is_standby(world, slot) and world.members[slot].source == NOBODY


def _elections(
    job: Context, world: Small, answered: tuple[int, ...]
) -> Iterator[tuple[str, tuple[tuple[str, object], ...]]]:
    """Outcomes of the production election. Equal positions are decided by ids: every naming is tried."""
    pledges = {slot: Position(timeline(world, slot), world.members[slot].reach) for slot in answered}
    for order in itertools.permutations(answered):
        ids = dict(zip(answered, order, strict=True)) | {s: s for s in slots(job.everybody) if s not in answered}
        named = {ids[slot]: pledges[slot] for slot in answered}
        back = {new: old for old, new in ids.items()}
        if job.sync:
            voters, members = [ids[s] for s in slots(job.voters)], [ids[s] for s in slots(job.standbys)]
            elected = elect_sync(voters, members, named, job.timeline)
        else:
            elected = elect_async(named)
        if not isinstance(elected, Elected):
            yield "short", ()
            continue
        candidate = back[elected.candidate]
        mask = sum(1 << back[voter] for voter in elected.new_voters)
        beyond = not job.sync and world.members[candidate].far
        yield "beyond_bound" if beyond else "pledged", (("candidate", candidate), ("new_voters", mask))


def _names(members: tuple[int, ...]) -> str:
    return ", ".join(name(slot) for slot in members) or "nobody"


def promote_candidate(job: Context, world: Small, rules: Rules) -> Iterator[Act]:
    """The candidate is promoted, and the others are told to follow it meanwhile."""
    yield from _lead(job, world)


def _lead(job: Context, world: Small) -> Iterator[Act]:
    candidate = job.candidate
    waits = job.new_voters if job.sync else 0
    asked = ask(world, candidate, job)
    if asked is not None and asked.members[candidate].runs:
        led = promote(asked, candidate, waits, sync=job.sync)
        yield Act(f"{name(candidate)} is promoted; the answer is lost", led, whom=candidate)
        yield Act(
            f"{name(candidate)} is promoted", led, "promoted", (("timeline", timeline(led, candidate)),), whom=candidate
        )
    if in_reach(world, candidate) and world.members[candidate].runs:
        yield from _refused(job, world)
    yield from _started(job, world, PRIMARY, STANDBY)
    yield from follow_each(job, world, job.standbys & ~(1 << candidate) & ~(1 << job.old), candidate)


def _refused(job: Context, world: Small) -> Iterator[Act]:
    """An agent that refuses says nothing of what was done before: the handler looks whether the candidate leads already."""
    candidate = job.candidate
    for seen, fair in ((world if refuses(world, candidate, job) else None, True), (harmed(world), False)):
        if seen is None:
            continue
        if seen.members[candidate].role == PRIMARY:
            facts = (("timeline", timeline(seen, candidate)),)
            yield Act(
                f"the agent of {name(candidate)} refuses; it leads already",
                seen,
                "promoted",
                facts,
                fair=fair,
                whom=candidate,
            )
        else:
            yield Act(f"the agent of {name(candidate)} refuses", seen, "refused", fair=fair, whom=candidate)


def withdraw_promotion(job: Context, world: Small, rules: Rules) -> Iterator[Act]:
    """The candidate pledges to this newer state, or is seen to lead. One that leads and has ended is started."""
    candidate, asked = job.candidate, ask(world, job.candidate, job)
    member = world.members[candidate]
    if asked is not None and is_standby(world, candidate):
        pledged = settle(change(asked, candidate, source=NOBODY, runs=True))
        yield Act(f"{name(candidate)} pledges; the answer is lost", pledged, whom=candidate)
        yield Act(f"{name(candidate)} pledges, and lets in nothing older", pledged, "withdrawn", whom=candidate)
    elif in_reach(world, candidate) and member.role == PRIMARY and member.runs:
        facts = (("timeline", timeline(world, candidate)),)
        yield Act(f"{name(candidate)} leads already", asked or world, "promoted", facts, whom=candidate)
    else:
        yield from _started(job, world, PRIMARY)


def _started(job: Context, world: Small, *roles: int) -> Iterator[Act]:
    """The candidate's engine had ended since it was last asked; while the playbook holds the service nobody else starts it."""
    candidate, asked = job.candidate, ask(world, job.candidate, job)
    if asked is not None and asked.members[candidate].role in roles and not asked.members[candidate].runs:
        started = settle(change(asked, candidate, runs=True))
        yield Act(f"the engine of {name(candidate)}, which had ended, is started", started, whom=candidate)


def follow_each(job: Context, world: Small, standbys: int, source: int) -> Iterator[Act]:
    """Standbys are pointed at a source."""
    for slot in slots(standbys):
        if (asked := ask(world, slot, job)) is not None and is_standby(world, slot):
            follows = settle(change(asked, slot, source=source))
            if follows != world:
                yield Act(f"{name(slot)} is to follow {name(source)}", follows, whom=slot)


def repoint_standbys(job: Context, world: Small, rules: Rules) -> Iterator[Act]:
    """On a sync plan until one that is recorded as a voter streams; else at once."""
    candidate = job.candidate
    yield from follow_each(job, world, job.standbys & ~(1 << candidate) & ~(1 << job.old), candidate)
    if not job.sync or any(streams(world, slot, candidate) for slot in slots(job.recorded) if slot != candidate):
        yield Act(f"{name(candidate)} has its followers", world, "followed", whom=candidate)


def end_primary(job: Context, world: Small, rules: Rules) -> Iterator[Act]:
    """An exercise ends the primary's engine cleanly."""
    if (asked := ask(world, job.old, job)) is not None:
        stopped = stop(asked, job.old, clean=True)
        yield Act(f"its agent stops {name(job.old)} cleanly", stopped, "ended", whom=job.old)
        yield Act(f"its agent stops {name(job.old)} cleanly; the answer is lost", stopped, whom=job.old)
    elif refuses(world, job.old, job):
        yield Act(f"the agent of {name(job.old)} refuses", world, "not_ended", whom=job.old)
    if (worse := harmed(world)) is not None:
        yield Act(f"{name(job.old)} does not stop", worse, "not_ended", fair=False, whom=job.old)


def prepare_switchover(job: Context, world: Small, rules: Rules) -> Iterator[Act]:
    """A standby that streams and is close is chosen."""
    wanted = 1 << job.target if job.target >= 0 else job.standbys
    close = [
        s for s in slots(wanted) if streams(world, s, job.old) and not world.members[s].far and in_reach(world, job.old)
    ]
    for slot in close:
        voters = sum(1 << other for other in successors([*slots(job.standbys)], slot, job.old))
        facts = (("candidate", slot), ("new_voters", voters if job.sync else 0), ("counts", False))
        yield Act(f"{name(slot)} is caught up", world, "ready", facts, whom=slot)
    if not close:
        yield Act("nobody is caught up", world, "not_ready")


def drain_primary(job: Context, world: Small, rules: Rules) -> Iterator[Act]:
    """A clean stop sends the standbys all there is. It may fail after all was stopped, too. On an async plan the engine may be
    one that hands over by itself.
    """
    old = job.old
    if not job.sync:
        yield from _hand_over(job, world)
    if (asked := ask(world, old, job)) is not None:
        if world.members[old].role != PRIMARY:
            return  # it has handed over: nobody asks it for a clean stop
        drained = stop(asked, old, clean=True)
        yield Act(f"{name(old)} is stopped cleanly", drained, "drained", (("rest", True),), whom=old)
        yield Act(f"{name(old)} is stopped cleanly; the answer is lost", drained, whom=old)
        if (worse := harmed(stop(asked, old, clean=False))) is not None:
            yield Act(f"{name(old)} is ended, not cleanly", worse, "drained", (("rest", None),), fair=False, whom=old)
            yield Act(
                f"{name(old)} is ended, and its agent says that it failed", worse, "drain_failed", fair=False, whom=old
            )
    elif in_reach(world, old):
        yield Act(f"the agent of {name(old)} refuses", world, "drain_failed", whom=old)


def _hand_over(job: Context, world: Small) -> Iterator[Act]:
    """The old primary pauses its writes until the candidate has everything, and gives it the lead; then the candidate is told
    that it leads. Nobody may learn of either.
    """
    old, candidate = job.old, job.candidate
    if (asked := ask(world, old, job)) is not None and streams(asked, candidate, old):
        given = change(receive(asked, candidate) or asked, old, role=STANDBY, source=candidate)
        moved = settle(promote(given, candidate, 0, sync=False))
        yield Act(f"{name(old)} hands over to {name(candidate)}; the answer is lost", moved, whom=old)
        if (worse := harmed(asked)) is not None:
            yield Act(f"{name(old)} does not hand over in time", worse, "drain_failed", fair=False, whom=old)
    if (told := ask(world, candidate, job)) is not None and _handed_over(world, job):
        yield Act(f"{name(candidate)} is told that it leads", told, "moved", whom=candidate)


def _handed_over(world: Small, job: Context) -> bool:
    led = world.members[job.candidate]
    return led.runs and led.role == PRIMARY and world.members[job.old].role == STANDBY


def look_who_leads(job: Context, world: Small, rules: Rules) -> Iterator[Act]:
    """By the production rule. An engine that does not hand over by itself is not looked at: its lead did not move."""
    old, candidate = job.old, job.candidate
    if world.members[old].role != STANDBY and world.members[candidate].role != PRIMARY:
        yield Act("its engine hands nothing over", world, "stayed", fair=job.sync)
    found = who_leads(_seen(world, old), _seen(world, candidate), gone=not job.asked >> old & 1)
    if found is Looked.STAYED and _seen(world, old) is Seen.LEADS:
        if (asked := ask(world, old, job)) is not None:
            yield Act(f"{name(old)} leads, and is told to go on", asked, "stayed", whom=old)
    elif found is not None:
        yield Act(f"the members are looked at: the lead {found}", world, str(found))


def _seen(world: Small, slot: int) -> Seen:
    member = world.members[slot]
    if not in_reach(world, slot):
        return Seen.UNSEEN
    return Seen.ENDED if not member.runs else Seen.LEADS if member.role == PRIMARY else Seen.FOLLOWS


def promote_drained(job: Context, world: Small, rules: Rules) -> Iterator[Act]:
    """It leads when it has everything of a clean stop, or when enough pledge and nobody reaches farther."""
    candidate, old = job.candidate, world.members[job.old]
    all_of_it = job.rested and in_reach(world, candidate) and has(world, candidate, (old.branch, old.reach))
    leads = in_reach(world, candidate) and world.members[candidate].runs and world.members[candidate].role == PRIMARY
    if all_of_it or leads:
        yield from _lead(job, world)
        return
    yield from _pledges(job, world)
    yield from _started(job, world, PRIMARY)
    pledged = [slot for slot in slots(job.standbys) if _has_pledged(world, slot, job)]
    may, may_not = False, False
    for count in range(len(pledged) + 1):
        for answered in itertools.combinations(pledged, count):
            if candidate in answered:
                refused = _may_not_lead(job, world, answered)
                may, may_not = may or not refused, may_not or refused
    if may:
        yield from _lead(job, world)
    if may_not:
        yield Act(f"{name(candidate)} is not known to have everything", world, "refused", fair=not may, whom=candidate)


def _may_not_lead(job: Context, world: Small, answered: tuple[int, ...]) -> bool:
    """By the production rule."""
    pledges = {slot: Position(timeline(world, slot), world.members[slot].reach) for slot in answered}
    voters = [*slots(job.recorded)] if job.sync else []
    return bool(may_lead_drained(job.candidate, voters, pledges, job.timeline))


def restart_primary(job: Context, world: Small, rules: Rules) -> Iterator[Act]:
    """One job: no process is left, then it is started. Under a lease by a fresh word. Then standbys are pointed at it again."""
    slot = job.slot
    asked = ask(world, slot, job)
    if asked is not None and asked.members[slot].role == STANDBY:
        begun = settle(change(stop(asked, slot, clean=True), slot, runs=True))
        yield Act(f"{name(slot)} is started in place and follows another", begun, "failed", whom=slot)
    elif asked is not None and asked.members[slot].role == PRIMARY:
        lease = BOUND if asked.members[slot].lease else 0
        begun = settle(change(stop(asked, slot, clean=True), slot, runs=True, lease=lease))
        yield Act(f"{name(slot)} is started in place", begun, "restarted", whom=slot)
        yield Act(f"{name(slot)} is started in place; the answer is lost", begun, whom=slot)
        if (worse := harmed(stop(asked, slot, clean=False))) is not None:
            yield Act(f"{name(slot)} does not start", worse, "failed", fair=False, whom=slot)
    elif asked is not None:
        yield Act(f"{name(slot)} has no data to start on", asked, "no_data", whom=slot)
    elif in_reach(world, slot):
        yield Act(f"the agent of {name(slot)} refuses", world, "failed", whom=slot)
    if world.members[slot].runs and world.members[slot].role == PRIMARY:
        astray = sum(1 << other for other in slots(job.everybody & ~(1 << slot)) if world.members[other].source != slot)
        yield from follow_each(job, world, astray, slot)


def runs_as_standby(world: Small, slot: int) -> bool:
    """Its engine answers as a standby."""
    member = world.members[slot]
    return member.runs and member.role == STANDBY and in_reach(world, slot)
