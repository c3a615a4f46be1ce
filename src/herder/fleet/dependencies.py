"""Looks at what the fleet depends on: symptoms become events, an outage that is over closes its page, stragglers drain."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from herder.engine.bulk import Bulk
from herder.engine.decide import Input
from herder.engine.shard import Proposal
from herder.engine.world import Machine, World
from herder.machines.dependency import What
from herder.machines.table import CREATE
from herder.model.errors import Conflict, InvalidInput, NotFound
from herder.remedies.dependency import STALLED, archives_of, by_plan, symptom
from herder.remedies.hands import Hands

LOOK_S = 5.0
"""A look at a million archives takes 2 ms; an outage of hours is not missed by five seconds."""

STRAGGLER_MS = 60_000
STRAGGLERS = 100
"""An archive that stalls by itself, its store being well, is drained again after a minute, a hundred a look."""

WORDS = {"declared_down": "does not answer", "declared_well": "answers"}


def declare(world: World, what: str, scope: str, actor: str = "herder") -> list[Input]:
    """Have the dependency known; nothing when it is. Its name is 'object-store:eu-1', 'provider:local', ..."""
    if what not in set(What):
        raise InvalidInput(f"'{what}' is no sort of dependency", f"choose one of: {', '.join(What)}")
    name = name_of(what, scope)
    if world.named("dependency", name) is not None:
        return []
    facts = {"name": name, "what": what, "scope": scope}
    return [Input(0, CREATE, facts, why=f"the fleet depends on {name}", actor=actor, create="dependency")]


def name_of(what: str, scope: str) -> str:
    """What people and probes call it."""
    return f"{what.replace('_', '-')}:{scope or 'all'}"


def say(world: World, name: str, event: str, actor: str) -> list[Input]:
    """A person's word: event 'declared_down' or 'declared_well'."""
    if event not in WORDS:
        raise InvalidInput(f"'{event.removeprefix('declared_')}' says nothing of a dependency", "say 'down' or 'well'")
    dependency = world.named("dependency", name)
    if dependency is None:
        known = ", ".join(found.name for found in world.of_kind("dependency"))
        raise NotFound(f"there is no dependency '{name}'", f"choose one of: {known}" if known else "there are none")
    if not dependency.table.lookup.get((dependency.state, event)):
        raise Conflict(f"'{name}' is {dependency.state} already", "herder recovery shows it")
    why = f"{actor} says that it {WORDS[event]}"
    return [Input(dependency.id, event, {"evidence": {"why": why}}, why=why, actor=actor)]


class Dependencies:
    """Feeds the engine with what is seen of dependencies. Handlers ask them; this only looks."""

    def __init__(self, hands: Hands, propose: Callable[[Proposal], Awaitable[Any]]) -> None:
        self._hands = hands
        self._propose = propose

    async def run(self) -> None:
        """Until cancelled. The provider is a dependency from the first moment; all others are declared by who has them."""
        ground = await self._hands.provider.ground()
        await self._propose(lambda world: declare(world, What.PROVIDER, ground.name))
        while True:
            self.look()
            await self._hands.clock.sleep(LOOK_S)

    def look(self) -> None:
        """One round."""
        world = self._hands.world()
        for dependency in world.of_kind("dependency"):
            if dependency.state in ("available", "restart"):
                self._symptoms(dependency)
            if dependency.state == "available":
                self._pages(world, dependency)
                if dependency.data["what"] == What.OBJECT_STORE:
                    self._stragglers(world, dependency)

    def _symptoms(self, dependency: Machine) -> None:
        store = dependency.data["what"] == What.OBJECT_STORE
        if store and dependency.state == "restart":
            return  # its archives stall because they have not drained yet; the drain itself counts what fails
        seen = symptom(self._hands, dependency)
        if seen.failing:
            facts = {"evidence": {"why": seen.why}}
            self._hands.submit(
                Input(dependency.id, "failing", facts, why=seen.why, actor="symptoms", entered=dependency.entered)
            )

    def _pages(self, world: World, dependency: Machine) -> None:
        for page in world.open_pages(dependency.id):
            self._hands.submit(Input(page.id, "resolve", {}, why=f"{dependency.name} is well", actor="symptoms"))

    def _stragglers(self, world: World, store: Machine) -> None:
        stalled = archives_of(world, store.id, *STALLED)
        old = stalled[world.columns.since_ms[stalled] <= self._hands.clock.now_ms() - STRAGGLER_MS]
        chosen = by_plan(world, old)[:STRAGGLERS]
        if len(chosen):
            seen = world.columns.entered[chosen]
            why = "its store takes the log, so it tries again"
            self._hands.submit(Bulk("archive", "drain", chosen, why=why, actor="symptoms", entered=seen))
