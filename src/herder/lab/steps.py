"""What the demo makes and how it breaks it: the services, and the faults in their order with a sentence each."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from herder.lab import faults
from herder.lab.rig import Rig
from herder.lab.screen import Facts

PREMIUM, STANDARD, VALKEY = "orders", "reports", "carts"
SERVICES = ((PREMIUM, "postgres", "premium"), (STANDARD, "postgres", "standard"), (VALKEY, "valkey", "standard"))
ALL = "all three"

HOLD_S = 8.0
"""Seconds that a host is silent or frozen: longer than the detector's patience (silence_floor_s) and the failover."""


@dataclass(frozen=True, slots=True)
class Step:
    """One fault. act: gets the rig, the primary and its server as they are then; returns when it was in effect.

    undo: ends it after HOLD_S. pause_s: before the next one, which may be on another service.
    """

    fault: str
    service: str
    sentence: str
    act: Callable[[Rig, Facts, Facts], float]
    undo: Callable[[Facts], float] | None = None
    pause_s: float = 1.0


def _engine(rig: Rig, primary: Facts, server: Facts) -> float:
    return faults.kill_engine(primary["pid"])


def _host(rig: Rig, primary: Facts, server: Facts) -> float:
    return faults.kill_host(server)


def _silence(rig: Rig, primary: Facts, server: Facts) -> float:
    return faults.silence(server)


def _freeze(rig: Rig, primary: Facts, server: Facts) -> float:
    return faults.freeze(server)


def _move(rig: Rig, primary: Facts, server: Facts) -> float:
    began = time.monotonic()
    rig.api("POST", f"/v1/services/{primary['service']}/switchover", {})
    return began


STEPS = (
    Step("engine killed", PREMIUM, "kill -9 of the postmaster of {primary}: the premium service loses its primary engine.",
         _engine),
    Step("engine killed", VALKEY, "kill -9 of valkey-server {primary}; the premium service takes its old primary back.",
         _engine),
    Step("host killed", PREMIUM, "Every process on {server} dies at once, engine and agent: the premium primary's host.",
         _host),
    Step("host killed", STANDARD, "The same for {server}, host of the standard primary. Asynchronous: a fence comes first.",
         _host),
    Step("host silent", PREMIUM, "The cable of {server} is pulled: {primary} lives, but nobody can reach it. Is it dead?",
         _silence, faults.unsilence),
    Step("host frozen, thawed", PREMIUM, "{server} is frozen for {hold:.0f} s and then thawed: {primary} wakes up and "
         "believes that it still leads.", _freeze, faults.thaw),
    Step("control plane killed", ALL, "Controller, NATS and herder's own database: kill -9. The services are on their own.",
         _engine),
    Step("switchover", PREMIUM, "A planned move: {primary} hands the premium service over to a standby.", _move),
)  # fmt: skip
