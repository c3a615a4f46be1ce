"""All kills of many scenes: each once, and then again while the first is made good; in several processes if wished."""

from __future__ import annotations

import multiprocessing
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from herder.sim.sweep.ending import judge
from herder.sim.sweep.fork import parted
from herder.sim.sweep.points import CONTROLLER, Kill, Successor, in_words, kills_at
from herder.sim.sweep.run import Run, play
from herder.sim.sweep.scenes import SCENES, Scene

EVERY = -1
KEPT = 20
"""Differences of a scene that are told; all are counted."""


@dataclass(frozen=True, slots=True)
class Wish:
    """again: second kills a scene, drawn by the seed (EVERY: all of them). jobs: processes."""

    scenes: tuple[Scene, ...] = SCENES
    again: int = 200
    seed: int = 1
    jobs: int = 1


@dataclass(frozen=True, slots=True)
class Task:
    """One first kill of a scene, and how many second kills after it (EVERY: all)."""

    scene: Scene
    kill: Kill
    again: int
    seed: int


@dataclass(frozen=True, slots=True)
class Difference:
    """A run that did not end as the undisturbed one. kills: in words; planned: to play it again."""

    kills: tuple[str, ...]
    what: tuple[str, ...]
    planned: tuple[Kill, ...]


@dataclass(slots=True)
class Found:
    """What came of one first kill and the second kills after it. could: second kills that there are."""

    once: int = 0
    twice: int = 0
    could: int = 0
    slowest_s: float = 0.0
    different: int = 0
    differences: list[Difference] = field(default_factory=list)
    explained: Counter[str] = field(default_factory=Counter)

    def add(self, other: Found) -> None:
        """Both together."""
        self.once += other.once
        self.twice += other.twice
        self.could += other.could
        self.slowest_s = max(self.slowest_s, other.slowest_s)
        self.different += other.different
        self.differences = sorted([*self.differences, *other.differences], key=_length)[:KEPT]
        self.explained.update(other.explained)


def _length(difference: Difference) -> tuple[int, int]:
    return (len(difference.planned), difference.planned[0].point)


@dataclass(slots=True)
class Swept:
    """One scene. points: of the undisturbed run, by who is killed there."""

    scene: Scene
    points: dict[str, int]
    well_s: float
    wrong: list[str]
    found: Found = field(default_factory=Found)

    @property
    def passed(self) -> bool:
        """Every run ended as it must."""
        return not self.wrong and not self.found.different


def undisturbed(scene: Scene) -> Run:
    """The run that all others are compared with."""
    return play(scene)


def tasks_of(wish: Wish, scene: Scene, reference: Run) -> list[Task]:
    """Every first kill, with its share of the second ones."""
    kills = [kill for point in reference.points for kill in kills_at(point, tuple(Successor))]
    if wish.again == EVERY or not kills:
        return [Task(scene, kill, wish.again, wish.seed) for kill in kills]
    share, rest = divmod(wish.again, len(kills))
    more = set(random.Random(f"{wish.seed}/{scene.name}").sample(range(len(kills)), rest))
    return [Task(scene, kill, share + (number in more), wish.seed) for number, kill in enumerate(kills)]


def sweep(task: Task, reference: Run) -> Found:
    """One first kill, and then second ones."""
    found = Found(once=1)
    first = play(task.scene, (task.kill,))
    _take(found, task.scene, reference, first)
    seconds = [
        kill for point in first.points[task.kill.point + 1 :] for kill in kills_at(point, (task.kill.successor,))
    ]
    found.could = len(seconds)
    if 0 <= task.again < len(seconds):
        seconds = random.Random(f"{task.seed}/{task.scene.name}/{task.kill}").sample(seconds, task.again)
    for once in parted(
        lambda fork: play(task.scene, (task.kill,), fork=fork), seconds, partial(_twice, task, reference)
    ):
        found.add(once)
    return found


def _twice(task: Task, reference: Run, run: Run) -> Found:
    found = Found(twice=1)
    _take(found, task.scene, reference, run)
    return found


def _take(found: Found, scene: Scene, reference: Run, run: Run) -> None:
    wrong = list(run.wrong)
    first = run.struck[0][1] if run.struck else None
    if first is not None and first.words != reference.points[first.number].words:
        wrong.append("another point stands there than in the undisturbed run")
    if run.facts:
        verdict = judge(scene, reference.facts, run.facts, run.struck)
        wrong += verdict.differences
        found.explained.update([verdict.explained] if verdict.explained and not wrong else [])
    found.slowest_s = max(found.slowest_s, run.well_s)
    if wrong:
        found.different += 1
        found.differences.append(Difference(tuple(map(in_words, run.struck)), tuple(wrong), run.kills))
        found.differences = sorted(found.differences, key=_length)[:KEPT]


def sweep_all(wish: Wish, on_scene: Callable[[Swept], None]) -> tuple[list[Swept], float]:
    """All scenes; returns them and the seconds it took. on_scene: told of each as it ends."""
    began, swept = time.perf_counter(), []
    for each in _each(wish):
        on_scene(each)
        swept.append(each)
    return swept, time.perf_counter() - began


def _each(wish: Wish) -> Iterator[Swept]:
    if wish.jobs <= 1:
        yield from (_scene(wish, scene, map) for scene in wish.scenes)
        return
    # a fresh interpreter a worker: a fork would share what a running event loop holds
    with ProcessPoolExecutor(wish.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from (_scene(wish, scene, pool.map) for scene in wish.scenes)


def _scene(wish: Wish, scene: Scene, spread: Callable[..., Any]) -> Swept:
    reference = undisturbed(scene)
    of_controller = sum(point.who == CONTROLLER for point in reference.points)
    points = {"controller": of_controller, "agent": len(reference.points) - of_controller}
    swept = Swept(scene, points, reference.well_s, list(reference.wrong))
    if not swept.wrong:
        tasks = tasks_of(wish, scene, reference)
        for found in spread(sweep, tasks, [reference] * len(tasks)):
            swept.found.add(found)
    return swept


def facts(wish: Wish, swept: Sequence[Swept], wall_s: float) -> dict[str, Any]:
    """`--json`."""
    return {
        "seed": wish.seed, "wall_s": round(wall_s, 1), "passed": all(each.passed for each in swept),
        "runs": sum(each.found.once + each.found.twice for each in swept),
        "differences": sum(each.found.different for each in swept),
        "scenes": [
            {
                "scene": each.scene.name, "playbook": each.scene.playbook, "plan": each.scene.plan,
                "engine": each.scene.engine, "points": each.points, "killed_once": each.found.once,
                "killed_twice": each.found.twice, "killed_twice_of": each.found.could, "well_s": round(each.well_s, 1),
                "slowest_s": round(each.found.slowest_s, 1), "explained": dict(each.found.explained), "wrong": each.wrong,
                "different": each.found.different,
                "differences": [{"kills": list(d.kills), "what": list(d.what)} for d in each.found.differences],
            }
            for each in swept
        ],
    }  # fmt: skip
