"""Freezes: where no remedy may begin now. Pure: the world as it would be in, a reason out.

Frozen is where an incident is not yet decided, where it is us, where a person paused a recovery, and where a person or an
empty budget said so. An incident that recovers freezes nothing: its waves say who may begin (`governor.gate`).
"""

from __future__ import annotations

from collections.abc import Iterable

from herder.engine.decide import Draft
from herder.engine.world import Machine
from herder.governor.scopes import scopes_of_service, touches
from herder.machines.registry import BY_KIND

DESTRUCTIVE = frozenset({"failover", "rebuild", "strike", "restart", "replace", "restore", "boot"})
"""Remedies that begin by themselves and end something: a primary's lead, a copy, a process. What a person asks for
(create, destroy, switchover, restart by hand) is the person's word and is never frozen."""

FREEZING = ("verifying", "ours", "paused")


class Freezes:
    """What is frozen in one draft, read once; then asked for each service."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self.frozen: dict[str, str] = {}
        for freeze in among(draft, "freeze", ("frozen",)):
            self.frozen.setdefault(
                str(freeze.data["scope"]), f"{freeze.data['scope']} is frozen: {freeze.data.get('why', '')}"
            )
        for incident in among(draft, "incident", FREEZING):
            for scope in incident.data["scopes"]:
                self.frozen.setdefault(str(scope), f"{scope} is frozen: {incident.name} is {incident.state}")

    def reason(self, service: Machine, playbook: str) -> str:
        """Why it may not begin now, '' when nothing is frozen for it."""
        if not self.frozen or playbook not in DESTRUCTIVE:
            return ""
        scopes = scopes_of_service(self._draft, service)
        if not touches(scopes, self.frozen):
            return ""
        return next(words for scope, words in self.frozen.items() if scope in scopes)


def among(draft: Draft, kind: str, states: Iterable[str]) -> list[Machine]:
    """Machines of a kind that would be in one of these states. Ended ones cost nothing, however many there were."""
    if kind not in BY_KIND:
        return []
    wanted = tuple(states)
    known = {int(ident) for ident in draft.world.ids_in(kind, *wanted)}
    known.update(machine.id for machine in draft.changed.values() if machine.kind == kind)
    found = (draft.get(ident) for ident in sorted(known))
    return [machine for machine in found if machine.state in wanted]
