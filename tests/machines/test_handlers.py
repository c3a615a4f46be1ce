"""Loading fails unless every effect has one handler whose outcomes are the declared ones, and says what is wrong."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import Any, cast

import pytest

from herder.engine.effects import Outcome, Registered, check_handlers
from herder.machines.registry import TABLES
from herder.remedies.handlers import BUCKETS, HANDLERS, HANDLERS_OF_MANY, bind
from herder.remedies.hands import Hands


class Other(StrEnum):
    """Outcomes that no table declares."""

    SHRUG = "shrug"


async def nothing(machine: Any) -> Outcome:
    raise NotImplementedError


@pytest.fixture
def registered() -> list[Registered]:
    return [Registered(effect, outcomes, nothing) for effect, outcomes, *_ in (*HANDLERS, *HANDLERS_OF_MANY)]


def test_every_effect_has_its_handler(registered: list[Registered]):
    found = check_handlers(TABLES, registered)
    assert set(found) == {state.effect.name for table in TABLES for state in table.states if state.effect}


def test_handlers_get_their_hands():
    bound = bind(cast(Hands, object()))
    assert [handler.effect for handler in bound] == [effect for effect, *_ in (*HANDLERS, *HANDLERS_OF_MANY)]


def test_buckets_are_of_effects_that_there_are():
    assert set(BUCKETS) <= {effect for effect, *_ in HANDLERS}


def test_a_missing_handler_is_named(registered: list[Registered]):
    with pytest.raises(ValueError, match="effect 'launch_server' has no handler"):
        check_handlers(TABLES, registered[1:])


def test_a_second_handler_is_named(registered: list[Registered]):
    with pytest.raises(ValueError, match="effect 'launch_server' has two handlers"):
        check_handlers(TABLES, [*registered, registered[0]])


def test_a_handler_of_nothing_is_named(registered: list[Registered]):
    with pytest.raises(ValueError, match="handler 'dance' belongs to no effect"):
        check_handlers(TABLES, [*registered, Registered("dance", Other, nothing)])


def test_other_outcomes_than_the_declared_ones_are_named(registered: list[Registered]):
    with pytest.raises(
        ValueError, match=r"effect 'launch_server' declares \['failed', 'up'\], its handler gives .*'shrug'"
    ):
        check_handlers(TABLES, [replace(registered[0], outcomes=Other), *registered[1:]])


def test_all_faults_are_told_at_once(registered: list[Registered]):
    with pytest.raises(ValueError, match=r"launch_server.*; .*boot_server.*; .*dance"):
        check_handlers(TABLES, [*registered[2:], Registered("dance", Other, nothing)])
