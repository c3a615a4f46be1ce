"""Dependencies: asked, watched and drained to, with the real engine in virtual time; their symptoms as pure functions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import numpy as np
import pytest

from herder.engine.buckets import Buckets, Rate
from herder.engine.bulk import Bulk, Cohort
from herder.engine.effects import EffectRunner
from herder.engine.loop import Loop
from herder.engine.shapes import Shape
from herder.engine.shard import Shard
from herder.engine.world import World
from herder.fleet.dependencies import Dependencies, declare, name_of, say
from herder.model.errors import Conflict, InvalidInput, NotFound, Unreachable
from herder.ports.archive import Drained
from herder.ports.provider import Ground
from herder.remedies.dependency import Line, UnderWay, calls_symptom, stalled_together
from herder.remedies.handlers import bind
from herder.remedies.hands import Hands
from herder.remedies.tally import WINDOW_S, Calls, Counted, Tally, are_failing
from herder.sim.clock import SimClock, SimRandom, run
from herder.stores.memory.store import MemoryStore
from tests.machines import sample

STORE = "object-store:eu-1"


class Outside:
    """The object store and the provider: the store answers or not, and takes archives or does not."""

    def __init__(self, clock: SimClock) -> None:
        self.clock = clock
        self.up = True
        self.takes = True
        self.taken: list[tuple[float, int]] = []

    async def probe(self) -> bool:
        return self.up

    async def ground(self) -> Ground:
        return Ground(name="here", namespaces=True, can_fence=True, subnet="", controller_address="")

    async def drain(self, machines: memoryview) -> Drained:
        await self.clock.sleep(0.5)
        nothing = np.empty(0, np.uint32).data
        if not self.takes:
            return Drained(nothing, machines)
        self.taken.append((self.clock.monotonic(), len(machines)))
        return Drained(machines, nothing)


class Plane:
    """Log, loop, effects and handlers as in production, over a world of archives."""

    def __init__(self, archives: int, **parts: Any) -> None:
        self.clock = SimClock()
        self.outside = Outside(self.clock)
        self.count = archives
        self.parts = {"dependency_probes": {STORE: self.outside.probe}, "drain_per_s": 400.0} | parts

    async def open(self) -> None:
        self.shard = Shard(0, MemoryStore(self.clock), self.clock)
        await self.shard.open("a", 15.0)
        self.loop = Loop(self.shard, self.clock, lambda draft: [])
        self.hands = Hands(
            world=lambda: self.shard.world, clock=self.clock, submit=self.loop.submit, archive_driver=self.outside,
            provider=cast(Any, self.outside), **cast("dict[str, Any]", dict.fromkeys(NOT_NEEDED)), **self.parts,
        )  # fmt: skip
        self.effects = EffectRunner(
            {each.effect: each for each in bind(self.hands)}, self.clock, SimRandom(7), self.loop.submit
        )
        self.loop.effects = self.effects
        self.watch = Dependencies(self.hands, self.loop.propose)
        self.tasks = [asyncio.create_task(self.loop.run()), asyncio.create_task(self.watch.run())]
        await self.loop.propose(lambda world: declare(world, "object_store", "eu-1"))
        shape = Shape("archive", {"store": self.shard.world.named("dependency", STORE).id}, {})
        await self.loop.propose(lambda world: [Cohort(self.count, (shape,))])

    @property
    def world(self) -> World:
        return self.shard.world

    @property
    def state(self) -> str:
        return self.world.named("dependency", STORE).state

    def archives(self, *states: str) -> int:
        return self.world.count("archive", *states)

    async def until(self, ready: Callable[[], bool], seconds: float) -> None:
        end = self.clock.monotonic() + seconds
        while not ready():
            assert self.clock.monotonic() < end, (self.state, self.archives("uncertain"), self.archives("restart"))
            await self.clock.sleep(0.1)

    def stall(self) -> None:
        """The store is away: no agent gets rid of its log."""
        self.outside.up = False
        self.loop.submit(Bulk("archive", "stalled", self.world.ids("archive")))

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.effects.close()


NOT_NEEDED = (
    "board", "wire", "probe", "mint_join", "nats_url", "engine_user", "agent_settings", "probe_timeout_s",
    "lease_s", "sure",
)  # fmt: skip


def played(plane: Plane, scene: Callable[[], Awaitable[None]]) -> Plane:
    async def main() -> None:
        await plane.open()
        try:
            await scene()
        finally:
            await plane.close()

    run(main)
    return plane


def test_an_outage_of_a_store_from_the_first_symptom_to_the_last_archive():
    plane = Plane(archives=3000)

    async def scene() -> None:
        plane.stall()
        await plane.until(lambda: plane.state == "uncertain", 10)
        await plane.until(lambda: plane.state == "unavailable", 60)
        await plane.clock.sleep(1800)
        assert plane.archives("uncertain") == 3000, "buffered, and nothing is tried while it is down"
        assert plane.outside.taken == []
        pages = [page for page in plane.world.of_kind("page") if page.state == "open"]
        assert [(page.data["reason"], page.data["times"]) for page in pages] == [("dependency_down", 1)], "one page"
        plane.outside.up = True
        await plane.until(lambda: plane.state == "restart", 60)
        began = plane.clock.monotonic()
        await plane.until(lambda: plane.archives("available") == 3000, 60)
        assert plane.clock.monotonic() - began >= 3000 / 400, "no faster than the set rate"
        await plane.until(lambda: plane.state == "available", 30)
        await plane.until(lambda: not plane.world.open_pages(plane.world.named("dependency", STORE).id), 30)

    plane = played(plane, scene)
    first, last = plane.outside.taken[0][0], plane.outside.taken[-1][0]
    early = sum(count for at, count in plane.outside.taken if at < first + 0.9)
    assert early == 50, "slowly at first"
    assert last - first < 30


def test_a_successor_drains_the_rest():
    plane = Plane(archives=2000)

    async def scene() -> None:
        plane.stall()
        await plane.until(lambda: plane.state == "unavailable", 60)
        plane.outside.up = True
        await plane.until(lambda: 200 < plane.archives("available") < 1500, 60)
        await plane.effects.close()  # every effect ends in the middle, as with its process
        await plane.clock.sleep(30)
        stuck = plane.archives("available")
        assert stuck < 2000
        plane.effects = EffectRunner(
            {each.effect: each for each in bind(plane.hands)}, plane.clock, SimRandom(8), plane.loop.submit
        )
        plane.loop.effects = plane.effects
        plane.effects.start(plane.world)
        await plane.until(lambda: plane.archives("available") == 2000 and plane.state == "available", 60)

    played(plane, scene)


def test_a_store_that_answers_and_takes_nothing_is_taken_for_down_again():
    plane = Plane(archives=500)

    async def scene() -> None:
        plane.stall()
        await plane.until(lambda: plane.state == "unavailable", 60)
        plane.outside.up, plane.outside.takes = True, False
        await plane.until(lambda: plane.state == "restart", 60)
        plane.outside.up = False
        await plane.until(lambda: plane.state == "unavailable", 90)
        await plane.until(lambda: plane.archives("uncertain") == 500, 60)

    played(plane, scene)


def test_one_archive_alone_is_not_its_stores_fault_and_is_drained_again():
    plane = Plane(archives=500)

    async def scene() -> None:
        plane.loop.submit(Bulk("archive", "stalled", plane.world.ids("archive")[:2]))
        await plane.until(lambda: plane.archives("uncertain") == 2, 5)
        await plane.clock.sleep(50)
        assert (plane.state, plane.archives("uncertain")) == ("available", 2)
        await plane.until(lambda: plane.archives("available") == 500, 30)
        assert plane.state == "available"

    played(plane, scene)


def test_without_a_probe_its_archives_say_how_it_is():
    plane = Plane(archives=100, dependency_probes={})

    async def scene() -> None:
        plane.stall()
        await plane.until(lambda: plane.state == "unavailable", 60)
        await plane.clock.sleep(600)
        assert plane.state == "unavailable"
        plane.loop.submit(Bulk("archive", "drained", plane.world.ids("archive")[:90]))  # agents tried by themselves
        await plane.until(lambda: plane.state == "available", 120)
        assert plane.archives("available") == 100

    played(plane, scene)


def test_the_provider_is_a_dependency_from_the_first_moment():
    plane = Plane(1)

    async def scene() -> None:
        await plane.until(lambda: plane.world.named("dependency", "provider:here") is not None, 1)
        await plane.clock.sleep(30)
        assert len(plane.world.ids("dependency")) == 2, "and it is one only"

    played(plane, scene)


def test_a_person_knows_more():
    plane = Plane(archives=10)

    async def scene() -> None:
        await plane.loop.propose(lambda world: say(world, STORE, "declared_down", "ann"))
        assert plane.state == "unavailable"
        with pytest.raises(Conflict):
            await plane.loop.propose(lambda world: say(world, STORE, "declared_down", "ann"))
        await plane.loop.propose(lambda world: say(world, STORE, "declared_well", "ann"))
        await plane.until(lambda: plane.state == "available", 10)
        with pytest.raises(NotFound, match="no dependency 'moon'"):
            say(plane.world, "moon", "declared_well", "ann")
        with pytest.raises(InvalidInput):
            say(plane.world, STORE, "declared_sad", "ann")

    played(plane, scene)


# ---- pure parts


def test_a_dependency_is_declared_once():
    world = sample.well()
    (made,) = declare(world, "pager", "", "ann")
    assert made.facts == {"name": "pager:all", "what": "pager", "scope": ""}
    sample.put(world, world.next_id, "dependency", "available", **made.facts)
    assert declare(world, "pager", "", "ann") == []
    assert name_of("object_store", "eu-1") == STORE
    with pytest.raises(InvalidInput):
        declare(world, "weather", "", "ann")


@pytest.mark.parametrize(
    ("well", "failed", "failing"),
    [(0, 0, False), (0, 4, False), (0, 5, True), (5, 5, True), (6, 5, False), (900, 100, False)],
)
def test_a_few_failures_are_for_retries_and_many_are_an_outage(well: int, failed: int, failing: bool):
    assert are_failing(Calls(well, failed)) is failing


def test_nothing_called_says_nothing():
    assert calls_symptom(Calls()).failing is None
    assert stalled_together(0, 0).failing is None


@pytest.mark.parametrize(
    ("stalled", "archives", "together"), [(1, 1, False), (2, 2, False), (3, 3, True), (19, 100, False), (20, 100, True)]
)
def test_archives_that_stall_together_are_their_stores_fault(stalled: int, archives: int, together: bool):
    assert stalled_together(stalled, archives).failing is together


def test_calls_are_forgotten_after_half_a_minute():
    tally = Tally()
    for second in range(10):
        tally.count("p", second, well=False)
        tally.count("p", second + 0.5, well=True)
    assert tally.within("p", 9.9) == Calls(10, 10)
    assert tally.within("p", WINDOW_S + 4.5) == Calls(5, 5)
    assert tally.within("p", 1000.0) == Calls()
    assert tally.within("q", 9.9) == Calls()


async def test_a_refusal_is_an_answer_and_no_answer_is_a_failure():
    class Provider(Outside):
        async def alive(self, server: str) -> bool:
            if server == "lost":
                raise Unreachable("no answer")
            return True

    tally = Tally()
    counted = Counted(cast(Any, Provider(SimClock())), tally, lambda: 5.0)
    await counted.ground()
    assert await counted.alive("srv-1")
    with pytest.raises(Unreachable):
        await counted.alive("lost")
    assert tally.within("provider:here", 5.0) == Calls(1, 1)


def test_archives_drain_by_plan_and_then_by_age():
    world = World()
    for number, rank in enumerate((2, 0, 1, 0), 1):
        sample.put(world, number, "archive", "uncertain")
        world.columns.priority[number] = rank
    sample.put(world, 9, "dependency", "available", what="object_store")
    line = Line(9)
    assert line.next(world, 0).tolist() == []
    assert line.next(world, 1).tolist() == [2]
    assert line.next(world, 2).tolist() == [4, 3]
    assert line.next(world, 5).tolist() == [1]
    assert line.next(world, 5).tolist() == [2, 4, 3, 1]  # nobody let them begin: the line forms anew


def test_a_line_passes_over_those_that_wait_no_more():
    world = World()
    for number in (1, 2, 3):
        sample.put(world, number, "archive", "uncertain")
    sample.put(world, 9, "dependency", "available", what="object_store")
    line = Line(9)
    assert line.next(world, 1).tolist() == [1]
    sample.change(world, 2, state="available")
    assert line.next(world, 1).tolist() == [3]
    sample.change(world, 3, state="restart")
    assert line.next(world, 9).tolist() == [1]


def test_one_that_was_not_begun_yet_has_neither_come_through_nor_failed():
    world = World()
    for number in (1, 2, 3):
        sample.put(world, number, "archive", "uncertain")
    seen = UnderWay.of(world, world.ids("archive"))
    sample.change(world, 2, entered=9)
    sample.change(world, 3, state="available", entered=9)
    sent, failed, left = seen.ended(world)
    assert (sent, failed, left.tolist()) == (1, 1, [1])


def test_a_line_that_is_all_out_of_date_forms_anew():
    world = World()
    for number in range(1, 2001):
        sample.put(world, number, "archive", "uncertain")
    sample.put(world, 3000, "dependency", "available", what="object_store")
    line = Line(3000)
    assert line.next(world, 1).tolist() == [1]
    for number in range(1, 2000):
        sample.change(world, number, state="available")
    assert line.next(world, 1).tolist() == [2000]  # 1,998 of them are passed over, one by one


def test_a_provider_that_is_back_gets_its_rate_back_step_by_step():
    buckets = Buckets({"provider:eu": Rate(64.0, 64.0)})
    plane = Plane(1, buckets=buckets, tally=Tally(), dependency_probes={})
    seen: list[float] = []

    async def scene() -> None:
        await plane.loop.propose(lambda world: declare(world, "provider", "eu"))
        await plane.loop.propose(lambda world: say(world, "provider:eu", "declared_down", "ann"))
        await plane.clock.sleep(1)
        assert buckets.rate("provider:eu") == Rate(0.0), "nothing is called through it while it is down"
        assert buckets.rate("provider:") == Rate(0.0)
        await plane.loop.propose(lambda world: say(world, "provider:eu", "declared_well", "ann"))
        await plane.clock.sleep(0.5)
        assert buckets.rate("provider:") is None, "no limit was set by anybody else"
        provider = plane.world.named("dependency", "provider:eu").id
        while plane.world.get(provider).state != "available":
            await plane.clock.sleep(0.5)
            rate = buckets.rate("provider:eu")
            assert rate is not None
            seen.append(rate.per_s)

    played(plane, scene)
    assert sorted(seen) == seen
    assert (seen[0] <= 4.0, seen[-1]) == (True, 64.0)
