"""The ledger's arithmetic: gaps, lost and doubled writes, two members that acknowledge at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herder.lab.ledger import Audit, Entry, acknowledged_by_two, audit, gap, read_ledger


def acks(who: str, *times: float) -> list[Entry]:
    return [Entry(int(at * 1000), at - 0.001, at, who) for at in times]


def test_a_gap_is_the_longest_time_between_two_acknowledgements():
    assert gap([1.0, 1.1, 1.6, 1.7], since=1.0, until=1.7) == pytest.approx(0.5)


def test_a_gap_counts_whole_from_the_last_acknowledgement_before_the_fault():
    assert gap([1.0, 2.0], since=1.9, until=2.0) == pytest.approx(1.0)


def test_a_gap_before_the_fault_is_not_the_faults():
    assert gap([0.0, 5.0, 5.1, 5.3], since=5.0, until=5.4) == pytest.approx(0.2)


def test_a_gap_that_never_ends_lasts_at_least_until_the_end():
    assert gap([1.0, 1.1], since=1.1, until=9.1) == pytest.approx(8.0)


def test_what_was_acknowledged_after_the_end_does_not_hide_a_gap():
    assert gap([1.0, 1.1, 9.2], since=1.1, until=9.1) == pytest.approx(8.0)


def test_without_any_acknowledgement_there_is_no_gap_to_tell():
    assert gap([], since=0.0, until=1.0) is None


@given(st.lists(st.floats(0, 100), min_size=2), st.floats(0, 100))
def test_a_gap_does_not_depend_on_the_order_in_which_acknowledgements_are_read(times: list[float], since: float):
    assert gap(times, since, 100.0) == gap(sorted(times, reverse=True), since, 100.0)


def test_an_acknowledged_write_that_is_not_there_is_lost():
    assert audit([1, 2, 3], [1, 3]) == Audit(3, (2,), ())


def test_a_write_that_is_there_twice_is_doubled_also_when_nobody_saw_its_acknowledgement():
    assert audit([1], [1, 7, 7]) == Audit(1, (), (7,))


def test_a_write_whose_acknowledgement_was_not_seen_may_be_there():
    assert audit([1], [1, 2]) == Audit(1, (), ())


@given(st.sets(st.integers()), st.sets(st.integers()))
def test_lost_is_the_difference_of_the_ledger_and_the_database(acked: set[int], present: set[int]):
    assert set(audit(acked, present).lost) == acked - present


def test_a_handover_is_not_acknowledged_by_two():
    assert acknowledged_by_two([*acks("a", 1.0, 1.1), *acks("b", 1.5, 1.6)], since=1.0) == []


def test_an_old_primary_that_acknowledges_after_the_new_one_is_found():
    zombie = acks("a", 1.55)
    assert acknowledged_by_two([*acks("a", 1.0), *acks("b", 1.5, 1.6), *zombie], since=1.0) == zombie


def test_an_answer_that_was_only_read_late_is_no_proof_of_two():
    late = Entry(1, sent=1.0, at=1.55, who="a")
    assert acknowledged_by_two([late, *acks("b", 1.5, 1.6)], since=0.9) == []


def test_a_write_without_acknowledgement_is_no_proof_of_two():
    unknown = Entry(1, 1.54, 1.55, "a", ack=False)
    assert acknowledged_by_two([unknown, *acks("b", 1.5, 1.6)], since=1.0) == []


def test_a_ledger_is_read_back_without_its_unfinished_last_line():
    text = "A\t1\t1.0\t1.1\tm-0\nU\t2\t1.2\t2.2\t\nA\t3\t2.3\t2.4\tm-"
    assert read_ledger(text) == [Entry(1, 1.0, 1.1, "m-0"), Entry(2, 1.2, 2.2, "", ack=False)]
