"""What does a frame say of a member? Pure: the log's expectation and a reading in, events out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from herder.model.lsn import format_lsn
from herder.ports.driver import Reading, Role
from herder.ports.wire import MemberPulse

UPSTREAM_PATIENCE_S = 8.0
"""A standby without its stream for this long is rebuilt, when its primary is well (failures.md 21)."""

SETTLE_S = 2.5
"""A primary that was just started again has lost its standbys' streams of before; they come back within two beats."""

SUSPECT_S = 3.0
"""A stream that was lost longer ago says nothing new of the primary: it was asked about then."""

FULL_S = 2.5
"""A disk that has had no room for so long (three beats) is not about to have some again."""

DEAF_PATIENCE_S = 3.0
"""An engine that runs but has not answered its own agent for this long is suspected; vantage points decide."""


class Expected(msgspec.Struct, frozen=True):
    """What the log says of a member. term: the service's. held: a playbook that changes leadership is under way, so
    that a role may be ahead of the log for a moment. deposing: that is a failover which has promoted nobody yet, so the old primary
    may answer as long as it likes: nobody's commit counts until another one leads. primary_well: the log has the service's primary as available;
    relief: a voter that has room to lead where the primary's disk is full, '' = none; full: it is known not to serve since its disk was full. settled_s: since it began to lead, was started again, or came back from being known dead.
    """

    member: int
    state: str
    role: str
    deposed: bool
    term: int
    held: bool = False
    full: bool = False
    deposing: bool = False
    primary_well: bool = True
    relief: str = ""
    settled_s: float = 3600.0


@dataclass(frozen=True, slots=True)
class Sign:
    """One event for one machine. about: 'member' or 'primary' (a standby's word on its upstream)."""

    about: str
    event: str
    why: str
    evidence: dict[str, Any] = field(default_factory=dict)


class Ages(msgspec.Struct, frozen=True):
    """Seconds since the member's engine last answered and since its upstream was last connected. full_s: for which its disk
    has had no room.
    """

    deaf_s: float
    upstream_lost_s: float
    full_s: float = 0.0


_WATCHED = ("available", "uncertain", "unavailable")


def judge(expected: Expected, pulse: MemberPulse, ages: Ages) -> list[Sign]:
    """Events that follow from one frame. Playbooks watch the members they hold, so only watched states are judged."""
    reading = pulse.reading
    if pulse.exited and (
        expected.state in ("available", "uncertain") or (expected.state == "unavailable" and expected.full)
    ):
        return [Sign("member", "exited", _exit_words(pulse), {"exit_line": pulse.exit_line, "term": pulse.term})]
    if expected.state not in _WATCHED or not reading.alive:
        if expected.state == "available" and not pulse.exited and ages.deaf_s > DEAF_PATIENCE_S:
            why = f"its engine runs but has not answered its agent for {ages.deaf_s:.1f} s"
            return [Sign("member", "suspected", why, {"detail": reading.detail})]
        return []
    if expected.role == "primary":
        return _judge_primary(expected, reading, ages)
    return _judge_standby(expected, reading, ages)


def _judge_primary(expected: Expected, reading: Reading, ages: Ages) -> list[Sign]:
    if reading.role is not Role.PRIMARY:
        if expected.state == "available" and not expected.held:
            return [Sign("member", "ill", "it should lead and says that it is a standby", {"role": str(reading.role)})]
        return []
    if expected.relief and ages.full_s > FULL_S and expected.state in ("available", "unavailable"):
        if expected.state == "unavailable" or expected.held:
            return []  # it is not well as long as that lasts, however readily it answers
        why = (
            f"its disk has been full for {ages.full_s:.1f} s, so it takes no writes; {expected.relief} has room to lead"
        )
        return [Sign("member", "ill", why, {"disk": "full"})]
    if expected.state != "available" and not expected.deposed and not expected.deposing:
        return [Sign("member", "well", f"it answers as primary at {_where(reading)}")]
    return []


def _judge_standby(expected: Expected, reading: Reading, ages: Ages) -> list[Sign]:
    if reading.role is not Role.STANDBY:
        if expected.state == "available" and not expected.held:
            return [Sign("member", "ill", "it should follow and says that it leads", {"role": str(reading.role)})]
        return []
    if reading.upstream and expected.state != "available" and not expected.deposed:
        return [Sign("member", "well", f"it streams, at {_where(reading)}")]
    # One that was silent for a while and came back without its stream is judged too: it is neither well nor dead, and nothing
    # else would ever end its being uncertain.
    if reading.upstream is False and expected.state in ("available", "uncertain"):
        signs = []
        heard = expected.state == "available"
        if heard and expected.settled_s > SETTLE_S and ages.upstream_lost_s < SUSPECT_S:
            signs.append(
                Sign("primary", "suspected", "a standby lost its stream from it", {"seen_by": expected.member})
            )
        # without a primary nobody streams: that is no fault of the standby's
        lost_s = min(ages.upstream_lost_s, expected.settled_s)
        if expected.primary_well and lost_s > UPSTREAM_PATIENCE_S:
            signs.append(
                Sign("member", "ill", f"no stream for {ages.upstream_lost_s:.0f} s", {"detail": reading.detail})
            )
        return signs
    return []


def _exit_words(pulse: MemberPulse) -> str:
    return f"its agent says that no process of it is left: {pulse.exit_line}" if pulse.exit_line else ""


def _where(reading: Reading) -> str:
    return (
        f"{reading.position.timeline}:{format_lsn(reading.position.lsn)}" if reading.position else "an unknown position"
    )
