"""What the pure decisions must never say, tried over every case of a small world.

The tables say when a decision is asked for; here stands what it may answer. Each law takes the functions of production from
`PURE`, so that a mutant can put a broken one in the place of one of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from herder.fleet import leases
from herder.governor import budget, freezes, gate, pace
from herder.machines.rules import Finding
from herder.ports.driver import Position
from herder.pulse import detector, storm
from herder.remedies import election, enrolment, estimate, verdict

Pure = Mapping[str, Any]
"""Name -> a pure function of production, or a table of constants that it reads."""

PURE: Pure = {
    "elect_sync": election.elect_sync, "elect_async": election.elect_async, "loss": election.loss,
    "within": election.Loss.within, "may_lead_drained": election.may_lead_drained, "kept": enrolment.kept,
    "waited_for": enrolment.waited_for, "successors": enrolment.successors, "enrols": enrolment.enrols,
    "overtaken": enrolment.overtaken, "flushed": enrolment.flushed, "judge_looks": verdict.judge_looks, "choose": estimate.choose,
    "first_look": storm.first_look, "second_look": storm.second_look, "limits": budget.LIMITS, "next_window": pace.next_window,
    "needs": gate.NEEDS, "waved": gate.WAVED, "frozen": freezes.DESTRUCTIVE, "lane_of": gate.lane_of,
    "next_step": leases.next_step, "patience_s": detector.Rhythm.patience_s,
}  # fmt: skip

Law = Callable[[Pure], Iterator[Finding | int]]


def check(pure: Pure = PURE) -> tuple[tuple[tuple[str, str, int], ...], tuple[Finding, ...]]:
    """((rule, what, cases), ...) and what does not hold, the first case of each law."""
    counted: list[tuple[str, str, int]] = []
    findings: list[Finding] = []
    for rule, what, law in LAWS:
        count = 0
        for found in law(pure):
            if isinstance(found, Finding):
                findings.append(found)
                break
            count += found
        counted.append((rule, what, count))
    return tuple(counted), tuple(findings)


def _broken(rule: str, where: str, what: str, **case: object) -> Finding:
    return Finding(rule, where, what, tuple(f"{name}: {value}" for name, value in case.items()))


# ---- elections


def elected(pure: Pure) -> Iterator[Finding | int]:
    """Up to four voters, each with any of two commits and a timeline, pledging or not: who is elected has all that was
    acknowledged, waits for somebody, and is elected again when it is asked again (S3).
    """
    for voters, others in itertools.product((1, 2, 3, 4), (0, 1)):
        everyone, members = tuple(range(1, voters + 1)), tuple(range(1, voters + others + 1))
        for reached in itertools.product(range(3), repeat=voters):
            for count in range(voters + 1):
                for pledgers in itertools.combinations(everyone, count):
                    pledges = {voter: Position(2, reached[voter - 1]) for voter in pledgers}
                    yield 1
                    yield from _election(pure, everyone, members, pledges, max(reached))


def _election(
    pure: Pure, voters: tuple[int, ...], members: tuple[int, ...], pledges: dict[int, Position], acked: int
) -> Iterator[Finding]:
    made = pure["elect_sync"](voters, members, pledges, 2)
    case = {
        "voters": voters,
        "pledges": {m: at.lsn for m, at in pledges.items()},
        "acknowledged": acked,
        "answer": made,
    }
    if isinstance(made, election.Elected):
        holds = pledges[made.candidate].lsn if made.candidate in pledges else -1
        if holds < acked:
            yield _broken("S3", "elect_sync", "who is elected lacks an acknowledged commit", **case)
        if not made.new_voters or made.candidate in made.new_voters:
            yield _broken("S3", "elect_sync", "who is elected waits for nobody but itself", **case)
        if pure["elect_sync"](tuple(reversed(voters)), members, dict(reversed(pledges.items())), 2) != made:
            yield _broken("S1", "elect_sync", "asked again, it elects another", **case)
    elif len(pledges) == len(voters) and len(members) > 1:
        yield _broken("S9", "elect_sync", "all voters pledged, and nobody is elected", **case)


def counted_pledges(pure: Pure) -> Iterator[Finding | int]:
    """A pledge counts only of a voter, and only on the present primary's timeline (S3)."""
    for here, there in itertools.product((1, 2), repeat=2):
        yield 1
        made = pure["elect_sync"]((1, 2), (1, 2, 3), {1: Position(here, 5), 2: Position(there, 4)}, 2)
        if isinstance(made, election.Elected) and min(here, there) < 2:
            yield _broken(
                "S3", "elect_sync", "a pledge of an older timeline counts", timelines=(here, there), answer=made
            )
    for reach in (0, 9):
        yield 1
        made = pure["elect_sync"]((1, 2), (1, 2, 3), {1: Position(2, 5), 3: Position(2, reach)}, 2)
        if isinstance(made, election.Elected):
            yield _broken("S3", "elect_sync", "a pledge of one that is no voter counts", reach=reach, answer=made)
    for reach in (0, 9):
        yield 1
        made = pure["elect_sync"]((1, 2), (1, 2, 3), {1: Position(2, 5), 2: Position(2, 4), 3: Position(2, reach)}, 2)
        if isinstance(made, election.Elected) and made.candidate != 1:
            yield _broken("S3", "elect_sync", "one that is no voter leads", reach=reach, answer=made)


def asynchronous(pure: Pure) -> Iterator[Finding | int]:
    """Only a copy of the old primary's own history leads, the one that reaches farthest (S4)."""
    for first, second, mine in itertools.product((0, 5, 9), (0, 5, 9), ("a", "b")):
        yield 1
        pledges = {1: Position(0, first, "a"), 2: Position(0, second, mine)}
        made = pure["elect_async"](pledges, "a")
        best = max(at.lsn for at in pledges.values() if at.history == "a")
        if isinstance(made, election.Short) or pledges[made.candidate].history != "a" or made.position.lsn != best:
            yield _broken(
                "S4", "elect_async", "another than the farthest of its history leads", pledges=pledges, answer=made
            )
    yield 1
    if isinstance(pure["elect_async"]({1: Position(0, 9, "b")}, "a"), election.Elected):
        yield _broken("S4", "elect_async", "one of another history leads")


def bounded(pure: Pure) -> Iterator[Finding | int]:
    """What is promoted by itself lies inside the plan's bound, in bytes and in seconds (S4)."""
    bound = election.Bound(100, 10.0)
    for behind, lag_s, ahead in itertools.product((0, 100, 101, 500), (0.0, 10.0, 10.5, 1e9), (0, 1)):
        yield 1
        may_lose = pure["loss"](Position(2, 1000), Position(2 + ahead, 1000 - behind), lag_s)
        allowed = bool(pure["within"](may_lose, bound))
        over = lag_s > 10.0 or (behind > 100 and not ahead)
        if allowed == over:
            what = "promotes past the bound" if allowed else "does not promote inside the bound"
            yield _broken("S4", "loss", what, behind_bytes=behind, lag_s=lag_s, later_timeline=bool(ahead))


# ---- looks


def dead(pure: Pure) -> Iterator[Finding | int]:
    """Dead: nobody saw it serve, two vantage points say so, and one of them is not this controller (S6)."""
    sights = ("serving", "starting", "refused", "silent", "")
    for ours, theirs, third in itertools.product(sights, repeat=3):
        probes = {name: saw for name, saw in (("controller", ours), ("a", theirs), ("b", third)) if saw}
        for upstream, provider, pulse_age_s in itertools.product((None, 0.2, 60.0), (True, False, None), (0.5, 60.0)):
            yield 1
            ages = {} if upstream is None else {"b": upstream}
            looks = verdict.Looks(probes, ages, provider, pulse_age_s, 5.0, verdict.LOOKS)
            if pure["judge_looks"](looks).dead and (why := _alive(looks)):
                yield _broken("S6", "judge_looks", why, looks=looks)
    for silent in range(verdict.LOOKS + 1):
        yield 1
        looks = verdict.Looks({"controller": "silent", "a": "silent"}, {}, None, 60.0, 5.0, silent)
        if pure["judge_looks"](looks).dead != (silent + 1 >= verdict.LOOKS):
            yield _broken("S6", "judge_looks", "silence that was seen once counts", looks=looks)


def _alive(looks: verdict.Looks) -> str:
    """Why it must not be taken for dead; '' when it may."""
    saw = {*looks.probes.values()}
    others = [name for name, each in looks.probes.items() if each in ("refused", "silent") and name != "controller"]
    denies = others + (["provider"] if looks.provider is False else [])
    witnesses = len(denies) + (looks.probes.get("controller") in ("refused", "silent"))
    if {"serving", "starting"} & saw:
        return "dead, and seen serving"
    if not denies:
        return "dead on this controller's word alone"
    if witnesses < 2:
        return "dead on one word"
    if any(age < 1.0 for age in looks.upstream_age_s.values()) and list(looks.probes.values()).count("refused") < 2:
        return "dead, and its standby just heard it"
    if looks.pulse_age_s < looks.patience_s and "refused" not in saw and looks.provider is not False:
        return "dead, and its agent was just heard"
    return ""


def choices(pure: Pure) -> Iterator[Finding | int]:
    """An asynchronous service is started again where that can be, since nothing is lost by it (S4)."""
    for sync, standbys, up, failed in itertools.product((True, False), (0, 1, 2), (True, False), (True, False)):
        yield 1
        choice = pure["choose"](sync=sync, standbys=standbys, server_up=up, restart_failed=failed).playbook
        case = {"sync": sync, "standbys": standbys, "server_up": up, "restart_failed": failed, "answer": choice}
        if choice == "restart" and not up:
            yield _broken("S9", "choose", "a restart where no server runs", **case)
        if choice == "failover" and up and standbys == 0:
            yield _broken("S9", "choose", "a failover to nobody", **case)
        if choice == "failover" and up and not sync and not failed:
            yield _broken("S4", "choose", "a failover that may lose, where a restart loses nothing", **case)
        if choice == "restart" and failed and up and standbys:
            yield _broken("S9", "choose", "the restart that failed, again", **case)


def ourselves(pure: Pure) -> Iterator[Finding | int]:
    """Who is deaf, late or without a store judges nobody; a mass outage needs another's word (S7)."""
    faults = (
        storm.Ourselves(deaf=True),
        storm.Ourselves(late_s=5),
        storm.Ourselves(jump_s=-60),
        storm.Ourselves(store_down=True),
    )
    whole = (storm.whole(100, 90),)
    limits = storm.Limits()
    for us in (*faults, storm.Ourselves()):
        yield 1
        look = pure["first_look"](us, whole, 1e-6, limits)
        if us.fault and look.word is not storm.Word.US:
            yield _broken("S7", "first_look", "its own fault is taken for theirs", us=us, answer=look.word)
        if not us.fault and look.word is not storm.Word.SUSPECT:
            yield _broken("S7", "first_look", "nine of ten fall at once, and nothing is suspected", answer=look.word)
        for ours, theirs, provider, canary in itertools.product(
            ("serving", "silent"), ("serving", "refused", ""), (True, False, None), ("serving", "silent")
        ):
            yield 1
            samples = tuple(storm.Sample(f"u{at}", ours, theirs, provider) for at in range(6))
            canaries = tuple(storm.Canary(f"c{at}", canary, inside=False) for at in range(3))
            asked = storm.Asked(samples, canaries, 90, 100)
            word = pure["second_look"](us, asked, limits, ("fleet",)).word
            heard = theirs == "refused" or provider is False
            serves = "serving" in (ours, theirs)
            case = {
                "us": us.fault,
                "ours": ours,
                "theirs": theirs,
                "provider": provider,
                "canaries": canary,
                "answer": word,
            }
            if word is storm.Word.MASS and (us.fault or serves or not heard or canary == "silent"):
                yield _broken("S7", "second_look", "a mass outage on our word alone", **case)
            if not us.fault and heard and not serves and canary == "serving" and word is not storm.Word.MASS:
                yield _broken("S9", "second_look", "all are down by another's word, and nothing is done", **case)


def patient(pure: Pure) -> Iterator[Finding | int]:
    """Silence is suspicious after a beat at least, within the limits that were set (S6)."""
    limits = detector.Limits(1.5, 8.0)
    for interval_s, deviation_s in itertools.product((0.2, 1.0, 2.0, 20.0), (0.0, 0.1, 1.0, 9.0)):
        yield 1
        patience_s = pure["patience_s"](detector.Rhythm(interval_s, deviation_s), limits)
        if not limits.floor_s <= patience_s <= limits.ceiling_s or patience_s < min(interval_s, limits.ceiling_s):
            yield _broken("S6", "patience_s", "silent sooner than a beat, or never", interval_s=interval_s,
                          deviation_s=deviation_s, patience_s=patience_s)  # fmt: skip


# ---- budgets


def budgets(pure: Pure) -> Iterator[Finding | int]:
    """Remedies at once, and within an hour, are a small share of a fleet that is not small (S8)."""
    for services in (1, 100, 1_000, 100_000, 1_000_000):
        for scope in ("fleet", "zone:a"):
            yield 1
            at_once, hour = pure["limits"].in_flight(scope, services), pure["limits"].hour(scope, services)
            if not 1 <= at_once <= max(40, services // 100) or not at_once <= hour <= max(720, services // 20):
                yield _broken("S8", "limits", "more remedies than a hundredth at once, or a twentieth an hour",
                              scope=scope, services=services, at_once=at_once, hour=hour)  # fmt: skip


def paces(pure: Pure) -> Iterator[Finding | int]:
    """A window grows by doubling, never past its ceiling, and never while more than one in ten fails (S8)."""
    for window, well, failed, ceiling in itertools.product((1, 8, 64), (0, 8, 64), (0, 1, 30), (10, 100)):
        yield 1
        wider = pure["next_window"](window, well, failed, ceiling)
        failing = failed > 0.1 * (well + failed)
        case = {"window": window, "well": well, "failed": failed, "ceiling": ceiling, "answer": wider}
        if not 1 <= wider <= ceiling or wider > 2 * window:
            yield _broken("S8", "next_window", "wider than its ceiling, or than twice", **case)
        if failing and wider > max(1, window // 2):
            yield _broken("S8", "next_window", "not halved while many fail", **case)


def gates(pure: Pure) -> Iterator[Finding | int]:
    """What saves a service with what it has waits for nobody; what ends something waits where it is frozen (S7, S8)."""
    for playbook in ("failover", "switchover", "strike", "restart"):
        yield 1
        if pure["needs"].get(playbook):
            yield _broken("S9", "NEEDS", f"a {playbook} waits for {pure['needs'][playbook]}")
    for playbook in ("failover", "rebuild", "strike", "restart", "boot"):
        yield 1
        if playbook not in pure["frozen"]:
            yield _broken("S7", "DESTRUCTIVE", f"a {playbook} begins where remedies are frozen")
    for playbook in ("provision", "destroy", "switchover"):
        yield 1
        if playbook in pure["frozen"] or playbook in pure["waved"]:
            yield _broken("S8", "DESTRUCTIVE", f"a {playbook}, somebody's wish, is frozen")
    for playbook in ("failover", "restart", "rebuild"):
        yield 1
        if playbook not in pure["waved"]:
            yield _broken("S7", "WAVED", f"a {playbook} does not wait for its turn")
    lanes = [pure["lane_of"](rank, playbook) for rank in (0, 1, 2) for playbook in ("failover", "rebuild")]
    yield 1
    if lanes != sorted(set(lanes)):
        yield _broken("S8", "lane_of", "turns are not plan by plan, lost primaries first", lanes=lanes)


def leased(pure: Pure) -> Iterator[Finding | int]:
    """The log counts on a lease only while its agent enforces it, and lets go of it first (S2)."""
    wishes = [leases.Wanted(*each) for each in itertools.product((True,), (True, False), (True, False))]
    for want, recorded_s, held_s, left_s in itertools.product(wishes, (0.0, 5.0, 10.0), (0.0, 5.0, 10.0), (-1.0, 4.0)):
        yield 1
        step = pure["next_step"](want, recorded_s, leases.Grip(1.0, held_s, left_s), 10.0)
        case = {"want": want, "recorded_s": recorded_s, "held_s": held_s, "left_s": left_s, "answer": step}
        if step == "give_back" and recorded_s:
            yield _broken("S2", "next_step", "given back while the log counts on it", **case)
        if recorded_s and held_s != recorded_s and step != "forget":
            yield _broken("S2", "next_step", "the log counts on a lease that its agent does not hold", **case)
        if step == "begin" and (recorded_s or not want.lease or left_s < 0):
            yield _broken("S2", "next_step", "a lease begins where none may", **case)


LAWS: tuple[tuple[str, str, Law], ...] = (
    ("S3", "elections of up to four voters: the elected holds what was acknowledged", elected),
    ("S3", "pledges: of voters, on the primary's timeline", counted_pledges),
    ("S4", "elections without a quorum: the farthest of the same history", asynchronous),
    ("S4", "losses at, below and past a plan's bound", bounded),
    ("S6", "looks of three vantage points, a standby, a provider and a pulse", dead),
    ("S4", "choices between failover and restart", choices),
    ("S7", "verdicts about a storm, with every fault of our own", ourselves),
    ("S6", "rhythms of a pulse: patience", patient),
    ("S8", "fleets: remedies at once and within an hour", budgets),
    ("S8", "windows of a recovery", paces),
    ("S8", "remedies: what holds them back, and what may not", gates),
    ("S2", "leases: what is recorded, held and wanted", leased),
)
