"""Marks are a set of ids, however few or many."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from herder.engine.marks import Marks

IDS = st.lists(st.integers(0, 2999), max_size=300)


@given(st.lists(st.tuples(st.sampled_from(["set", "clear", "all"]), IDS), max_size=12))
def test_they_are_what_a_set_is(steps: list[tuple[str, list[int]]]):
    marks, known = Marks(), set()
    for step, numbers in steps:
        ids = np.array(sorted(set(numbers)), np.uint32)
        if step == "set":
            marks.set(ids, 3000)
            known |= set(numbers)
        elif step == "clear" and len(ids):
            inside = ids[ids < 1024] if not known else ids
            marks.clear(inside)
            known -= set(inside.tolist())
        else:
            assert marks.all().tolist() == sorted(known)
    assert len(marks) == len(known)
    assert marks.more_than(5) == (len(known) > 5)
    assert all(number in marks for number in known)
    assert 4000 not in marks
    assert set(marks.among(np.arange(1000, dtype=np.uint32)).tolist()) == {each for each in known if each < 1000}


def test_what_nobody_takes_does_not_grow():
    marks = Marks(2048)
    for _ in range(50):
        marks.set(np.arange(100, dtype=np.uint32), 2048)
    assert marks._marked is None
    marks.set(np.array([70_000], np.uint32), 80_000)  # with more room they would be few again: but not all are known
    assert marks.all().tolist() == [*range(100), 70_000]
    assert len(marks) == 101
