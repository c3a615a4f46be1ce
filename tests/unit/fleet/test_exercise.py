"""Exercises: who takes part, when each is due, who may begin now, and what is recorded of how it ended."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from herder.engine.decide import decide
from herder.engine.world import Machine, World
from herder.fleet import exercise
from herder.fleet.exercise import Part, Policy, Standing
from herder.model.errors import Conflict, InvalidInput, NotFound, Refused
from herder.model.windows import parse_window
from herder.ports.driver import Position, Reading
from tests.machines import sample

MONDAY = int(datetime(2026, 11, 23, tzinfo=UTC).timestamp() * 1000)
HOUR = 3_600_000
DAY = 24 * HOUR
NOBODY = Policy()
NO_PART = Part(0, parse_window("always"), "none")
EVERYBODY = Policy(frozenset({"premium", "standard"}), at_once=10)
WINDOW = "mon-fri 02:00-05:00"


def told(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%a %d %H:%M")


def part(**changes: object) -> dict[str, object]:
    return {"every_s": 7 * 86_400, "window": WINDOW, "how": "failover", "since_ms": MONDAY} | changes


def last(**changes: object) -> dict[str, object]:
    return {"at_ms": MONDAY, "result": "well", "why": "", "how": "failover", "playbook": 8, "took_ms": 900} | changes


def streaming(lsn: int = 1000, **flushed: int) -> Callable[[Machine], Reading | None]:
    """The primary's reading; by default everybody has everything."""
    everybody = dict.fromkeys((f"orders-{slot}" for slot in range(3)), lsn)
    return lambda member: Reading(alive=True, position=Position(1, lsn), streaming=everybody | flushed)


def choose(world: World, now_ms: int = MONDAY + 4 * HOUR, standing: Standing | None = None, rules: Policy = EVERYBODY):
    due = [world.get(sample.SERVICE)]
    return exercise.choose(world, due, now_ms, standing or Standing(), rules, streaming())


# ---- who takes part


def test_nobody_takes_part_by_itself():
    assert exercise.part_of(sample.well().get(1), NOBODY.plans) is None
    assert exercise.part_of(sample.small(plan="dev", members=1).get(1), EVERYBODY.plans) is None


def test_a_plan_may_take_part_and_a_person_has_the_last_word():
    assert (exercise.part_of(sample.well().get(1), EVERYBODY.plans) or NO_PART).how == "failover"
    assert (exercise.part_of(sample.small().get(1), EVERYBODY.plans) or NO_PART).how == "switchover"
    assert exercise.part_of(sample.well(exercise={"off": True}).get(1), EVERYBODY.plans) is None
    own = exercise.part_of(sample.well(exercise=part(how="switchover")).get(1), EVERYBODY.plans)
    assert (own or NO_PART).how == "switchover"


def test_to_take_part_is_recorded_with_the_plans_own_where_nothing_was_said():
    world = sample.well()
    decision = decide(world, exercise.take_part(world, "orders", "", "", "", "ann", MONDAY), MONDAY)
    assert decision.after[1].data["exercise"] == part()
    assert decision.moves[0].why == "ann has it exercised"
    world = sample.small()
    decision = decide(
        world, exercise.take_part(world, "orders", "12h", "sat 22:00-04:00", "failover", "ann", 5), MONDAY
    )
    assert decision.after[1].data["exercise"] == part(every_s=43_200, window="sat 22:00-04:00", since_ms=5)


@pytest.mark.parametrize(
    ("said", "error", "match"),
    [
        (("5m", "", ""), InvalidInput, "too often"),
        (("weekly", "", ""), InvalidInput, "not a length of time"),
        (("", "nights", ""), InvalidInput, "are no hours"),
        (("", "", "reboot"), InvalidInput, "no way to exercise"),
    ],
)
def test_what_cannot_be_is_refused(said: tuple[str, str, str], error: type[Exception], match: str):
    with pytest.raises(error, match=match):
        exercise.take_part(sample.well(), "orders", *said, "ann", MONDAY)


def test_a_plan_without_standby_cannot_take_part():
    world = sample.small(plan="dev", members=1)
    with pytest.raises(Refused, match="plan dev, which has no standby"):
        exercise.take_part(world, "orders", "", "", "", "ann", MONDAY)
    with pytest.raises(NotFound):
        exercise.take_no_part(world, "bills", "ann")


def test_unknown_plans_are_refused_in_the_settings():
    assert exercise.policy(" premium , standard,", 0) == Policy(frozenset({"premium", "standard"}), 1)
    for text in ("dev", "gold"):
        with pytest.raises(InvalidInput, match=text):
            exercise.policy(text, 1)


# ---- when


def due(now_ms: int, plans: frozenset[str] = NOBODY.plans, **facts: object) -> str:
    service = sample.well(**facts).get(1)
    return told(exercise.next_due(service, exercise.part_of(service, plans) or NO_PART, now_ms))


def test_the_first_is_as_soon_as_the_window_opens_at_the_names_own_spot():
    assert due(MONDAY - DAY, exercise=part()) == "Mon 23 04:41"
    assert due(MONDAY + 2 * HOUR, exercise=part()) == "Mon 23 04:41"


def test_one_whose_spot_has_passed_is_due_at_once_while_the_window_is_open():
    assert due(MONDAY + 4 * HOUR + 50 * 60_000, exercise=part()) == "Mon 23 04:50"
    assert due(MONDAY + 5 * HOUR, exercise=part()) == "Tue 24 04:41"


def test_a_weekly_one_stays_at_its_hour():
    at = MONDAY + 4 * HOUR + 26 * 60_000
    assert due(at + HOUR, exercise=part(), exercise_last=last(at_ms=at)) == "Mon 30 04:41"
    late = MONDAY + 4 * HOUR + 59 * 60_000
    assert due(late + HOUR, exercise=part(), exercise_last=last(at_ms=late)) == "Mon 30 04:41"


def test_one_that_gave_way_is_tried_again_in_an_hour_of_the_window():
    facts = {"exercise": part(), "exercise_last": last(at_ms=MONDAY + 2 * HOUR, result="gave_way")}
    assert due(MONDAY + 2 * HOUR, **facts) == "Mon 23 04:41"


def test_an_hourly_one_waits_its_hour():
    facts = {"exercise": part(every_s=3600, window="always"), "exercise_last": last(at_ms=MONDAY + 23 * HOUR)}
    assert due(MONDAY + 23 * HOUR, **facts) == "Tue 24 00:53"
    assert due(MONDAY + 5 * HOUR, **facts | {"exercise_last": last(at_ms=MONDAY + 5 * HOUR)}) == "Mon 23 06:00"


def test_a_whole_plan_is_spread_over_its_period_and_its_window():
    firsts = []
    for number in range(400):
        world = sample.well()
        service = world.get(1)
        service.data["name"] = f"service-{number}"
        first = exercise.next_due(service, exercise.PLAN_PARTS["premium"], MONDAY - DAY)
        assert MONDAY - DAY <= first < MONDAY + 9 * DAY
        assert first == exercise.next_due(service, exercise.PLAN_PARTS["premium"], first), (
            "it stays when its time comes"
        )
        firsts.append(first)
    assert len({first // 60_000 for first in firsts}) > 250
    assert len({first // DAY for first in firsts}) >= 5
    assert all(2 * HOUR <= first % DAY < 5 * HOUR for first in firsts)


# ---- who may begin now


def test_who_is_well_begins():
    world = sample.well()
    assert choose(world) == exercise.Chosen((1,), {})
    assert choose(world, rules=NOBODY) == exercise.Chosen((), {})


@pytest.mark.parametrize(
    ("standing", "rules", "why"),
    [
        (Standing(running={90: frozenset({"other"})}), Policy(EVERYBODY.plans, 1), "1 exercise\\(s\\) at once"),
        (Standing(running={90: frozenset({"local"})}), EVERYBODY, "another exercise is under way in zone local"),
        (
            Standing(failed={"premium": "bills"}),
            EVERYBODY,
            "exercises of plan premium are stopped: that of bills failed",
        ),
    ],
)
def test_others_keep_it_from_beginning(standing: Standing, rules: Policy, why: str):
    waits = choose(sample.well(), standing=standing, rules=rules).waits[1]
    assert re.search(why, waits), waits


def test_the_exercise_of_another_plan_stops_nothing():
    assert choose(sample.well(), standing=Standing(failed={"standard": "bills"})).begin == (1,)


def test_nobody_begins_outside_of_the_window():
    assert choose(sample.well(), MONDAY + 6 * HOUR).waits[1] == "its window is not open"


def test_two_of_one_zone_take_turns():
    world = sample.well()
    service = world.get(1)
    chosen = exercise.choose(world, [service, service], MONDAY + 4 * HOUR, Standing(), EVERYBODY, streaming())
    assert len(chosen.begin) == 1


@pytest.mark.parametrize(
    ("kind", "state"), [("incident", "recovering"), ("incident", "verifying"), ("freeze", "frozen")]
)
def test_nobody_begins_during_an_incident_or_a_freeze(kind: str, state: str):
    world = sample.well()
    sample.put(world, 50, kind, state, name=f"{kind}-50")
    assert f"{kind}-50" in choose(world).waits[1]
    with pytest.raises(Refused, match=f"{kind}-50"):
        exercise.begin(world, "orders", "failover", "due", MONDAY, streaming())


@pytest.mark.parametrize(("kind", "state"), [("incident", "over"), ("freeze", "released")])
def test_what_is_over_keeps_nobody(kind: str, state: str):
    world = sample.well()
    sample.put(world, 50, kind, state, name=f"{kind}-50")
    assert choose(world).begin == (1,)


def told_of(world: World, reason: str) -> None:
    sample.put(world, 50, "page", "open", name="page-50", subject=1, service=1, reason=reason, text="", times=1)


def ill(world: World, ident: int, state: str = "unavailable") -> None:
    machine = world.get(ident)
    machine.state = state
    world.put(machine)


@pytest.mark.parametrize(
    ("ident", "why"), [(1, "it is unavailable"), (2, "orders-0 is unavailable"), (4, "orders-2 is"), (7, "srv-7 is")]
)
def test_what_is_not_well_is_not_exercised(ident: int, why: str):
    world = sample.well()
    ill(world, ident)
    assert why in exercise.unfit(world, world.get(1), MONDAY, streaming())


def test_a_standby_that_lags_or_does_not_stream_or_has_no_vote_keeps_it():
    world = sample.well()
    far = streaming(lsn=64 << 20, **{"orders-2": 0})
    assert exercise.unfit(world, world.get(1), MONDAY, far) == "orders-2 is 64 MiB behind"
    assert exercise.unfit(world, world.get(1), MONDAY, lambda _: None) == "orders-0 has not been heard yet"
    lonely = Reading(alive=True, position=Position(1, 5))
    assert "does not stream" in exercise.unfit(world, world.get(1), MONDAY, lambda _: lonely)
    world = sample.well(voters=[3])
    assert exercise.unfit(world, world.get(1), MONDAY, streaming()) == "orders-2 is not a voter"


def test_one_whose_budget_is_used_up_is_left_alone():
    world = sample.well(failovers=[MONDAY - 1000])
    assert "failed over by itself" in exercise.unfit(world, world.get(1), MONDAY, streaming())
    assert not exercise.unfit(world, world.get(1), MONDAY + HOUR, streaming())


def test_one_of_which_a_person_was_told_is_left_alone():
    world = sample.well()
    told_of(world, "durability_overridden")
    assert exercise.unfit(world, world.get(1), MONDAY, streaming()) == "a person was told of it: durability_overridden"
    world = sample.well()
    told_of(world, "exercise_failed")
    assert not exercise.unfit(world, world.get(1), MONDAY, streaming())


def test_one_whose_last_exercise_is_over_and_not_yet_recorded_may_begin_again():
    world, _ = run("done")
    items = exercise.begin(world, "orders", "switchover", "asked for by ann", MONDAY + 3000, streaming())
    after = decide(world, items, MONDAY + 3000).after[1].data
    assert (after["exercise_last"]["result"], after["exercise_run"]["playbook"]) == ("well", 9)
    world, _ = run("promoting")
    with pytest.raises(Refused, match="one is under way"):
        exercise.begin(world, "orders", "switchover", "asked for by ann", MONDAY + 3000, streaming())


def test_one_begins_although_the_failure_of_the_last_is_recorded_and_paged_with_it():
    """Found by `herder verify`: the page took the id that the playbook had been given, and nothing began."""
    world, _ = run("paged")
    items = exercise.begin(world, "orders", "failover", "asked for by ann", MONDAY + 3000, streaming())
    decision = decide(world, items, MONDAY + 3000)
    assert decision.dropped == []
    kinds = {machine.kind: machine for machine in decision.after.values()}
    assert (kinds["failover"].state, kinds["page"].data["reason"]) == ("stopping", "exercise_failed")
    assert decision.after[1].data["exercise_run"]["playbook"] == kinds["failover"].id
    assert decision.after[1].data["exercise_last"]["result"] == "failed"


def test_one_that_is_held_is_left_alone():
    world = sample.well(playbook=8)
    sample.put(world, 8, "strike", "shrinking", **sample.playbook_facts())
    assert "under way" in exercise.unfit(world, world.get(1), MONDAY, streaming())
    with pytest.raises(Conflict):
        exercise.begin(world, "orders", "failover", "due", MONDAY, streaming())


# ---- what begins


@pytest.mark.parametrize(("how", "state"), [("failover", "stopping"), ("switchover", "preparing")])
def test_an_exercise_is_a_playbook_that_says_so_and_costs_no_budget(how: str, state: str):
    world = sample.well()
    decision = decide(world, exercise.begin(world, "orders", how, "due in its window", MONDAY, streaming()), MONDAY)
    made, service = decision.after[8], decision.after[1]
    assert (made.kind, made.state, made.data["exercise"], made.data["counts"]) == (how, state, True, False)
    assert (service.data["term"], service.data["playbook"], service.data["failovers"]) == (2, 8, [])
    assert service.data["exercise_run"] == {"playbook": 8, "began_ms": MONDAY, "how": how}
    assert (decision.moves[0].actor, decision.moves[0].why) == ("exercise", "exercise: due in its window")


def test_how_is_what_was_said_now_else_of_it_else_its_plans():
    world = sample.small(exercise=part(how="failover"))
    assert exercise.how_of(world.get(1), "", NOBODY.plans) == "failover"
    assert exercise.how_of(world.get(1), "switchover", NOBODY.plans) == "switchover"
    assert exercise.how_of(sample.small().get(1), "", NOBODY.plans) == "switchover"
    with pytest.raises(InvalidInput, match="no way"):
        exercise.how_of(world.get(1), "reboot", NOBODY.plans)
    with pytest.raises(Refused, match="no standby"):
        exercise.how_of(sample.small(plan="dev", members=1).get(1), "", NOBODY.plans)


# ---- how it ended


def run(state: str, *, took_s: float = 5, kind: str = "failover", **facts: object):
    """What is recorded of an exercise whose playbook is in `state`."""
    world = sample.well(exercise_run={"playbook": 8, "began_ms": MONDAY, "how": kind}, **facts)
    sample.put(world, 8, kind, state, **sample.playbook_facts(exercise=True))
    return world, lambda: exercise.ended(world, world.get(1), MONDAY + int(took_s * 1000))


def test_it_went_well_when_everything_is_well_again():
    world, look = run("done")
    ill(world, 2)
    assert look() == [], "the old primary does not follow yet"
    ill(world, 2, "available")
    (item,) = look()
    assert (item.event, item.facts["exercise_run"]) == ("exercise_ended", {})
    assert item.facts["exercise_last"] | {"why": ""} == last(at_ms=MONDAY + 5000, took_ms=5000)


def test_it_goes_on_while_its_playbook_does():
    _, look = run("promoting")
    assert look() == []


def test_a_playbook_that_gave_way_is_no_failure_when_all_is_well():
    _, look = run("abandoned", kind="switchover")
    assert (look()[0].event, look()[0].facts["exercise_last"]["result"]) == ("exercise_ended", "gave_way")


@pytest.mark.parametrize(
    ("state", "took_s", "what"), [("paged", 5, "is paged"), ("promoting", 901, "is still promoting")]
)
def test_a_failure_is_recorded_with_a_page_and_its_plan_stops(state: str, took_s: float, what: str):
    world, look = run(state, took_s=took_s)
    (item,) = look()
    assert item.event == "exercise_failed"
    assert what in item.why
    decision = decide(world, [item], MONDAY)
    page = next(machine for machine in decision.after.values() if machine.kind == "page")
    assert (page.data["reason"], page.data["subject"]) == ("exercise_failed", 1)
    assert exercise.failed(decision.after[1])


def test_not_well_in_time_is_a_failure_too():
    world, look = run("done", took_s=901)
    ill(world, 2)
    assert look()[0].facts["exercise_last"]["why"] == "orders-0 is unavailable"


@pytest.mark.parametrize("word", ["on", "off"])
def test_a_person_who_has_seen_to_it_lets_the_plan_go_on(word: str):
    world = sample.well(exercise_last=last(result="failed"))
    told_of(world, "exercise_failed")
    assert exercise.failed(world.get(1))
    asked = (
        exercise.take_part(world, "orders", "", "", "", "ann", 1)
        if word == "on"
        else exercise.take_no_part(world, "orders", "ann")
    )
    decision = decide(world, asked, MONDAY)
    assert not exercise.failed(decision.after[1])
    assert decision.after[50].state == "resolved"


def test_one_that_goes_well_after_a_failure_ends_the_page():
    world, look = run("done", exercise_last=last(result="failed"))
    told_of(world, "exercise_failed")
    decision = decide(world, look(), MONDAY)
    assert not exercise.failed(decision.after[1])
    assert decision.after[50].state == "resolved"
