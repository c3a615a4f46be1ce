"""A member: one engine process tree with its data, in a slot whose address is the service's for life."""

from __future__ import annotations

from typing import Any

from herder.machines.table import Deadline, Effect, Emit, Facts, Row, State, Table, columnar, from_each, noted_in

_SERVICE = "service"


@columnar(role=("", "U7"))
def is_primary(facts: Facts, brought: Facts) -> bool:
    """The log says that this member leads."""
    return facts.get("role") == "primary"


@columnar(role=("", "U7"))
def is_standby(facts: Facts, brought: Facts) -> bool:
    """The log has another member as the primary."""
    return facts.get("role") != "primary"


@columnar(role=("", "U7"), deposed=(False, "?"))
def is_leader(facts: Facts, brought: Facts) -> bool:
    """It leads, and nobody was put in its place."""
    return is_primary(facts, brought) & not_deposed(facts, brought)


def keep_evidence(facts: Facts, brought: Facts, now_ms: int) -> dict[str, Any]:
    """What was seen stays with the member until it is well, for `herder explain`."""
    return {"evidence": dict(brought.get("evidence", {})), "since_ill_ms": now_ms}


def disk_was_full(facts: Facts, brought: Facts) -> bool:
    """That is why it is known not to serve: its engine ran, and took no writes."""
    return bool(facts.get("evidence", {}).get("disk") == "full")


def ended_too(facts: Facts, brought: Facts, now_ms: int) -> dict[str, Any]:
    """What was seen of it before is not all any more."""
    return {"evidence": dict(brought.get("evidence", {}))}


def take_role(facts: Facts, brought: Facts, now_ms: int) -> dict[str, Any]:
    """The role that a playbook gave it; whoever streams from it begins anew."""
    return {"role": brought.get("role", facts.get("role")), "led_ms": now_ms}


def came_back(facts: Facts, brought: Facts, now_ms: int) -> dict[str, Any]:
    """It was known not to serve, and its standbys lost it: they get time. (Mere uncertainty takes no stream away.)"""
    return {"led_ms": now_ms}


def leads(facts: Facts, brought: Facts, now_ms: int) -> dict[str, Any]:
    """It was promoted."""
    return {"role": "primary", "deposed": False, "playbook": 0, "rebuilds": 0, "leased": False, "led_ms": now_ms}


def deposed(facts: Facts, brought: Facts, now_ms: int) -> dict[str, Any]:
    """Another leads now: whatever this one holds beyond the fork is divergent until it has rejoined."""
    return {"role": "standby", "deposed": True, "since_ill_ms": now_ms, "leased": False}


def follows(facts: Facts, brought: Facts, now_ms: int) -> dict[str, Any]:
    """It streams from the primary."""
    return {"role": "standby", "deposed": False, "rebuilds": 0, "playbook": 0, "leased": False}


def rebuild_began(facts: Facts, brought: Facts, now_ms: int) -> dict[str, Any]:
    """One rebuild at a time; the count spaces the tries out."""
    return {"playbook": brought["sender"], "rebuilds": facts.get("rebuilds", 0) + 1, "rebuild_ms": now_ms}


def rebuild_ended(facts: Facts, brought: Facts, now_ms: int) -> dict[str, Any]:
    """Whatever came of it, the next may begin."""
    return {"playbook": 0, "rebuild_ms": now_ms}


def may_be_leased(facts: Facts, brought: Facts) -> bool:
    """It leads, so a lease of its means something."""
    return is_primary(facts, brought) and not facts.get("deposed")


def leased(facts: Facts, brought: Facts, now_ms: int) -> dict[str, Any]:
    """Its agent has confirmed that a watchdog enforces it: from now on a failover may wait it out."""
    return {"leased": True, "lease_s": float(brought["lease_s"])}


def released(facts: Facts, brought: Facts, now_ms: int) -> dict[str, Any]:
    """Recorded before its agent is told: from now on nobody counts on it."""
    return {"leased": False}


def read_last(facts: Facts, brought: Facts, now_ms: int) -> dict[str, Any]:
    """What its controller last read of it: a successor that never heard it can say what a promotion would lose."""
    return {"last_read": dict(brought["last_read"])}


@columnar(deposed=(False, "?"))
def not_deposed(facts: Facts, brought: Facts) -> bool:
    """A deposed primary is well only after it has rejoined, however healthy it looks."""
    return facts.get("deposed", False) != True  # type: ignore[no-any-return]  # noqa: E712  elementwise, of arrays too


_LIVE = ("available", "uncertain", "unavailable", "restart")

MEMBER = Table(
    kind="member",
    code=2,
    unit=True,
    doc="One engine process tree with its data directory, in a slot of a service.",
    states=(
        State("installing", "its data is being made by provision or rebuild", None, Deadline(600, "overdue")),
        State("available", "its engine answers in the role that the log gave it"),
        State("uncertain", "its agent is silent or others have lost it: vantage points are being asked",
              Effect("ask_vantages", ("seen_dead",)), Deadline(30, "recheck")),
        State("unavailable", "known not to serve: its agent says so, or several vantage points do", None,
              Deadline(300, "recheck")),
        State("restart", "the same data is being started again in place", None, Deadline(120, "overdue")),
        State("retiring", "being stopped, its data goes to the trash", None, Deadline(300, "overdue")),
        State("retired", "its data rests in the trash"),
        State("terminated", "gone; absorbing", final=True),
    ),
    rows=(
        Row("absent", "create", "installing", why="a slot of a new service"),
        Row("installing", "installed", "available", update=take_role, why="its engine answers"),
        Row("installing", "overdue", "installing", why="still being made"),
        # silence and suspicion: nothing is known yet, so nothing may follow but questions
        *from_each(("available",), "silent", "uncertain", guard=is_primary, update=keep_evidence,
                   emits=(Emit(_SERVICE, "primary_uncertain"),), why="its server's pulse stopped"),
        Row("available", "silent", "uncertain", update=keep_evidence, why="its server's pulse stopped"),
        Row("available", "suspected", "uncertain", guard=is_primary, update=keep_evidence,
            emits=(Emit(_SERVICE, "primary_uncertain"),), why="others lost their connection to it"),
        Row("available", "suspected", "uncertain", update=keep_evidence, why="others lost their connection to it"),
        Row("uncertain", "recheck", "uncertain", why="still neither seen alive nor seen dead"),
        # known not to serve
        *from_each(("available", "uncertain", "restart"), "exited", "unavailable", guard=is_primary,
                   update=keep_evidence, emits=(Emit(_SERVICE, "primary_unavailable"),),
                   why="its agent says that no process of it is left"),
        *from_each(("available", "uncertain", "restart"), "exited", "unavailable", update=keep_evidence,
                   why="its agent says that no process of it is left"),
        Row("uncertain", "seen_dead", "unavailable", guard=is_primary, update=keep_evidence,
            emits=(Emit(_SERVICE, "primary_unavailable"),), why="several vantage points agree that it does not serve"),
        Row("uncertain", "seen_dead", "unavailable", update=keep_evidence,
            why="several vantage points agree that it does not serve"),
        *from_each(("available", "uncertain"), "server_gone", "unavailable", guard=is_primary, update=keep_evidence,
                   emits=(Emit(_SERVICE, "primary_unavailable"),), why="its server is known to be gone"),
        *from_each(("available", "uncertain"), "server_gone", "unavailable", update=keep_evidence,
                   why="its server is known to be gone"),
        *from_each(("available", "uncertain"), "ill", "unavailable", guard=is_primary, update=keep_evidence,
                   emits=(Emit(_SERVICE, "primary_unavailable"),), why="its agent says that it does not do its work"),
        *from_each(("available", "uncertain"), "ill", "unavailable", update=keep_evidence,
                   why="its agent says that it does not do its work"),
        Row("unavailable", "recheck", "unavailable", why="still not serving"),
        # back by itself: the pulse shows it in its role at the present term
        Row("uncertain", "well", "available", guard=is_leader, emits=(Emit(_SERVICE, "primary_well"),),
            why="its pulse shows it serving in its role"),
        Row("unavailable", "well", "available", guard=is_leader, update=came_back, emits=(Emit(_SERVICE, "primary_well"),),
            why="its pulse shows it serving in its role"),
        *from_each(("uncertain", "unavailable"), "well", "available", guard=not_deposed,
                   why="its pulse shows it serving in its role"),
        # playbooks
        *from_each(("available", "uncertain", "unavailable"), "restarting", "restart", why="its engine is started again in place"),
        *from_each(_LIVE, "restored", "available", update=take_role, why="its engine answers again"),
        Row("restart", "overdue", "unavailable", why="the restart takes too long"),
        Row("restart", "restart_failed", "unavailable", why="the restart failed"),
        *from_each(("installing", *_LIVE), "promoted", "available", update=leads, why="it was promoted", proves=("quorum_or_fence",)),
        *from_each(("installing", *_LIVE), "deposed", "unavailable", update=deposed, why="another member leads now"),
        *from_each(("unavailable", "available"), "rebuild_began", "installing", update=rebuild_began,
                   why="it is being made to follow the primary again"),
        Row("installing", "followed", "available", guard=is_standby, update=follows, why="it follows the primary"),
        *from_each(("available", "unavailable", "uncertain", "restart"), "followed", "available", guard=is_standby, update=follows,
                   why="it follows the primary"),
        Row("installing", "rebuild_failed", "unavailable", guard=is_standby, update=rebuild_ended, why="the rebuild failed"),
        *from_each(("available", "unavailable", "uncertain"), "rebuild_failed", "unavailable", guard=is_standby, update=rebuild_ended,
                   why="the rebuild failed"),
        # a rebuild's last word on one that was promoted meanwhile
        *noted_in(("installing", *_LIVE), "followed", why="it leads by now"),
        *noted_in(("installing", *_LIVE), "rebuild_failed", why="it leads by now"),
        *from_each(("installing", *_LIVE), "retire", "retiring", why="its service is being destroyed"),
        Row("retiring", "overdue", "retiring", why="still being stopped"),
        Row("retiring", "trashed", "retired", why="stopped, its data moved to the trash", proves=("consent",)),
        Row("retired", "purge", "terminated", why="kept long enough"),
        # at the end, since the log stores events by their number
        Row("available", "leased", "available", keep=True, guard=may_be_leased, update=leased,
            why="its agent confirms that it stops when its lease is not renewed"),
        *noted_in(_LIVE, "released", update=released, why="no standby could lead: it is not stopped for nothing"),
        Row("absent", "adopt", "available", why="taken over as it runs"),
        Row("available", "rebooting", "restart", guard=is_primary, emits=(Emit(_SERVICE, "primary_rebooting"),),
            why="the only member: it stops cleanly and comes back with its server"),
        Row("available", "rebooting", "restart", why="it stops cleanly and comes back with its server"),
        *noted_in(_LIVE, "last_read", guard=is_primary, update=read_last, why="what was last read of it, for whoever takes over"),
        *noted_in(("unavailable",), "exited", guard=disk_was_full, update=ended_too,
                  why="its disk was full, and now no process of it is left: room alone does not bring it back"),
    ),
)  # fmt: skip
