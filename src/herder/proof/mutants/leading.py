"""Mutants of the playbooks that move or keep the lead: failover, switchover, restart."""

from __future__ import annotations

from dataclasses import replace

from herder.machines.table import Deadline, Effect, Emit, Row, Spawn
from herder.proof.mutants.parts import Entry, Mutant, forgets, in_order, mute, plus, row, rows, sends, state, without

_HOURS_20 = Deadline(72_000, "overdue")
_TO_OTHER = {"candidate": "old_primary", "old_primary": "candidate"}


def _swapped(found: Row) -> Row:
    return replace(found, emits=tuple(replace(emit, to=_TO_OTHER.get(emit.to, emit.to)) for emit in found.emits))


_FAILOVER: tuple[Entry, ...] = (
    ("drop the fence", "an async failover begins with pledges: the old primary may go on acknowledging",
     row("failover", "absent", "create", which=2, target="pledging"), ""),
    ("an unconfirmed fence counts", "a fence that nobody confirmed leads on to the pledges",
     row("failover", "fencing", "unconfirmed", target="pledging", page=None, emits=()), ""),
    ("a fence that takes too long counts", "the deadline of the fence leads on to the pledges",
     row("failover", "fencing", "overdue", target="pledging", page=None, emits=()), ""),
    ("promote before lease end", "where nothing can fence, the lease is not waited out",
     row("failover", "fencing", "unconfirmed", which=0, target="pledging"), ""),
    ("a void lease counts", "a lease that is not on record is taken for one that has run out",
     row("failover", "leasing", "lease_void", target="pledging", page=None, emits=()), ""),
    ("skip the quorum", "a sync failover promotes without any pledge",
     row("failover", "absent", "create", which=1, target="promoting"), ""),
    ("too few pledges count", "an election that is short of pledges promotes all the same",
     row("failover", "pledging", "short", target="promoting", page=None, emits=()), ""),
    ("the loss bound is ignored", "a candidate that is too far behind is promoted",
     row("failover", "pledging", "beyond_bound", target="promoting", page=None, emits=()), ""),
    ("pledges that take too long count", "the deadline of the pledges promotes",
     row("failover", "pledging", "overdue", target="promoting", page=None, emits=()), ""),
    ("an exercise does not end its primary", "a primary that could not be ended is taken for ended",
     row("failover", "stopping", "not_ended", target="pledging", emits=()), ""),
    ("every plan is sync", "the guard of sync plans is gone: async ones begin with pledges",
     row("failover", "absent", "create", which=1, guard=None), ""),
    ("no term for a failover", "the new term is not told to the service before anything acts under it",
     forgets("failover", "absent", "create", "term"), ""),
    ("a promotion without its timeline", "the log does not know where the new primary began to write",
     forgets("failover", "promoting", "promoted", "timeline"), ""),
    ("a promotion without its voters", "the new primary's voters are not told to the service",
     forgets("failover", "promoting", "promoted", "new_voters"), ""),
    ("promoted and deposed are swapped", "the old primary is told that it was promoted, the candidate that it was deposed",
     rows("failover", "promoting", "promoted", _swapped), ""),
    ("the old primary is not deposed", "after a failover the log takes two members for the primary",
     mute("failover", "promoting", "promoted", "deposed"), ""),
    ("the service is not told of its primary", "after a failover the service still names the old one",
     mute("failover", "promoting", "promoted", "promoted", "service"), ""),
    ("the candidate is not told that it leads", "after a failover the log takes nobody for the primary",
     mute("failover", "promoting", "promoted", "promoted", "candidate"), ""),
    ("a slow promotion is given up", "a candidate that may have been promoted is forgotten, and the old primary goes on",
     row("failover", "promoting", "overdue", target="paged", emits=(Emit("service", "playbook_failed"),)), ""),
    ("a refused promotion counts", "a candidate that would not be promoted is recorded as the primary",
     rows("failover", "promoting", "refused", lambda found: replace(found, target="repointing", page=None, emits=(
         Emit("service", "promoted", ("candidate", "new_voters", "counts", "timeline")), Emit("old_primary", "deposed"),
         Emit("candidate", "promoted")))), ""),
    ("forget the deadline of the pledges", "a failover may wait for pledges for ever",
     state("failover", "pledging", deadline=None), ""),
    ("the pledges may take 20 hours", "writes stand still until somebody looks",
     state("failover", "pledging", deadline=_HOURS_20), ""),
    ("swallow 'short'", "nothing follows when there are too few pledges", without("failover", "pledging", "short"), ""),
    ("swallow 'refused'", "nothing follows when the candidate refuses", without("failover", "promoting", "refused"), ""),
    ("an unconfirmed fence is nobody's page", "the failover ends, and nobody is told",
     row("failover", "fencing", "unconfirmed", which=1, page=None), ""),
    ("followers that never come are nobody's page", "commits wait for a voter, and nobody is told",
     row("failover", "repointing", "overdue", page=None), ""),
    ("a failover keeps its service", "it ends well, and the service is held for ever",
     mute("failover", "repointing", "followed", "restored"), ""),
    ("a failover that fails keeps its service", "no other remedy may begin after it",
     mute("failover", "pledging", "short", "playbook_failed"), ""),
    ("an exercise that gives way keeps its service", "no remedy may begin after it",
     mute("failover", "stopping", "overdue", "abandoned"), ""),
    ("a lost new primary is not noticed", "a failover goes on repointing to a primary that is lost",
     without("failover", "repointing", "primary_lost"), ""),
    ("fences by asking politely", "the fence is another effect, whose outcomes nobody handles",
     state("failover", "fencing", effect=Effect("fence_politely", ("fenced", "unconfirmed"))), ""),
)  # fmt: skip

_OTHERS: tuple[Entry, ...] = (
    ("switch over without a drain", "the candidate is promoted while the old primary still takes writes",
     row("switchover", "preparing", "ready", target="promoting"), ""),
    ("a drain that failed counts", "a primary that did not stop is taken for stopped",
     row("switchover", "draining", "drain_failed", target="promoting", emits=()), ""),
    ("a drain that takes too long counts", "the deadline of the drain promotes",
     row("switchover", "draining", "overdue", target="promoting", emits=()), ""),
    ("no term for a switchover", "the move's term is not told to the service",
     forgets("switchover", "absent", "create", "term"), ""),
    ("a switchover without its timeline", "a voter that never followed the new primary counts in the next election",
     forgets("switchover", "promoting", "promoted", "timeline"), ""),
    ("a switchover that gives way keeps its service", "no remedy may begin after it",
     mute("switchover", "preparing", "not_ready", "abandoned"), ""),
    ("a candidate that refuses has moved the lead", "a switchover goes on to repointing without a promotion",
     rows("switchover", "promoting", "refused", lambda found: replace(found, target="repointing", emits=())), ""),
    ("an engine's own move is not told", "Valkey handed over, and the log still names the old primary",
     row("switchover", "draining", "moved", emits=()), ""),
    ("a slow move is nobody's page", "a promotion without an answer waits, and nobody is told",
     row("switchover", "promoting", "overdue", page=None), ""),
    ("a switchover's old primary is not deposed", "after a planned move the log takes two members for the primary",
     mute("switchover", "promoting", "promoted", "deposed"), ""),
    ("thirty restarts", "a restart in place is tried thirty times, not three",
     row("restart", "restarting", "failed", which=0, guard=lambda facts, brought: int(facts.get("tries", 0)) < 29), ""),
    ("restarts are not counted", "a restart in place is tried for ever",
     row("restart", "restarting", "failed", which=0, update=None), ""),
    ("a restart that fails is nobody's page", "three starts failed, and nobody is told",
     row("restart", "restarting", "failed", which=1, page=None), ""),
    ("start again what has no data", "an engine whose data is gone is started again and again",
     rows("restart", "restarting", "no_data", lambda found: replace(found, target="restarting", emits=(), page=None), which=1), ""),
    ("forget the deadline of a restart", "a start may hang for ever", state("restart", "restarting", deadline=None), ""),
    ("a restart keeps its service", "it ends well, and the service is held for ever",
     mute("restart", "restarting", "restarted", "restored", "service"), ""),
    ("a restart promotes", "whoever is started again is recorded as the primary, fenced or not",
     sends("restart", "restarting", "restarted", Emit("service", "promoted", ("candidate", "new_voters")),
           Emit("member", "promoted")), ""),
    ("a restart under no term", "a restart is not told its term: an agent could not tell it from an older one",
     forgets("restart", "absent", "create", "term"),
     "The service's own term is used then: a restart moves no lead, so its term is the one that is in force anyway."),
    ("paged, and promoted all the same", "a failover that stalled pages and promotes",
     in_order(row("failover", "fencing", "overdue", target="promoting", page=Spawn("failover_stalled"))), ""),
    ("a second way out of done", "a switchover that is over begins again",
     plus("switchover", Row("done", "primary_lost", "promoting")), ""),
)  # fmt: skip

LEADING: tuple[Mutant, ...] = tuple(Mutant(*entry) for entry in (*_FAILOVER, *_OTHERS))
