"""The ten states that a person sees of a server, a service, a member, a volume or a backup."""

from __future__ import annotations

from enum import StrEnum


class UnitState(StrEnum):
    """Each kind of unit uses a subset; the steps of a playbook have names of their own in its table."""

    INSTALLING = "installing"
    AVAILABLE = "available"
    UNCERTAIN = "uncertain"
    UNAVAILABLE = "unavailable"
    RESTART = "restart"
    UPGRADING = "upgrading"
    RETIRING = "retiring"
    RETIRED = "retired"
    ARCHIVED = "archived"
    TERMINATED = "terminated"


MEANING: dict[UnitState, str] = {
    UnitState.INSTALLING: "being made; nobody may use it yet",
    UnitState.AVAILABLE: "its pulse is good",
    UnitState.UNCERTAIN: "no pulse, or contradictory readings: health is not known; nothing destructive may follow",
    UnitState.UNAVAILABLE: "known not to serve, by more than one vantage point or by its own agent's word",
    UnitState.RESTART: "the same data is being started again in place",
    UnitState.UPGRADING: "being replaced by a unit of a newer image or engine version",
    UnitState.RETIRING: "being drained; its data is going elsewhere",
    UnitState.RETIRED: "out of service, kept for a while so that a mistake can be undone",
    UnitState.ARCHIVED: "compute is gone, a proven backup is kept",
    UnitState.TERMINATED: "gone; absorbing",
}

NO_DEADLINE_NEEDED = frozenset({UnitState.AVAILABLE, UnitState.RETIRED, UnitState.ARCHIVED, UnitState.TERMINATED})
"""Every other state must have a deadline that leads somewhere or pages."""
