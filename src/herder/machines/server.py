"""A server: an address with an agent. Its life is counted in incarnations; a fenced one never comes back."""

from __future__ import annotations

from typing import Any

from herder.machines.table import Deadline, Effect, Emit, Facts, Row, Spawn, State, Table, from_each


def next_incarnation(facts: Facts, brought: Facts, now_ms: int) -> dict[str, Any]:
    """A new life gets a new number, so that a delayed fence of the old one cannot kill it."""
    return {"incarnation": _next(facts), "boots": facts.get("boots", 0) + 1}


def _next(facts: Facts) -> int:
    """No number twice, also not one that was counted for a life that never began (`counted`)."""
    return int(max(facts["incarnation"], facts.get("counted", 0))) + 1


def settled(facts: Facts, brought: Facts, now_ms: int) -> dict[str, Any]:
    """It runs: the count of tries starts anew, and a reboot that was planned is over, however its life was heard of."""
    return rebooted(facts, brought, now_ms) if facts.get("planned") else {"boots": 0}


def counted_out(facts: Facts, brought: Facts, now_ms: int) -> dict[str, Any]:
    """Its life has ended as planned: the next one is counted once, before anything is booted."""
    return {"incarnation": _next(facts), "boots": 1, "planned": True}


def rebooted(facts: Facts, brought: Facts, now_ms: int) -> dict[str, Any]:
    """It runs again, on the image that it was to have."""
    image = facts.get("image_next") or facts.get("image", "")
    return {"boots": 0, "planned": False, "rolled": facts.get("rollout", 0), "image": image}


def brings_member(facts: Facts, brought: Facts) -> bool:
    """A planned boot started its member's engine too, and it does its work."""
    return bool(brought.get("member_back"))


def was_planned(facts: Facts, brought: Facts) -> bool:
    """It was rebooted by an order, not because it had died."""
    return bool(facts.get("planned"))


def third_try(facts: Facts, brought: Facts) -> bool:
    """Three tries (failures.md 3), then a person is told; they go on, far apart."""
    return int(facts.get("boots", 0)) == TRIES


TRIES = 3
_MEMBER = "member"

SERVER = Table(
    kind="server",
    code=1,
    unit=True,
    doc="An address with an agent. Made by a provider, watched by its pulse.",
    event_order=("up", "failed", "overdue", "silent", "silent_long", "heard", "gone", "recheck", "fenced", "boot_due", "retire",
                 "destroyed"),  # boot_due: before the catalogue began boots
    states=(
        State("installing", "the provider makes it and its agent joins",
              Effect("launch_server", ("up", "failed")), Deadline(60, "overdue")),
        State("available", "its pulse is good"),
        State("uncertain", "no pulse: it may be dead, frozen or cut off, or it may be us",
              Effect("watch_server", ("gone",)), Deadline(30, "recheck")),
        State("unavailable", "known not to run: the provider and its silence agree, or it was fenced",
              None, Deadline(3600, "recheck")),
        State("restart", "being started again as a new incarnation, its disk kept",
              Effect("boot_server", ("up", "failed")), Deadline(60, "overdue")),
        State("retiring", "being emptied and given back",
              Effect("destroy_server", ("destroyed",)), Deadline(120, "overdue")),
        State("terminated", "gone; absorbing", final=True),
        State("upgrading", "being rebooted as planned: its engine stops cleanly, then its incarnation is ended for sure",
              Effect("end_server", ("ended", "kept")), Deadline(60, "overdue")),
    ),
    rows=(
        Row("absent", "create", "installing", why="a server is wanted"),
        Row("installing", "up", "available", update=settled, why="its agent joined and sent a pulse"),
        Row("installing", "failed", "unavailable", why="the provider could not start it"),
        Row("installing", "overdue", "unavailable", why="no pulse within a minute"),
        Row("available", "silent", "uncertain", emits=(Emit(_MEMBER, "silent"),), why="its pulse stopped"),
        Row("available", "silent_long", "uncertain", emits=(Emit(_MEMBER, "silent"),), why="its pulse stopped"),
        Row("uncertain", "heard", "available", why="its pulse is back"),
        Row("available", "gone", "unavailable", emits=(Emit(_MEMBER, "server_gone"),),
            why="its provider says that nothing of it runs, and its engine refuses from everywhere"),
        Row("uncertain", "gone", "unavailable", emits=(Emit(_MEMBER, "server_gone"),),
            why="silent, and its provider says that nothing of it runs"),
        Row("uncertain", "recheck", "uncertain", why="still neither seen alive nor known dead"),
        *from_each(("available", "uncertain"), "fenced", "unavailable", emits=(Emit(_MEMBER, "server_gone"),),
                   why="its incarnation was fenced by the provider", proves=("fence",)),
        Row("unavailable", "fenced", "unavailable", why="its incarnation was fenced by the provider", proves=("fence",)),
        Row("unavailable", "heard", "available", update=settled, why="its pulse is back"),
        Row("unavailable", "boot", "restart", guard=third_try, update=next_incarnation, page=Spawn("server_will_not_boot"),
            why="three starts failed; once more, and a person is told"),
        Row("unavailable", "boot", "restart", update=next_incarnation, why="start it again"),
        Row("unavailable", "recheck", "unavailable", why="down for an hour; what keeps it so has its own page"),
        Row("restart", "up", "available", guard=brings_member, update=rebooted, emits=(Emit(_MEMBER, "restored"),),
            why="rebooted as planned: its agent is back, and its engine does its work"),
        Row("restart", "up", "available", guard=was_planned, update=rebooted, emits=(Emit(_MEMBER, "restart_failed"),),
            why="rebooted as planned: its agent is back, its engine is not yet"),
        Row("restart", "up", "available", update=settled, why="its agent is back"),
        Row("restart", "failed", "unavailable", why="the start failed"),
        Row("restart", "overdue", "unavailable", why="no pulse within a minute of the start"),
        *from_each(("installing", "available", "uncertain", "unavailable", "restart"), "retire", "retiring",
                   why="its service was destroyed"),
        Row("retiring", "destroyed", "terminated", why="the provider removed it"),
        Row("retiring", "overdue", "retiring", page=Spawn("server_will_not_go"), why="removal takes too long"),
        Row("absent", "adopt", "available", why="taken over as it runs"),
        # at the end, since the log stores events by their number
        Row("available", "upgrade", "upgrading", emits=(Emit(_MEMBER, "rebooting"),), why="its turn in a rolling reboot"),
        Row("upgrading", "ended", "restart", update=counted_out, why="ended for sure: it is booted as its next incarnation"),
        Row("upgrading", "kept", "available", emits=(Emit(_MEMBER, "restart_failed"),), why="not rebooted now: it is needed as it is"),
        Row("upgrading", "overdue", "uncertain", emits=(Emit(_MEMBER, "restart_failed"),),
            why="it was to be rebooted and does not answer: neither seen alive nor known dead"),
        Row("upgrading", "retire", "retiring", why="its service was destroyed"),
        Row("restart", "fenced", "unavailable", why="the life that was being started was fenced: it needs a new one", proves=("fence",)),
    ),
)  # fmt: skip
