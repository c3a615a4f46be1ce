"""Rules that hold of every reachable pair of a state of the log and a small world."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from herder.proof.product.acts import counted_out
from herder.proof.product.context import Context
from herder.proof.product.log import Moved
from herder.proof.product.shelf import EXERCISE, OLDEST, Kind, Shelf
from herder.proof.product.small import (
    AGED,
    DEAD,
    EMPTY,
    PRIMARY,
    TRASHED,
    Small,
    can_acknowledge,
    has,
    serves,
)

AT_EASE = ("available", "over", "aborted", "released", "done")
"""States of the fleet's machines in which nothing is under way or held."""

ENDING = ("retiring", "retired", "archived", "terminated")
LEADS = ("promote_candidate", "promote_drained")

RULES: dict[str, str] = {
    "S1": "at most one primary can acknowledge a write, and none that another has followed",
    "S2": "while a candidate is promoted the old primary cannot acknowledge",
    "S3": "no acknowledged write is lost by a promotion; W is never empty and always among V; a copy is left",
    "S4": "no promotion behind the plan's bound",
    "S5": "nothing is retired or trashed without its owner's consent",
    "S6": "no remedy begins against what is only uncertain",
    "S7": "nothing is ended by itself where remedies are frozen, or out of turn in a recovery",
    "S8": "tries are counted, pauses are kept, one automatic failover an hour, nothing is begun that its provider is needed for and cannot do",
    "S9": "rest (well, over, or a person has the word) can be reached from every state",
    "S10": "terms never go back, each change of the lead has its own, no agent is ahead of the log",
    "S11": "terminated absorbs",
    "outcomes": "whatever an effect or a deadline can give has a row where it arrives",
    "landing": "what its sender takes for done is never dropped",
}

SEEN: dict[str, str] = {
    "S1": "every small world, every acknowledgement | all",
    "S2": "every state in which a candidate is promoted | failover, lease, takeover, exercise, switchover, reboot",
    "S3": "every promotion, every acknowledgement, every state's sync set | those of premium",
    "S4": "every promotion | failover-async, failover-unfenced",
    "S5": "every state | all; consent is given in destroy only",
    "S6": "every step of the log that begins a failover, strike or rebuild | all but provision",
    "S7": "every step that begins a remedy | storm, freeze",
    "S8": "every state's counts, every step that begins a remedy | all; what its provider must answer for in provider",
    "S9": "every state, backwards from rest, by any way and by fair ones | all; of a bounded one what does not reach its bound",
    "S10": "every step of the log, every agent's promise | all; takeover with jobs of the past",
    "S11": "every step of the log | destroy",
    "outcomes": "every outcome and deadline that arrives where it was due | all",
    "landing": "every event that a step sends | all",
}
"""Rule -> what of the search looks at it, and in which aspects something could break it."""


def renumbered(small: Small, moved: Moved) -> Small:
    """Promises lie farther back when the term goes on; a life that the log has counted out is an old one."""
    members = [
        member._replace(
            behind=min(member.behind + moved.term, OLDEST),
            old=member.old or bool(moved.aged >> slot & 1 and member.host != DEAD),
        )
        for slot, member in enumerate(small.members)
    ]
    return counted_out(small, moved.aged)._replace(members=tuple(members))


def world_broken(small: Small, kind: Kind) -> str:
    """The rule that a small world breaks by itself, '' for none."""
    if small.broken:
        return small.broken
    able = [slot for slot in range(kind.members) if can_acknowledge(small, slot)]
    if len(able) > 1:
        return "S1: two primaries can acknowledge writes at once"
    if any(member.behind < 0 for member in small.members):
        return "S10: an agent has promised to a term that the log does not know"
    kept = [slot for slot in range(kind.members) if has(small, slot, small.acknowledged)]
    gone = [member.role for member in small.members if member.role in (TRASHED, EMPTY)]
    if not kept and not gone:
        return "S3: no copy of an acknowledged write is left"
    if TRASHED in gone and not small.consent:
        return "S5: data goes to the trash without its owner's consent"
    return ""


class Told(NamedTuple):
    """What a state of the log has to do with the rules. broken: the rule that it breaks by itself, '' for none; ending: something
    is being retired; leads: effects that promote; set_counts: on a sync plan the primary's set must be right, if it serves.
    """

    broken: str
    ending: bool
    leads: tuple[Context, ...]
    set_counts: bool


def told(shelf: Shelf, kind: Kind, due: Sequence[Context]) -> Told:
    """The log's side of what `pair_broken` looks at."""
    leads = tuple(context for context in due if context.effect in LEADS)
    broken = ""
    if shelf.failovers > 1:
        broken = "S8: a second automatic failover within the hour"
    elif any(work.get("tries", 0) > 2 for work in shelf.works):
        broken = "S8: a step is tried more than three times"
    elif len(leads) > 1:
        broken = "S10: two playbooks promote at once"
    ending = shelf.state in ENDING or any(unit.state in ENDING for unit in shelf.members + shelf.servers)
    # it may be destroyed before its first set is loaded
    serving = not shelf.blank and shelf.state != "installing" and shelf.state not in ENDING
    return Told(broken, ending, leads, kind.sync and serving and not leads)


def pair_broken(shelf: Shelf, small: Small, of: Told) -> str:
    """The rule that a pair breaks, '' for none. of: `told` of the shelf."""
    for context in of.leads:
        if _may_still_acknowledge(small, context):
            return f"S2: a {context.kind} promotes while the old primary may acknowledge"
    if of.broken:
        return of.broken
    if of.ending and not small.consent:
        return "S5: it is being retired without its owner's consent"
    return _sync_set_broken(shelf, small) if of.set_counts else ""


def _may_still_acknowledge(small: Small, context: Context) -> bool:
    old = small.members[context.old]
    if context.sync:
        return can_acknowledge(small, context.old) and not can_acknowledge(small, context.candidate)
    return old.runs and old.role == PRIMARY and old.host != DEAD and old.lease != AGED


def _sync_set_broken(shelf: Shelf, small: Small) -> str:
    """W of the log's primary, once it serves and nothing changes who leads."""
    primary = small.members[shelf.primary]
    if not serves(small, shelf.primary) or primary.branch != small.leads:
        return ""
    if primary.waits & ~shelf.voters:
        return "S3: the primary waits for one that is no voter of the log"
    if not primary.waits:
        return "S3: the primary of a sync plan waits for nobody"
    return ""


def emptied(small: Small) -> int:
    """Members (mask) whose data is gone."""
    return sum(1 << slot for slot, member in enumerate(small.members) if member.role == EMPTY)


def rests(shelf: Shelf, empty: int, *, sync: bool) -> str:
    """How a state of the log rests: 'well', 'over', 'paged' (a person has the word), '' not at all. empty: `emptied`.

    A page about a playbook that is under way hands nothing over: it goes on by itself, or waits for what never comes. But where a
    candidate may have been promoted, unheard, and its data is gone since, only a person can say what it acknowledged.
    """
    unheard = any(
        work.state in ("promoting", "withdrawing") and empty >> work.get("candidate", 0) & 1 for work in shelf.works
    )
    if (unheard or not shelf.works) and (shelf.pages or any(near.pages for near in shelf.around)):
        return "paged"
    if shelf.works or any(near.state not in AT_EASE for near in shelf.around) or dict(shelf.notes).get(EXERCISE):
        return ""
    if shelf.blank:
        return "over"
    if shelf.state in ("retired", "terminated") and all(unit.state in ENDING for unit in shelf.members + shelf.servers):
        return "over"
    enrolled = shelf.voters | 1 << shelf.primary
    well = shelf.state == "available" and all(unit.state == "available" for unit in shelf.members + shelf.servers)
    return "well" if well and (not sync or enrolled == (1 << len(shelf.members)) - 1) else ""
