"""Is it dead? Never on one vantage point's word (S6), and never against one that saw it alive."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herder.remedies.verdict import FRESH_UPSTREAM_S, LOOKS, Looks, judge_looks

SILENT = {"controller": "silent", "orders-1": "silent", "orders-2": "silent"}
LONG = {"provider": None, "upstream_age_s": {}, "pulse_age_s": 5.0, "patience_s": 1.5, "silent": LOOKS}


def looks(probes: dict[str, str], **changes: Any) -> Looks:
    return Looks(probes=probes, **(LONG | changes))


@pytest.mark.parametrize(
    ("seen", "dead"),
    [
        (looks(SILENT), True),
        (looks(SILENT, provider=True), True),
        (looks({"controller": "silent", "orders-1": "silent"}), True),
        (looks({"controller": "refused", "orders-1": "refused"}, pulse_age_s=0.1), True),
        (looks({"controller": "silent"}, provider=False), True),
        (looks({}, provider=False), False),
        (looks({"controller": "silent"}), False),
        (looks({"controller": "refused"}), False),
        (looks({"orders-1": "refused"}), False),
        (looks({}), False),
        (looks(SILENT | {"orders-1": "serving"}), False),
        (looks(SILENT | {"orders-2": "starting"}, provider=False), False),
        (looks(SILENT, upstream_age_s={"orders-1": 0.3}), False),
        (looks(SILENT, upstream_age_s={"orders-1": 1.3}), True),
        (looks({"controller": "refused", "orders-2": "silent"}, upstream_age_s={"orders-1": 0.3}), False),
        (looks(SILENT, upstream_age_s={"orders-1": 0.3}, provider=False), False),
        (looks({"controller": "refused", "orders-2": "refused"}, upstream_age_s={"orders-1": 0.3}), True),
        (looks(SILENT, pulse_age_s=0.4), False),
        (looks(SILENT, silent=0), False),
        (looks(SILENT, silent=LOOKS - 2), False),
        (looks(SILENT, silent=0, provider=False), True),
        (looks({"controller": "refused", "orders-1": "silent"}, silent=0), True),
    ],
    ids=[
        "all silent", "silent, though its provider says it runs", "two silent", "refused by two", "provider and we",
        "the provider alone", "we alone", "we alone, refused", "one other alone", "nobody could look", "one saw it serve",
        "one saw it start", "a standby has just heard it", "a standby heard it long ago",
        "one refusal against what a standby has just heard", "the provider against what a standby has just heard",
        "two refusals outweigh it", "its agent was just heard", "silent once", "silent not often enough", "silent once, and its provider says so",
        "a refusal is no loss",
    ],
)  # fmt: skip
def test_a_verdict(seen: Looks, dead: bool):
    assert judge_looks(seen).dead is dead


def test_the_evidence_is_told_in_words():
    assert judge_looks(looks(SILENT, provider=False)).why == (
        "controller: silent, orders-1: silent, orders-2: silent, provider: nothing of it runs; "
        "pulse 5.0 s old (normal up to 1.5 s)"
    )
    assert judge_looks(looks(SILENT | {"orders-1": "serving"})).why == "seen serving by orders-1"
    assert judge_looks(looks({"controller": "silent"})).why == "only controller could look"
    assert judge_looks(looks({})).why == "only nobody could look"
    fresh = looks({"controller": "refused", "orders-2": "silent"}, upstream_age_s={"orders-1": 0.3})
    assert judge_looks(fresh).why == "orders-1 had a message from it less than 1 s ago"


SAW = st.sampled_from(["serving", "starting", "refused", "silent"])
ANYBODY = st.dictionaries(st.sampled_from(["controller", "orders-1", "orders-2"]), SAW)


@given(
    ANYBODY,
    st.none() | st.booleans(),
    st.floats(0, 20),
    st.dictionaries(st.sampled_from(["orders-1"]), st.floats(0, 9)),
)
def test_no_one_word_condemns_and_no_living_one_is_condemned(
    probes: dict[str, str], provider: bool | None, pulse_age_s: float, ages: dict[str, float]
):
    verdict = judge_looks(looks(probes, provider=provider, pulse_age_s=pulse_age_s, upstream_age_s=ages))
    if verdict.dead:
        against = [who for who, saw in probes.items() if saw in {"refused", "silent"}] + ["provider"] * (
            provider is False
        )
        assert len(against) >= 2
        assert set(against) != {"controller"}
        assert not {"serving", "starting"} & set(probes.values())
        assert not any(age < FRESH_UPSTREAM_S for age in ages.values()) or list(probes.values()).count("refused") >= 2
