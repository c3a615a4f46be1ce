"""Failover: another member leads because the primary is known not to serve. One run, one term, one candidate.

On a sync plan the quorum of pledges is the fence; on an async plan a confirmed fence (or a lease run out) comes first,
so that nothing more is acknowledged by the old primary while the standby stops streaming.
"""

from __future__ import annotations

from herder.machines.table import Deadline, Effect, Emit, Facts, Row, Spawn, State, Table, from_each


def is_sync(facts: Facts, brought: Facts) -> bool:
    """A commit waits for voters, so pledges by quorum make its acknowledgement impossible."""
    return bool(brought.get("sync"))


def lease_binds(facts: Facts, brought: Facts) -> bool:
    """The plan's primary stops by itself when its lease is not renewed."""
    return facts.get("on_isolation") == "stop"


def is_exercise(facts: Facts, brought: Facts) -> bool:
    """Nothing is wrong: the primary is ended on purpose, to prove that another can lead."""
    return bool(brought.get("exercise"))


_SERVICE = "service"
_BEGAN = (Emit(_SERVICE, "failover_began", ("term",)),)
_FAILED = (Emit(_SERVICE, "playbook_failed"),)
_PROMOTED = (
    Emit(_SERVICE, "promoted", ("candidate", "new_voters", "counts", "timeline")),
    Emit("old_primary", "deposed"),
    Emit("candidate", "promoted"),
)

FAILOVER = Table(
    kind="failover",
    code=10,
    doc="Another member leads because the primary is known not to serve (S1-S4).",
    states=(
        State("fencing", "async plan: prove that the old primary acknowledges nothing more",
              Effect("fence_primary", ("fenced", "unconfirmed")), Deadline(20, "overdue")),
        State("leasing", "nothing can fence it: the standby pledged to stop renewing, its lease is waited out",
              Effect("await_lease", ("lease_over", "lease_void")), Deadline(60, "overdue")),
        State("pledging", "standbys promise not to stream from the old primary and tell how far they reach",
              Effect("collect_pledges", ("pledged", "short", "beyond_bound")), Deadline(20, "overdue")),
        State("promoting", "the candidate of the record is made primary",
              Effect("promote_candidate", ("promoted", "refused")), Deadline(30, "overdue")),
        State("repointing", "the other standbys follow the new primary",
              Effect("repoint_standbys", ("followed",)), Deadline(60, "overdue")),
        State("done", "the new primary takes writes", final=True),
        State("paged", "it may not go on by itself; a person was told why", final=True),
        State("stopping", "exercise: the primary's engine is ended by its agent, confirmed",
              Effect("end_primary", ("ended", "not_ended")), Deadline(120, "overdue")),
        State("abandoned", "exercise: the primary could not be ended; it goes on, or ordinary remedies follow. Or its service is destroyed", final=True),
        State("withdrawing", "the promotion is given up: made void at the candidate, before anything else may lead",
              Effect("withdraw_promotion", ("withdrawn", "promoted")), Deadline(30, "overdue")),
    ),
    rows=(
        Row("absent", "create", "stopping", guard=is_exercise, emits=_BEGAN, why="an exercise: its primary is ended on purpose"),
        Row("absent", "create", "pledging", guard=is_sync, emits=_BEGAN, why="voters' pledges are the fence"),
        Row("absent", "create", "fencing", emits=_BEGAN, why="asynchronous: fence first"),
        Row("fencing", "fenced", "pledging", why="the old primary is fenced", proves=("fence",)),
        Row("fencing", "unconfirmed", "leasing", guard=lease_binds, why="no fence; its lease binds it"),
        Row("fencing", "unconfirmed", "paged", emits=_FAILED, page=Spawn("fence_unconfirmed"),
            why="the fence could not be confirmed: not promoting (S2)"),
        Row("leasing", "lease_over", "pledging", why="lease, skew and a second have passed", proves=("fence",)),
        Row("leasing", "lease_void", "paged", emits=_FAILED, page=Spawn("fence_unconfirmed"),
            why="the lease does not bind: not promoting (S2)"),
        Row("pledging", "pledged", "promoting", why="enough pledges; the one that reaches farthest leads",
            proves=("quorum",)),
        Row("pledging", "short", "paged", emits=_FAILED, page=Spawn("pledges_short"),
            why="not enough pledges: an acknowledged write could be lost (S3)"),
        Row("pledging", "beyond_bound", "paged", emits=_FAILED, page=Spawn("loss_beyond_bound"),
            why="the standby is too far behind for the plan's bound (S4)"),
        Row("promoting", "promoted", "repointing", emits=_PROMOTED, why="the candidate takes writes"),
        Row("promoting", "refused", "withdrawing", why="the candidate would not be promoted"),
        Row("promoting", "overdue", "promoting", page=Spawn("promotion_slow"),
            why="no answer from the candidate: asked again, since it may have been promoted"),
        *from_each(("pledging", "fencing", "leasing"), "overdue", "paged", emits=_FAILED, page=Spawn("failover_stalled"),
                   why="it took too long"),
        Row("repointing", "followed", "done", emits=(Emit(_SERVICE, "restored"),), why="the new primary has its followers"),
        Row("repointing", "overdue", "repointing", page=Spawn("no_voter_follows"),
            why="no standby follows: commits of a sync plan wait"),
        Row("repointing", "primary_lost", "paged", emits=_FAILED, why="the new primary is lost too"),
        # at the end, since the log stores events by their number
        Row("stopping", "ended", "pledging", why="the old primary is stopped, confirmed", proves=("fence",)),
        Row("stopping", "not_ended", "abandoned", emits=(Emit(_SERVICE, "abandoned"),), why="the primary could not be ended"),
        Row("stopping", "overdue", "abandoned", emits=(Emit(_SERVICE, "abandoned"),), why="ending the primary took too long"),
        # these two wait without end otherwise, for members that are in the trash
        *from_each(("promoting", "repointing", "withdrawing"), "retire", "abandoned", why="its service is being destroyed"),
        Row("stopping", "primary_lost", "abandoned", emits=(Emit(_SERVICE, "abandoned"),),
            why="its server is lost before its agent could end it: what follows is no exercise"),
        # an order that was given up could still be on its way, of a controller that does not know that it lost its shard
        Row("withdrawing", "withdrawn", "paged", emits=_FAILED, page=Spawn("promotion_refused"),
            why="the candidate would not be promoted, and lets in no older order any more"),
        Row("withdrawing", "promoted", "repointing", emits=_PROMOTED, why="the candidate leads after all"),
        Row("withdrawing", "overdue", "withdrawing", page=Spawn("promotion_slow"),
            why="no answer from the candidate: asked again, since it may have been promoted"),
    ),
)  # fmt: skip
