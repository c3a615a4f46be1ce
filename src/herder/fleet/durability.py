"""A sync plan promises that an acknowledged write is on a standby; a setting of a role or database may break that promise."""

from __future__ import annotations

from herder.engine.decide import Input
from herder.engine.world import Machine, World
from herder.ports.driver import Reading

REASON = "durability_overridden"
ACTOR = "pulse"


def overridden(world: World, service: Machine, member: Machine, reading: Reading) -> list[Input]:
    """What follows from one reading of a member: a page when commits do not wait, and its end when they do again.

    herder changes nothing: whoever set it may mean it, and has to know what it costs (failures.md 59).
    """
    if reading.overrides is None or not service.data["sync"] or member.id != service.data["primary"]:
        return []
    pages = [page for page in world.open_pages(service.id) if page.data["reason"] == REASON]
    if not reading.overrides:
        why = "commits wait for a voter again, whoever they are of"
        return [Input(page.id, "resolve", why=why, actor=ACTOR) for page in pages]
    if pages:
        return []
    why = f"acknowledged writes of {service.name} may be lost by a failover: {'; '.join(reading.overrides)}"
    return [Input(service.id, REASON, {}, why=why, actor=ACTOR)]
