"""Who owns the fleet of a seed and asks for things meanwhile, and whoever does things to it: both play a list of items."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from herder.fleet.control import Control
from herder.model.errors import HerderError
from herder.sim.clock import SimRandom
from herder.sim.engine import Engine
from herder.sim.faults import Faults
from herder.sim.host import Host
from herder.sim.network import ANY, Weather
from herder.sim.seeds.plan import ORDERS, Item, Made, Plan
from herder.sim.wire import NATS
from herder.sim.world import World

MIDDLE_S = 20.0
"""A remedy that has not begun by then is not waited for."""

DISKS = "the room on the disks of who may follow"

JUMP_MAX_S = 120.0
OUTAGE_LEAST = 5
"""Fewer hosts that fall at once are no mass outage to herder."""

PRIMARY_SHARE = 0.5
"""A fault that goes for a service takes its primary's host this often."""


class Player(Faults):
    """Does the faults of a list. Each draws from a stream of its own."""

    def __init__(self, world: World, plan: Plan) -> None:
        super().__init__(world, SimRandom(plan.seed, "faults"))
        self._plan = plan
        self._aim = -1
        self.jumped_s = 0.0
        self._waiting_for: dict[asyncio.Task[None], None] = {}

    def do(self, item: Item) -> None:
        """One fault, now."""
        self.draw_from(SimRandom(self._plan.seed, f"item/{item.number}"))
        self._aim = item.aim
        getattr(self, item.kind)()

    def clock_jump(self, seconds: float | None = None) -> None:
        """See Faults; how far clocks were set in all is kept, since an hour's budget goes by them."""
        super().clock_jump(seconds)
        self.jumped_s += JUMP_MAX_S

    def corner(self) -> None:
        """The worst for a quorum: a standby misses what the other one confirms, then the primary dies and that other one is
        out of reach. Of a service with one standby: it falls behind, then the primary dies.
        """
        if (chosen := self._falls_behind()) is None:
            return
        leads, behind, others = chosen
        wait_s = self._dies_soon(leads, behind)
        for other in others:
            self._later(wait_s, self.cut, other, NATS, self.lasts(5, 90))
        self._say("corner", f"{behind} misses what {leads.name} writes, which dies in {wait_s:.1f} s")

    def succession(self) -> None:
        """The worst for a voter's pledge: a standby misses what the other one confirms, the primary dies, and that other one as
        soon as it leads: who is left never followed it, and lacks what both had.
        """
        if (chosen := self._falls_behind()) is None:
            return
        leads, behind, others = chosen
        wait_s = self._dies_soon(leads, behind)
        for other in others:
            self.cut(other, behind, self.lasts(20, 120))
        self._later(wait_s, self._wait_for_middle, leads, "who leads then")
        self._say(
            "succession",
            f"{behind} misses what {leads.name} writes, which dies in {wait_s:.1f} s, and so does its heir",
        )

    def attrition(self) -> None:
        """The worst for a strike: a standby misses what the other one confirms, that other one dies and is struck, then the
        primary dies: who is left may be promoted only if it had everything when the log forgot the struck one.
        """
        if (chosen := self._falls_behind()) is None:
            return
        leads, behind, others = chosen
        wait_s = self._dies_soon(leads, behind, 5.0)
        for other in others:
            self._later(self.lasts(0.3, 3), self.kill_host, self.world.host(other))
        self._say(
            "attrition", f"{behind} misses what {leads.name} writes, the other one dies, and it too in {wait_s:.1f} s"
        )

    def _falls_behind(self) -> tuple[Host, str, list[str]] | None:
        """A service's primary's host, the standby's that is to fall behind, the others'."""
        leads = self._leading()
        services = self.world.services_on(leads)
        if not services or not leads.awake:
            return None
        hosts = sorted({engine.host for engine in self.world.cluster(services[0]).engines.values()} - {leads.name})
        if not hosts:
            return None
        behind = self._draw.choice(hosts)
        return leads, behind, [host for host in hosts if host != behind]

    def _dies_soon(self, leads: Host, behind: str, least_s: float = 0.3) -> float:
        """Returns in how many seconds; until then, and a while longer, the other hears nothing of it."""
        self.cut(leads.name, behind, self.lasts(20, 120))
        wait_s = self.lasts(least_s, 15)
        self._later(wait_s, self.kill_host, leads)
        return wait_s

    def interrupt(self) -> None:
        """The primary's host or engine dies, and in the middle of its failover or restart so does the controller, the agent that
        acts, or who leads now; or the disks of those who may follow have no room from then on.
        """
        leads = self._leading()
        if not leads.awake:
            return
        victim = self._draw.choice(("the controller", "the agent that acts", "who leads then", DISKS))
        self._say("interrupt", f"{leads.name} dies, and {victim} in the middle of what follows")
        self._draw.choice((self.kill_host, self.kill_engine))(leads)
        self._wait_for_middle(leads, victim, 0.4 * self._draw.random(), self.lasts(1, 60))

    def _wait_for_middle(self, dead: Host, victim: str, after_s: float = 0.0, down_s: float = 0.0) -> None:
        task = asyncio.get_running_loop().create_task(self._in_the_middle(dead, victim, after_s, down_s))
        self._waiting_for[task] = None
        task.add_done_callback(lambda done: self._waiting_for.pop(done, None))

    async def _in_the_middle(self, dead: Host, victim: str, after_s: float, down_s: float) -> None:
        """Wait until a remedy is under way (only the moment is taken from herder's books), then do it."""
        end = self.world.now + MIDDLE_S
        while not self._remedied():
            if self.world.now > end:
                return
            await asyncio.sleep(0.02)
        if victim == "who leads then":
            while not (heirs := self._heirs(dead)) and self.world.now < end:  # noqa: ASYNC110  virtual time
                await asyncio.sleep(0.01)
            for host in heirs:
                self.kill_host(host)
            return
        if victim == DISKS:  # herder learns of it with the next pulse, when it has chosen
            for host in self._hosts_with(dead):
                if host is not dead:
                    self.fill_disk(host, down_s, how="nearly")
            return
        if victim == "the controller":
            await asyncio.sleep(after_s)
            self.crash_controller(down_s)
            return
        while not (acting := self._acting(dead)) and self.world.now < end:  # noqa: ASYNC110  virtual time
            await asyncio.sleep(0.003)
        for host in acting:
            self.kill_agent(host, down_s)

    def _acting(self, dead: Host) -> list[Host]:
        """Hosts of its services whose agent is at work on an engine."""
        return [host for host in self._hosts_with(dead) if host.agent is not None and host.agent.acts]

    def _hosts_with(self, host: Host) -> list[Host]:
        """Hosts of the services that have an engine on this one."""
        world = self.world
        names = {
            engine.host for service in world.services_on(host) for engine in world.cluster(service).engines.values()
        }
        return [world.host(name) for name in sorted(names)]

    def _heirs(self, dead: Host) -> list[Host]:
        """Who leads now in its place."""
        world = self.world
        engines = [engine for service in world.services_on(dead) for engine in world.cluster(service).engines.values()]
        return [world.host(engine.host) for engine in engines if engine.host != dead.name and engine.leads(world.now)]

    def _remedied(self) -> bool:
        active = self.world.active
        if active is None or active.plane is None:
            return False
        count = active.plane.loop.world.count
        return bool(
            count("failover", "fencing", "leasing", "pledging", "promoting", "repointing")
            or count("restart", "restarting")
        )

    def isolate(self) -> None:
        """The worst for a lease: a primary hears nobody and nobody hears it, but for its clients, for longer than a lease."""
        self.cut(self._leading().name, ANY, self.lasts(5, 90))
        self.done["isolate"] += 1

    def outage(self) -> None:
        """Many hosts at once lose power, are rebooted or are cut off, as when a room of theirs does."""
        hosts = [host for host in self.there() if host.alive]
        if len(hosts) < OUTAGE_LEAST:
            return
        least = max(OUTAGE_LEAST, len(hosts) // 2)
        struck = self._draw.sample(hosts, self._draw.choice((self._draw.randint(least, len(hosts)), len(hosts))))
        how = self._draw.choice(("lose power", "reboot", "are cut off"))
        seconds = self.lasts(5, 180)
        self._say("outage", f"{len(struck)} of {len(hosts)} hosts {how} at once, for {seconds:.1f} s")
        for host in struck:
            if how == "lose power":
                self.kill_host(host)
            elif how == "reboot":
                self.reboot_host(host, seconds)
            else:
                self.cut(host.name, ANY, seconds)

    def lossy_weather(self) -> None:
        """Up to a fifth of all messages is lost, some are late, doubled or overtaken."""
        draw = self._draw.random
        self.world.network.weather = Weather(
            0.001 + 0.02 * draw(), 0.05 * draw(), 0.2 * draw(), 0.05 * draw(), 0.05 * draw()
        )
        seconds = self.lasts(20, 900)
        self._say("lossy_weather", f"{self.world.network.weather} for {seconds:.1f} s")
        self._later(seconds, self.fair_weather)

    def short_freeze(self) -> None:
        """A host stands still for less than anybody wonders about."""
        self.freeze_host(None, self.lasts(0.02, 1.2))

    def short_pause(self) -> None:
        """The controller does."""
        self.freeze_controller(self.lasts(0.02, 1.2))

    def pick(self) -> Host:
        """Of the service that is aimed at, its primary's host half of the time; of nobody's when it has none."""
        if self._aim < 0:
            return self._draw.choice(self.there())
        engines = self._engines()
        leading = {engine.host for engine in engines if engine.leads(self.world.now)}
        wanted = leading if leading and self._draw.random() < PRIMARY_SHARE else {engine.host for engine in engines}
        return self._one_of(wanted)

    def _leading(self) -> Host:
        """A primary's host: of the service that is aimed at, or of any. Some host where nobody leads."""
        return self._one_of({engine.host for engine in self._engines() if engine.leads(self.world.now)})

    def _one_of(self, names: set[str]) -> Host:
        there = self.there()
        return self._draw.choice([host for host in there if host.name in names] or there)

    def _engines(self) -> list[Engine]:
        """Of the service that is aimed at, or of all."""
        clusters = self.world.clusters
        names = list(clusters) if self._aim < 0 else [self._plan.services[self._aim].name]
        return [engine for name in names if name in clusters for engine in clusters[name].engines.values()]


class Person:
    """Gives orders as people do: to whichever controller answers, and without waiting for what comes of them.

    consented: services whose name was typed to have them destroyed. made: all that were ever asked for.
    """

    def __init__(self, world: World, plan: Plan) -> None:
        self.world = world
        self.plan = plan
        self.made: dict[str, Made] = {made.name: made for made in plan.services}
        self.consented: set[str] = set()
        self.allowed: Counter[str] = Counter()  # failovers that were allowed by hand, by service
        self.done: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.trace: list[tuple[float, str]] = []
        self._orders: dict[asyncio.Task[None], None] = {}
        self._draw = SimRandom(plan.seed, "person").draw

    def do(self, item: Item) -> None:
        """One order, now."""
        self._draw = SimRandom(self.plan.seed, f"item/{item.number}").draw
        name = self.plan.services[item.aim].name
        getattr(self, item.kind)(name, item.number)

    def create(self, _: str, number: int) -> None:
        """A service more."""
        like = self._draw.choice(self.plan.services)
        made = Made(f"{like.plan}-{like.engine}-n{number}", like.engine, like.plan)
        self.made[made.name] = made
        self.world.saw("a service was made meanwhile")
        self._ask("create", made.name, lambda c: c.create_service(engine=made.engine, name=made.name, plan=made.plan))

    def switchover(self, name: str, _: int) -> None:
        """Its primary moves."""
        self._ask("switchover", name, lambda control: control.switchover(name))

    def restart(self, name: str, _: int) -> None:
        """Its primary starts anew."""
        self._ask("restart", name, lambda control: control.restart(name))

    def destroy(self, name: str, number: int) -> None:
        """It goes, or one that was made meanwhile does: the first three stay, so that there is something to look at."""
        later = [other for other in self.made if other not in {made.name for made in self.plan.services[:3]}]
        if not later:
            return
        chosen = self._draw.choice(later)
        self.consented.add(chosen)
        self._ask("destroy", chosen, lambda control: control.destroy_service(chosen, chosen))

    def mistype(self, name: str, _: int) -> None:
        """Asked for its name to have it destroyed, somebody types another's: nothing may come of it."""
        other = self._draw.choice([made for made in self.made if made != name] or [f"{name}-2"])
        self._ask("mistype", name, lambda control: control.destroy_service(name, other))

    def exercise(self, name: str, _: int) -> None:
        """It fails over to prove that it can."""
        how = self._draw.choice(("switchover", "failover"))
        self._ask("exercise", name, lambda control: control.exercise_now(name, how=how))

    def rollout(self, name: str, _: int) -> None:
        """Its servers are rebooted in turn, or all of the fleet's."""
        scope = self._draw.choice(("fleet", f"service:{name}"))
        self._ask("rollout", scope, lambda control: control.rollout_reboot(scope=scope))

    def allow_failover(self, name: str, _: int) -> None:
        """Somebody read the page."""
        self.allowed[name] += int(self.plan.tuned.get("failovers_per_hour", 1))
        self._ask("allow_failover", name, lambda control: control.allow_failover(name))

    def _ask(self, kind: str, about: str, order: Callable[[Control], Awaitable[Any]]) -> None:
        task = asyncio.get_running_loop().create_task(self._order(kind, about, order))
        self._orders[task] = None
        task.add_done_callback(lambda done: self._orders.pop(done, None))

    async def _order(self, kind: str, about: str, order: Callable[[Control], Awaitable[Any]]) -> None:
        active = self.world.active
        if active is None or active.plane is None:
            self.refused[kind] += 1
            return
        try:
            await order(active.plane.control)
        except HerderError as error:
            self.refused[kind] += 1
            self.trace.append((self.world.now, f"asked for {kind} of {about}: {error.message}"))
            return
        self.done[kind] += 1
        self.trace.append((self.world.now, f"asked for {kind} of {about}"))

    def clear_up(self) -> None:
        """After the day: rollouts that wait for a person's word are ended, pages of exercises are read."""
        active = self.world.active
        if active is None or active.plane is None:
            return
        committed = active.plane.loop.world
        for rollout in committed.of_kind("rollout"):
            if rollout.state in ("running", "paused"):
                self._ask("abort", rollout.name, lambda c, name=rollout.name: c.order_rollout(name, "abort"))  # type: ignore[misc]
        for incident in committed.of_kind("incident"):
            if incident.state == "paused":
                self._ask("abort", incident.name, lambda c, name=incident.name: c.order_recovery(name, "abort"))  # type: ignore[misc]


async def play(items: Sequence[Item], player: Player, person: Person) -> None:
    """The whole list, each item at its time from now."""
    began = player.world.now
    for item in items:
        wait_s = began + item.at_s - player.world.now
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        (person if item.kind in ORDERS else player).do(item)
