"""A service: what a developer asked for. It holds the term, the primary, the voters; playbooks act in its name."""

from __future__ import annotations

from typing import Any

from herder.machines.table import Deadline, Emit, Facts, Row, Spawn, State, Table, from_each, noted_in

HOUR_MS = 3_600_000
RETRY_FIRST_MS = 3_000
RETRY_LAST_MS = 120_000
STRIKE_RETRY_MS = 5_000
PARKED_BY_DEPENDENCY = 2  # governor.gate.Reason.DEPENDENCY: that room is above this one
"""Pauses after a playbook failed, doubled each time: a server that boots is back after three seconds, and no loop runs
without end at full speed."""


def holds(facts: Facts, brought: Facts) -> bool:
    """It comes from the playbook that holds the service: one that was overtaken (by destroy) has no say any more."""
    return bool(facts.get("playbook")) and brought.get("sender") == facts.get("playbook")


def is_free(facts: Facts, brought: Facts) -> bool:
    """No playbook holds it: one that does tells itself when writes are taken. After a failover on a sync plan the new primary
    may answer for long before a voter follows it.
    """
    return not facts.get("playbook")


def is_parked(facts: Facts, brought: Facts) -> bool:
    """Its remedy waits for a dependency that is down: one page for that, not one a service (failures.md 51)."""
    return bool(facts.get("parked") == PARKED_BY_DEPENDENCY)


def is_without_data(facts: Facts, brought: Facts) -> bool:
    """Its primary's data is known to be gone: nothing is started there until a person says so."""
    return bool(facts.get("no_data")) and facts.get("no_data") == facts.get("primary")


def began(facts: Facts, brought: Facts, now_ms: int) -> dict[str, Any]:
    """A playbook holds the service; one that changes leadership brings the next term, committed before any effect."""
    change: dict[str, Any] = {"playbook": brought["sender"]}
    term = int(brought.get("term", facts["term"]))
    if term > facts["term"]:
        change["term"] = term
    return change


def ended(facts: Facts, brought: Facts, now_ms: int) -> dict[str, Any]:
    """The playbook lets go."""
    return {"playbook": 0, "playbook_ended_ms": now_ms}


def promoted(facts: Facts, brought: Facts, now_ms: int) -> dict[str, Any]:
    """A new primary. Its voters are those who pledged to this term and will follow it, never an empty set on sync.

    timeline: where its writing began; a voter that has not reached it does not yet hold what was acknowledged before.
    """
    change: dict[str, Any] = {
        "primary": brought["candidate"],
        "voters": list(brought["new_voters"]),
        "timeline": int(brought.get("timeline", facts.get("timeline", 0))),
    }
    if facts.get("no_data"):
        change["no_data"] = 0
    if brought.get("counts"):
        kept = [at for at in facts.get("failovers", []) if at > now_ms - HOUR_MS]
        change["failovers"] = [*kept, now_ms]
    return change


def strike_failed(facts: Facts, brought: Facts, now_ms: int) -> dict[str, Any]:
    """The next try waits; everything else need not."""
    return {"playbook": 0, "strike_retry_ms": now_ms + STRIKE_RETRY_MS}


def voter_added(facts: Facts, brought: Facts, now_ms: int) -> dict[str, Any]:
    """Recorded before the primary is told to wait for it: W stays a subset of V."""
    return {"voters": sorted({*facts["voters"], *brought["added"]})}


def voter_removed(facts: Facts, brought: Facts, now_ms: int) -> dict[str, Any]:
    """Recorded after the primary stopped waiting for it and the others had flushed past that moment."""
    return {"voters": [member for member in facts["voters"] if member != brought["member"]]}


def failed(facts: Facts, brought: Facts, now_ms: int) -> dict[str, Any]:
    """A playbook ended without success: the next try waits (no loop without budget)."""
    tries = int(facts.get("failures", 0))
    return {
        "playbook": 0,
        "playbook_ended_ms": now_ms,
        "failed_playbook": brought["sender"],
        "failures": tries + 1,
        "retry_ms": now_ms + min(RETRY_FIRST_MS << min(tries, 10), RETRY_LAST_MS),
    }


def lost_data(facts: Facts, brought: Facts, now_ms: int) -> dict[str, Any]:
    """A start found nothing to start on. Another member may lead at once; the same start is not tried again."""
    return {
        "playbook": 0,
        "playbook_ended_ms": now_ms,
        "failed_playbook": brought["sender"],
        "no_data": facts["primary"],
    }


def well(facts: Facts, brought: Facts, now_ms: int) -> dict[str, Any]:
    """Whatever failed before, it serves: the next trouble is a new one and is met at once."""
    found = {"no_data": 0} if facts.get("no_data") else {}
    return {"retry_ms": 0, "failed_playbook": 0, "failures": 0} | found


def allowed(facts: Facts, brought: Facts, now_ms: int) -> dict[str, Any]:
    """A person gave it its budget back."""
    return {"failovers": [], "retry_ms": 0, "failures": 0}


def healthy(facts: Facts, brought: Facts, now_ms: int) -> dict[str, Any]:
    """A playbook succeeded."""
    return {"playbook": 0, "playbook_ended_ms": now_ms} | well(facts, brought, now_ms)


_LIVE = ("available", "uncertain", "unavailable", "restart")

SERVICE = Table(
    kind="service",
    code=3,
    unit=True,
    doc="What a developer asked for: a URL for life, a plan, members behind it.",
    states=(
        State("installing", "servers and members are being made", None, Deadline(180, "overdue")),
        State("available", "its primary takes writes through the URL"),
        State("uncertain", "its primary may or may not serve; vantage points are being asked", None,
              Deadline(120, "overdue")),
        State("unavailable", "its primary is known not to serve; a playbook is at work or a person is called", None,
              Deadline(120, "overdue")),
        State("restart", "its primary is being started again in place", None, Deadline(120, "overdue")),
        State("upgrading", "its primary moves to another member, as planned", None, Deadline(120, "overdue")),
        State("retiring", "being stopped, its data goes to the trash", None, Deadline(600, "overdue")),
        State("retired", "destroyed with its owner's consent; the data rests in the trash for the plan's days"),
        State("terminated", "gone; absorbing", final=True),
    ),
    rows=(
        Row("absent", "create", "installing", why="a person asked for it"),
        *noted_in(("installing",), "playbook_began", update=began, why="provisioning"),
        *noted_in(("installing",), "voter_added", update=voter_added, why="the standbys that a commit waits for"),
        Row("installing", "provisioned", "available", guard=holds, update=healthy, why="all members serve"),
        Row("installing", "playbook_failed", "installing", guard=holds, keep=True, update=failed, page=Spawn("provision_failed"),
            why="provisioning failed; it is tried again"),
        Row("installing", "overdue", "installing", page=Spawn("provision_slow"), why="provisioning takes too long"),
        # what its primary shows
        Row("available", "primary_uncertain", "uncertain", why="its primary's health is not known"),
        *from_each(("available", "uncertain", "restart"), "primary_unavailable", "unavailable",
                   why="its primary is known not to serve"),
        *from_each(("uncertain", "restart", "upgrading"), "primary_well", "available", update=well, why="its primary serves"),
        Row("unavailable", "primary_well", "available", guard=is_free, update=well, why="its primary serves"),
        *noted_in(("unavailable",), "primary_well", why="its primary answers; the playbook that holds it tells when writes are taken"),
        # playbooks
        *from_each(_LIVE, "failover_began", "unavailable", update=began, why="a failover holds it"),
        *from_each(("available", "uncertain"), "switchover_began", "upgrading", update=began, why="a planned move of its primary"),
        *from_each(_LIVE, "restart_began", "restart", update=began, why="its primary is started again in place"),
        *from_each((*_LIVE, "upgrading"), "promoted", "unavailable", update=promoted,
                   why="a new primary; it is available again when a voter follows", proves=("quorum_or_fence",)),
        *noted_in(("available",), "strike_began", update=began, why="a lost standby is struck from the sync set"),
        *noted_in(_LIVE, "strike_ended", guard=holds, update=ended, why="the sync set is as it can be"),
        *noted_in(_LIVE, "strike_failed", guard=holds, update=strike_failed, why="it could not be struck; tried later"),
        *noted_in(_LIVE, "voter_added", update=voter_added, why="a standby is to be waited for"),
        *noted_in(_LIVE, "voter_removed", update=voter_removed, why="a standby is no longer waited for",
                  proves=("quorum",)),
        *from_each(_LIVE, "restored", "available", guard=holds, update=healthy, why="its primary takes writes"),
        *from_each((*_LIVE, "upgrading"), "playbook_failed", "unavailable", guard=holds, update=failed, why="the playbook did not succeed"),
        *from_each((*_LIVE, "upgrading"), "abandoned", "uncertain", guard=holds, update=ended, why="the playbook gave way"),
        Row("uncertain", "overdue", "uncertain", page=Spawn("primary_uncertain_long"), why="not known for two minutes"),
        Row("unavailable", "overdue", "unavailable", guard=is_parked, why="down: what its remedy waits for has its own page"),
        Row("unavailable", "overdue", "unavailable", guard=is_without_data, page=Spawn("data_lost"),
            why="down for two minutes: its primary's data is gone, and no other member leads"),
        Row("unavailable", "overdue", "unavailable", page=Spawn("service_down"), why="down for two minutes"),
        Row("restart", "overdue", "unavailable", page=Spawn("restart_slow"), why="the restart takes too long"),
        Row("upgrading", "overdue", "unavailable", page=Spawn("switchover_slow"), why="the move takes too long"),
        *noted_in((*_LIVE, "upgrading"), "blocked", page=Spawn("failover_blocked"), why="automation may not act"),
        *noted_in((*_LIVE, "upgrading"), "allowed", update=allowed, why="a person allows another automatic failover"),
        # the end
        *from_each(("installing", *_LIVE, "upgrading"), "retire", "retiring", update=began, emits=(Emit("members", "retire"),),
                   why="its owner asked, and typed its name", proves=("consent",)),
        Row("retiring", "playbook_failed", "retiring", guard=holds, keep=True, update=failed, page=Spawn("destroy_failed"),
            why="destroying failed; it is tried again"),
        Row("retiring", "retire", "retiring", keep=True, update=began, why="destroying goes on"),
        Row("retiring", "overdue", "retiring", page=Spawn("destroy_slow"), why="destroying takes too long"),
        Row("retiring", "trashed", "retired", guard=holds, update=healthy, releases=("name",), emits=(Emit("members", "trashed"), Emit("servers", "retire")),
            why="stopped, the data moved to the trash"),
        Row("retired", "purge", "terminated", emits=(Emit("members", "purge"),), why="kept for the plan's days"),
        # at the end, since the log stores events by their number
        *noted_in(("installing", *_LIVE, "upgrading"), "exercise_set", why="it is exercised from now on"),
        *noted_in(("installing", *_LIVE, "upgrading"), "exercise_off", why="it is exercised no more"),
        *noted_in((*_LIVE, "upgrading"), "exercise_began", why="an exercise: its primary moves to prove that it can"),
        *noted_in((*_LIVE, "upgrading"), "exercise_ended", why="the exercise is over"),
        *noted_in((*_LIVE, "upgrading"), "exercise_failed", page=Spawn("exercise_failed"),
                  why="not everything was well after an exercise"),
        *noted_in((*_LIVE, "upgrading"), "durability_overridden", page=Spawn("durability_overridden"),
                  why="a setting of a database or role makes commits not wait for a voter"),
        *noted_in(("installing", *_LIVE, "upgrading"), "parked", why="a remedy waits"),
        *noted_in(("installing", *_LIVE, "upgrading"), "unparked", why="what its remedy waited for is over"),
        *noted_in(("installing", *_LIVE, "upgrading"), "admitted", why="its turn in the recovery"),
        Row("absent", "adopt", "available", why="taken over as it runs"),
        Row("available", "primary_rebooting", "restart", why="its only member is away while its server reboots, as planned"),
        *from_each(_LIVE, "no_data", "unavailable", guard=holds, update=lost_data,
                   why="its primary's data is gone: it is not started again by itself"),
    ),
)  # fmt: skip
