"""S3 by exhaustion: no election and no order of steps of the voter protocol loses a write that was acknowledged.

The arithmetic is the real one (`elect_sync`, the updates of the service's table); only the engines are modelled, as the
set of commits that each has: a member's log is a prefix, so it is a number.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import pytest

from herder.machines import service
from herder.ports.driver import Position
from herder.remedies.election import Elected, Short, elect_sync, pledges_needed

# ---- one election


@pytest.mark.parametrize("others", [0, 1])
@pytest.mark.parametrize("voters", [1, 2, 3, 4])
def test_the_elected_holds_every_acknowledged_commit(voters: int, others: int):
    """Every way in which up to four voters may have received two commits, the first, or none, and pledge or not.

    others: members that are no voters. Where the only voter is the only other member, nobody would be left to wait for.
    """
    everyone = range(1, voters + 1)
    members = range(1, voters + others + 1)
    elections = 0
    for reached in itertools.product(range(3), repeat=voters):
        acknowledged = max(reached)  # k = 1: a commit was acknowledged when one voter had it
        for count in range(voters + 1):
            for pledgers in itertools.combinations(everyone, count):
                pledges = {voter: Position(1, reached[voter - 1]) for voter in pledgers}
                elected = elect_sync(everyone, members, pledges)
                assert isinstance(elected, Elected) is (count >= pledges_needed(voters) and len(members) > 1)
                if isinstance(elected, Elected):
                    elections += 1
                    assert reached[elected.candidate - 1] >= acknowledged
                    assert elected.new_voters
                    assert elected.candidate not in elected.new_voters
    assert elections == (3**voters if len(members) > 1 else 0)


@pytest.mark.parametrize("voters", [2, 3])
def test_one_pledge_less_would_lose_a_commit(voters: int):
    """The bound is tight: the checker above is not satisfied by everything."""
    reached = dict.fromkeys(range(1, voters), 0) | {voters: 1}
    short = {voter: Position(1, reached[voter]) for voter in range(1, voters)}
    assert isinstance(elect_sync(range(1, voters + 1), range(1, voters + 1), short), Short)
    assert max(reached[voter] for voter in short) < max(reached.values())


# ---- the voter protocol, every order of steps

COMMITS = 2
NOBODY = 0


class Fleet(NamedTuple):
    """logs: how many commits each member has, in this line of history. told: whose set the primary waits for (W).
    voters: V of the log. adding, striking: the rebuild or strike under way (0 = none); flush: what the others must reach
    before the struck one may be forgotten. terms: the timeline each is on; leads: the primary's; fork: where it began.
    timeline: where the log says that the primary began to write (0: it is the first).
    """

    logs: tuple[int, ...]
    primary: int
    voters: tuple[int, ...]
    told: tuple[int, ...]
    down: tuple[int, ...] = ()
    follows: tuple[int, ...] = ()
    adding: int = NOBODY
    striking: int = NOBODY
    flush: int = -1
    written: int = 0
    acknowledged: int = 0
    faults: int = 0
    terms: tuple[int, ...] = ()
    leads: int = 1
    fork: int = 0
    timeline: int = 0

    def up(self, member: int) -> bool:
        return member not in self.down


@dataclass(frozen=True)
class Rules:
    """The protocol as it is, and what a mutant gets wrong. fresh_pledges: one counts only from a member that has reached
    the timeline on which the present primary began to write; two faults in a row need it.
    """

    voter_before_set: bool = True
    flush_before_forgetting: bool = True
    quorum: bool = True
    fresh_pledges: bool = True
    faults: int = 1


Step = tuple[str, Fleet]


def steps(now: Fleet, rules: Rules) -> Iterator[Step]:
    if now.up(now.primary):
        yield from _writes(now)
        yield from _adds(now, rules)
        yield from _strikes(now, rules)
    else:
        yield from _promotes(now, rules)
    if now.faults < rules.faults:
        for member in (m for m in range(len(now.logs)) if now.up(m)):
            left = tuple(f for f in now.follows if f != member)
            work = {"adding": NOBODY, "striking": NOBODY, "flush": -1} if member == now.primary else {}
            yield f"{member} dies", now._replace(down=(*now.down, member), follows=left, faults=now.faults + 1, **work)


def _writes(now: Fleet) -> Iterator[Step]:
    """The primary writes; each follower receives by itself; an acknowledgement needs one of W (none: it needs nobody)."""
    logs = now.logs
    if now.written < COMMITS:
        grown = _with(logs, now.primary, logs[now.primary] + 1)
        yield "writes", now._replace(logs=grown, written=now.written + 1)
    for member in now.follows:
        if logs[member] < logs[now.primary]:
            yield f"{member} receives", now._replace(logs=_with(logs, member, logs[member] + 1))
        if now.terms[member] < now.leads and logs[member] >= now.fork:
            yield f"{member} is on its timeline", now._replace(terms=_with(now.terms, member, now.leads))
    if now.told:
        held = max((logs[member] for member in now.told if member in now.follows), default=0)
        reach = min(held, logs[now.primary])
        if reach > now.acknowledged:
            yield "acknowledges", now._replace(acknowledged=reach)


def _adds(now: Fleet, rules: Rules) -> Iterator[Step]:
    """V first, then W."""
    if now.adding:
        member = now.adding - 1
        if not rules.voter_before_set and member in now.told:
            yield f"records {member}", now._replace(voters=_added(now.voters, member), adding=NOBODY)
        else:
            told = tuple(sorted({*now.told, member}))
            yield (
                f"waits for {member}",
                now._replace(told=told, adding=NOBODY if rules.voter_before_set else now.adding),
            )
        return
    for member in now.follows:
        if member not in now.voters and not now.striking:
            if rules.voter_before_set:
                yield f"records {member}", now._replace(voters=_added(now.voters, member), adding=member + 1)
            else:
                yield f"begins {member}", now._replace(adding=member + 1)
    for member in range(len(now.logs)):
        if now.up(member) and member != now.primary and member not in now.follows:
            yield f"{member} rejoins", _rejoined(now, member)


def _rejoined(now: Fleet, member: int) -> Fleet:
    """It streams from the present primary; what it had beyond the fork is gone."""
    kept = min(now.logs[member], now.logs[now.primary])
    return now._replace(logs=_with(now.logs, member, kept), follows=tuple(sorted({*now.follows, member})))


def _strikes(now: Fleet, rules: Rules) -> Iterator[Step]:
    """Shrink W, let every remaining voter flush past that moment, then the smaller V."""
    if now.striking:
        member = now.striking - 1
        rest = [voter for voter in now.voters if voter != member]
        if not rules.flush_before_forgetting or all(now.logs[voter] >= now.flush for voter in rest):
            voters = service.voter_removed({"voters": list(now.voters)}, {"member": member}, 0)["voters"]
            yield f"forgets {member}", now._replace(voters=tuple(voters), striking=NOBODY, flush=-1)
        yield "gives the strike up", now._replace(striking=NOBODY, flush=-1)
        return
    for member in now.voters:
        if len(now.voters) > 1 and not now.adding:
            told = tuple(voter for voter in now.told if voter != member)
            if told:
                flush = now.logs[now.primary]
                cut = tuple(f for f in now.follows if f != member)
                yield f"shrinks by {member}", now._replace(told=told, striking=member + 1, flush=flush, follows=cut)


def _promotes(now: Fleet, rules: Rules) -> Iterator[Step]:
    """Any set of pledges of those who are up; the log's timeline decides which of them count."""
    living = [member for member in range(len(now.logs)) if now.up(member) and member != now.primary]
    for count in range(1, len(living) + 1):
        for pledgers in itertools.combinations(living, count):
            pledges = {member: Position(now.terms[member], now.logs[member]) for member in pledgers}
            voters = now.voters if rules.quorum else tuple(voter for voter in now.voters if voter in pledges)
            elected = elect_sync(voters, _others(now), pledges, now.timeline if rules.fresh_pledges else 0)
            if isinstance(elected, Elected):
                brought = {"candidate": elected.candidate, "new_voters": elected.new_voters, "timeline": now.leads + 1}
                change = service.promoted({"timeline": now.timeline}, brought, 0)
                new_voters = tuple(change["voters"])
                yield (
                    f"{elected.candidate} leads by pledges of {pledgers}",
                    now._replace(primary=change["primary"], voters=new_voters, told=new_voters, follows=(), adding=NOBODY,
                            striking=NOBODY, leads=now.leads + 1, fork=now.logs[elected.candidate],
                            terms=_with(now.terms, elected.candidate, now.leads + 1), timeline=change["timeline"]),
                )  # fmt: skip


def _others(now: Fleet) -> list[int]:
    return [member for member in range(len(now.logs)) if member != now.primary]


def _added(voters: tuple[int, ...], member: int) -> tuple[int, ...]:
    return tuple(service.voter_added({"voters": list(voters)}, {"added": [member]}, 0)["voters"])


def _with(values: tuple[int, ...], at: int, value: int) -> tuple[int, ...]:
    return (*values[:at], value, *values[at + 1 :])


def broken(now: Fleet) -> str:
    if not now.voters:
        return "no voter is left"
    if not {*now.told} <= {*now.voters}:
        return "W is no subset of V"
    if now.logs[now.primary] < now.acknowledged:
        return "an acknowledged commit is lost"
    return ""


def search(members: int, rules: Rules, wrong: Callable[[Fleet], str] = broken) -> tuple[int, tuple[str, ...]]:
    """Breadth first over everything that may happen; (states seen, the shortest way to a broken one or nothing)."""
    followers = tuple(range(1, members))
    voters = followers[: max(members - 2, 1)]  # one more member, if there is one, is yet to be added
    start = Fleet((0,) * members, 0, voters, voters, follows=followers, terms=(1,) * members)
    came: dict[Fleet, tuple[Fleet, str] | None] = {start: None}
    waiting = deque([start])
    while waiting:
        now = waiting.popleft()
        if fault := wrong(now):
            return len(came), (*_way(came, now), fault)
        for what, then in steps(now, rules):
            if then not in came:
                came[then] = (now, what)
                waiting.append(then)
    return len(came), ()


def _way(came: dict[Fleet, tuple[Fleet, str] | None], now: Fleet) -> tuple[str, ...]:
    way: list[str] = []
    while (step := came[now]) is not None:
        now, what = step
        way.append(what)
    return tuple(reversed(way))


@pytest.mark.parametrize("members", [3, 4])
def test_no_order_of_steps_loses_an_acknowledged_commit(members: int):
    seen, way = search(members, Rules())
    assert not way
    assert seen > 500


@pytest.mark.parametrize("members", [3, 4])
def test_a_second_fault_right_after_the_first_loses_none_either(members: int):
    """The new primary holds what the old one acknowledged, and dies before its voter has followed it."""
    seen, way = search(members, Rules(faults=2))
    assert not way, way
    assert seen > 1000


def test_a_second_failover_is_possible_once_a_voter_has_followed():
    """The rule of fresh pledges does not simply forbid the second election."""
    _, way = search(3, Rules(faults=2), lambda now: "led again" if now.leads == 3 else "")
    assert way[-1:] == ("led again",)
    assert any(step.endswith("is on its timeline") for step in way)


@pytest.mark.parametrize(
    ("rules", "fault"),
    [
        (Rules(voter_before_set=False), "W is no subset of V"),
        (Rules(flush_before_forgetting=False), "an acknowledged commit is lost"),
        (Rules(quorum=False), "an acknowledged commit is lost"),
        (Rules(fresh_pledges=False, faults=2), "an acknowledged commit is lost"),
    ],
    ids=["W before V", "no flush", "no quorum", "pledges of any timeline"],
)
def test_each_rule_of_the_protocol_is_needed(rules: Rules, fault: str):
    _, way = search(4, rules)
    assert way[-1:] == (fault,)
