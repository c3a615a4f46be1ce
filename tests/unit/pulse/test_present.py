"""What is remembered of a bitmap gives the slots that looking everybody up would."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from herder.pulse.fleet_frame import Bitmap, Header, decode, encode_bitmap
from herder.pulse.present import Present
from herder.pulse.slots import NOBODY, Finder

HEAD = Header(1, 1, 1, 1, 0)
ENDS = frozenset({10, 900})
"""Always heard, so that bitmaps begin and end alike and differ within."""

FLIPS = st.sets(st.integers(10, 900), max_size=12)


@given(st.lists(st.tuples(FLIPS, st.one_of(st.none(), st.integers(10, 900)))))
def test_slots_are_those_of_a_fresh_look(story: list[tuple[set[int], int | None]]):
    finder, present, heard = Finder(), Present(), set(range(10, 901, 3))
    finder.put(np.arange(10, 901, dtype=np.uint32), np.arange(891))
    for flipped, moved in story:
        heard ^= flipped
        if moved is not None:
            there = finder.one(moved)
            finder.put(np.array([moved], np.uint32), 5000 + moved if there == NOBODY else NOBODY)
        frame = decode(encode_bitmap(HEAD, np.array(sorted(heard | ENDS), np.uint32)))
        assert isinstance(frame, Bitmap)
        assert len(frame) == len(heard | ENDS)
        assert present.slots(frame, finder).tolist() == finder.many(frame.servers).tolist()
