"""Is it them, or is it us: no order of units changes the answer, more falls never calm it, and no word of ours alone is a mass outage."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from herder.pulse.storm import (
    ANSWERS,
    DENIES,
    Asked,
    Canary,
    Dimension,
    Limits,
    Ourselves,
    Sample,
    Verdict,
    Word,
    base_rate,
    counted,
    first_look,
    improbable,
    second_look,
    whole,
    within,
)
from herder.remedies.estimate import choose
from herder.remedies.verdict import Looks, judge_looks
from tests.property.effort import PLENTY

LIMITS = Limits()
WELL = Ourselves()
UNITS = st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=80)
"""(fell, zone, version) of each."""

BASES = st.floats(1e-4, 0.3)
SAW = st.sampled_from([*sorted(ANSWERS), *sorted(DENIES), ""])
SAMPLES = st.lists(st.builds(Sample, st.just("u"), SAW, SAW, st.sampled_from([True, False, None])), max_size=8)
CANARIES = st.lists(st.builds(Canary, st.just("c"), SAW, st.booleans()), max_size=5)
TROUBLE = st.sampled_from(
    [Ourselves(deaf=True), Ourselves(late_s=3.0), Ourselves(jump_s=-9.0), Ourselves(store_down=True)]
)


def dimensions(units: list[tuple[bool, int, int]]) -> list[Dimension]:
    fell = np.array([unit[0] for unit in units])
    live = np.ones(len(units), bool)
    zones, versions = (np.array([unit[at] for unit in units]) for at in (1, 2))
    return [
        whole(len(units), int(fell.sum())), counted("zone", ["a", "b", "c", "d"], zones, live, fell),
        counted("version", ["17", "18", "19"], versions, live, fell),
    ]  # fmt: skip


def look(units: list[tuple[bool, int, int]], base: float, us: Ourselves = WELL) -> Verdict:
    return first_look(us, dimensions(units), base, LIMITS)


@PLENTY
@given(UNITS, BASES, st.randoms())
def test_the_order_of_units_changes_nothing(units: list[tuple[bool, int, int]], base: float, chance):
    shuffled = list(units)
    chance.shuffle(shuffled)
    assert look(units, base) == look(shuffled, base)


@PLENTY
@given(UNITS, BASES, st.integers(0, 79))
def test_one_more_that_falls_never_calms_it(units: list[tuple[bool, int, int]], base: float, at: int):
    worse = list(units)
    worse[at % len(units)] = (True, *units[at % len(units)][1:])
    if look(units, base).word is Word.SUSPECT:
        assert look(worse, base).word is Word.SUSPECT


@PLENTY
@given(UNITS, BASES, st.floats(1, 3))
def test_where_falling_is_more_ordinary_it_takes_no_less(units: list[tuple[bool, int, int]], base: float, times: float):
    if look(units, min(base * times, 0.5)).word is Word.SUSPECT:
        assert look(units, base).word is Word.SUSPECT


@PLENTY
@given(UNITS, BASES)
def test_a_suspicion_names_scopes_that_hold_enough_of_the_fallen(units: list[tuple[bool, int, int]], base: float):
    found, fallen = look(units, base), sum(fell for fell, _, _ in units)
    if found.word is Word.SUSPECT:
        assert fallen >= LIMITS.least
        assert found.scopes
        named = sum(found.evidence[scope]["fallen"] for scope in found.scopes)
        assert named >= LIMITS.least
        assert named >= LIMITS.share * sum(found.evidence[scope]["total"] for scope in found.scopes)
    else:
        assert found.scopes == ()
        assert found.word is (Word.LOCAL if fallen else Word.CALM)


@PLENTY
@given(TROUBLE, UNITS, BASES, SAMPLES, CANARIES, st.integers(0, 100))
def test_a_sign_of_our_own_outweighs_everything(
    us: Ourselves, units: list[tuple[bool, int, int]], base: float, samples: list[Sample], canaries: list[Canary], silent: int
):  # fmt: skip
    assert look(units, base, us).word is Word.US
    assert second_look(us, Asked(tuple(samples), tuple(canaries), silent, 100), LIMITS, ["fleet"]).word is Word.US


@PLENTY
@given(SAMPLES, CANARIES, st.integers(0, 200), st.integers(1, 200))
def test_a_mass_outage_needs_another_vantage_than_ours(
    samples: list[Sample], canaries: list[Canary], silent: int, total: int
):
    found = second_look(WELL, Asked(tuple(samples), tuple(canaries), min(silent, total), total), LIMITS, ["zone:a"])
    if found.word is Word.MASS:
        others = [sample for sample in samples if sample.theirs in DENIES or sample.provider is False]
        assert 2 * len(others) >= len(samples) > 0
        ours_alone = tuple(replace(sample, theirs="", provider=None) for sample in samples)
        again = second_look(WELL, Asked(ours_alone, tuple(canaries), min(silent, total), total), LIMITS, ["zone:a"])
        assert again.word is Word.US


@PLENTY
@given(SAMPLES, CANARIES, st.integers(0, 7))
def test_one_more_that_is_seen_to_serve_never_makes_it_a_mass_outage(
    samples: list[Sample], canaries: list[Canary], at: int
):
    def said(found: list[Sample]) -> Word:
        return second_look(WELL, Asked(tuple(found), tuple(canaries), 80, 100), LIMITS, ["fleet"]).word

    serving = [replace(each, theirs="serving") if place == at else each for place, each in enumerate(samples)]
    assert said(samples) is Word.MASS or said(serving) is not Word.MASS


@PLENTY
@given(st.integers(1, 5_000), st.integers(0, 5_000), BASES)
def test_the_chance_is_one_and_falls_as_more_fall(total: int, fallen: int, base: float):
    fallen = min(fallen, total - 1)
    less, more = improbable(np.array([total, total]), np.array([fallen, fallen + 1]), base).tolist()
    assert 0.0 <= more <= less <= 1.0


@PLENTY
@given(st.floats(0, 1), st.integers(0, 100), st.integers(1, 100), st.floats(0.1, 10_000), st.floats(0.1, 100))
def test_a_base_rate_lies_between_what_it_was_and_what_was_seen(
    rate: float, fallen: int, units: int, seconds: float, window_s: float
):
    fallen = min(fallen, units)
    seen = fallen / (units * seconds)
    found = base_rate(rate, fallen, units, seconds)
    assert min(rate, seen) - 1e-12 <= found <= max(rate, seen) + 1e-12
    assert 0 < within(found, window_s) <= 0.5


# ---- one engine: is it dead

VANTAGES = st.dictionaries(
    st.sampled_from(["controller", "srv-1", "srv-2", "srv-3"]), st.sampled_from(sorted(ANSWERS | DENIES)), max_size=4
)
LOOKS = st.builds(
    Looks, VANTAGES, st.dictionaries(st.sampled_from(["m1", "m2"]), st.floats(0, 5), max_size=2),
    st.sampled_from([True, False, None]), st.floats(0, 20), st.floats(1, 8), st.integers(0, 4),
)  # fmt: skip


@PLENTY
@given(LOOKS)
def test_nobody_is_dead_on_one_word_on_ours_or_while_somebody_sees_it(looks: Looks):
    found = judge_looks(looks)
    deny = [vantage for vantage, saw in looks.probes.items() if saw in DENIES] + ["provider"] * (
        looks.provider is False
    )
    if found.dead:
        assert len(deny) >= 2
        assert set(deny) != {"controller"}
        assert not any(saw in ANSWERS for saw in looks.probes.values())
    assert found.why


@PLENTY
@given(LOOKS, st.sampled_from(["srv-1", "srv-2", "srv-9"]))
def test_a_vantage_that_sees_it_serve_always_saves_it(looks: Looks, vantage: str):
    assert not judge_looks(replace(looks, probes={**looks.probes, vantage: "serving"})).dead


# ---- promote or restart


@PLENTY
@given(st.booleans(), st.integers(0, 3), st.booleans(), st.booleans(), st.integers(0, 10**12), st.integers(0, 10**12))
def test_nothing_is_restarted_where_nothing_runs_and_more_redo_never_favours_a_restart(
    sync: bool, standbys: int, server_up: bool, failed: bool, redo: int, more: int
):
    def chosen(redo_bytes: int) -> str:
        return choose(
            sync=sync, standbys=standbys, server_up=server_up, restart_failed=failed, redo_bytes=redo_bytes
        ).playbook

    if not server_up:
        assert chosen(redo) == "failover"
    if not sync and server_up and not failed:
        assert chosen(redo) == "restart", "an asynchronous failover loses what a restart keeps"
    assert chosen(redo) == "restart" or chosen(redo + more) == "failover"
