"""How a run ended, as facts in words that two runs are compared by."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from herder.machines.registry import PLAYBOOKS
from herder.model.plans import PLANS
from herder.sim.sweep.points import CONTROLLER, Kill, Point

if TYPE_CHECKING:
    from herder.engine.world import World as Committed
    from herder.sim.sweep.scenes import Scene
    from herder.sim.sweep.world import SweptWorld

UNITS = ("service", "member", "server")
OF_UNITS = tuple(f"{kind} " for kind in UNITS)
Facts = dict[str, str]


def ending(committed: Committed, world: SweptWorld) -> Facts:
    """All machines, the playbooks that ran and how each ended, pages ever sent, who leads and votes, what the engines are, and
    how often each effect took place.
    """
    facts = {f"{kind} {machine.name}": machine.state for kind in UNITS for machine in committed.of_kind(kind)}
    for service in committed.of_kind("service"):
        facts |= _of_service(committed, service.id)
    ran = Counter(
        f"{kind} that ended '{machine.state}'"
        for kind in PLAYBOOKS
        if kind not in ("dependency", "archive")
        for machine in committed.of_kind(kind)
    )
    told = Counter(f"page '{page.data['reason']}'" for page in committed.of_kind("page"))
    return facts | _of_engines(world) | {key: str(times) for key, times in (ran + told + world.counts).items()}


def _of_service(committed: Committed, ident: int) -> Facts:
    data = committed.get(ident).data
    names = [committed.get(voter).name for voter in data.get("voters", ())]
    primary = committed.find(data.get("primary", 0))
    return {
        "term": str(data.get("term", 0)), "primary": primary.name if primary is not None else "none",
        "voters": ", ".join(sorted(names)),
    } | {
        f"role of {member.name}": str(member.data.get("role", ""))
        for member in (committed.get(each) for each in data["members"])
    }  # fmt: skip


def _of_engines(world: SweptWorld) -> Facts:
    facts: Facts = {}
    for cluster in world.clusters.values():
        for engine in cluster.engines.values():
            way = f"follows {engine.source}" if engine.standby else "leads"
            runs = way if engine.running else "is stopped"
            facts[f"engine {engine.member}"] = f"{runs}, data {engine.data}" + (
                f", waits for {engine.sync.k} of {', '.join(sorted(engine.sync.members))}"
                if engine.running and not engine.standby and engine.sync.k
                else ""
            )
    return facts


@dataclass(frozen=True, slots=True)
class Verdict:
    """differences: what is not as in the undisturbed run and must be. explained: why something else is not, '' = all is."""

    differences: list[str]
    explained: str = ""


ELECTED = "another standby that had all as well was elected"
REDONE = "an agent that died before it had kept a result did it again"
REMADE = "a member whose agent died and missed an order was struck or rebuilt"
UNKNOWN_LOSS = (
    "asynchronous: whoever took over never heard the dead primary, cannot bound what a promotion loses, promotes nobody (S4) and "
    "tells a person; the primary is started again where its data is"
)
AGAIN = ("engine starts", "copies made")
STRIKE_DONE, STRIKE_FAILED = "strike that ended 'done'", "strike that ended 'failed'"
REMEDIES = ("rebuild that ended 'done'", "strike that ended")
MAY_WAIT = ("page 'pledges_short'", "page 'loss_beyond_bound'")


def judge(scene: Scene, wanted: Facts, found: Facts, struck: Sequence[tuple[Kill, Point]]) -> Verdict:
    """Compare an ending with the undisturbed one. struck: the kills that were made, and where."""
    if scene.playbook == "failover" and _asynchronous(scene) and _waited(wanted, found):
        return Verdict([each for each in _differ(wanted, found) if each.startswith(OF_UNITS)], UNKNOWN_LOSS)
    why = []
    if scene.playbook == "failover" and _other_led(wanted, found):
        found, why = _renamed(found, wanted["primary"], found["primary"]), [ELECTED]
    left = _differ(wanted, found)
    excuses: list[tuple[tuple[str, ...], str]] = []
    if any(at.who != CONTROLLER for _, at in struck):
        excuses = [(AGAIN, REDONE), (REMEDIES, REMADE)]
    gave_up = _more(wanted, found, STRIKE_FAILED) and bool(excuses)
    for keys, words in excuses:
        kept = [each for each in left if not _excused(each, keys, wanted, found, gave_up=gave_up)]
        why += [words] * (len(kept) < len(left))
        left = kept
    return Verdict(left, "; ".join(why))


def _excused(difference: str, keys: tuple[str, ...], wanted: Facts, found: Facts, *, gave_up: bool) -> bool:
    """It may take place once more. gave_up: a strike that failed stands for the one that was done."""
    key = difference.partition(":")[0]
    return key.startswith(keys) and (_more(wanted, found, key) or (gave_up and key == STRIKE_DONE))


def _asynchronous(scene: Scene) -> bool:
    return scene.engine == "valkey" or not PLANS[scene.plan].sync


def _more(wanted: Facts, found: Facts, key: str) -> bool:
    return int(found.get(key, 0)) > int(wanted.get(key, 0))


def _waited(wanted: Facts, found: Facts) -> bool:
    """Nobody was promoted, and a person was told why."""
    return (
        found["primary"] != wanted["primary"] and "promotions" not in found and any(page in found for page in MAY_WAIT)
    )


def _other_led(wanted: Facts, found: Facts) -> bool:
    """One leads that was a standby before, as the leader of the undisturbed run was."""
    return found["primary"] != wanted["primary"] and found.get("promotions") == wanted.get("promotions")


def _renamed(facts: Facts, one: str, other: str) -> Facts:
    """The facts as they were if two members had each other's name."""
    way = {one: other, other: one}

    def swap(words: str) -> str:
        return re.sub("|".join(map(re.escape, way)), lambda match: way[match[0]], words)

    swapped = {swap(key): swap(value) for key, value in facts.items()}
    return swapped | {"voters": ", ".join(sorted(swapped.get("voters", "").split(", ")))}


def _differ(wanted: Facts, found: Facts) -> list[str]:
    return [
        f"{key}: {found.get(key, 'none')}, undisturbed {wanted.get(key, 'none')}"
        for key in sorted(wanted.keys() | found.keys())
        if wanted.get(key) != found.get(key)
    ]
