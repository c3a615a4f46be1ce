"""How all tests are run: where their data lies (memory.py), which worker runs what (schedule.py), what is removed (leftovers.py)."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests import leftovers, memory

if TYPE_CHECKING:
    from xdist.remote import Producer

    from tests.schedule import Schedule


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # a worker inherits what was set for all
        memory.use_memory(config)
        config.add_cleanup(partial(leftovers.remove, time.time()))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Schedule:
    """Whatever `--dist` says: whole herders need their files whole."""
    from tests.schedule import Schedule

    config.option.loadscopereorder = False  # the order of collection: engines first, since they take longest
    return Schedule(config, log)
