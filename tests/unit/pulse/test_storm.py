"""Is it them, or is it us? Counts and answers in, a verdict out."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from herder.pulse.storm import (
    FALLS_A_DAY,
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

LIMITS = Limits()
WELL = Ourselves()
BASE = within(0.0, LIMITS.window_s)


def fleet(fallen: Any, **kinds: Any) -> list[Dimension]:
    """fallen: a mask; kinds: codes of each unit in a kind of scope."""
    down = np.asarray(fallen, bool)
    live = np.ones(len(down), bool)
    names = {kind: [f"{kind[0]}{code}" for code in range(int(max(codes)) + 1)] for kind, codes in kinds.items()}
    found = [counted(kind, names[kind], np.asarray(codes), live, down) for kind, codes in kinds.items()]
    return [whole(len(down), int(down.sum())), *found]


def look(fallen: Any, base: float = BASE, **kinds: Any) -> Verdict:
    return first_look(WELL, fleet(fallen, **kinds), base, LIMITS)


# ---- the first look


def test_nothing_fell():
    assert look(np.zeros(10)).word is Word.CALM


def test_a_fleet_of_four_is_left_to_its_vantage_points():
    assert look(np.ones(4)).word is Word.LOCAL


def test_five_of_eight_at_once_are_a_storm_and_four_are_not():
    assert look(np.arange(8) < 5).word is Word.SUSPECT
    assert look(np.arange(8) < 4).word is Word.LOCAL


def test_a_rack_in_a_large_fleet_is_local():
    assert look(np.arange(100_000) < 40).word is Word.LOCAL


@pytest.mark.parametrize("kind", ["zone", "provider", "version", "image"])
def test_the_scope_that_explains_the_fallen_is_named(kind: str):
    codes = np.arange(300) % 3
    others = {other: np.arange(300) // 3 % 2 for other in ("zone", "provider", "version", "image") if other != kind}
    verdict = look(codes == 1, **{kind: codes}, **others)
    assert (verdict.word, verdict.scopes) == (Word.SUSPECT, (f"{kind}:{kind[0]}1",))
    assert verdict.evidence[verdict.scopes[0]]["fallen"] == 100


def test_a_zone_that_explains_95_percent_beats_the_fleet():
    zone = np.arange(300) % 3
    down = zone == 1
    down[0] = down[2] = True
    assert look(down, zone=zone).scopes == ("zone:z1",)


def test_what_is_spread_evenly_is_the_fleet():
    assert look(np.arange(300) % 2 == 0, zone=np.arange(300) // 2 % 3).scopes == ("fleet",)


def test_a_dimension_with_one_value_explains_nothing():
    assert look(np.arange(20) < 10, zone=np.zeros(20, int)).scopes == ("fleet",)


def test_two_zones_are_named_together():
    zone = np.arange(400) % 8
    assert look((zone == 1) | (zone == 5), zone=zone).scopes == ("zone:z1", "zone:z5")


def test_a_zone_falls_in_a_fleet_too_large_to_notice():
    zone = np.r_[np.zeros(20, int), np.ones(9_980, int)]
    verdict = look(zone == 0, zone=zone)
    assert (verdict.word, verdict.scopes) == (Word.SUSPECT, ("zone:z0",))


def test_where_falling_is_ordinary_it_takes_more():
    down = np.arange(20) < 6
    assert look(down).word is Word.SUSPECT
    assert look(down, base=0.2).word is Word.LOCAL


@pytest.mark.parametrize(
    ("signs", "words"),
    [
        (Ourselves(deaf=True), "our own pulse"),
        (Ourselves(late_s=3.0), "did not run for 3.0 s"),
        (Ourselves(jump_s=-90.0), "jumped by -90.0 s"),
        (Ourselves(store_down=True), "the store"),
    ],
)
def test_with_a_sign_of_our_own_it_is_us(signs: Ourselves, words: str):
    verdict = first_look(signs, fleet(np.ones(100)), BASE, LIMITS)
    assert verdict.word is Word.US
    assert words in verdict.why


def test_the_bound_is_above_the_exact_tail():
    """Chernoff never understates: a false alarm is at most as likely as said."""
    chance = random.Random(5)
    for _ in range(300):
        n, p = chance.randint(1, 60), chance.uniform(0.001, 0.4)
        k = chance.randint(0, n)
        bound = improbable(np.array([n]), np.array([k]), p)[0]
        assert bound >= _tail(n, k, p) - 1e-12


def _tail(n: int, k: int, p: float) -> float:
    from math import comb

    return sum(comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k, n + 1))


def test_ordinary_falls_cry_no_storm():
    """A thousand windows of a fleet in which each unit falls once in ten minutes: its base rate is learnt, none alarms."""
    chance = np.random.default_rng(7)
    rate = 1 / 600
    for _ in range(1000):
        down = chance.random(200) < rate * LIMITS.window_s
        assert look(down, within(rate, LIMITS.window_s), zone=np.arange(200) % 4).word is not Word.SUSPECT


def test_any_zone_of_any_fleet_that_falls_is_found():
    chance = np.random.default_rng(3)
    for _ in range(200):
        zones = int(chance.integers(2, 8))
        zone = chance.integers(0, zones, int(chance.integers(60, 3000)))
        gone = int(chance.integers(0, zones))
        down = (zone == gone) & (chance.random(len(zone)) < 0.9) | (chance.random(len(zone)) < 0.001)
        verdict = look(down, zone=zone, version=chance.integers(0, 3, len(zone)))
        assert verdict.word is Word.SUSPECT
        assert f"zone:z{gone}" in verdict.scopes or verdict.scopes == ("fleet",)
        if (down & (zone == gone)).sum() >= 0.95 * down.sum() and zones > 2:
            assert verdict.scopes == (f"zone:z{gone}",)


# ---- the base rate


def test_the_base_rate_follows_what_falls_and_has_a_floor():
    rate = 0.0
    for _ in range(20_000):
        rate = base_rate(rate, 1, 100, 1.0)
    assert rate == pytest.approx(0.01, rel=0.01)
    assert within(0.0, 10.0) == pytest.approx(FALLS_A_DAY / 8_640)
    assert within(1.0, 10.0) == 0.5
    assert base_rate(0.5, 3, 0, 1.0) == 0.5


# ---- the second look


def asked(
    ours: str = "silent", theirs: str = "silent", provider: bool | None = None, *, canaries: str = "serving",
    silent: int = 100, total: int = 100, samples: int = 6,
) -> Asked:  # fmt: skip
    return Asked(
        tuple(Sample(f"s{i}", ours, theirs, provider) for i in range(samples)),
        tuple(Canary(f"c{i}", canaries, inside=False) for i in range(4)), silent, total,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("seen", "word"),
    [
        (asked(theirs="silent"), Word.MASS),
        (asked(theirs="refused"), Word.MASS),
        (asked(theirs="", provider=False), Word.MASS),
        (asked(theirs="serving"), Word.US),  # others see them serve: we do not hear them
        (asked(ours="serving", theirs=""), Word.US),  # they serve, only their pulse is gone
        (asked(theirs=""), Word.US),  # nobody but us says so
        (asked(theirs="", provider=True), Word.US),
        (asked(theirs="silent", canaries="silent"), Word.US),  # we reach nobody at all
        (asked(silent=4), Word.LOCAL),
        (asked(silent=40, total=1000), Word.LOCAL),
        (asked(samples=0), Word.US),
    ],
)
def test_what_others_saw_decides(seen: Asked, word: Word):
    verdict = second_look(WELL, seen, LIMITS, ["zone:a"])
    assert verdict.word is word, verdict.why
    assert verdict.evidence["silent"] == seen.silent


def test_our_own_sign_outweighs_what_others_saw():
    assert second_look(Ourselves(deaf=True), asked(), LIMITS, ["fleet"]).word is Word.US


def test_a_mass_outage_is_never_called_on_our_word_alone():
    """S6, over every mixture of six answers."""
    chance = random.Random(11)
    words = ("serving", "starting", "refused", "silent", "")
    for _ in range(2000):
        samples = tuple(
            Sample(f"s{i}", chance.choice(words), chance.choice(["", "serving"]), chance.choice([True, None]))
            for i in range(6)
        )
        found = second_look(WELL, Asked(samples, (), 50, 60), LIMITS, ["fleet"])
        assert found.word is Word.US
