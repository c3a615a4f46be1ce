"""The guide says everything that a scenario file may hold, and its example is one."""

import re
from pathlib import Path

import pytest

from herder.sim.drill import inventory, reading
from herder.sim.drill.run import SERVICES_A_BEAT
from herder.sim.drill.scenario import PER, RULES, Measure, What
from herder.sim.drill.toml import document

GUIDE = (Path(__file__).parents[4] / "docs/guides/drill.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```toml\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    "word",
    [*What, *Measure, *PER, *reading.names(), *(key for rule in RULES.values() for key in (*rule.needs, *rule.may))],
)
def test_every_word_of_a_scenario_is_described(word):
    assert f"`{word}`" in GUIDE


def test_the_example_of_a_scenario_is_one():
    assert reading.parse(EXAMPLES[0], "mine").events[0].spread_s == 10


def test_the_example_of_an_inventory_is_one():
    assert inventory.parse(document(EXAMPLES[1], "fleet.toml"), "fleet.toml").services == 1200


def test_the_guide_knows_from_when_on_the_pulse_is_stretched():
    assert f"more than {SERVICES_A_BEAT:,} services" in GUIDE
    assert f"services / {SERVICES_A_BEAT:,} seconds" in GUIDE
