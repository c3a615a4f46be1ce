"""The search: every state that can be reached, and the shortest way to one that breaks a rule."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from herder.proof.voters import playbooks
from herder.proof.voters.canonical import canonical
from herder.proof.voters.control import Control
from herder.proof.voters.engines import Step, at_once, engines
from herder.proof.voters.fleet import Fleet, Left, fact, first


@dataclass(frozen=True, slots=True)
class Scene:
    """What is searched: so many members, of whom so many are voters at first, and how much may happen."""

    name: str
    members: int
    voters: int
    left: Left


@dataclass(frozen=True, slots=True)
class Broken:
    """A rule that does not hold. rule: S1, S3 ...; trace: the shortest way there, one step a line."""

    rule: str
    what: str
    trace: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Searched:
    """One scene. whole: everything that can be reached was seen; False: the search ended at a broken rule or at its
    limit of states. depth: steps of the longest shortest way.
    """

    scene: Scene
    states: int
    transitions: int
    depth: int
    seconds: float
    whole: bool
    broken: Broken | None
    fired: frozenset[str]


def steps(control: Control, fleet: Fleet) -> Iterator[Step]:
    """All that may happen next, to the engines, by playbooks, and to the controller."""
    yield from engines(fleet)
    yield from playbooks.works(control, fleet)
    yield from playbooks.begins(control, fleet)


def broken(fleet: Fleet) -> tuple[str, str] | None:
    """(rule, what) of the first rule that this state breaks."""
    leader = next((node for node in fleet.nodes if node.leads == fleet.era), None)
    if leader is not None and leader.log[: len(fleet.acked)] != fleet.acked:
        return "S3", "an acknowledged commit is lost: who leads now does not hold it"
    voters = fleet.fact("voters")
    if not voters:
        return "S3", "no voter is left in the log"
    primary = fleet.fact("primary")
    node = fleet.node(primary)
    if node.leads:
        if not node.waits:
            return "S3", f"member {primary} waits for nobody: it acknowledges alone"
        if not {*node.waits} <= {*voters}:
            return "S3", f"W is no subset of V: member {primary} waits for any of {node.waits}, voters are {voters}"
    roles = [ident for ident, unit in enumerate(fleet.members, 1) if fact(unit.facts, "role") == "primary"]
    if roles != [primary] or fact(fleet.members[primary - 1].facts, "deposed"):
        return "S1", f"the service's primary is member {primary}, and the log takes {roles or 'nobody'} for it"
    return None


def search(control: Control, scene: Scene, most: int) -> Searched:
    """Breadth first, so the first state that breaks a rule is one of the nearest. most: states to look at."""
    began = time.perf_counter()
    start = canonical(first(scene.members, scene.voters, scene.left))
    came: dict[Fleet, Fleet | None] = {start: None}
    depths = {start: 0}
    waiting = deque([start])
    transitions, deepest, fired = 0, 0, set[str]()
    found: tuple[Fleet, tuple[str, str]] | None = None
    while waiting and found is None and len(came) < most:
        now = waiting.popleft()
        deepest = depths.pop(now)
        for what, reached in steps(control, now):
            transitions += 1
            then, said = at_once(reached)
            fired.update(map(_kind_of, (what, *said)))
            after = canonical(then)
            if after in came:
                continue
            came[after] = now
            depths[after] = deepest + 1
            if (wrong := broken(after)) is not None:
                found = (after, wrong)
                break
            waiting.append(after)
    problem = None
    if found is not None:
        way = _trace(control, scene, came, found[0])
        problem = Broken(found[1][0], way[-1], way)  # in the names that the way is told with
    seconds = time.perf_counter() - began
    return Searched(
        scene, len(came), transitions, deepest, seconds, not waiting and found is None, problem, frozenset(fired)
    )


def _kind_of(what: str) -> str:
    """A step without the names in it, to count which sorts of steps there were."""
    return " ".join("#" if word.strip(",:()").isdigit() else word for word in what.split())


def _trace(control: Control, scene: Scene, came: dict[Fleet, Fleet | None], end: Fleet) -> tuple[str, ...]:
    """The way to a state, told with the names that members had at the start."""
    way = [end]
    while (before := came[way[-1]]) is not None:
        way.append(before)
    now, told = first(scene.members, scene.voters, scene.left), []
    for wanted in reversed(way[:-1]):
        ways = ((what, at_once(then)) for what, then in steps(control, now))
        what, (now, said) = next(way for way in ways if canonical(way[1][0]) == wanted)
        told += [what, *said]
    wrong = broken(now)
    return (*told, wrong[1] if wrong is not None else "")
