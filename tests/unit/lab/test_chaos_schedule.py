"""What chaos draws from a seed: the same each time, always over in time, and never more at once than two."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from herder.lab.chaos.kinds import KINDS, On
from herder.lab.chaos.main import Options, wanted
from herder.lab.chaos.schedule import PLANE, REST_S, Planned, draw

ALL = list(KINDS)
fleets = st.lists(st.integers(2, 3), min_size=1, max_size=10)
runs = st.tuples(
    st.integers(), st.floats(12.0, 1800.0), fleets, st.lists(st.sampled_from(ALL), min_size=1, unique=True)
)


@given(runs)
def test_the_same_seed_is_the_same_day(run):
    assert draw(*run) == draw(*run)


@given(st.integers())
def test_another_seed_is_another_day(seed: int):
    assert draw(seed, 600.0, [3, 3], ALL) != draw(seed + 1, 600.0, [3, 3], ALL)


@given(runs)
def test_every_fault_is_over_by_the_end_and_lasts_as_its_kind_may(run):
    _, duration_s, members, kinds = run
    for fault in draw(*run):
        least, most = KINDS[fault.kind].lasts_s
        assert fault.kind in kinds
        assert fault.until_s <= duration_s + 0.1
        assert least - 0.1 <= fault.lasts_s <= most
        assert (fault.service == PLANE) == (KINDS[fault.kind].on == On.PLANE)
        assert fault.service == PLANE or 0 <= fault.member < members[fault.service]


@given(runs)
def test_a_service_rests_between_its_faults_except_where_two_come_at_once(run):
    last: dict[int, Planned] = {}
    for fault in draw(*run):
        before = last.get(fault.service)
        if before is not None and fault.twin != before.number:
            assert fault.at_s >= before.until_s + REST_S
        if before is None or before.until_s < fault.until_s:
            last[fault.service] = fault


@given(runs)
def test_two_at_once_know_of_each_other_and_meet_two_members(run):
    by_number = {fault.number: fault for fault in draw(*run)}
    assert sorted(by_number) == list(range(len(by_number)))
    for fault in by_number.values():
        if fault.twin >= 0:
            other = by_number[fault.twin]
            assert (other.twin, other.at_s) == (fault.number, fault.at_s)
            assert other.kind != fault.kind
            assert fault.service in (PLANE, *{other.service} ^ {fault.service}) or fault.member != other.member


def test_half_an_hour_of_ten_services_meets_every_kind_and_every_service():
    faults = draw(7, 1800.0, [3] * 10, ALL)
    assert {fault.kind for fault in faults} == set(KINDS)
    assert {fault.service for fault in faults} == {PLANE, *range(10)}
    assert any(fault.twin >= 0 for fault in faults)


def test_a_mix_of_four_has_every_pair_of_plan_and_engine():
    assert set(wanted(Options(services=4, plan="mix", engine="mix")).values()) == {
        (engine, plan) for engine in ("postgres", "valkey") for plan in ("premium", "standard")
    }
