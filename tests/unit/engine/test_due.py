"""What is due is found with a scan and waits in arrays."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from herder.engine.due import Queue, Waiting, due_effects, waiting_for
from herder.engine.world import World
from tests.machines import sample
from tests.unit.engine.fleet import fleet


def some(*ids: int) -> Waiting:
    found = np.array(ids, np.uint32)
    return waiting_for(found, found + 10)


def test_the_states_say_what_is_due_those_that_wait_longest_in_front():
    world = sample.well()
    for ident, state, order in ((2, "uncertain", 9), (4, "uncertain", 5), (5, "installing", 7)):
        machine = world.get(ident)
        machine.state, machine.order = state, order
        world.put(machine)
    found = {due.effect: due.machines.tolist() for due in due_effects(world)}
    assert found == {"ask_vantages": [4, 2], "launch_server": [5]}


def test_nothing_is_due_in_an_empty_world():
    assert due_effects(World()) == []


def test_a_million_due_effects_are_found_as_one_array():
    world = fleet(1_000_000, "uncertain")
    (due,) = due_effects(world)
    assert (due.effect, len(due.machines), due.machines.dtype) == ("ask_vantages", 1_000_000, np.uint32)


def test_a_million_wait_in_less_than_sixteen_megabytes():
    queue = Queue()
    for begin in range(1, 1_000_000, 65_536):
        queue.push(waiting_for(np.arange(begin, begin + 65_536, dtype=np.uint32), np.ones(65_536, np.uint32)))
    assert queue.nbytes < 16 << 20
    queue.take(1 << 24)
    assert queue.nbytes < 1024


def test_what_could_not_go_is_first_again():
    queue = Queue()
    queue.push(some(1, 2, 3, 4))
    taken = queue.take(3)
    queue.put_back(taken.pick(slice(1, None)))
    assert (queue.oldest, queue.take(9).ids.tolist()) == (2, [2, 3, 4])
    queue.push(some(7))
    queue.put_back(some(5, 6))
    assert queue.take(9).entered.tolist() == [15, 16, 17]


@given(st.lists(st.one_of(st.integers(1, 30), st.tuples(st.integers(0, 40), st.integers(0, 40))), max_size=60))
def test_a_queue_is_a_list_with_two_ends(steps: list[int | tuple[int, int]]):
    queue, model, fresh = Queue(), [], 0
    for step in steps:
        if isinstance(step, int):
            ids = list(range(fresh, fresh + step))
            fresh += step
            queue.push(some(*ids))
            model += ids
        else:
            taken = queue.take(step[0])
            went, back = model[: step[0]], model[: step[0]][step[1] :]
            assert taken.ids.tolist() == went
            queue.put_back(taken.pick(slice(step[1], None)))
            model = back + model[step[0] :]
        assert len(queue) == len(model)
    assert queue.take(1 << 20).ids.tolist() == model
