"""May this remedy begin now? Pure: the world as it would be in, a reason to wait out. What waits is parked, not retried.

It is asked again whenever the service is looked at, so nothing that was parked is forgotten when the reason is over.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from herder.engine.decide import Draft
from herder.engine.world import Machine
from herder.governor.budget import Budgets
from herder.governor.freezes import Freezes, among
from herder.governor.scopes import scopes_of_service, touches
from herder.machines.dependency import What
from herder.model.plans import priority_of

NEEDS: Mapping[str, tuple[What, ...]] = {
    "rebuild": (What.PROVIDER, What.ZONE),  # an address is moved, a server may be booted
    "provision": (What.PROVIDER, What.ZONE),
    "boot": (What.PROVIDER, What.ZONE),
    "replace": (What.PROVIDER,),
    "restore": (What.PROVIDER, What.OBJECT_STORE),
    "backup": (What.OBJECT_STORE,),
    # what saves a service with what it has needs nobody: failover, switchover, strike, restart. Nothing needs the pager:
    # automation never waits for a person (failures.md 50).
}
"""Playbook -> what must answer for it to succeed. A playbook that is not named needs nothing."""

WAVED = frozenset({"failover", "restart", "rebuild", "replace", "restore"})
"""Remedies that take turns in a mass recovery. A new service, or one that its owner destroys, is nobody's recovery."""

DOWN = ("uncertain", "unavailable")
"""A dependency in these states is not relied on. Uncertain lasts a minute at most: waiting costs less than failing."""


class Reason(IntEnum):
    """Why it waits; the number is what a service remembers."""

    FROZEN = 1
    DEPENDENCY = 2
    BUDGET = 3
    WAVE = 4


@dataclass(frozen=True, slots=True)
class Held:
    """It waits. by: the machine that is the reason (a freeze, a dependency, an incident), 0 for a budget. words: the same
    as long as the reason is the same, so that it is logged once.
    """

    reason: Reason
    by: int
    words: str

    @property
    def noted(self) -> bool:
        """Each service notes it. A freeze and a wave hold hundreds of thousands: the incident says it once, with the number."""
        return self.reason in (Reason.DEPENDENCY, Reason.BUDGET)

    def known(self, service: Machine) -> bool:
        """The service has noted this reason already."""
        return (service.data.get("parked", 0), service.data.get("parked_by", 0)) == (self.reason, self.by)

    def facts(self, playbook: str, now_ms: int) -> dict[str, Any]:
        """What the service notes."""
        return {"parked": int(self.reason), "parked_by": self.by, "parked_kind": playbook, "parked_ms": now_ms}


UNPARKED: dict[str, Any] = {"parked": 0, "parked_by": 0}
"""What the service notes when its remedy begins after all."""

Reasons = Callable[[Machine, str], str]
"""(service, playbook) -> why not, '' when nothing is in the way."""


class Gate:
    """One round of looking: what is frozen, down and used up is read once, not once a service. frozen, spent: instead of
    the freezes and the budgets, whose answer of '' takes a slot.
    """

    def __init__(self, draft: Draft, *, frozen: Reasons | None = None, spent: Reasons | None = None) -> None:
        self._draft = draft
        self._frozen = frozen or Freezes(draft).reason
        self._spent = spent or Budgets(draft).reason
        self._down = among(draft, "dependency", DOWN)
        self._incidents = among(draft, "incident", ("recovering",))

    def hold(self, service: Machine, playbook: str, needs: Collection[What] | None = None) -> Held | None:
        """None: it may begin. needs: instead of what NEEDS says and the state of the service adds."""
        if frozen := self._frozen(service, playbook):
            return Held(Reason.FROZEN, 0, frozen)
        wanted = needs_of(self._draft, service, playbook) if needs is None else needs
        if (held := self._missing(service, wanted)) is not None or self._waited_for(service):
            return held
        held = self._turn(service, playbook)
        if held is None and (spent := self._spent(service, playbook)):
            return Held(Reason.BUDGET, 0, spent)
        return held

    def _missing(self, service: Machine, needs: Collection[What]) -> Held | None:
        for dependency in self._down:
            if dependency.data["what"] in needs and concerns(self._draft, dependency, service):
                return Held(Reason.DEPENDENCY, dependency.id, f"it needs {dependency.name}, which does not answer")
        return None

    def _waited_for(self, service: Machine) -> bool:
        """Does a playbook that holds the service wait for it (a failover, whose primary has no follower yet, for a rebuild)? Then
        it is of that one's turn, and has its slot: if it waited for another, both would wait for ever.
        """
        holder = self._draft.find(service.data.get("playbook", 0))
        return holder is not None and holder.live

    def _turn(self, service: Machine, playbook: str) -> Held | None:
        if playbook not in WAVED:
            return None
        for incident in self._incidents:
            if admitted(incident, service, playbook):
                continue
            if touches(scopes_of_service(self._draft, service), incident.data["scopes"]):
                words = f"its turn in the recovery of {incident.data['scope']} has not come"
                return Held(Reason.WAVE, incident.id, words)
        return None


def gate(draft: Draft, service: Machine, playbook: str, needs: Collection[What] | None = None) -> str:
    """'' when it may begin now, else why it is parked. For one question; `Gate` is for a round of them."""
    held = Gate(draft).hold(service, playbook, needs)
    return held.words if held is not None else ""


def needs_of(draft: Draft, service: Machine, playbook: str) -> tuple[What, ...]:
    """What NEEDS says, and the object store where the data could come from nowhere else (failures.md 35)."""
    needs = NEEDS.get(playbook, ())
    if playbook == "replace" and not _copies(draft, service):
        return (*needs, What.OBJECT_STORE)
    return needs


def _copies(draft: Draft, service: Machine) -> list[int]:
    """Members that hold the present data and serve: a new one can be copied from them."""
    members = (draft.get(ident) for ident in service.data.get("members", ()))
    return [member.id for member in members if member.state == "available" and not member.data.get("deposed")]


def concerns(draft: Draft, dependency: Machine, service: Machine) -> bool:
    """Does the service stand on this dependency? Scope '' is everything; a service that does not say where it is may."""
    scope = str(dependency.data.get("scope", ""))
    if not scope:
        return True
    fact = _WHERE.get(str(dependency.data["what"]), "")
    places = {str(place) for place in _places(draft, service, fact) if place}
    return not places or scope in places


_WHERE: Mapping[str, str] = {What.OBJECT_STORE: "region", What.PROVIDER: "provider", What.ZONE: "zone"}
"""What a dependency is -> the fact of a server (or its service) that names its scope."""


def _places(draft: Draft, service: Machine, fact: str) -> Iterable[Any]:
    yield service.data.get(fact, "")
    for ident in service.data.get("servers", ()):
        yield draft.get(ident).data.get(fact, "")


STAGES = 2
LANES = 3 * STAGES
"""Turns are taken plan by plan, and within a plan first by those whose primary is lost, then by those that lack a standby."""


def lane_of(rank: int, playbook: str) -> int:
    """rank: of the plan, 0 premium. A rebuild gives a standby back; everything else saves a primary."""
    return min(rank, LANES // STAGES - 1) * STAGES + (playbook == "rebuild")


def admitted(incident: Machine, service: Machine, playbook: str) -> bool:
    """Has it had its turn? The incident's `upto` holds, for each lane, the highest id of a service that has: a million turns
    are six numbers in the log.
    """
    upto: Sequence[int] = incident.data.get("upto", ())
    lane = lane_of(priority_of(str(service.data.get("plan", ""))), playbook)
    return lane < len(upto) and service.id <= int(upto[lane])
