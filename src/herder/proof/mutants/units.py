"""Mutants of what people see: service, member, server; and of the playbooks that make, mend and end them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from herder.machines import member, server, service
from herder.machines.table import Deadline, Effect, Emit, Facts, Row
from herder.proof.mutants.parts import (
    Entry,
    Mutant,
    forgets,
    in_order,
    misses,
    mute,
    plus,
    row,
    rows,
    sends,
    state,
    without,
)


def _any_term(facts: Facts, brought: Facts, now_ms: int) -> dict[str, Any]:
    return {"playbook": brought["sender"], "term": int(brought.get("term", 1))}


def _no_voters(facts: Facts, brought: Facts, now_ms: int) -> dict[str, Any]:
    return service.promoted(facts, brought, now_ms) | {"voters": []}


def _leads_itself(facts: Facts, brought: Facts, now_ms: int) -> dict[str, Any]:
    return service.promoted(facts, brought, now_ms) | {"voters": [brought["candidate"]]}


def _forgets_another(facts: Facts, brought: Facts, now_ms: int) -> dict[str, Any]:
    return {"voters": [voter for voter in facts["voters"] if voter == brought["member"]]}


_SERVICE: tuple[Entry, ...] = (
    ("remove the term bump", "a failover begins, and the service's term stays as it was",
     row("service", "*", "failover_began", update=misses(service.began, "term")), ""),
    ("take a term back", "a playbook of an older term brings its term back into force",
     row("service", "*", "strike_began", update=_any_term), ""),
    ("heed any playbook's success", "a playbook that was overtaken lets go of a service that another one holds",
     row("service", "*", "restored", guard=None), ""),
    ("heed any playbook's failure", "a failure of a playbook that was overtaken ends the one that holds the service",
     row("service", "*", "playbook_failed", guard=None), ""),
    ("old voters stay after a promotion", "the log's voters are still those of the old primary",
     row("service", "*", "promoted", update=misses(service.promoted, "voters")), ""),
    ("no voters after a promotion", "the new primary's voters are not recorded: the next election asks nobody",
     row("service", "*", "promoted", update=_no_voters), ""),
    ("a primary that votes for itself", "after a promotion the only voter is the primary",
     row("service", "*", "promoted", update=_leads_itself), ""),
    ("the primary is not recorded", "the service's primary stays the old one after a promotion",
     row("service", "*", "promoted", update=misses(service.promoted, "primary")), ""),
    ("a promotion forgets its timeline", "pledges of voters that never followed this primary count",
     row("service", "*", "promoted", update=misses(service.promoted, "timeline")), ""),
    ("a promotion is dropped while it is down", "an unavailable service does not take note of its new primary",
     without("service", "unavailable", "promoted"), ""),
    ("a promotion is dropped while it upgrades", "a planned move does not record the new primary",
     without("service", "upgrading", "promoted"), ""),
    ("a voter is not recorded", "the log does not know a voter that the primary waits for",
     without("service", "available", "voter_added"), ""),
    ("forget the wrong voter", "the log keeps the voter that was struck and forgets the others",
     row("service", "*", "voter_removed", update=_forgets_another), ""),
    ("it may be down in silence", "a service that is down for two minutes is nobody's page",
     row("service", "unavailable", "overdue", which=2, page=None), ""),
    ("every remedy is parked", "nobody is paged for a service that is down, as if a dependency were the reason",
     row("service", "unavailable", "overdue", which=0, guard=lambda facts, brought: True), ""),
    ("uncertain for ever", "a service may be uncertain without end", state("service", "uncertain", deadline=None), ""),
    ("a day of doubt", "a service may be uncertain for a day before anybody is told",
     state("service", "uncertain", deadline=Deadline(86_400, "overdue")), ""),
    ("give the name away", "a name is free while its service is still being destroyed",
     row("service", "*", "retire", releases=("name",)), ""),
    ("keep the name", "the name of a destroyed service is never free again",
     row("service", "retiring", "trashed", releases=()), ""),
    ("members are not told to stop", "a service is destroyed, and its members stay as they are",
     mute("service", "*", "retire", "retire", "members"), ""),
    ("servers are not given back", "a service is destroyed, and its servers run on",
     mute("service", "retiring", "trashed", "retire", "servers"), ""),
    ("terminated may come back", "a service that is gone becomes available again",
     plus("service", Row("terminated", "primary_well", "available")), ""),
    ("retire what is uncertain", "a service whose health is not known is retired by time alone",
     row("service", "uncertain", "overdue", target="retiring"), ""),
    ("destroying is never told", "a destroy that fails is tried again for ever, and nobody is told",
     in_order(row("service", "retiring", "overdue", page=None), row("service", "retiring", "playbook_failed", page=None)), ""),
)  # fmt: skip

_MEMBER: tuple[Entry, ...] = (
    ("silence is death", "a member whose pulse stops is taken for dead at once",
     row("member", "available", "silent", target="unavailable"), ""),
    ("suspicion is death", "a member that others lost is taken for dead without asking anybody",
     row("member", "available", "suspected", target="unavailable"), ""),
    ("time kills", "an uncertain member is taken for dead after half a minute",
     row("member", "uncertain", "recheck", target="unavailable"), ""),
    ("nobody is asked", "an uncertain member is waited for; no vantage point is asked",
     state("member", "uncertain", effect=None), ""),
    ("swallow 'seen_dead'", "several vantage points say that it is dead, and nothing follows",
     without("member", "uncertain", "seen_dead"), ""),
    ("a standby speaks for its primary", "a suspected standby makes its service uncertain",
     row("member", "available", "suspected", which=0, guard=None), ""),
    ("a dead standby fails its service over", "a standby's exit is told as its primary's",
     row("member", "available", "exited", which=0, guard=None), ""),
    ("deposed, and well again", "an old primary is taken for well before it has rejoined",
     rows("member", "*", "well", lambda found: replace(found, guard=None) if found.guard is member.not_deposed else found), ""),
    ("a promoted member stays a standby", "the log does not know that it leads",
     row("member", "*", "promoted", update=misses(member.leads, "role")), ""),
    ("a promoted member stays deposed", "it leads, and is never taken for well",
     row("member", "*", "promoted", update=misses(member.leads, "deposed")), ""),
    ("a deposed member goes on leading", "the log takes an old primary for the primary",
     row("member", "*", "deposed", update=misses(member.deposed, "role")), ""),
    ("deposed is forgotten", "what an old primary holds beyond the fork is taken for sound",
     row("member", "*", "deposed", update=misses(member.deposed, "deposed")), ""),
    ("a deposed member keeps its lease", "a failover waits out a lease that nobody enforces",
     row("member", "*", "deposed", update=misses(member.deposed, "leased")), ""),
    ("anybody's lease counts", "a standby's lease is recorded as if it led",
     row("member", "available", "leased", guard=None), ""),
    ("a lease that was given back counts", "a lease is still waited out after its agent was let off",
     row("member", "*", "released", update=None), ""),
    ("a promotion is dropped", "a member that is unavailable does not take note that it leads",
     without("member", "unavailable", "promoted"), ""),
    ("a deposition is dropped", "an uncertain member does not take note that another leads",
     without("member", "uncertain", "deposed"), ""),
    ("uncertain data is trashed", "a member that is seen dead goes to the trash",
     row("member", "uncertain", "seen_dead", target="retired"), ""),
    ("a rebuild never begins", "a member that fell out is not held by its rebuild: two may run at once",
     row("member", "*", "rebuild_began", update=misses(member.rebuild_began, "playbook")),
     ""),
    ("a rebuild keeps its member", "a member whose rebuild failed is never rebuilt again",
     row("member", "*", "rebuild_failed", update=None), ""),
)  # fmt: skip

_SERVER: tuple[Entry, ...] = (
    ("a fenced life comes back", "a server is booted as the incarnation that was fenced",
     row("server", "unavailable", "boot", update=None), ""),
    ("a planned end is not counted", "a server that was ended for a reboot comes back as the same life",
     row("server", "upgrading", "ended", update=misses(server.counted_out, "incarnation")), ""),
    ("a fence during a boot is ignored", "the life that was being started was fenced, and is taken for running",
     without("server", "restart", "fenced"), ""),
    ("a fence is not recorded", "a server that was fenced while it was silent stays uncertain",
     without("server", "uncertain", "fenced"), ""),
    ("a silent server is dead", "a server whose pulse stops is taken for dead at once",
     row("server", "available", "silent", target="unavailable"), ""),
    ("a silent server is given back", "a server that is silent for half a minute is destroyed",
     row("server", "uncertain", "recheck", target="retiring"), ""),
    ("members are not asked about", "a server falls silent, and its member is taken for well",
     mute("server", "available", "silent", "silent"), ""),
    ("terminated may boot", "a server that was given back is started again", plus("server", Row("terminated", "boot", "restart")), ""),
    ("starts that fail are nobody's page", "a server that will not boot is tried for ever, and nobody is told",
     row("server", "unavailable", "boot", which=0, page=None), ""),
    ("removal is nobody's page", "a server that will not go is asked for ever, and nobody is told",
     row("server", "retiring", "overdue", page=None), ""),
    ("forget the deadline of a boot", "a server may be starting for ever", state("server", "restart", deadline=None), ""),
    ("boot and launch are one", "a restart makes a new server instead of starting the old one on its disk",
     state("server", "restart", effect=Effect("launch_server", ("up", "failed"))), ""),
)  # fmt: skip

_MAKING: tuple[Entry, ...] = (
    ("forget before it is flushed", "a strike records the smaller set of voters before anybody has flushed",
     sends("strike", "absent", "create", Emit("service", "voter_removed", ("member",))), ""),
    ("a strike that failed counts", "the log forgets a voter that the primary may still wait for",
     sends("strike", "shrinking", "failed", Emit("service", "voter_removed", ("member",))), ""),
    ("a strike that takes too long counts", "the log forgets a voter although not all others have flushed",
     sends("strike", "shrinking", "overdue", Emit("service", "voter_removed", ("member",))), ""),
    ("a strike goes on under a lost primary", "it is not ended when the primary is lost or a voter is enrolled",
     without("strike", "shrinking", "overtaken"), ""),
    ("a strike keeps its service", "no remedy may begin after a strike", mute("strike", "shrinking", "shrunk", "strike_ended"), ""),
    ("W before V", "a rebuilt standby is waited for before the log has it as a voter",
     in_order(mute("rebuild", "catching_up", "caught_up", "voter_added"),
              sends("rebuild", "enrolling", "enrolled", Emit("service", "voter_added", ("added",)))), ""),
    ("a voter that nobody added", "the event of a new voter does not say who it is",
     forgets("rebuild", "catching_up", "caught_up", "added"), ""),
    ("a rebuild outlives its term", "a rebuild goes on to enrol its member while another is elected",
     without("rebuild", "catching_up", "overtaken"), ""),
    ("never waited for", "a rebuilt standby is a voter in the log, and the primary is never told to wait for it",
     row("rebuild", "catching_up", "caught_up", which=0, target="done", emits=(
         Emit("service", "voter_added", ("added",)), Emit("member", "followed"))),
     ""),
    ("a copy may take a day", "a rebuild may hang in its copy for a day",
     state("rebuild", "copying", deadline=Deadline(86_400, "overdue")), ""),
    ("a rebuild that fails is not told", "its member is installing for ever",
     mute("rebuild", "copying", "failed", "rebuild_failed"), ""),
    ("the first voters are not recorded", "a new service's primary waits for standbys that are no voters in the log",
     mute("provision", "cloning", "cloned", "voter_added"), ""),
    ("provision for ever", "a step of a new service that fails is tried without end",
     row("provision", "founding", "failed", which=0, update=None), ""),
    ("made while it is destroyed", "a provision goes on when its service is being destroyed",
     without("provision", "hiring", "retire"), ""),
    ("destroy without a word", "a service is destroyed though nobody typed its name", row("destroy", "absent", "create", guard=None), ""),
    ("any word is consent", "whatever was typed is taken for the service's name",
     row("destroy", "absent", "create", guard=lambda facts, brought: bool(brought.get("consent"))), ""),
    ("trash what still runs", "data is moved away before its engine is stopped",
     row("destroy", "absent", "create", target="trashing"), ""),
    ("a stop that failed counts", "data is moved away from an engine that did not stop",
     row("destroy", "stopping", "failed", target="trashing", emits=()), ""),
    ("a destroy that fails keeps its service", "it is never tried again", mute("destroy", "trashing", "failed", "playbook_failed"), ""),
)  # fmt: skip

UNITS: tuple[Mutant, ...] = tuple(Mutant(*entry) for entry in (*_SERVICE, *_MEMBER, *_SERVER, *_MAKING))
