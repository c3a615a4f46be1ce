"""Herders that the tests of a module share: a control plane takes seconds to make, and a fault must not disturb the next.

A service is handed out only when it could stand a fault; one that an earlier test left ill is left alone, and another
is made, so that one broken promise does not read as ten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from herder.lab.rig import Rig
from tests.acceptance.stage import Facts, Whole, until_well

SETTINGS = {"failovers_per_hour": "100"}
"""The default of 1 would block the second test of a service; tests/acceptance/test_budget.py has the default."""

Give = Callable[..., Facts]


@pytest.fixture(scope="module")
def unfenced() -> Iterator[Rig]:
    """A herder whose provider may not fence: premium must do without."""
    with Whole(SETTINGS | {"fencing": "false"}) as rig:
        yield rig


@pytest.fixture(scope="module")
def fenced() -> Iterator[Rig]:
    """A herder whose provider fences."""
    with Whole(SETTINGS) as rig:
        yield rig


class Stable:
    """Services of one rig, handed out well."""

    def __init__(self) -> None:
        self._names: dict[tuple[int, str, str], str] = {}
        self._made = 0

    def give(self, rig: Rig, engine: str, plan: str) -> Facts:
        """A service of that plan that is well: the one of the tests before, or a new one."""
        key = (id(rig), engine, plan)
        if not rig.answers():  # the test before failed while it was away
            rig.start_control_plane()
        if key in self._names:
            try:
                return until_well(rig, self._names[key])
            except AssertionError:
                del self._names[key]
        self._made += 1
        name = self._names[key] = f"{engine}-{plan}-{self._made}"
        rig.create(engine, name, plan)
        return until_well(rig, name)


@pytest.fixture(scope="module")
def stable() -> Stable:
    """Where a module's services stand."""
    return Stable()


@pytest.fixture
def premium(unfenced: Rig, stable: Stable) -> str:
    """A premium PostgreSQL whose provider may not fence."""
    return str(stable.give(unfenced, "postgres", "premium")["name"])


@pytest.fixture
def standard(fenced: Rig, stable: Stable) -> str:
    """A standard PostgreSQL whose provider fences."""
    return str(stable.give(fenced, "postgres", "standard")["name"])


@pytest.fixture
def cart(fenced: Rig, stable: Stable) -> str:
    """A standard Valkey whose provider fences."""
    return str(stable.give(fenced, "valkey", "standard")["name"])
