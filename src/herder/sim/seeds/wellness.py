"""Is a fleet well, and if not, was a person told for the right reason? Reads the log's state, as a person does."""

from __future__ import annotations

from herder.engine.world import Machine, World

NEVER = frozenset({"exercise_failed"})
"""Pages that stay until a person has read them: they say what was, not what is."""

RIGHT = {
    "service": frozenset({
        "fence_unconfirmed", "pledges_short", "loss_beyond_bound", "promotion_refused", "promotion_slow", "failover_blocked",
        "failover_stalled", "no_voter_follows", "restart_failed", "restart_slow", "service_down", "primary_uncertain_long",
        "switchover_slow", "switchover_unknown", "provision_failed", "provision_slow", "destroy_failed", "destroy_slow", "server_will_not_boot",
        "rebuild_fails",
    }),
    "member": frozenset({
        "rebuild_fails", "restart_failed", "restart_slow", "server_will_not_boot", "service_down", "fence_unconfirmed",
        "pledges_short", "failover_blocked", "loss_beyond_bound", "primary_uncertain_long", "provision_slow",
        "provision_failed", "no_voter_follows",
    }),
    "server": frozenset({"server_will_not_boot", "server_will_not_go", "service_down"}),
}  # fmt: skip
"""What a person may have been told of a unit of each kind that is not well."""

ABOUT_UNITS = RIGHT["service"] | RIGHT["server"]

COVERS = frozenset({"mass_outage", "recovery_slow", "recovery_paused_long", "storm_not_verified", "controller_cut_off",
                    "dependency_down", "budget_empty", "freeze_forgotten", "drain_slow"})  # fmt: skip
"""Pages about more than one unit: they explain any that is not well."""

ENDED = ("over", "aborted", "released", "done")
RESTS = ("available", "retired", "archived", "terminated")


def unwell(committed: World) -> list[str]:
    """Units that are not as they should be, playbooks and incidents that go on, pages that are open."""
    found = [f"{unit.name} is {unit.state}" for unit in ill(committed)]
    for kind in ("incident", "freeze"):
        found += [f"{m.name} is {m.state}" for m in committed.of_kind(kind) if m.state not in ENDED]
    found += [f"page '{page.data['reason']}' of {_subject(committed, page)} is open" for page in _open(committed)]
    return found


def ill(committed: World) -> list[Machine]:
    """Services, members, servers and dependencies that are not well and not gone."""
    kinds = ("service", "member", "server", "dependency")
    return [machine for kind in kinds for machine in committed.of_kind(kind) if machine.state not in RESTS]


def unexplained(committed: World) -> list[str]:
    """What is not well and nobody was told, or for a reason that is not one; and pages that are about nothing."""
    pages = _open(committed)
    covered = any(page.data["reason"] in COVERS for page in pages)
    found = []
    sick = ill(committed)
    for machine in sick:
        right = RIGHT.get(machine.kind, COVERS)
        told = {page.data["reason"] for page in pages if page.data["subject"] in (machine.id, machine.service)}
        if not covered and not told & right:
            found.append(f"{machine.name} is {machine.state}" + (f" (told: {', '.join(sorted(told))})" if told else ""))
    about = {machine.id for machine in sick} | {machine.service for machine in sick}
    stale = [page for page in pages if page.data["reason"] in ABOUT_UNITS and page.data["subject"] not in about]
    return found + [
        f"page '{page.data['reason']}' of {_subject(committed, page)} is open though all of it is well"
        for page in stale
    ]


def _open(committed: World) -> list[Machine]:
    return [p for p in committed.of_kind("page") if p.state == "open" and p.data["reason"] not in NEVER]


def _subject(committed: World, page: Machine) -> str:
    found = committed.find(int(page.data["subject"]))
    return found.name if found is not None else "nobody"
