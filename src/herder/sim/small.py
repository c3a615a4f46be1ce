"""A whole small fleet in virtual time: services provisioned by herder itself, hours of faults, then the world heals.

What is demanded at the end: every service is well or a person was called, no acknowledged write of a sync plan is lost,
no two engines of a sync plan ever confirmed writes at one time.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from herder.engine.world import World as Committed
from herder.machines.registry import PLAYBOOKS
from herder.model.errors import HerderError
from herder.model.plans import PLANS
from herder.sim.clock import SimRandom, run
from herder.sim.controller import Controller
from herder.sim.faults import Faults, Rates
from herder.sim.world import World

MIX = ("premium", "standard", "dev")
PROVISION_S = 300.0
HEALED_S = 1200.0
SETTLED_S = 60.0


@dataclass(slots=True)
class Result:
    """What came of a seed. lost: confirmed bytes that did not survive, by plan; doubled_s: seconds in which two engines
    of one service confirmed writes, by plan; unwell: what is neither well nor paged; wrong: broken invariants in words.
    """

    seed: int
    trace_hash: str = ""
    records: int = 0
    completions: dict[str, int] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    doubled_s: dict[str, float] = field(default_factory=dict)
    confirmed: int = 0
    down_s: dict[str, float] = field(default_factory=dict)
    pages: dict[str, int] = field(default_factory=dict)
    unwell: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    virtual_s: float = 0.0
    wall_s: float = 0.0
    trace: list[tuple[float, str]] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Nothing is wrong and nothing was left unwell."""
        return not self.wrong and not self.unwell


def run_small(
    seed: int,
    services: int = 3,
    hours: float = 0.5,
    rates: Rates | None = None,
    *,
    controllers: int = 1,
    can_fence: bool = True,
    **tuned: Any,
) -> Result:
    """Run one seed to its end. tuned: fields of Parts (lease_s, failovers_per_hour, on_isolation ...)."""
    began = time.perf_counter()
    result = Result(seed)

    async def main() -> None:
        small = _Small(seed, services, controllers, tuned, result)
        small.world.mood.can_fence = can_fence
        await small.run(hours, rates if rates is not None else Rates())

    run(main)
    result.wall_s = time.perf_counter() - began
    return result


class _Small:
    def __init__(self, seed: int, services: int, controllers: int, tuned: dict[str, Any], result: Result) -> None:
        self.world = World(seed)
        self.faults = Faults(self.world, SimRandom(seed, "faults"))
        self.names = [f"{MIX[number % len(MIX)]}-{number}" for number in range(services)]
        self.plans = {name: name.partition("-")[0] for name in self.names}
        self.controllers = controllers
        self.tuned = tuned
        self.result = result

    async def run(self, hours: float, rates: Rates) -> None:
        for number in range(self.controllers):
            self.world.add_controller(f"controller-{'abc'[number]}", **self.tuned)
        await self._provision()
        await self.faults.storm(rates, hours * 3600)
        self.faults.heal()
        await self._until_well()
        await asyncio.sleep(SETTLED_S)
        self._judge(await self._controller())
        await self.world.close()

    async def _controller(self) -> Controller:
        while (active := self.world.active) is None or active.plane is None:  # noqa: ASYNC110  virtual time
            await asyncio.sleep(0.1)
        return active

    async def _provision(self) -> None:
        plane = (await self._controller()).plane
        assert plane is not None
        for name in self.names:
            await plane.control.create_service(engine="postgres", name=name, plan=self.plans[name])
        try:
            await asyncio.gather(*(plane.control.wait(name, "available", PROVISION_S) for name in self.names))
        except HerderError as error:
            self.result.wrong.append(f"provisioning in a fair world: {error}")

    async def _until_well(self) -> None:
        end = self.world.now + HEALED_S
        while self.world.now < end:
            plane = (await self._controller()).plane
            if plane is not None and not unwell(plane.loop.world, paged_is_well=False):
                return
            await asyncio.sleep(1.0)

    def _judge(self, controller: Controller) -> None:
        plane, result, world = controller.plane, self.result, self.world
        assert plane is not None
        committed = plane.loop.world
        world.reckon()
        result.trace_hash = trace_hash(plane)
        result.records = committed.seq
        result.virtual_s = world.now
        for kind in PLAYBOOKS:
            ended = Counter(f"{kind}.{m.state}" for m in committed.of_kind(kind))
            result.completions.update(ended)
        result.faults = dict(sorted(self.faults.done.items()))
        result.trace = self.faults.trace
        result.pages = dict(Counter(f"{p.data['reason']}.{p.state}" for p in committed.of_kind("page")))
        result.unwell = unwell(committed, paged_is_well=True)
        result.wrong.extend(world.bugs)
        for name in self.names:
            self._judge_service(committed, name)

    def _judge_service(self, committed: Committed, name: str) -> None:
        result, plan, cluster = self.result, self.plans[name], self.world.cluster(name)
        service = committed.named("service", name)
        assert service is not None
        primary = cluster.engines.get(committed.get(service.data["primary"]).name)
        lost = cluster.confirmed.lost(primary.branch, primary.lsn) if primary is not None and primary.branch else 0
        tally = cluster.tally
        result.confirmed += cluster.confirmed.bytes
        result.lost[plan] = result.lost.get(plan, 0) + lost
        result.doubled_s[plan] = result.doubled_s.get(plan, 0.0) + tally.doubled_s
        down_s = max(0.0, self.world.now - tally.first_s - tally.confirmed_s) if tally.confirmed_s else self.world.now
        result.down_s[plan] = result.down_s.get(plan, 0.0) + down_s
        if PLANS[plan].sync and (lost or tally.doubled):
            result.wrong.append(f"{name}: {lost} confirmed bytes lost, doubled {tally.doubled[:3]}")
        if plan == "dev" and lost:
            result.wrong.append(f"{name}: {lost} confirmed bytes lost with one member")


def trace_hash(plane: Any) -> str:
    """The hash of the log's last record: it covers everything before it."""
    last = plane.shard._last  # noqa: SLF001  the chain's end
    return str(last.hash.hex()) if last is not None else ""


def unwell(committed: Committed, *, paged_is_well: bool) -> list[str]:
    """Services and members that are not available, unless a person has been called about their service."""
    paged = (
        {page.data["subject"] for page in committed.of_kind("page") if page.state == "open"} if paged_is_well else set()
    )
    found = []
    for kind in ("service", "member", "server"):
        for machine in committed.of_kind(kind):
            service = machine.id if kind == "service" else machine.data.get("service", 0)
            if machine.live and machine.state != "available" and not paged & {service, machine.id}:
                found.append(f"{machine.name} is {machine.state}")
    return found
