"""An incident: too much fell at once. One incident, one page: first it is found out whether it is them or us (S7)."""

from __future__ import annotations

from typing import Any

from herder.machines.table import Deadline, Effect, Facts, Row, Spawn, State, Table, from_each, noted_in

VERIFY_AGAIN_MAX = 3
"""How often a verdict may turn from us to them again before a person has the word: one that flaps is not known."""


def known_ours(facts: Facts, brought: Facts) -> bool:
    """Our own wire, clock or store told it before anybody had to be asked."""
    return brought.get("verdict") == "us"


def may_verify_again(facts: Facts, brought: Facts) -> bool:
    """It was us, now it looks like them: asked anew, but not without end."""
    return int(facts.get("rounds", 0)) < VERIFY_AGAIN_MAX


def counted_round(facts: Facts, brought: Facts, now_ms: int) -> dict[str, Any]:
    """One more turn from us to them."""
    return {"rounds": int(facts.get("rounds", 0)) + 1}


def began(facts: Facts, brought: Facts, now_ms: int) -> dict[str, Any]:
    """Recovery begins with nothing admitted."""
    return {"window": 0, "admitted": 0, "done": 0, "total": int(brought.get("total", facts.get("total", 0))),
            "began_ms": now_ms}  # fmt: skip


def resumed(facts: Facts, brought: Facts, now_ms: int) -> dict[str, Any]:
    """Where it was held, or from the beginning when no wave had begun."""
    return {} if "began_ms" in facts else began(facts, brought, now_ms)


_LIVE = ("verifying", "ours", "recovering", "paused")

INCIDENT = Table(
    kind="incident",
    code=21,
    doc="Too many units of a scope fell at once. Is it them, or is it us? One incident, one page, recovery in waves.",
    states=(
        State("verifying", "remedies in its scope are frozen; canaries, a second vantage point and the provider are asked",
              Effect("check_canaries", ("us", "mass", "local")), Deadline(30, "overdue")),
        State("ours", "it is the controller or its network: nobody is touched until it hears again",
              Effect("watch_ourselves", ("hearing", "theirs")), Deadline(60, "recheck")),
        State("recovering", "it is them, and many: recovery in waves", None, Deadline(600, "overdue")),
        State("paused", "a person holds the recovery; remedies in its scope are frozen", None, Deadline(3600, "overdue")),
        State("aborted", "a person ended the recovery in waves; ordinary remedies and budgets hold again", final=True),
        State("over", "its units are well again, or are few enough for ordinary remedies", final=True),
    ),
    rows=(
        Row("absent", "create", "ours", guard=known_ours, why="it is us: our own signs say so"),
        Row("absent", "create", "verifying", why="too many fell at once: remedies in the scope are frozen"),
        Row("verifying", "us", "ours", page=Spawn("controller_cut_off"), why="they are well, we do not hear them"),
        Row("verifying", "mass", "recovering", update=began, page=Spawn("mass_outage"),
            why="they are down, and many: recovery in waves"),
        Row("verifying", "local", "over", why="too few to be a mass outage: ordinary remedies go on"),
        Row("verifying", "spread", "verifying", why="more fell in another scope: asked anew for both"),
        Row("verifying", "overdue", "verifying", page=Spawn("storm_not_verified"),
            why="nobody could say whether it is them or us: remedies stay frozen"),
        Row("ours", "hearing", "over", why="we hear them again"),
        Row("ours", "theirs", "verifying", guard=may_verify_again, update=counted_round,
            why="we hear others, and these are still silent"),
        Row("ours", "theirs", "paused", page=Spawn("storm_not_verified"), why="the verdict does not settle: a person has the word"),
        Row("ours", "recheck", "ours", page=Spawn("controller_cut_off"), why="we still do not hear them"),
        *from_each(("verifying", "ours"), "recovered", "over", why="everything in its scope is heard and well again"),
        *noted_in(("recovering", "paused"), "progress", why="how far the recovery is"),
        *from_each(("recovering", "paused"), "recovered", "over", why="everything in its scope is well again"),
        Row("recovering", "overdue", "recovering", page=Spawn("recovery_slow"), why="the recovery goes on for long"),
        Row("recovering", "pause", "paused", why="a person holds the recovery"),
        Row("paused", "resume", "recovering", update=resumed, why="a person lets it go on"),
        Row("paused", "overdue", "paused", page=Spawn("recovery_paused_long"), why="the recovery has been held for long"),
        *from_each(_LIVE, "abort", "aborted", why="a person ended the recovery in waves"),
    ),
)  # fmt: skip
