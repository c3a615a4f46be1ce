"""A planned move: the primary itself hands over with FAILOVER, so nothing that was acknowledged is lost."""

from __future__ import annotations

import asyncio
import time

from herder.drivers.processes import POLL_S
from herder.drivers.valkey.client import Lines, Look
from herder.drivers.valkey.nudge import Nudge
from herder.model.errors import Conflict, Refused, TimedOut
from herder.ports.driver import MemberSpec, Role, Source

_GRACE_S = 5.0
"""Seconds past the engine's own timeout before we say that we do not know how it ended."""


def check_target(spec: MemberSpec, look: Look, target: Source) -> None:
    """Refuse what FAILOVER would refuse, with words to act on."""
    if look.role is not Role.PRIMARY:
        raise Refused(f"{spec.member} is not the primary", "read the members again")
    state, _ = look.replicas.get(f"{target.address}:{target.port}", ("not connected", 0))
    if state != "online":
        raise Refused(
            f"{target.member} is no replica in touch with {spec.member} ({state})", "wait until it has caught up"
        )


async def hand_over(lines: Lines, spec: MemberSpec, target: Source, timeout_ms: int) -> Look:
    """Run FAILOVER and return once the old primary follows the target. TimedOut when the engine gave up: it still leads.

    Writes are paused while it waits for the target to have everything; the nudge keeps that to milliseconds.
    """
    words = ("FAILOVER", "TO", target.address, str(target.port), "TIMEOUT", str(timeout_ms))
    await lines.call(spec, *words)
    nudge = Nudge([(target.address, target.port)], spec.replication_password)
    deadline = time.monotonic() + timeout_ms / 1000 + _GRACE_S
    try:
        while True:
            look = await lines.look(spec)
            if look.failover == "no-failover":
                if look.role is Role.STANDBY and look.link_up:
                    return look
                if look.role is Role.PRIMARY:
                    raise TimedOut(
                        f"{target.member} did not take over within {timeout_ms} ms; {spec.member} still leads",
                        "see the lag of the target, then ask again",
                    )
            elif look.role is Role.PRIMARY:
                await nudge.send()
            if time.monotonic() > deadline:
                raise Conflict(
                    f"FAILOVER from {spec.member} to {target.member} is neither done nor aborted", "read both"
                )
            await asyncio.sleep(POLL_S)
    finally:
        await nudge.close()
