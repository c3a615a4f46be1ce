"""What a frame says of a member: each case from the log's expectation and a reading to events."""

from __future__ import annotations

from typing import Any

import pytest

from herder.ports.driver import Position, Reading, Role
from herder.ports.wire import MemberPulse
from herder.pulse.judge import DEAF_PATIENCE_S, FULL_S, SETTLE_S, SUSPECT_S, UPSTREAM_PATIENCE_S, Ages, Expected, judge

FRESH = Ages(deaf_s=0.0, upstream_lost_s=0.0)
PRIMARY = {"alive": True, "role": Role.PRIMARY, "position": Position(2, 0x3000148)}
STANDBY = {"alive": True, "role": Role.STANDBY, "position": Position(2, 0x3000148), "upstream": True}
DEAF = {"alive": False, "detail": "the database system is starting up"}


def pulse(reading: dict[str, Any], **changes: Any) -> MemberPulse:
    return MemberPulse(member="orders-0", service="orders", term=2, reading=Reading(**reading), **changes)


def expected(role: str, state: str = "available", **changes: Any) -> Expected:
    return Expected(member=2, state=state, role=role, **({"deposed": False, "term": 2} | changes))


def signs(wanted: Expected, told: MemberPulse, ages: Ages = FRESH) -> list[tuple[str, str]]:
    return [(sign.about, sign.event) for sign in judge(wanted, told, ages)]


@pytest.mark.parametrize(
    ("wanted", "reading", "told"),
    [
        (expected("primary"), PRIMARY, []),
        (expected("primary", "uncertain"), PRIMARY, [("member", "well")]),
        (expected("primary", "unavailable"), PRIMARY, [("member", "well")]),
        (expected("primary", "unavailable", deposed=True), PRIMARY, []),
        (expected("primary", "unavailable", held=True, deposing=True), PRIMARY, []),
        (expected("primary", "unavailable", held=True), PRIMARY, [("member", "well")]),
        (expected("standby", "uncertain", held=True, deposing=True), STANDBY, [("member", "well")]),
        (expected("primary"), STANDBY, [("member", "ill")]),
        (expected("primary", held=True), STANDBY, []),
        (expected("primary", "uncertain"), STANDBY, []),
        (expected("standby"), STANDBY, []),
        (expected("standby", "uncertain"), STANDBY, [("member", "well")]),
        (expected("standby", "unavailable", deposed=True), STANDBY, []),
        (expected("standby", "unavailable"), STANDBY | {"upstream": False}, []),
        (expected("standby"), PRIMARY, [("member", "ill")]),
        (expected("standby", held=True), PRIMARY, []),
        (expected("standby", "unavailable"), PRIMARY, []),
        (expected("standby"), STANDBY | {"upstream": False}, [("primary", "suspected")]),
        (expected("standby"), STANDBY | {"upstream": None}, []),
        (expected("standby", "uncertain"), STANDBY | {"upstream": False}, []),
        (expected("primary"), DEAF, []),
        (expected("primary", "uncertain"), DEAF, []),
    ],
)  # fmt: skip
def test_a_reading_is_judged(wanted: Expected, reading: dict[str, Any], told: list[tuple[str, str]]):
    assert signs(wanted, pulse(reading)) == told


@pytest.mark.parametrize("state", ["installing", "restart", "retiring", "retired"])
@pytest.mark.parametrize("reading", [PRIMARY, STANDBY, DEAF])
def test_what_a_playbook_holds_is_not_judged(state: str, reading: dict[str, Any]):
    assert signs(expected("standby", state), pulse(reading, exited=True), Ages(99, 99)) == []


@pytest.mark.parametrize("state", ["available", "uncertain"])
def test_its_own_agents_word_is_enough_that_it_is_gone(state: str):
    told = pulse(DEAF, exited=True, exit_line="PANIC: could not write to file")
    (sign,) = judge(expected("primary", state), told, FRESH)
    assert (sign.about, sign.event) == ("member", "exited")
    assert sign.why == "its agent says that no process of it is left: PANIC: could not write to file"
    assert sign.evidence == {"exit_line": "PANIC: could not write to file", "term": 2}


def test_a_death_is_told_once():
    assert signs(expected("primary", "unavailable"), pulse(DEAF, exited=True)) == []


def test_an_engine_that_does_not_answer_its_agent_is_suspected_after_a_while_and_not_condemned():
    assert signs(expected("primary"), pulse(DEAF), Ages(DEAF_PATIENCE_S, 0)) == []
    (sign,) = judge(expected("primary"), pulse(DEAF), Ages(DEAF_PATIENCE_S + 0.1, 0))
    assert (sign.about, sign.event, sign.evidence) == ("member", "suspected", {"detail": DEAF["detail"]})


def test_a_standby_without_a_stream_for_long_is_ill_itself():
    lost = pulse(STANDBY | {"upstream": False})
    assert signs(expected("standby"), lost, Ages(0, UPSTREAM_PATIENCE_S)) == []
    assert signs(expected("standby"), lost, Ages(0, UPSTREAM_PATIENCE_S + 1)) == [("member", "ill")]


def test_a_stream_that_was_just_lost_tells_of_the_primary_and_an_old_loss_does_not():
    """Else a primary that serves would be doubted at every beat, as long as one of its standbys does not stream."""
    assert signs(expected("standby"), LOST, Ages(0, SUSPECT_S - 0.1)) == [("primary", "suspected")]
    assert signs(expected("standby"), LOST, Ages(0, SUSPECT_S)) == []


LOST = pulse(STANDBY | {"upstream": False})
LONG_LOST = Ages(0, UPSTREAM_PATIENCE_S + 100)


def test_a_standby_is_not_ill_when_its_primary_is_not_well():
    """Without a primary nobody streams: rebuilding the standby would take the last one that could lead."""
    assert signs(expected("standby", primary_well=False), LOST, LONG_LOST) == []


def test_a_primary_that_was_just_started_again_is_not_suspected():
    """The streams of before are lost; they come back within two beats."""
    assert signs(expected("standby", settled_s=SETTLE_S), LOST) == []
    assert signs(expected("standby", settled_s=SETTLE_S + 0.1), LOST) == [("primary", "suspected")]


def test_a_standby_is_ill_only_when_there_was_a_primary_to_follow_all_that_time():
    settled = expected("standby", settled_s=UPSTREAM_PATIENCE_S)
    assert signs(settled, LOST, LONG_LOST) == []
    settled = expected("standby", settled_s=UPSTREAM_PATIENCE_S + 1)
    assert signs(settled, LOST, LONG_LOST) == [("member", "ill")]


def test_a_sign_says_where_the_member_was_seen():
    (sign,) = judge(expected("standby", "uncertain"), pulse(STANDBY), FRESH)
    assert sign.why == "it streams, at 2:0/3000148"
    (sign,) = judge(expected("primary", "uncertain"), pulse(PRIMARY | {"position": None}), FRESH)
    assert sign.why == "it answers as primary at an unknown position"


def test_a_standby_that_was_silent_and_came_back_without_its_stream_is_ill_in_the_end():
    """Found by the product search: it was neither well nor dead, so it stayed uncertain for good and nobody was told."""
    back = pulse(STANDBY | {"upstream": False})
    assert signs(expected("standby", "uncertain"), back, Ages(0, UPSTREAM_PATIENCE_S - 1)) == []
    assert signs(expected("standby", "uncertain"), back, Ages(0, UPSTREAM_PATIENCE_S + 1)) == [("member", "ill")]
    assert signs(expected("standby", "unavailable"), back, Ages(0, UPSTREAM_PATIENCE_S + 1)) == []


FULL = Ages(0.0, 0.0, FULL_S + 0.1)


@pytest.mark.parametrize(
    ("wanted", "ages", "told"),
    [
        (expected("primary", relief="orders-1"), FULL, [("member", "ill")]),
        (expected("primary", relief="orders-1"), Ages(0.0, 0.0, FULL_S), []),
        (expected("primary"), FULL, []),
        (expected("primary", relief="orders-1", held=True), FULL, []),
        (expected("primary", "unavailable", relief="orders-1"), FULL, []),
        (expected("primary", "unavailable"), FULL, [("member", "well")]),
        (expected("primary", "uncertain", relief="orders-1"), FULL, [("member", "well")]),
    ],
)
def test_a_primary_on_a_full_disk_is_ill_where_another_has_room(
    wanted: Expected, ages: Ages, told: list[tuple[str, str]]
):
    assert signs(wanted, pulse(PRIMARY), ages) == told
