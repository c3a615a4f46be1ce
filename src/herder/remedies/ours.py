"""Is it us? Then single servers and members are hardly asked about: nothing would follow from an answer."""

from __future__ import annotations

from herder.engine.world import Machine
from herder.governor.scopes import scopes_of, touches
from herder.remedies.hands import Hands

OURS_PAUSE_S = 15.0
"""Between two looks while it is us. Once it is them after all, or over, a new state (`recheck` within half a minute, or the
pulse) asks at the usual pace."""


def is_ours(hands: Hands, server: Machine, *, perhaps: bool = False) -> bool:
    """Does the server stand where an incident says that it is us? perhaps: or does not know yet."""
    world = hands.world()
    incidents = world.ids_in("incident", *(("ours", "verifying") if perhaps else ("ours",)))
    if not len(incidents):
        return False
    scopes = scopes_of(server)
    return any(touches(scopes, world.get(int(ident)).data["scopes"]) for ident in incidents)
