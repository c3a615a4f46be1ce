"""One run of a scene: undisturbed, or with somebody killed at one or two points of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from herder.model.errors import HerderError
from herder.sim.clock import run
from herder.sim.crashes import Crashes
from herder.sim.seeds.logbook import Logbook, read
from herder.sim.seeds.person import Person
from herder.sim.seeds.plan import Made, Plan
from herder.sim.seeds.wellness import unwell
from herder.sim.seeds.witness import Witness
from herder.sim.sweep.ending import Facts, ending
from herder.sim.sweep.fork import Fork
from herder.sim.sweep.points import Kill, Point, When
from herder.sim.sweep.scenes import SERVICE, Scene, Stage
from herder.sim.sweep.world import SweptWorld

MADE_S = 300.0
WELL_S = 600.0
"""A playbook and what makes its crashes good end within this, in virtual time."""

LOOK_S = 0.5
CALM_S = 10.0
"""So long all must stay as it is: a second promotion would come within it."""


@dataclass(slots=True)
class Run:
    """facts: how it ended; wrong: rules that did not hold; well_s: from the cause to the end. story: (seconds, words)."""

    kills: tuple[Kill, ...]
    points: list[Point] = field(default_factory=list)
    struck: list[tuple[Kill, Point]] = field(default_factory=list)
    facts: Facts = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    well_s: float = 0.0
    story: list[tuple[float, str]] = field(default_factory=list)


def play(
    scene: Scene, kills: tuple[Kill, ...] = (), *, seed: int = 1, story: bool = False, fork: Fork | None = None
) -> Run:
    """Play a scene to its end. Never raises for what it finds. fork: where other runs part from this one."""
    found = Run(kills)

    async def main() -> None:
        await _Play(scene, found, seed, fork, story=story).run()

    with Crashes() as crashes:
        try:
            run(main)
        except Exception as error:  # noqa: BLE001  whatever a control plane raises is what this looks for
            found.wrong.append(f"crashed: {type(error).__name__}: {error}")
    found.wrong.extend(f"crashed: {words}" for words in crashes.told)
    if fork is not None and fork.mine is not None:
        found.kills = (*kills, fork.mine)
    return found


class _Play:
    def __init__(self, scene: Scene, found: Run, seed: int, fork: Fork | None, *, story: bool) -> None:
        self.scene = scene
        self.found = found
        self.story = story
        self.world = SweptWorld(seed, found.kills, fork)
        self.world.mood.can_fence = scene.can_fence
        plan = Plan(seed, 0.0, (Made(SERVICE, scene.engine, scene.plan),), scene.can_fence)
        person = Person(self.world, plan)
        if scene.playbook == "destroy":
            person.consented.add(SERVICE)
        self.witness = Witness(self.world, person)
        self.stage = Stage(self.world, scene)

    async def run(self) -> None:
        world, knife = self.world, self.world.knife
        world.add_controller("controller")
        await self.stage.plane()
        if self.scene.playbook != "provision":
            await self.stage.create()
            await self._until_well(MADE_S)
            world.counts.clear()
        self.witness.begin()
        began = world.now
        knife.draw()
        await self.stage.begin()
        try:
            await self._until_well(WELL_S)
        except HerderError as error:
            self.found.wrong.append(error.message)
        knife.sheathe()
        self.found.well_s = world.now - began
        await asyncio.sleep(CALM_S)
        await self._judge(began)
        await world.close()

    async def _until_well(self, within_s: float) -> None:
        """Well, at rest, and for two looks on end. Raises HerderError."""
        end, good = self.world.now + within_s, 0
        while good < 2:
            missing = await self._missing()
            good = 0 if missing else good + 1
            if self.world.now > end:
                raise HerderError(f"not well after {within_s:.0f} s: {'; '.join(missing[:3])}")
            await asyncio.sleep(LOOK_S)

    async def _missing(self) -> list[str]:
        """What is not yet as it must be before a run may end."""
        world = self.world
        committed = await self.stage.committed()
        service = committed.named("service", SERVICE)
        missing = list(unwell(committed))
        if service is not None:
            missing += [f"{each.name} is {each.state}" for each in committed.playbooks_of(service.id)]
        if self.world.knife.out and not len(committed.ids(self.scene.playbook)):
            missing.append(f"there was no {self.scene.playbook}")
        gone = service is None or service.state in ("retired", "archived", "terminated")
        if not gone and not world.cluster(SERVICE).confirms(world.now):
            missing.append("it takes no writes")
        return missing

    async def _judge(self, began: float) -> None:
        found, world, knife = self.found, self.world, self.world.knife
        found.points, found.struck = knife.points, knife.struck
        plane = await self.stage.plane()
        book = await read(world.store, story=self.story)
        wrong = [*book.doubled, *book.backward, *([book.torn] if book.torn else [])]
        if book.world.snapshot() != plane.loop.world.snapshot():
            wrong.append("what is in memory is not what the log says")
        self.witness.clients(can_fence=self.scene.can_fence)
        wrong += [str(finding) for finding in self.witness.found if not self._forgivable(finding.check)]
        wrong += [f"crashed: {words}" for words in world.bugs]
        if knife.left:
            wrong.append("the point to kill at was not reached again")
        found.wrong += wrong
        found.facts = ending(plane.loop.world, world)
        if self.story:
            found.story = self._story(book, began)

    def _forgivable(self, check: str) -> bool:
        """An agent that dies between its act and keeping the result acts again: what that does to the world is counted."""
        again = any(
            kill.when is When.BEFORE and point.who.startswith("the agent") for kill, point in self.world.knife.struck
        )
        return check == "applied twice" and again

    def _story(self, book: Logbook, began: float) -> list[tuple[float, str]]:
        at = self.world.written_at
        lines = [(at_s, words) for at_s, words in self.world.notes]
        lines += [(at.get(seq, 0.0), words) for seq, words in book.lines]
        return sorted(((at_s - began, words) for at_s, words in lines if at_s >= began), key=lambda line: line[0])
