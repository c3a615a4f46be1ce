"""Switchover: the primary moves as planned; the old one stops cleanly first and follows afterwards."""

from __future__ import annotations

from herder.machines.table import Deadline, Effect, Emit, Row, Spawn, State, Table, from_each

_SERVICE = "service"
_GAVE_WAY = (Emit(_SERVICE, "abandoned"),)
_FAILED = (Emit(_SERVICE, "playbook_failed"),)
_PROMOTED = (
    Emit(_SERVICE, "promoted", ("candidate", "new_voters", "counts", "timeline")),
    Emit("old_primary", "deposed"),
    Emit("candidate", "promoted"),
)

SWITCHOVER = Table(
    kind="switchover",
    code=11,
    doc="The primary moves to a caught-up standby, as planned: nothing is lost, nothing diverges.",
    states=(
        State("preparing", "checkpoint, and a standby that is caught up is chosen",
              Effect("prepare_switchover", ("ready", "not_ready")), Deadline(60, "overdue")),
        State("draining", "the old primary ends its sessions and stops; the standby has everything",
              Effect("drain_primary", ("drained", "moved", "drain_failed")), Deadline(30, "overdue")),
        State("promoting", "the standby that has everything is made primary",
              Effect("promote_drained", ("promoted", "refused")), Deadline(30, "overdue")),
        State("repointing", "the others follow the new primary",
              Effect("repoint_standbys", ("followed",)), Deadline(60, "overdue")),
        State("done", "the new primary takes writes", final=True),
        State("abandoned", "nothing was changed, or the old primary is started again by restart", final=True),
        State("looking", "nobody learnt how the drain ended: who leads is looked at before anything is given up",
              Effect("look_who_leads", ("moved", "stayed")), Deadline(30, "overdue")),
        State("withdrawing", "the promotion is given up: made void at the candidate, before the old primary goes on",
              Effect("withdraw_promotion", ("withdrawn", "promoted")), Deadline(30, "overdue")),
    ),
    rows=(
        Row("absent", "create", "preparing", emits=(Emit(_SERVICE, "switchover_began", ("term",)),), why="asked for"),
        Row("preparing", "ready", "draining", why="a standby is caught up"),
        Row("preparing", "not_ready", "abandoned", emits=_GAVE_WAY, why="no standby is ready to lead"),
        Row("preparing", "overdue", "abandoned", emits=_GAVE_WAY, why="no standby became ready"),
        Row("draining", "drained", "promoting", why="the old primary is stopped, confirmed", proves=("fence", "drained")),
        Row("draining", "moved", "repointing", emits=_PROMOTED, why="the engine handed over by itself",
            proves=("fence", "drained")),
        Row("draining", "drain_failed", "looking", why="the old primary did not stop cleanly, or did not hand over as it should"),
        Row("draining", "overdue", "looking", why="nobody learnt in time how the drain ended"),
        Row("promoting", "promoted", "repointing", emits=_PROMOTED, why="the standby takes writes"),
        Row("promoting", "refused", "withdrawing", why="the standby has not everything, or would not be promoted"),
        Row("promoting", "overdue", "promoting", page=Spawn("promotion_slow"),
            why="no answer: asked again, since it may have been promoted"),
        Row("repointing", "followed", "done", emits=(Emit(_SERVICE, "restored"),), why="the new primary has its followers"),
        Row("repointing", "overdue", "repointing", page=Spawn("no_voter_follows"), why="nobody follows"),
        Row("repointing", "primary_lost", "abandoned", emits=_FAILED, why="the new primary is lost"),
        # these wait without end otherwise, for members that are in the trash
        *from_each(("promoting", "repointing", "looking", "withdrawing"), "retire", "abandoned", why="its service is being destroyed"),
        # at the end, since the log stores events by their number
        Row("looking", "moved", "promoting", why="the engine has handed over: whoever leads is confirmed", proves=("fence", "drained")),
        Row("looking", "stayed", "abandoned", emits=_FAILED, why="the lead did not move: the old primary goes on, or is started again"),
        Row("looking", "overdue", "looking", page=Spawn("switchover_unknown"),
            why="who leads cannot be seen: looked at again, since another may"),
        Row("preparing", "primary_lost", "abandoned", emits=_GAVE_WAY, why="the primary is lost before anything was changed"),
        Row("withdrawing", "withdrawn", "abandoned", emits=_FAILED, why="the standby lets in no older order any more: the old one goes on"),
        Row("withdrawing", "promoted", "repointing", emits=_PROMOTED, why="the standby leads after all"),
        Row("withdrawing", "overdue", "withdrawing", page=Spawn("promotion_slow"),
            why="no answer: asked again, since it may have been promoted"),
    ),
)  # fmt: skip
