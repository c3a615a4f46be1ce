"""Mutants of the arithmetic: elections, voters, looks, verdicts, budgets, leases."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from herder.governor import budget, freezes, gate
from herder.machines.dependency import What
from herder.ports.driver import Position
from herder.proof.mutants.parts import Entry, Mutant, pure, rewired
from herder.pulse import storm
from herder.remedies import election, enrolment, verdict
from herder.remedies.estimate import Choice


def _one_less(voters: int, k: int = 1) -> int:
    return max(voters - k, 1)


def _majority(voters: int, k: int = 1) -> int:
    return voters // 2 + 1 if voters > 2 else max(voters - 1, 1)


def _nearest(pledges: Mapping[int, Position], cramped: Collection[int] = ()) -> int:
    return min(pledges, key=lambda member: (pledges[member].reach, member))


def _by_timeline(pledges: Mapping[int, Position], cramped: Collection[int] = ()) -> int:
    return min(pledges, key=lambda member: (-pledges[member].timeline, member))


def _whoever(pledges: Mapping[int, Position], cramped: Collection[int] = ()) -> int:
    best = max(at.reach for at in pledges.values())
    return next(member for member, at in pledges.items() if at.reach == best)


def _any_timeline(
    voters: Collection[int], members: Collection[int], pledges: Mapping[int, Position], timeline: int = 0
) -> Any:
    return election.elect_sync(voters, members, pledges, 0)


def _anybody_votes(
    voters: Collection[int], members: Collection[int], pledges: Mapping[int, Position], timeline: int = 0
) -> Any:
    made = election.elect_sync(members, members, pledges, timeline)
    enough = len(pledges) >= election.pledges_needed(len(voters))
    return made if isinstance(made, election.Elected) or not enough or not pledges else _led_by(pledges, members)


def _led_by(pledges: Mapping[int, Position], members: Collection[int]) -> Any:
    candidate = election.farthest(pledges)
    others = tuple(sorted(set(members) - {candidate}))
    return election.Elected(candidate, pledges[candidate], others) if others else election.Short(1, 0, ())


def _alone(
    voters: Collection[int], members: Collection[int], pledges: Mapping[int, Position], timeline: int = 0
) -> Any:
    made = election.elect_sync(voters, members, pledges, timeline)
    return replace(made, new_voters=()) if isinstance(made, election.Elected) else made


def _itself(
    voters: Collection[int], members: Collection[int], pledges: Mapping[int, Position], timeline: int = 0
) -> Any:
    made = election.elect_sync(voters, members, pledges, timeline)
    if isinstance(made, election.Elected):
        return replace(made, new_voters=tuple(sorted({*made.new_voters, made.candidate})))
    return made


def _never(
    voters: Collection[int], members: Collection[int], pledges: Mapping[int, Position], timeline: int = 0
) -> Any:
    return election.Short(len(voters) + 1, len(pledges), ())


def _one_word(looks: verdict.Looks) -> verdict.Verdict:
    seen = any(saw in ("serving", "starting") for saw in looks.probes.values())
    denied = any(saw in ("refused", "silent") for saw in looks.probes.values())
    return verdict.Verdict(denied and not seen, "one is enough")


def _blind_to(**left_out: Any) -> Callable[[verdict.Looks], verdict.Verdict]:
    return lambda looks: verdict.judge_looks(replace(looks, **left_out))


def _only_down(looks: verdict.Looks) -> verdict.Verdict:
    kept = {who: "silent" if saw == "starting" else saw for who, saw in looks.probes.items()}
    return verdict.judge_looks(replace(looks, probes=kept))


def _fail_over_first(
    *, sync: bool, standbys: int, server_up: bool, restart_failed: bool, redo_bytes: int = 0
) -> Choice:
    return Choice("failover" if standbys or not server_up else "restart", "quicker")


def _restart_first(*, sync: bool, standbys: int, server_up: bool, restart_failed: bool, redo_bytes: int = 0) -> Choice:
    return Choice("restart" if server_up else "failover", "nothing moves")


def _never_us(us: storm.Ourselves, *rest: Any) -> storm.Verdict:
    return storm.first_look(storm.Ourselves(), *rest)


def _not_us(us: storm.Ourselves, *rest: Any) -> storm.Verdict:
    return storm.second_look(storm.Ourselves(), *rest)


def _no_canaries(us: storm.Ourselves, asked: storm.Asked, *rest: Any) -> storm.Verdict:
    return storm.second_look(us, replace(asked, canaries=()), *rest)


def _own_word(us: storm.Ourselves, asked: storm.Asked, *rest: Any) -> storm.Verdict:
    samples = tuple(replace(each, theirs=each.theirs or each.ours) for each in asked.samples)
    return storm.second_look(us, replace(asked, samples=samples), *rest)


def _always_wider(window: int, well: int, failed: int, ceiling: int, floor: int = 1) -> int:
    return max(floor, min(window * 2, ceiling))


def _no_ceiling(window: int, well: int, failed: int, ceiling: int, floor: int = 1) -> int:
    return window * 2 if well >= window else window


def _begin_always(want: Any, recorded_s: float, grip: Any, lease_s: float) -> str:
    return "begin"


def _give_back_first(want: Any, recorded_s: float, grip: Any, lease_s: float) -> str:
    return "give_back" if grip.lease_s and not want.lease else ""


def _trusts_the_log(want: Any, recorded_s: float, grip: Any, lease_s: float) -> str:
    return "" if recorded_s else "begin" if want.lease and grip.left_s >= 0 else ""


def _strikes_all(voters: Sequence[int], lost: int) -> list[int]:
    return [voter for voter in voters if voter != lost] or [lost]


def _keeps_lost(voters: Sequence[int], lost: int) -> list[int]:
    return list(voters)


def _waits_for_nobody(voters: Sequence[int], primary: int) -> list[int]:
    return []


def _waits_for_another(voters: Sequence[int], primary: int) -> list[int]:
    others = [member for member in range(1, 4) if member not in (*voters, primary)]
    return [*enrolment.waited_for(voters, primary), *others]


def _old_primary_votes(standbys: Sequence[int], candidate: int, old: int) -> list[int]:
    return []


def _never_enrols(playbooks: Iterable[tuple[str, str]]) -> bool:
    return False


def _never_overtaken(kind: str, facts: Mapping[str, Any], service: Mapping[str, Any], *, enrolling: bool) -> bool:
    return False


def _rebuilds_stay(kind: str, facts: Mapping[str, Any], service: Mapping[str, Any], *, enrolling: bool) -> bool:
    return kind == "strike" and enrolment.overtaken(kind, facts, service, enrolling=enrolling)


def _drained_is_enough(
    candidate: int, voters: Collection[int], pledges: Mapping[int, Position], timeline: int = 0
) -> str:
    return ""


def _drained_any_timeline(
    candidate: int, voters: Collection[int], pledges: Mapping[int, Position], timeline: int = 0
) -> str:
    return election.may_lead_drained(candidate, voters, pledges, 0)


def _drained_alone(candidate: int, voters: Collection[int], pledges: Mapping[int, Position], timeline: int = 0) -> str:
    return election.may_lead_drained(candidate, (), pledges, timeline)


_NUMBERS: tuple[tuple[str, str, str, Any], ...] = (
    ("off-by-one quorum", "an election is content with one pledge less",
     "elect_sync", rewired(election.elect_sync, pledges_needed=_one_less)),
    ("a majority is enough", "pledges of a majority are taken for a quorum, which k = 1 does not allow",
     "elect_sync", rewired(election.elect_sync, pledges_needed=_majority)),
    ("elect the nearest", "whoever reaches least far leads", "elect_sync", rewired(election.elect_sync, farthest=_nearest)),
    ("elect by timeline alone", "of one timeline the lowest id leads, however far it reaches",
     "elect_sync", rewired(election.elect_sync, farthest=_by_timeline)),
    ("elect whoever answered first", "asked twice, an election elects two",
     "elect_sync", rewired(election.elect_sync, farthest=_whoever)),
    ("count a pledge of an older timeline", "a voter that never followed the primary says what it had acknowledged",
     "elect_sync", _any_timeline),
    ("anybody votes", "a pledge of one that is no voter counts towards the quorum", "elect_sync", _anybody_votes),
    ("wait for nobody", "the elected acknowledges alone", "elect_sync", _alone),
    ("wait for itself", "the elected is one of its own voters", "elect_sync", _itself),
    ("nobody is ever elected", "however many pledge, it is short", "elect_sync", _never),
    ("lose any number of bytes", "the bound in bytes is not looked at",
     "within", lambda loss, bound: loss.lag_s <= bound.max_s),
    ("lose any number of seconds", "the bound in seconds is not looked at",
     "within", lambda loss, bound: loss.bytes <= bound.max_bytes),
    ("a standby is never behind", "an unknown loss is taken for none",
     "loss", lambda last, candidate, lag_s: election.Loss(0, lag_s)),
    ("a candidate of another history", "offsets of another history are compared",
     "elect_async", lambda pledges, history="": election.elect_async(pledges)),
    ("one witness is enough", "a unit is dead on one vantage point's word", "judge_looks", _one_word),
    ("a starting engine is dead", "an engine in crash recovery is taken for dead", "judge_looks", _only_down),
    ("a fresh stream means nothing", "a standby that just heard its primary is not asked", "judge_looks", _blind_to(upstream_age_s={})),
    ("a fresh pulse means nothing", "an agent that was just heard is not believed", "judge_looks", _blind_to(pulse_age_s=1e9)),
    ("one look is enough", "links lose a fifth of all messages, and who is silent once is dead", "judge_looks", _blind_to(silent=verdict.LOOKS)),
    ("fail over at once", "an async service is failed over where a restart would lose nothing", "choose", _fail_over_first),
    ("restart for ever", "the restart that did not help is tried again", "choose", _restart_first),
    ("we are never deaf", "our own fault is taken for theirs", "first_look", _never_us),
    ("we are never at fault", "a verdict of many is given by a controller that is deaf", "second_look", _not_us),
    ("canaries are not asked", "nobody that is known to be good is looked at first", "second_look", _no_canaries),
    ("our own word is another's", "what only we saw is taken for what others saw", "second_look", _own_word),
    ("widen a budget", "half of a fleet may be under remedies at once", "limits", replace(budget.LIMITS, in_flight_share=0.5)),
    ("widen the hour", "every service may have a remedy within an hour", "limits", replace(budget.LIMITS, hour_share=1.0)),
    ("no remedy at all", "not even one remedy may be under way",
     "limits", replace(budget.LIMITS, in_flight_zone=0, in_flight_fleet=0, in_flight_share=0.0)),
    ("wider while it fails", "a recovery doubles its pace while it fails", "next_window", _always_wider),
    ("no ceiling", "a recovery grows past what the provider allows", "next_window", _no_ceiling),
    ("a failover waits for a person", "the pager is down, and no failover begins", "needs", {**gate.NEEDS, "failover": (What.PAGER,)}),
    ("a restart waits for its provider", "the provider's API is down, and nothing is started again",
     "needs", {**gate.NEEDS, "restart": (What.PROVIDER,)}),
    ("a freeze stops no failover", "remedies are frozen, and primaries are failed over", "frozen", freezes.DESTRUCTIVE - {"failover"}),
    ("a freeze stops a person", "somebody orders a switchover, and a freeze is in the way",
     "frozen", freezes.DESTRUCTIVE | {"switchover"}),
    ("failovers take no turn", "in a mass recovery all failovers begin at once", "waved", gate.WAVED - {"failover"}),
    ("dev before premium", "the cheapest plan recovers first", "lane_of", lambda rank, playbook: gate.lane_of(2 - rank, playbook)),
    ("a lease begins anywhere", "a lease begins while another is on record", "next_step", _begin_always),
    ("give the lease back first", "an agent is let off while the log counts on its lease", "next_step", _give_back_first),
    ("trust the log's lease", "a lease that its agent lost is still counted on", "next_step", _trusts_the_log),
    ("no patience", "silence is suspicious at once", "patience_s", lambda rhythm, limits: 0.0),
    ("endless patience", "silence is never suspicious", "patience_s", lambda rhythm, limits: 3600.0),
    ("strike the last voter", "the only voter is struck, and kept only in name", "kept", _strikes_all),
    ("keep the lost voter", "a strike leaves the lost voter among those that are waited for", "kept", _keeps_lost),
    ("load an empty set", "a primary is told to wait for nobody", "waited_for", _waits_for_nobody),
    ("wait for one too many", "a primary waits for one that is no voter", "waited_for", _waits_for_another),
    ("nobody succeeds", "a planned move leaves the new primary without voters", "successors", _old_primary_votes),
    ("forget without a flush", "the log forgets a struck voter at once", "flushed", lambda reach, keep, position: True),
    ("one flush is enough", "the log forgets a struck voter when one of the others has flushed",
     "flushed", lambda reach, keep, position: any(reach.get(name, -1) >= position for name in keep)),
    ("strike while a voter is enrolled", "two changes of the voters at once", "enrols", _never_enrols),
    ("work outlives its term", "rebuilds and strikes go on while another is elected", "overtaken", _never_overtaken),
    ("rebuilds outlive their term", "a rebuild adds a voter that the election under way does not ask", "overtaken", _rebuilds_stay),
    ("a drained candidate leads", "whoever was chosen leads, whatever it lacks", "may_lead_drained", _drained_is_enough),
    ("a drain by any timeline", "voters that never followed the drained primary speak for it", "may_lead_drained", _drained_any_timeline),
    ("a drain without a quorum", "a candidate leads when those who happened to pledge have no more", "may_lead_drained", _drained_alone),
)  # fmt: skip


_LIVES = {
    "one flush is enough": "With k = 1 an election asks every voter that is left, so the one that has flushed is among them."
    " herder waits for all of them, which is also right for a larger k.",
}
"""Why one of these may survive."""


def _entry(name: str, what: str, function: str, broken: Any) -> Entry:
    return name, what, pure(**{function: broken}), _LIVES.get(name, "")


NUMBERS: tuple[Mutant, ...] = tuple(Mutant(*_entry(*each)) for each in _NUMBERS)
