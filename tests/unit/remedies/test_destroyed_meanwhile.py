"""What is under way when its service is destroyed ends: it would wait for members that are in the trash."""

from __future__ import annotations

import pytest

from herder.engine.decide import Draft
from herder.remedies.catalogue import Catalogue
from tests.machines import sample


@pytest.mark.parametrize("service", ["retiring", "retired"])
def test_a_move_that_waits_without_end_is_over_when_its_service_is_destroyed(service: str):
    """Found by `herder verify`: a drain that ended in a wait after the members had gone to the trash waited for good."""
    world = sample.well()
    sample.put(world, sample.SERVICE, "service", service, **world.get(sample.SERVICE).data)
    sample.put(world, 8, "switchover", "looking", **sample.playbook_facts())
    (over,) = [item for item in Catalogue(1).review(Draft(world, 1_000_000)) if item.machine == 8]
    assert over.event == "retire"
