"""Provision: from a name and a plan to a service that takes its first write."""

from __future__ import annotations

from typing import Any

from herder.machines.table import Deadline, Effect, Emit, Facts, Row, State, Table, from_each

MAX_TRIES = 3
"""failures.md 3: at most three, then page."""


def has_standbys(facts: Facts, brought: Facts) -> bool:
    """The plan has more than one member."""
    return len(facts["members"]) > 1


def is_sync(facts: Facts, brought: Facts) -> bool:
    """Commits of this plan wait for standbys."""
    return bool(facts.get("sync"))


def tries_left(facts: Facts, brought: Facts) -> bool:
    """May it be tried again?"""
    return int(facts.get("tries", 0)) + 1 < MAX_TRIES


def count_try(facts: Facts, brought: Facts, now_ms: int) -> dict[str, Any]:
    """One more try."""
    return {"tries": int(facts.get("tries", 0)) + 1}


_FAILED = (Emit("service", "playbook_failed"),)
_READY = (Emit("members", "installed"), Emit("service", "provisioned"))
_STEPS = ("hiring", "founding", "cloning", "enrolling")

PROVISION = Table(
    kind="provision",
    code=15,
    doc="Servers, a primary from the template, standbys, voters: then the URL works.",
    states=(
        State("hiring", "its servers are being made", Effect("await_servers", ("hired", "failed")), Deadline(90, "overdue")),
        State("founding", "the first primary is made from the template",
              Effect("found_primary", ("founded", "failed")), Deadline(60, "overdue")),
        State("cloning", "its standbys are copied from it", Effect("clone_standbys", ("cloned", "failed")),
              Deadline(600, "overdue")),
        State("enrolling", "the standbys are voters in the log; now the primary waits for them",
              Effect("load_first_sync_set", ("enrolled", "failed")), Deadline(60, "overdue")),
        State("done", "it takes writes", final=True),
        State("failed", "three tries failed; the service tries anew after a pause", final=True),
    ),
    rows=(
        Row("absent", "create", "hiring", emits=(Emit("service", "playbook_began", ("term",)),), why="a service was asked for"),
        Row("hiring", "hired", "founding", why="its servers run"),
        Row("founding", "founded", "cloning", guard=has_standbys, why="the primary answers"),
        Row("founding", "founded", "done", emits=_READY, why="the primary answers"),
        Row("cloning", "cloned", "enrolling", guard=is_sync, emits=(Emit("service", "voter_added", ("added",)),),
            why="the standbys stream: recorded as voters before the primary waits for them"),
        Row("cloning", "cloned", "done", emits=_READY, why="the standbys stream"),
        Row("enrolling", "enrolled", "done", emits=_READY, why="commits wait for a standby"),
        *(row for step in _STEPS for row in (
            Row(step, "failed", step, guard=tries_left, update=count_try, why="the step failed; once more"),
            Row(step, "failed", "failed", emits=_FAILED, why="the step failed three times"))),
        *from_each(_STEPS, "overdue", "failed", emits=_FAILED, why="the step took too long"),
        *from_each(_STEPS, "retire", "failed", why="its service is being destroyed"),
    ),
)  # fmt: skip
