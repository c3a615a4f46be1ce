"""The operations that the API offers. Each is a proposal to the engine or a view of what is committed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from herder.engine.loop import Loop
from herder.engine.world import Machine
from herder.fleet import commands, dependencies, exercise, playbooks, recovery_views, rollout, storm_views, views
from herder.fleet.exercises import Exercises
from herder.fleet.explain import explain
from herder.fleet.rollouts import Rollouts
from herder.fleet.storm import Storm
from herder.fleet.watch import Watch
from herder.model.errors import InvalidInput, TimedOut
from herder.model.names import service_name
from herder.model.plans import engine_named, plan_named
from herder.model.states import UnitState
from herder.model.windows import parse_length
from herder.ports.clock import Clock, Random
from herder.ports.store import Store
from herder.pulse.board import Board


@dataclass(frozen=True, slots=True)
class Control:
    """One control plane as its API sees it. settings: (name, value, source), secrets masked."""

    loop: Loop
    board: Board
    store: Store
    watch: Watch
    clock: Clock
    chance: Random
    subnet_prefix: str
    on_isolation: str
    settings: list[dict[str, Any]]
    exercises: Exercises
    storm_watch: Storm
    rollouts: Rollouts

    async def create_service(
        self, *, engine: str, name: str, plan: str, major: int = 0, key: str = "", actor: str = "person"
    ) -> dict[str, Any]:
        """Begin to make it; the same key again gives the same service."""
        if major not in (0, 17, 18):
            raise InvalidInput(f"PostgreSQL {major} is not supported", "choose 17 or 18")
        if key:
            known = self.loop.world.named("service", name)
            if known is not None and known.data.get("key") == key and known.state not in views.GONE:
                return self._view(known)
        secrets = (self.chance.token(18), self.chance.token(18), self.chance.token(18))
        wish = commands.Wish(
            service_name(name), engine_named(engine), plan_named(plan), major, secrets, self.subnet_prefix,
            self.on_isolation, key, actor,
        )  # fmt: skip
        await self.loop.propose(lambda world: commands.create_service(world, wish))
        return await self.show(name)

    async def destroy_service(self, name: str, consent: str, actor: str = "person") -> dict[str, Any]:
        """With its name typed."""
        service = commands.find_service(self.loop.world, name)
        await self.loop.propose(lambda world: commands.destroy_service(world, name, consent, actor))
        return self._view(service)

    async def switchover(self, name: str, *, to: str = "", actor: str = "person") -> dict[str, Any]:
        """Begin a planned move."""
        await self.loop.propose(lambda world: commands.switch_over(world, name, to, actor))
        return await self.show(name)

    async def restart(self, name: str, actor: str = "person") -> dict[str, Any]:
        """Begin a restart of the primary in place."""
        await self.loop.propose(lambda world: commands.restart_service(world, name, actor))
        return await self.show(name)

    async def allow_failover(self, name: str, actor: str = "person") -> dict[str, Any]:
        """Give the failover budget back."""
        await self.loop.propose(lambda world: commands.allow_failover(world, name, actor))
        return await self.show(name)

    async def exercise(self, limit: int = 50) -> dict[str, Any]:
        """Who takes part in exercises, when each is due, how the last one ended."""
        return self.exercises.view(limit)

    async def exercise_on(
        self, name: str, *, every: str = "", window: str = "", how: str = "", actor: str = "person"
    ) -> dict[str, Any]:
        """From now on; empty: as its plan would."""
        now_ms = self.clock.now_ms()
        await self.loop.propose(lambda world: exercise.take_part(world, name, every, window, how, actor, now_ms))
        return self._exercised(name)

    async def exercise_off(self, name: str, actor: str = "person") -> dict[str, Any]:
        """No more."""
        await self.loop.propose(lambda world: exercise.take_no_part(world, name, actor))
        return self._exercised(name)

    async def exercise_now(self, name: str, *, how: str = "", actor: str = "person") -> dict[str, Any]:
        """Begin one now, also outside of its window and while its plan's exercises are stopped."""
        now_ms = self.clock.now_ms()
        chosen = exercise.how_of(commands.find_service(self.loop.world, name), how, self.exercises.rules.plans)
        why = f"asked for by {actor}"
        await self.loop.propose(
            lambda world: exercise.begin(world, name, chosen, why, now_ms, self.exercises.readings, actor)
        )
        return self._exercised(name)

    def _exercised(self, name: str) -> dict[str, Any]:
        return self.exercises.view_of(commands.find_service(self.loop.world, name))

    async def playbooks(self, days: float = 30.0) -> dict[str, Any]:
        """How often each ran in the last `days`, how it ended and how long it took; exercises apart."""
        since_ms = self.clock.now_ms() - int(days * 86_400_000)
        return playbooks.view(await self.store.playbook_runs(since_ms), since_ms, days)

    async def services(self) -> list[dict[str, Any]]:
        """All that are not gone."""
        return [
            self._view(service) for service in self.loop.world.of_kind("service") if service.state not in views.GONE
        ]

    async def show(self, name: str) -> dict[str, Any]:
        """One service; also one that rests in the trash, whose state says so."""
        return self._view(self._known(name))

    def _view(self, service: Machine) -> dict[str, Any]:
        return views.service_view(self.loop.world, self.board, service)

    async def servers(self) -> list[dict[str, Any]]:
        """All servers that are not gone."""
        return [views.server_view(self.board, server) for server in self._servers()]

    async def agents(self) -> list[dict[str, Any]]:
        """Their agents, as heard."""
        now = self.clock.monotonic()
        return [views.agent_view(self.board, server, now) for server in self._servers()]

    def _servers(self) -> list[Machine]:
        return [server for server in self.loop.world.of_kind("server") if server.state not in views.GONE]

    async def status(self) -> dict[str, Any]:
        """What is not well."""
        us = "our own pulse does not come back: nobody is judged" if self.watch.deaf else ""
        us = us or self.storm_watch.says
        if self.loop.frozen:
            us = f"frozen: {self.loop.frozen}"
        if self.loop.store_down_since is not None:
            us = "the store does not answer: nothing is decided, data services keep serving"
        found = views.status_view(self.loop.world, self.board, self.loop.facts(), us)
        return found | {"dependencies": recovery_views.not_well(self.loop.world)}

    async def events(self, name: str = "", limit: int = 200) -> list[dict[str, Any]]:
        """The log in words; name '' = everything."""
        if name:
            self._known(name)
        rows = await self.store.history(service=name, limit=limit)
        fields = ("at_ms", "seq", "kind", "name", "source", "event", "target", "why", "actor")
        return [{field: getattr(row, field) for field in fields} for row in rows]

    def _known(self, name: str) -> Machine:
        """Also one that is gone: its history stays."""
        return self.loop.world.named("service", name) or commands.find_service(self.loop.world, name)

    async def explain(self, name: str) -> dict[str, Any]:
        """Why is it as it is?"""
        service = self._known(name)
        return explain(self.loop.world, service, await self.store.history(service=name, limit=400))

    async def pages(self) -> list[dict[str, Any]]:
        """All pages, open ones last."""
        world = self.loop.world
        return [views.page_view(world, page) for page in world.of_kind("page")]

    async def recovery(self) -> dict[str, Any]:
        """Incidents in recovery with their forecast, dependencies, and what is parked for which reason."""
        return recovery_views.recovery_view(self.loop.world, self.clock.now_ms())

    async def storm(self) -> dict[str, Any]:
        """What falls where, the verdict, incidents with their evidence, freezes and budgets."""
        return storm_views.storm_view(self.storm_watch, self.loop.world, self.clock.monotonic(), self.clock.now_ms())

    async def freeze_scope(self, scope: str, why: str, actor: str = "person") -> dict[str, Any]:
        """No remedy begins there."""
        await self.loop.propose(lambda world: storm_views.freeze_scope(world, scope, why, actor))
        return await self.storm()

    async def release_scope(self, scope: str, actor: str = "person") -> dict[str, Any]:
        """Remedies may begin there again."""
        await self.loop.propose(lambda world: storm_views.release_scope(world, scope, actor))
        return await self.storm()

    async def order_recovery(self, incident: str, order: str, actor: str = "person") -> dict[str, Any]:
        """Pause, resume or abort it."""
        await self.loop.propose(lambda world: recovery_views.give_order(world, incident, order, actor))
        return await self.recovery()

    async def rollout(self) -> dict[str, Any]:
        """Rolling reboots: how far each is, what keeps it, when it will be over."""
        return rollout.rollouts_view(self.loop.world, self.clock.now_ms())

    async def rollout_reboot(
        self, *, scope: str, image: str = "", until: str = "", why: str = "", actor: str = "person"
    ) -> dict[str, Any]:
        """Begin one. until: '6h', the length of its window of time."""
        await self.rollouts.order(scope, image, self._until_ms(until), why, actor)
        return await self.rollout()

    async def order_rollout(self, name: str, order: str, *, until: str = "", actor: str = "person") -> dict[str, Any]:
        """Pause, resume or abort it."""
        until_ms = self._until_ms(until)
        await self.loop.propose(lambda world: rollout.give_order(world, name, order, until_ms, actor))
        return await self.rollout()

    def _until_ms(self, until: str) -> int:
        return self.clock.now_ms() + parse_length(until) * 1000 if until else 0

    async def projection(self, *, ended: bool = False) -> dict[str, Any]:
        """How far the rows that people query are behind the log."""
        if ended:
            await self.loop.shard.follower.rebuilt()
        return self.loop.shard.follower.facts()

    async def rebuild_projection(self) -> dict[str, Any]:
        """Begin to derive them anew."""
        self.loop.shard.follower.begin_rebuild()
        return await self.projection()

    async def dependencies(self) -> list[dict[str, Any]]:
        """What the fleet depends on."""
        return recovery_views.dependencies_view(self.loop.world)

    async def say_of_dependency(self, name: str, word: str, actor: str = "person") -> list[dict[str, Any]]:
        """A person knows that it is 'down' or 'well'."""
        await self.loop.propose(lambda world: dependencies.say(world, name, f"declared_{word}", actor))
        return await self.dependencies()

    async def config(self) -> list[dict[str, Any]]:
        """What is in force and where it came from."""
        return self.settings

    async def wait(self, name: str, state: str, timeout_s: float) -> dict[str, Any]:
        """Until the service is in `state`; TimedOut otherwise (it may still happen)."""
        if state not in set(UnitState):
            raise InvalidInput(f"there is no state '{state}'", f"choose one of: {', '.join(UnitState)}")
        service = self._known(name)
        changed = asyncio.Event()
        stop = self.loop.watch(lambda _: changed.set())
        try:
            async with asyncio.timeout(timeout_s):
                while self.loop.world.get(service.id).state != state:
                    changed.clear()
                    await changed.wait()
        except TimeoutError:
            now = self.loop.world.get(service.id).state
            raise TimedOut(
                f"'{name}' is {now} after {timeout_s:.0f} s, not {state}", f"herder explain {name}"
            ) from None
        finally:
            stop()
        return self._view(self.loop.world.get(service.id))

    async def watch_url(self, name: str) -> AsyncIterator[dict[str, Any]]:
        """The URL now and whenever its primary changes."""
        service = commands.find_service(self.loop.world, name)
        changed = asyncio.Event()
        stop = self.loop.watch(lambda _: changed.set())
        last = 0
        try:
            while service.state not in views.GONE:
                service = self.loop.world.get(service.id)
                if service.data["primary"] != last:
                    last = service.data["primary"]
                    view = self._view(service)
                    primary = self.loop.world.get(last).name
                    yield {
                        "url": view["url"],
                        "read_url": view["read_url"],
                        "primary": primary,
                        "at_ms": self.clock.now_ms(),
                    }
                changed.clear()
                await changed.wait()
        finally:
            stop()
