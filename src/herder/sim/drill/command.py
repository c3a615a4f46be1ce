"""One drill from its scenario to its result, with the live picture: what the CLI and the benchmark both call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from herder.sim.drill import manual as by_hand
from herder.sim.drill.live import Screen
from herder.sim.drill.result import DrillResult
from herder.sim.drill.run import run_drill
from herder.sim.drill.scenario import Scenario
from herder.sim.drill.stores import STORES
from herder.sim.drill.types import Drill


def run(
    scenario: Scenario, *, seed: int, store: str, manual: str = "", notes: Sequence[str] = (), quiet: bool = False
) -> DrillResult:
    """The day over scenario.fleet.services services. store: a key of STORES; manual: a file, '' = the one that comes along."""
    drill = Drill(
        scenario=scenario, services=scenario.fleet.services, seed=seed, store=STORES[store], store_name=store,
        manual=by_hand.read(manual),
    )  # fmt: skip
    with Screen(scenario, quiet=quiet) as screen:
        result = run_drill(drill, screen.show)
    return replace(result, notes=(*notes, *result.notes))
