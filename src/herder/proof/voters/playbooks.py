"""What effects of playbooks may do to the engines, and which outcomes may come of it: one entry an effect.

The handlers are in `herder.remedies`; here stands what each of their jobs changes, with the arguments and the term that
the handler gives, and what must be so for an outcome. Everything else about a job (how long it takes, whether its answer
arrives, how often it is asked) is left to chance: a job may run many times, at any moment while its state lasts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from herder.ports.driver import Position
from herder.proof.voters.control import Control
from herder.proof.voters.engines import (
    Step,
    admitted,
    copied,
    drained,
    following,
    pledged,
    promoted,
    stopped,
    with_waits,
)
from herder.proof.voters.fleet import SERVICE, Fleet, Work, fact
from herder.remedies.election import Elected

Effects = Callable[[Control, Fleet, Work], Iterator[Step]]


def begins(control: Control, fleet: Fleet) -> Iterator[Step]:
    """What the catalogue or a person may begin. Who is thought lost, rightly or not, is left to chance."""
    if fleet.left.strikes:
        yield from _strikes(control, fleet)
    if fleet.left.rebuilds:
        yield from _rebuilds(control, fleet)
    if fleet.left.leads:
        yield from _leads(control, fleet)
    active, primary = fleet.active, fleet.fact("primary")
    if active is not None:
        event = {"strike": "overtaken", "failover": "primary_lost", "switchover": "primary_lost"}.get(active.kind)
        if event:
            yield from _told(control, fleet, active, event, {}, f"member {primary} is thought lost under it")
    elif fleet.service.state not in ("available", "retiring"):
        after = control.tell(fleet, SERVICE, "primary_well")
        if after is not fleet:
            yield f"member {primary} is seen to serve", after


def _strikes(control: Control, fleet: Fleet) -> Iterator[Step]:
    if fleet.active is not None or fleet.service.state != "available" or control.enrols(fleet):
        return
    for voter in fleet.fact("voters"):
        if keep := control.arithmetic.kept(fleet.fact("voters"), voter):
            facts = {"member": voter, "keep": keep, "primary": fleet.fact("primary"), "term": fleet.fact("term")}
            yield _begun(control, fleet, "strike", facts, f"member {voter} is thought lost", "strikes")


def _rebuilds(control: Control, fleet: Fleet) -> Iterator[Step]:
    if fleet.active is not None and fleet.active.state != "repointing":
        return
    primary, busy = (
        fleet.fact("primary"),
        {fact(work.facts, "member") for work in fleet.works if work.kind == "rebuild"},
    )
    for member in _others(fleet):
        if member not in busy:
            facts = {"member": member, "primary": primary, "sync": True, "term": fleet.fact("term"), "added": [member]}
            yield _begun(control, fleet, "rebuild", facts, f"member {member} does not follow", "rebuilds")


def _leads(control: Control, fleet: Fleet) -> Iterator[Step]:
    """With one standby left a failover could only be short of pledges: the catalogue's `could_lead` begins none."""
    if fleet.active is not None:
        return
    primary, others, term = fleet.fact("primary"), _others(fleet), fleet.fact("term") + 1
    usable = [member for member in others if not fact(fleet.members[member - 1].facts, "deposed")]
    if len(usable) > 1:
        facts = {
            "old_primary": primary,
            "term": term,
            "standbys": usable,
            "voters": fleet.fact("voters"),
            "sync": True,
            "counts": True,
        }
        yield _begun(control, fleet, "failover", facts, f"member {primary} is thought lost", "leads")
    if fleet.service.state == "available":
        planned = {"old_primary": primary, "term": term, "standbys": others, "counts": False}
        yield _begun(control, fleet, "switchover", planned, "somebody asks", "leads")


def _others(fleet: Fleet) -> list[int]:
    return [member for member in fleet.fact("members") if member != fleet.fact("primary")]


def _begun(control: Control, fleet: Fleet, kind: str, facts: dict[str, object], why: str, costs: str) -> Step:
    return f"{why}: a {kind} begins", control.begin(fleet.spend(costs), kind, facts)


def _told(
    control: Control, fleet: Fleet, work: Work, event: str, facts: dict[str, object], why: str = ""
) -> Iterator[Step]:
    """An outcome, a deadline or another event for a playbook; nothing when it means nothing to it."""
    after = control.tell(fleet, work.ident, event, facts)
    if after is not fleet:
        yield f"the {work.kind} is told '{event}'" + (f" ({why})" if why else ""), after


def works(control: Control, fleet: Fleet) -> Iterator[Step]:
    """Every playbook's effect, its deadline, and a controller that forgets what it had not recorded."""
    for work in fleet.works:
        due = control.effect(work)
        if due is not None:
            steps = EFFECTS.get(due.name)
            if steps is not None:
                for what, after in steps(control, fleet, work):
                    if after is not fleet:
                        yield what, after
            for outcome in due.outcomes:
                if outcome in ANY_TIME:
                    yield from _told(control, fleet, work, outcome, {})
        wait = control.tables[work.kind].by_name[work.state].deadline
        if wait is not None:
            yield from _told(control, fleet, work, wait.event, {})
    if fleet.left.takeovers and any(work.memory for work in fleet.works):
        forgot = tuple(work._replace(memory=()) for work in fleet.works)
        yield "the controller dies, another takes over", fleet._replace(works=forgot).spend("takeovers")


ANY_TIME = frozenset({"failed", "not_ready", "drain_failed", "placed", "no_place"})
"""Outcomes that need nothing of the engines: whatever went wrong, it may be told at any time."""


def _mark(fleet: Fleet, work: Work) -> tuple[int, int]:
    """(term, order) of its jobs: `Hands.ask` gives the later of the service's term and its own."""
    return (max(fleet.fact("term"), fact(work.facts, "term")), work.order)


def _remember(fleet: Fleet, work: Work, memory: tuple[object, ...]) -> Fleet:
    return fleet._replace(works=tuple(w._replace(memory=memory) if w.ident == work.ident else w for w in fleet.works))


def _positions(work: Work) -> dict[int, Position]:
    return {member: Position(timeline, reach) for member, timeline, reach in work.memory}


def _pledges(control: Control, fleet: Fleet, work: Work) -> Iterator[Step]:
    mark, known = _mark(fleet, work), _positions(work)
    for member in fact(work.facts, "standbys", ()):
        node = fleet.node(member)
        if member not in known and not node.leads and admitted(node, mark):
            after = pledged(fleet, member, mark)
            memory = tuple(sorted((*work.memory, (member, node.timeline, len(node.log)))))
            yield (
                f"member {member} pledges to term {mark[0]} with {len(node.log)} commits",
                _remember(after, work, memory),
            )


def _collect_pledges(control: Control, fleet: Fleet, work: Work) -> Iterator[Step]:
    yield from _pledges(control, fleet, work)
    voters, standbys = fact(work.facts, "voters", ()), fact(work.facts, "standbys", ())
    elected = control.arithmetic.elect(voters, standbys, _positions(work), fleet.fact("timeline"))
    if isinstance(elected, Elected):
        facts: dict[str, object] = {"candidate": elected.candidate, "new_voters": list(elected.new_voters)}
        yield from _told(control, fleet, work, "pledged", facts, f"member {elected.candidate} is elected")
    else:
        yield from _told(control, fleet, work, "short", {})


def _follow(fleet: Fleet, work: Work) -> Iterator[Step]:
    """The others follow the candidate, which has no upstream any more."""
    mark, candidate = _mark(fleet, work), fact(work.facts, "candidate")
    for member in fact(work.facts, "standbys", ()):
        node = fleet.node(member)
        if member in (candidate, fact(work.facts, "old_primary")) or node.leads or node.upstream == candidate:
            continue
        if admitted(node, mark):
            yield f"member {member} follows member {candidate}", following(fleet, member, candidate, mark)


def _promote(control: Control, fleet: Fleet, work: Work) -> Iterator[Step]:
    mark, candidate = _mark(fleet, work), fact(work.facts, "candidate")
    node, waits = fleet.node(candidate), fact(work.facts, "new_voters", ())
    yield from _follow(fleet, work)
    if admitted(node, mark) and not (node.leads and node.mark == mark):
        yield f"member {candidate} is promoted under term {mark[0]}", promoted(fleet, candidate, tuple(waits), mark)
    if node.leads and node.mark == mark:
        yield from _told(control, fleet, work, "promoted", {"timeline": node.timeline})
    if not node.leads:
        yield from _told(control, fleet, work, "refused", {})


def _withdraw(control: Control, fleet: Fleet, work: Work) -> Iterator[Step]:
    """The candidate pledges to this newer state, or leads already."""
    mark, candidate = _mark(fleet, work), fact(work.facts, "candidate")
    node = fleet.node(candidate)
    if node.leads:
        yield from _told(control, fleet, work, "promoted", {"timeline": node.timeline})
    elif admitted(node, mark):
        yield f"member {candidate} pledges to term {mark[0]} once more", pledged(fleet, candidate, mark)
        if node.mark == mark:
            yield from _told(control, fleet, work, "withdrawn", {})


def _promote_drained(control: Control, fleet: Fleet, work: Work) -> Iterator[Step]:
    """It has everything, or pledges say that nobody has more."""
    candidate, rest = fact(work.facts, "candidate"), fact(work.facts, "rest", ())
    node = fleet.node(candidate)
    whole = bool(rest) and node.up and (node.timeline, len(node.log)) == tuple(rest)
    if not whole and not (node.leads and node.mark == _mark(fleet, work)):
        yield from _pledges(control, fleet, work)
        timeline = fleet.fact("timeline")
        if control.arithmetic.may_lead(candidate, fleet.fact("voters"), _positions(work), timeline):
            yield from _told(control, fleet, work, "refused", {})
            return
    yield from _promote(control, fleet, work)


def _prepare(control: Control, fleet: Fleet, work: Work) -> Iterator[Step]:
    old, standbys = fact(work.facts, "old_primary"), fact(work.facts, "standbys", ())
    for candidate in standbys:
        node = fleet.node(candidate)
        if node.up and node.upstream == old and fleet.node(old).up:
            voters = control.arithmetic.successors(standbys, candidate, old)
            facts: dict[str, object] = {"candidate": candidate, "new_voters": voters}
            yield from _told(control, fleet, work, "ready", facts, f"member {candidate} is chosen")


def _drain(control: Control, fleet: Fleet, work: Work) -> Iterator[Step]:
    mark, old = _mark(fleet, work), fact(work.facts, "old_primary")
    node = fleet.node(old)
    if admitted(node, mark):
        yield f"member {old} is stopped cleanly", drained(fleet, old, mark)
    if stopped(node) and node.mark == mark:
        yield from _told(control, fleet, work, "drained", {"rest": [node.timeline, len(node.log)]})


def _look(control: Control, fleet: Fleet, work: Work) -> Iterator[Step]:
    """Voters are of an engine that does not hand over by itself: nothing is looked at."""
    yield from _told(control, fleet, work, "stayed", {})


def _repoint(control: Control, fleet: Fleet, work: Work) -> Iterator[Step]:
    yield from _follow(fleet, work)
    candidate = fact(work.facts, "candidate")
    if any(fleet.node(voter).upstream == candidate and fleet.node(voter).up for voter in fleet.fact("voters")):
        yield from _told(control, fleet, work, "followed", {})


def _shrink(control: Control, fleet: Fleet, work: Work) -> Iterator[Step]:
    primary, keep = control.sync_set(fleet, work, "shrink_sync_set")
    mark, node = _mark(fleet, work), fleet.node(primary)
    if node.leads and not work.memory and admitted(node, mark):
        after = with_waits(fleet, primary, keep, mark)
        yield f"member {primary} waits for any of {_said(keep)}", _remember(after, work, (len(node.log),))
    if work.memory:
        heard = dict(node.heard)
        if node.up and control.arithmetic.flushed(heard, keep, work.memory[0]):
            yield from _told(control, fleet, work, "shrunk", {}, f"{_said(keep)} flushed past that moment")


def _rejoin(control: Control, fleet: Fleet, work: Work) -> Iterator[Step]:
    member, primary, mark = fact(work.facts, "member"), fact(work.facts, "primary"), _mark(fleet, work)
    node, source = fleet.node(member), fleet.node(primary)
    if not (source.up and source.leads) or mark < node.mark or member == primary:
        return
    if node.upstream == primary and node.up:
        yield from _told(control, fleet, work, "rejoined", {})
    if node.up and not node.leads and node.upstream != primary:
        yield f"member {member} is pointed at member {primary}", following(fleet, member, primary, mark)
    if node.upstream != primary or node.log != source.log or not node.up:
        yield f"member {member} is copied from member {primary}", copied(fleet, member, primary, mark)


def _catch_up(control: Control, fleet: Fleet, work: Work) -> Iterator[Step]:
    """It streams; how far it is behind is left to chance."""
    member, primary = fact(work.facts, "member"), fact(work.facts, "primary")
    if fleet.node(member).upstream == primary and fleet.node(member).up and fleet.node(primary).up:
        yield from _told(control, fleet, work, "caught_up", {})


def _load(control: Control, fleet: Fleet, work: Work) -> Iterator[Step]:
    primary, waits = control.sync_set(fleet, work, "load_sync_set")
    mark, node = _mark(fleet, work), fleet.node(primary)
    if node.leads and node.waits != tuple(sorted(waits)) and admitted(node, mark):
        yield f"member {primary} waits for any of {_said(waits)}", with_waits(fleet, primary, waits, mark)
    if node.up and fact(work.facts, "member") in node.waits:
        yield from _told(control, fleet, work, "enrolled", {})


def _said(members: tuple[int, ...]) -> str:
    return ", ".join(map(str, members)) or "nobody"


EFFECTS: dict[str, Effects] = {
    "collect_pledges": _collect_pledges,
    "promote_candidate": _promote,
    "withdraw_promotion": _withdraw,
    "repoint_standbys": _repoint,
    "prepare_switchover": _prepare,
    "drain_primary": _drain,
    "look_who_leads": _look,
    "promote_drained": _promote_drained,
    "shrink_sync_set": _shrink,
    "rejoin_member": _rejoin,
    "await_catch_up": _catch_up,
    "load_sync_set": _load,
}
