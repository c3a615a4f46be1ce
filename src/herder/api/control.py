"""What the API needs of a control plane. `herder.fleet.control.Control` is one; all answers are plain JSON values."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Protocol

Facts = dict[str, Any]


class Control(Protocol):
    """Every method raises `herder.model.errors.HerderError` with a message and a hint."""

    async def create_service(self, *, engine: str, name: str, plan: str, major: int = 0, key: str = "") -> Facts:
        """Ask for a service; returns what `show` returns, before it is made. The same key again returns the same."""

    async def destroy_service(self, name: str, consent: str) -> Facts:
        """Stop it and move its data to the trash. consent must be its name, typed by its owner (S5)."""

    async def switchover(self, name: str, *, to: str = "") -> Facts:
        """Move its primary to another member, as planned."""

    async def restart(self, name: str) -> Facts:
        """Start its engines again on the same data."""

    async def allow_failover(self, name: str) -> Facts:
        """Give a service whose failover budget is used up one more."""

    async def services(self) -> list[Facts]:
        """All services, as `show`."""

    async def show(self, name: str) -> Facts:
        """One service with its members."""

    async def wait(self, name: str, state: str, timeout_s: float) -> Facts:
        """Return `show` once it is in that state. Raises TimedOut."""

    def watch_url(self, name: str) -> AsyncIterator[Facts]:
        """url, read_url, primary, at_ms: at once, and again at each change."""

    async def servers(self) -> list[Facts]:
        """All servers."""

    async def agents(self) -> list[Facts]:
        """All agents with what their last pulse said."""

    async def status(self) -> Facts:
        """What is not well, and the controller itself."""

    async def events(self, name: str = "", limit: int = 200) -> list[Facts]:
        """The newest moves of the log, oldest first; name '' = of everything."""

    async def explain(self, name: str) -> Facts:
        """From the service's state down to the line of the engine's log that caused it."""

    async def pages(self) -> list[Facts]:
        """What a person was told, and whether it is over."""

    async def recovery(self) -> Facts:
        """Incidents in recovery with their forecast, dependencies, and what is parked for which reason."""

    async def order_recovery(self, incident: str, order: str) -> Facts:
        """order: pause, resume or abort. Returns what `recovery` returns."""

    async def storm(self) -> Facts:
        """What falls where, the verdict, incidents with their evidence, freezes and budgets."""

    async def freeze_scope(self, scope: str, why: str) -> Facts:
        """No remedy begins in that scope. Returns what `storm` returns."""

    async def release_scope(self, scope: str) -> Facts:
        """Remedies may begin there again. Returns what `storm` returns."""

    async def rollout(self) -> Facts:
        """rollouts[]: rolling reboots, the newest last: how far each is, what keeps it, when it will be over."""

    async def rollout_reboot(self, *, scope: str, image: str = "", until: str = "", why: str = "") -> Facts:
        """Begin one. Returns what `rollout` returns. Raises Conflict while another is live, Refused without fencing."""

    async def order_rollout(self, name: str, order: str, *, until: str = "") -> Facts:
        """order: pause, resume or abort. Returns what `rollout` returns."""

    async def projection(self, *, ended: bool = False) -> Facts:
        """How far the rows that people query are behind. ended: once no rebuild runs."""

    async def rebuild_projection(self) -> Facts:
        """Begin to derive them anew. Returns what `projection` returns. Raises Conflict while it is under way."""

    async def dependencies(self) -> list[Facts]:
        """What the fleet depends on."""

    async def say_of_dependency(self, name: str, word: str) -> list[Facts]:
        """A person knows that it is 'down' or 'well'. Returns what `dependencies` returns."""

    async def exercise(self, limit: int = 50) -> Facts:
        """taking_part, running, at_once, held, plans[], services[]: the calendar of exercises."""

    async def exercise_on(self, name: str, *, every: str = "", window: str = "", how: str = "") -> Facts:
        """A service takes part; empty: as its plan would. Returns its line of the calendar, as the next two do."""

    async def exercise_off(self, name: str) -> Facts:
        """It takes no part, also when its plan does."""

    async def exercise_now(self, name: str, *, how: str = "") -> Facts:
        """Begin one now. Raises Refused with what keeps it."""

    async def playbooks(self, days: float = 30.0) -> Facts:
        """since_ms, days, playbooks[]: how often each ran, how it ended, how long it took."""

    async def config(self) -> list[Facts]:
        """The settings in force: name, value (secrets masked), source."""
