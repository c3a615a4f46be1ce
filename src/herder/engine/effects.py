"""Effects: the work that a state declares. At-least-once and idempotent; the outcome is the next event.

A handler is found by the effect's name. Loading fails unless every effect of every table has exactly one handler and the
handler's outcome type is the declared set, so that an outcome nobody handles is a crash at load, not a string at run time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from herder.engine.decide import Input
from herder.engine.world import Machine, World
from herder.machines.table import Table
from herder.model.errors import HerderError
from herder.ports.clock import Clock, Random

log = logging.getLogger("herder.effects")

BACKOFF_FIRST_S = 0.1
BACKOFF_LAST_S = 3.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an effect ended: one of its declared outcomes, the facts that the machine learns, and the sentence for people."""

    event: StrEnum
    facts: dict[str, Any] = field(default_factory=dict)
    why: str = ""


Handler = Callable[[Machine], Awaitable[Outcome]]
"""Gets a copy of the machine as it entered the state."""


@dataclass(frozen=True, slots=True)
class Registered:
    """A handler with the type of its outcomes."""

    effect: str
    outcomes: type[StrEnum]
    run: Handler


def check_handlers(tables: Iterable[Table], handlers: Iterable[Registered]) -> dict[str, Registered]:
    """Every effect exactly one handler, outcome types equal to the declared sets; else ValueError that names each fault."""
    found: dict[str, Registered] = {}
    faults: list[str] = []
    for handler in handlers:
        if handler.effect in found:
            faults.append(f"effect '{handler.effect}' has two handlers")
        found[handler.effect] = handler
    declared = {
        state.effect.name: set(state.effect.outcomes) for table in tables for state in table.states if state.effect
    }
    for effect, outcomes in declared.items():
        if effect not in found:
            faults.append(f"effect '{effect}' has no handler")
        elif {str(outcome) for outcome in found[effect].outcomes} != outcomes:
            faults.append(
                f"effect '{effect}' declares {sorted(outcomes)}, its handler gives {sorted(map(str, found[effect].outcomes))}"
            )
    faults.extend(f"handler '{effect}' belongs to no effect" for effect in found if effect not in declared)
    if faults:
        raise ValueError("; ".join(faults))
    return found


class EffectRunner:
    """Runs what is due: one task a machine, keyed by the version at which it entered its state."""

    def __init__(
        self, handlers: dict[str, Registered], clock: Clock, chance: Random, submit: Callable[[Input], None]
    ) -> None:
        self._handlers = handlers
        self._clock = clock
        self._chance = chance
        self._submit = submit
        self._running: dict[int, tuple[int, asyncio.Task[None]]] = {}
        self.failures: dict[str, int] = {}

    def follow(self, world: World, moved: Iterable[int]) -> None:
        """Start what the new states declare; cancel what belonged to states that were left."""
        for ident in moved:
            machine = world.get(ident)
            running = self._running.get(ident)
            if running is not None and running[0] == machine.entered:
                continue
            if running is not None:
                running[1].cancel()
                del self._running[ident]
            if machine.at.effect is not None:
                task = asyncio.create_task(self._run(machine.copy()), name=f"{machine.at.effect.name} {machine.name}")
                self._running[ident] = (machine.entered, task)

    def busy(self) -> list[str]:
        """Names of the effects under way."""
        return sorted(task.get_name() for _, task in self._running.values() if not task.done())

    async def _run(self, machine: Machine) -> None:
        """Until it has an outcome: an operating error is tried again with full jitter; the state's deadline ends that."""
        effect = machine.at.effect
        if effect is None:
            return
        handler = self._handlers[effect.name]
        backoff = BACKOFF_FIRST_S
        outcome: Outcome | None = None
        while outcome is None:
            try:
                outcome = await handler.run(machine)
                break
            except HerderError as error:
                log.warning("%s of %s: %s", effect.name, machine.name, error.message)
                self.failures[effect.name] = self.failures.get(effect.name, 0) + 1
            except Exception:
                log.exception("%s of %s crashed", effect.name, machine.name)
                self.failures[effect.name] = self.failures.get(effect.name, 0) + 1
                backoff = BACKOFF_LAST_S
            await self._clock.sleep(backoff / 2 + self._chance.jitter(backoff / 2))
            backoff = min(backoff * 2, BACKOFF_LAST_S)
        self._submit(
            Input(
                machine.id,
                str(outcome.event),
                outcome.facts,
                why=outcome.why,
                entered=machine.entered,
                actor=effect.name,
            )
        )

    async def close(self) -> None:
        """Cancel everything; whatever it was doing is due again at the next start."""
        tasks = [task for _, task in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._running.clear()
