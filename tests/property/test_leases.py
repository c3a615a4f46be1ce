"""Leases and voters: what the log says of a lease is never ahead of what is enforced, and W stays within V."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from herder.fleet.leases import Grip, Wanted, next_step
from herder.remedies.election import pledges_needed
from herder.remedies.enrolment import enrols, flushed, kept, overtaken, successors, waited_for
from tests.property.effort import PLENTY

LEASE_S = 5.0
LEASES = st.sampled_from([0.0, 3.0, LEASE_S])
LEFT = st.floats(-5, 5)
WANTED = st.builds(Wanted, renew=st.just(True), lease=st.booleans(), keep=st.booleans())
VOTERS = st.lists(st.integers(1, 6), max_size=5, unique=True)


def carried_out(step: str, recorded_s: float, held_s: float) -> tuple[float, float]:
    """(what the log says, what the agent holds) after a step: see `Leases._once`."""
    if step == "begin":
        return LEASE_S, LEASE_S
    if step == "forget":
        return 0.0, held_s
    return (recorded_s, 0.0) if step == "give_back" else (recorded_s, held_s)


@PLENTY
@given(WANTED, LEASES, LEASES, LEFT)
def test_an_agent_is_let_off_only_after_the_log_has_forgotten_its_lease(
    want: Wanted, recorded_s: float, held_s: float, left_s: float
):
    """A failover waits out what the log says. What it says and nobody enforces must go first."""
    step = next_step(want, recorded_s, Grip(1.0, held_s, left_s), LEASE_S)
    after_s, now_held_s = carried_out(step, recorded_s, held_s)
    if recorded_s in (0.0, held_s):
        assert after_s in (0.0, now_held_s)
    else:
        assert step == "forget", "the log counts on a lease that its agent does not hold"
    assert step != "give_back" or recorded_s == 0.0
    assert step != "begin" or (want.lease and left_s >= 0)


@PLENTY
@given(st.booleans(), st.booleans(), LEASES, LEASES)
def test_however_it_begins_it_comes_to_what_is_wanted_and_stays(
    lease: bool, keep: bool, recorded_s: float, held_s: float
):
    """lease: a standby could lead. Not lease and keep: it may come back, so whatever is right is left as it is."""
    want = Wanted(renew=True, lease=lease, keep=keep or lease)
    for _ in range(4):
        step = next_step(want, recorded_s, Grip(1.0, held_s, LEASE_S if held_s else 0.0), LEASE_S)
        recorded_s, held_s = carried_out(step, recorded_s, held_s)
    assert next_step(want, recorded_s, Grip(1.0, held_s, LEASE_S if held_s else 0.0), LEASE_S) == ""
    if want.lease:
        assert (recorded_s, held_s) == (LEASE_S, LEASE_S)
    elif not want.keep:
        assert (recorded_s, held_s) == (0.0, 0.0)
    assert recorded_s in (0.0, held_s)


# ---- voters


@PLENTY
@given(VOTERS, st.integers(1, 6), st.dictionaries(st.integers(1, 6), st.integers(0, 9)), st.integers(0, 9))
def test_a_voter_is_forgotten_only_when_every_pledge_that_is_asked_then_holds_what_it_had(
    voters: list[int], lost: int, reach: dict[int, int], position: int
):
    keep = kept(voters, lost)
    assert lost not in keep
    assert set(keep) <= set(voters)
    if lost not in voters or len(voters) < 2:
        assert keep == [], "the last one is not struck, nor one that is no voter"
        return
    assert pledges_needed(len(keep)) <= len(keep)
    if flushed(reach, keep, position):
        assert all(reach[voter] >= position for voter in keep)
        more = {voter: at + 1 for voter, at in reach.items()}
        assert flushed(more, keep, position)
    else:
        assert any(reach.get(voter, -1) < position for voter in keep)


@PLENTY
@given(VOTERS, st.integers(1, 6), st.integers(1, 6))
def test_whom_a_primary_waits_for_are_voters_and_never_itself(voters: list[int], primary: int, candidate: int):
    waits = waited_for(voters, primary)
    assert set(waits) == set(voters) - {primary}
    after = successors([voter for voter in voters if voter != primary], candidate, primary)
    assert after, "a planned move leaves nobody to wait for"
    assert candidate not in after or candidate == primary


@PLENTY
@given(
    st.sampled_from(["rebuild", "strike", "failover", "switchover", "restart"]), st.integers(1, 5), st.integers(1, 5),
    st.lists(st.tuples(st.sampled_from(["rebuild", "strike"]), st.sampled_from(["placing", "enrolling", "shrinking"]))),
)  # fmt: skip
def test_work_on_voters_ends_with_its_term_and_a_strike_before_an_enrolment(
    kind: str, own: int, now: int, live: list[tuple[str, str]]
):
    ends = overtaken(kind, {"term": own}, {"term": now}, enrolling=enrols(live))
    if kind not in ("rebuild", "strike"):
        assert not ends
    elif own < now:
        assert ends, "a voter recorded now would be missing among those that are asked for pledges"
    else:
        assert ends is (kind == "strike" and ("rebuild", "enrolling") in live)
