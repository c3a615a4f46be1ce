"""Which worker runs what: whole herders a file at a time on at most two workers, all else in small pieces on those that are free.

Whole herders wait much of their time, and small tests compute: beside each other they fill two cores, one after the other they
do not. What is whole comes first, because its files are the longest pieces.
"""

from __future__ import annotations

from itertools import groupby

from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

WHOLE = "tests/acceptance/"
WHOLE_AT_ONCE = 2
"""Each has a control plane, up to a dozen agents and engines, and limits in seconds of real time."""

TOGETHER = "tests/house/"
"""These read the whole repository once for all of them."""

PIECE = 16
"""Tests of one file that go to a worker together: fixtures of a module are made again for each piece of it."""


class Schedule(LoadScopeScheduling):
    """xdist's scheduling by scope, with scopes of our own: a file for whole herders, pieces of one for the rest."""

    def schedule(self) -> None:
        if self.collection is None:
            collected = next(iter(self.registered_collections.values()))
            self._scopes = {test: scope for scope, tests in pieces(collected).items() for test in tests}
        super().schedule()

    def _split_scope(self, nodeid: str) -> str:
        return self._scopes[nodeid]

    def remove_node(self, node: WorkerController) -> str | None:
        """A worker has ended: returns the test that it died of, which is not tried again; what it had not begun goes to others."""
        work = self.assigned_work.pop(node)
        died_of = next((test for tests in work.values() for test, done in tests.items() if not done), None)
        for scope, tests in work.items():
            tests |= {test: True for test in tests if test == died_of}
            if not all(tests.values()):
                self.workqueue[scope] = tests
        for each in self.nodes:
            self._reschedule(each)
        return died_of

    def _reschedule(self, node: WorkerController) -> None:
        """One that came for a worker that ended has not collected its tests at first; it is asked again when it has."""
        if node in self.registered_collections:
            super()._reschedule(node)

    def _assign_work_unit(self, node: WorkerController) -> None:
        """The next piece that this worker may take; a worker for which there is none is not needed any more."""
        scope = self._next_for(node)
        if scope is None:
            node.shutdown()
        else:
            self.workqueue.move_to_end(scope, last=False)
            super()._assign_work_unit(node)

    def _next_for(self, node: WorkerController) -> str | None:
        busy = [each for each in self.nodes if self._runs_whole(each)]
        if node in busy or len(busy) < WHOLE_AT_ONCE:
            whole = [scope for scope in self.workqueue if scope.startswith(WHOLE)]
            if whole:
                return max(whole, key=lambda scope: len(self.workqueue[scope]))
        return next((scope for scope in self.workqueue if not scope.startswith(WHOLE)), None)

    def _runs_whole(self, node: WorkerController) -> bool:
        return any(
            scope.startswith(WHOLE) and not all(tests.values()) for scope, tests in self.assigned_work[node].items()
        )


def pieces(collected: list[str]) -> dict[str, list[str]]:
    """Tests by scope, in the order of collection."""
    found: dict[str, list[str]] = {}
    for place, of_it in groupby(collected, key=_place):
        tests = list(of_it)
        size = len(tests) if place.startswith((WHOLE, TOGETHER)) else PIECE
        for first in range(0, len(tests), size):
            found[f"{place}#{first // size}"] = tests[first : first + size]
    return found


def _place(test: str) -> str:
    return TOGETHER if test.startswith(TOGETHER) else test.partition("::")[0]
