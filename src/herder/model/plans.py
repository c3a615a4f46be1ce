"""Plans: one good option a need, so that nobody chooses replicas, quorums or buffers by hand."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from herder.model.errors import InvalidInput


class Engine(StrEnum):
    """What a service runs."""

    POSTGRES = "postgres"
    VALKEY = "valkey"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a service of this plan is made of and what it may lose.

    members: engine processes, the primary included. sync: a commit waits for one standby (ANY 1), kept by voters and
    pledges; PostgreSQL only, Valkey replicates asynchronously on every plan. memory_mb: for one member.
    max_loss_bytes, max_loss_s: where replication is asynchronous, past either bound there is no automatic promotion
    (rule S4); 160 MB and 10 minutes are Heroku's limits. On a sync plan they bind Valkey only, which is never sync. retired_days: how long a destroyed
    service's data rests in the trash, and a divergent log beside the data that replaced it.
    """

    name: str
    members: int
    sync: bool
    memory_mb: int
    max_loss_bytes: int
    max_loss_s: float
    retired_days: int
    summary: str


PLANS: dict[str, Plan] = {
    plan.name: plan
    for plan in (
        Plan(
            name="dev", members=1, sync=False, memory_mb=256, max_loss_bytes=0, max_loss_s=0.0, retired_days=1,
            summary="one member; a fault means a restart in place",
        ),
        Plan(
            name="standard", members=2, sync=False, memory_mb=512, max_loss_bytes=160 * 1024**2, max_loss_s=600.0,
            retired_days=7,
            summary="primary and asynchronous standby; promoted behind a confirmed fence, inside a bounded loss",
        ),
        Plan(
            name="premium", members=3, sync=True, memory_mb=512, max_loss_bytes=16 * 1024**2, max_loss_s=60.0, retired_days=7,
            summary="primary and two standbys, a commit waits for one of them; no acknowledged write is lost",
        ),
    )
}  # fmt: skip


_RANK = {"premium": 0, "standard": 1, "dev": 2}


def priority_of(plan: str) -> int:
    """Who goes first when all want to: 0 premium, 1 standard (and what has no plan), 2 dev."""
    return _RANK.get(plan, 1)


def plan_named(name: str) -> Plan:
    """Look a plan up; an unknown name is InvalidInput with the known ones."""
    try:
        return PLANS[name]
    except KeyError:
        raise InvalidInput(f"there is no plan '{name}'", f"choose one of: {', '.join(PLANS)}") from None


def engine_named(name: str) -> Engine:
    """Look an engine up; an unknown name is InvalidInput with the known ones."""
    try:
        return Engine(name)
    except ValueError:
        raise InvalidInput(f"there is no engine '{name}'", f"choose one of: {', '.join(Engine)}") from None
