"""The arithmetic of a chaos run, and what it objects to: each broken promise is named, and only it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herder.lab.bank import ACCOUNTS, EACH, Total, draws
from herder.lab.chaos.tally import Account, gap_in, objections, spread, stretch_s, without_writes_s
from herder.lab.ledger import Entry, gap, overtaken

WELL = Account(
    "a", "postgres", "premium", sync=True, bound_s=60.0, bound_bytes=16 << 20, acked=100, members=3, members_read=3
)
ASYNC = replace(WELL, plan="standard", sync=False, bound_s=600.0, bound_bytes=160 << 20)


def acks(who: str, *times: float) -> list[Entry]:
    return [Entry(int(at * 1000), at - 0.001, at, who) for at in times]


def test_a_run_in_which_all_went_well_meets_no_objection():
    assert objections(WELL) == []


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ({"lost": 1}, "acknowledged writes lost"),
        ({"doubled": 1}, "there twice"),
        ({"by_two": 1}, "by an old primary"),
        ({"wrong": ["a-1 held 39,999"]}, "39,999"),
        ({"members_read": 2}, "could be read"),
        ({"not_well": "unavailable"}, "not well"),
        ({"acked": 0}, "nothing is shown"),
    ],
)
def test_each_broken_promise_is_named(broken: dict[str, object], words: str):
    (said,) = objections(replace(WELL, **broken))
    assert words in said


def test_an_asynchronous_plan_may_lose_within_its_bound_and_not_beyond():
    assert objections(replace(ASYNC, lost=50, lost_over_s=2.0)) == []
    assert objections(replace(ASYNC, lost=50, lost_over_s=601.0))
    assert objections(replace(ASYNC, lost=1 << 20, lost_over_s=2.0))


def test_the_nearest_rank_is_a_value_that_was_measured():
    found = spread([4.0, 1.0, 2.0, 3.0])
    assert (found.count, found.p50, found.p99, found.most) == (4, 2.0, 4.0, 4.0)
    assert spread([]).p50 is None


times = st.lists(st.floats(0, 100), min_size=1).map(sorted)


@given(times, st.floats(0, 100), st.floats(0, 50))
def test_a_gap_of_a_window_is_that_of_all_times(acked: list[float], since: float, lasts: float):
    found, whole = gap_in(acked, since, since + lasts), gap(acked, since, since + lasts)
    assert found == whole


def test_only_pauses_over_a_second_are_without_writes():
    assert without_writes_s([0.5, 1.0, 4.0, 4.5], 0.0, 5.0) == pytest.approx(3.0)
    assert without_writes_s([], 0.0, 5.0) == pytest.approx(5.0)


def test_what_each_fault_lost_is_measured_by_itself():
    lost = [*acks("", 9.0, 9.8), *acks("", 99.0, 101.0)]
    assert stretch_s(lost, [10.0, 100.0]) == pytest.approx(2.0)
    assert stretch_s([], [10.0]) == 0.0


def test_leadership_that_comes_and_goes_is_not_acknowledged_by_two():
    assert overtaken([*acks("a@1", 1.0, 1.1), *acks("b@2", 1.5, 1.6), *acks("a@3", 2.0, 2.1), *acks("b@4", 3.0)]) == []


def test_an_old_primary_is_found_also_when_its_member_led_again_later():
    zombie = acks("a@1", 1.55)
    assert overtaken([*acks("a@1", 1.0), *acks("b@2", 1.5, 1.6), *zombie, *acks("a@3", 2.0)]) == zombie


def test_an_engine_that_starts_again_in_place_is_nobody_else():
    assert overtaken([*acks("a@old", 1.0), *acks("a@new", 1.5), *acks("a@old", 1.6)]) == []


def test_a_bank_is_right_as_a_whole_or_unheard_of():
    assert Total(ACCOUNTS, ACCOUNTS * EACH, 0).right
    assert Total(0, 0, 0).right
    assert not Total(ACCOUNTS, ACCOUNTS * EACH - 1, 0).right
    assert not Total(ACCOUNTS, ACCOUNTS * EACH, 1).right
    assert not Total(ACCOUNTS - 1, ACCOUNTS * EACH, 0).right


@given(st.text())
def test_a_transfer_is_between_two_accounts(seed: str):
    debit, credit, amount = draws(seed)()
    assert debit != credit
    assert amount > 0
