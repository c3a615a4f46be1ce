"""One seed from its first moment to its judgement: a fleet is made by herder, hurt for hours, healed, and must be well.

The controllers are the production assembly, two of them; everything else is the world's.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from herder.engine.world import World as Committed
from herder.fleet.dependencies import declare
from herder.machines.dependency import What
from herder.model.errors import HerderError
from herder.sim.clock import run, seldom_collected
from herder.sim.controller import Controller
from herder.sim.crashes import Crashes
from herder.sim.seeds.counts import Counts
from herder.sim.seeds.logbook import Logbook, projection_differs, read
from herder.sim.seeds.person import Person, Player, play
from herder.sim.seeds.plan import Item, Plan
from herder.sim.seeds.wellness import unexplained, unwell
from herder.sim.seeds.witness import Finding, Witness
from herder.sim.world import World

PROVISION_S = 300.0
HEALED_S = 1200.0
"""All must be well, or a person told why not, within twenty minutes of the healing."""

LAST_S = 5400.0
"""What waits for an hour's budget (a failover, a fleet's) is well by then, where nothing but time is missing."""

SETTLED_S = 60.0


@dataclass(slots=True)
class Result(Counts):
    """What came of a seed. found: rules that did not hold; paged: what is not well and why, told to a person; trace: a hash
    over the log, what was done to the world and what agents did. story: (virtual seconds, words), when it was asked for.
    """

    seed: int
    calm: bool = False
    found: list[Finding] = field(default_factory=list)
    trace: str = ""
    services: int = 0
    paged: list[str] = field(default_factory=list)
    story: list[tuple[float, str]] = field(default_factory=list)

    @property
    def checks(self) -> set[str]:
        """Names of the rules that did not hold."""
        return {finding.check for finding in self.found}

    @property
    def idle(self) -> bool:
        """Nothing happened that a proof could rest on: no fault, or (where there are some) no remedy."""
        return not sum(self.faults.values()) or (not self.calm and sum(self.completions.values()) <= self.services)


def run_plan(plan: Plan, items: Sequence[Item] | None = None, *, story: bool = False) -> Result:
    """Run a seed to its end. items: this list of things instead of its own. Never raises for what it finds."""
    began = time.process_time()
    result = Result(plan.seed, plan.calm)

    async def main() -> None:
        await _Seed(plan if items is None else replace(plan, items=tuple(items)), result, story=story).run()

    with Crashes() as crashes, seldom_collected():
        try:
            run(main)
        except Exception as error:  # noqa: BLE001  whatever a control plane raises is what this looks for
            result.found.append(Finding("crashed", f"{type(error).__name__}: {error}"))
    result.found.extend(Finding("crashed", words) for words in crashes.told)
    result.core_s = time.process_time() - began
    return result


class _Seed:
    def __init__(self, plan: Plan, result: Result, *, story: bool) -> None:
        self.plan = plan
        self.result = result
        self.story = story
        self.world = World(plan.seed, pulse_interval_s=plan.pulse_s)
        self.world.mood.can_fence = plan.can_fence
        self.player = Player(self.world, plan)
        self.person = Person(self.world, plan)
        self.witness = Witness(self.world, self.person)

    async def run(self) -> None:
        for name in ("controller-a", "controller-b"):
            self.world.add_controller(name, **self.plan.tuned)
        await self._provision()
        self.witness.begin()
        looking = asyncio.create_task(self.witness.look())
        await play(self.plan.items, self.player, self.person)
        await asyncio.sleep(max(0.0, self.plan.hours * 3600 - (self.plan.items[-1].at_s if self.plan.items else 0.0)))
        self.player.heal()
        await self._heal()
        looking.cancel()
        await self._judge()
        await self.world.close()

    async def _controller(self) -> Controller:
        while (active := self.world.active) is None or active.plane is None:  # noqa: ASYNC110  virtual time
            await asyncio.sleep(0.1)
        return active

    async def _provision(self) -> None:
        """Two dependencies, and the services; in a fair world all of it must succeed."""
        plane = (await self._controller()).plane
        assert plane is not None
        for what in (What.OBJECT_STORE, What.PAGER):
            await plane.loop.propose(lambda world, what=what: declare(world, what, ""))  # type: ignore[misc]
        for made in self.plan.services:
            await plane.control.create_service(engine=made.engine, name=made.name, plan=made.plan)
        try:
            await asyncio.gather(
                *(plane.control.wait(made.name, "available", PROVISION_S) for made in self.plan.services)
            )
        except HerderError as error:
            self.witness.wrong("unwell", f"provisioning in a fair world: {error.message}")

    # --- after the storm

    async def _heal(self) -> None:
        """All well within the first bound, or told; within the last one all that only needed time is well."""
        began = self.world.now
        if not await self._until_well(began + HEALED_S):
            committed = await self._committed()
            for words in unexplained(committed):
                self.witness.wrong("unwell", f"{words} twenty minutes after all was healed, and nobody was told why")
            self.person.clear_up()
            # nobody may fence: only a person could do more, and time changes nothing
            last_s = LAST_S if self.plan.can_fence else HEALED_S + SETTLED_S
            if not await self._until_well(began + last_s):
                self._left(await self._committed())
        await asyncio.sleep(SETTLED_S)

    def _left(self, committed: Committed) -> None:
        """What is not well in the end: it may only be what nothing here could prove safe."""
        for words in unwell(committed):
            if self.plan.can_fence or words in set(unexplained(committed)):
                self.witness.wrong("unwell", f"{words} ninety minutes after all was healed")
            else:
                self.result.paged.append(words)

    async def _until_well(self, end: float) -> bool:
        while self.world.now < end:
            if not unwell(await self._committed()) and not self._silent():
                return True
            await asyncio.sleep(2.0)
        return False

    def _silent(self) -> list[str]:
        """Services that herder calls well and whose clients cannot write."""
        return [
            name
            for name, cluster in self.world.clusters.items()
            if name not in self.person.consented and not cluster.confirms(self.world.now)
        ]

    async def _committed(self) -> Committed:
        plane = (await self._controller()).plane
        assert plane is not None
        return plane.loop.world

    # --- the judgement

    async def _judge(self) -> None:
        controller = await self._controller()
        plane = controller.plane
        assert plane is not None
        book = await read(self.world.store, story=self.story, at=self.world.written_at)
        await self._check_log(book, plane.loop.world)
        kinds = {ident: _kind_of(book.world, ident) for _, _, _, _, ident in self.witness.promotions}
        self.witness.clients(can_fence=self.plan.can_fence)
        self.witness.budget(kinds, self.player.jumped_s)
        if self.plan.calm:
            for at_s, _, term, member, _ in self.witness.promotions:
                self.witness.wrong("false failover", f"{member} was promoted in term {term} at {at_s:.1f} s")
        if plane.loop.frozen:
            self.witness.wrong("log", f"the control plane is frozen: {plane.loop.frozen}")
        for words in self.world.bugs:
            self.witness.wrong("crashed", words)
        self.world.sights.update({f"refused {why}": times for why, times in plane.board.refused.items()})
        self._tell(book)

    async def _check_log(self, book: Logbook, committed: Committed) -> None:
        """Whole, its chain unbroken; what stands in memory and in the rows is what it says."""
        wrong = self.witness.wrong
        if book.torn:
            wrong("log", book.torn)
            return
        if book.records != committed.seq or book.takeovers + len(self.world.written_at) != book.records:
            wrong("log", f"{book.records} records are in the log, {committed.seq} were taken in")
        if book.world.snapshot() != committed.snapshot():
            wrong("log", "what is in memory is not what the log says")
        for words in await projection_differs(self.world.store, book):
            wrong("projection", words)
        for words in book.doubled:
            wrong("pages", words)
        for words in book.backward:
            wrong("terms", words)
        for words in book.unguarded:
            wrong("storm", words)

    def _tell(self, book: Logbook) -> None:
        result, world = self.result, self.world
        result.found = self.witness.found
        result.services, result.servers = len(self.plan.services), self.plan.servers
        result.records, result.moves, result.virtual_s = book.records, sum(book.moves.values()), world.now
        result.faults, result.orders, result.completions = (
            Counter(self.player.done), Counter(self.person.done), Counter(book.completions),
        )  # fmt: skip
        result.rows = book.moves
        result.seen = Counter(world.sights) + book.moves + book.rare + self.witness.seen(_kinds(book.world))
        result.promotions = len(self.witness.promotions)
        for name, cluster in world.clusters.items():
            result.confirmed_bytes += cluster.confirmed.bytes
            if name not in self.person.consented:
                result.lost_async_bytes += sum(self.witness.losses(cluster))
        result.trace = self._trace(book)
        if self.story:
            result.story = self._story(book)

    def _trace(self, book: Logbook) -> str:
        """The same seed must give the same one, whatever the machine and Python's hashes are."""
        digest = hashlib.sha256(book.last_hash)
        for lines in (self.player.trace, self.person.trace, world_lines(self.witness)):
            digest.update(repr(lines).encode())
        return digest.hexdigest()

    def _story(self, book: Logbook) -> list[tuple[float, str]]:
        """What was done to the world, what herder moved, and what was wrong, by time."""
        at = self.world.written_at
        lines = [(at_s, f"!! {words}") for at_s, words in self.player.trace]
        lines += [(at_s, f"?? {words}") for at_s, words in self.person.trace]
        lines += [(at_s, f"-- {words}") for at_s, words in self.world.notes]
        lines += [(at.get(seq, 0.0), f"   {words}") for seq, words in book.lines]
        return sorted(lines, key=lambda line: line[0])


def world_lines(witness: Witness) -> list[object]:
    """What agents did, in an order that is the seed's."""
    return [sorted(witness.acts.items()), witness.promotions]


def _kinds(committed: Committed) -> dict[int, str]:
    return {machine.id: machine.kind for machine in committed.machines.values()}


def _kind_of(committed: Committed, ident: int) -> str:
    """Whose work a promotion was: 'exercise' for a failover that was played."""
    machine = committed.find(ident)
    if machine is None:
        return "nobody"
    return "exercise" if machine.data.get("exercise") else machine.kind
