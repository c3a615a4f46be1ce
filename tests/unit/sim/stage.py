"""A fleet with one service of each plan, the world that tests break it in, and how a story of it is played."""

import asyncio

from herder.sim.clock import SimRandom, pass_time, run
from herder.sim.faults import Faults
from herder.sim.seeds.wellness import ill
from herder.sim.world import World

PLANS = {"gold": "premium", "silver": "standard", "bronze": "dev"}


class Fleet:
    """One service of each plan, and what tests ask of them."""

    def __init__(self, seed, **tuned):
        self.seed, self.tuned = seed, tuned

    async def open(self):
        self.world = World(self.seed)
        self.faults = Faults(self.world, SimRandom(self.seed, "faults"))
        self.controller = await self.world.controller(**self.tuned)
        for name, plan in PLANS.items():
            await self.plane.control.create_service(engine="postgres", name=name, plan=plan)
        for name in PLANS:
            await self.well(name, 60)
        await pass_time(5)
        return self

    @property
    def plane(self):
        return self.world.active.plane

    @property
    def committed(self):
        return self.plane.loop.world

    async def well(self, name, within_s):
        await self.plane.control.wait(name, "available", within_s)

    async def until(self, ready, within_s):
        async with asyncio.timeout(within_s):
            while not ready():
                await pass_time(0.1)

    async def all_well(self, within_s):
        await self.until(lambda: self.world.active and not ill(self.committed), within_s)

    def state(self, name):
        return self.committed.named("service", name).state

    def primary(self, name):
        return self.committed.get(self.committed.named("service", name).data["primary"])

    def host(self, name):
        primary = self.primary(name)
        return self.world.host(self.committed.get(primary.data["server"]).name)

    def lost(self, name):
        cluster = self.world.cluster(name)
        engine = cluster.engines[self.primary(name).name]
        return cluster.confirmed.lost(engine.branch, engine.lsn)

    def doubled(self, name):
        self.world.reckon()
        return self.world.cluster(name).tally.doubled

    def paged(self, reason):
        return [
            page for page in self.committed.of_kind("page") if page.state == "open" and page.data["reason"] == reason
        ]

    def done(self, kind):
        return sum(machine.state == "done" for machine in self.committed.of_kind(kind))


def story(play, seed=1, **tuned):
    """Play it in a fleet that is well; returns what the play returns."""

    async def main():
        fleet = await Fleet(seed, **tuned).open()
        result = await play(fleet)
        await fleet.world.close()
        return result

    return run(main)


def standbys(fleet, name):
    service = fleet.committed.named("service", name)
    members = [fleet.committed.get(ident) for ident in service.data["members"] if ident != service.data["primary"]]
    return [fleet.world.host(fleet.committed.get(member.data["server"]).name) for member in members]
