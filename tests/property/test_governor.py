"""The governor: nothing that is frozen begins, no scope has more under way than its budget, and no pace leaves its bounds."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from herder.engine.decide import Draft
from herder.engine.world import World
from herder.governor.budget import COUNTED, HOUR_MS, Budgets, Limits, budgets, limits_for, spent, under_way
from herder.governor.freezes import DESTRUCTIVE, FREEZING, Freezes
from herder.governor.gate import DOWN, NEEDS, WAVED, Gate, Reason, needs_of
from herder.governor.pace import FAILED_SHARE, SAMPLES, forecast, kept, next_rate, next_window
from herder.governor.scopes import scopes_of_service
from herder.machines.dependency import What
from herder.machines.registry import BY_KIND
from herder.pulse.storm import FLEET
from tests.machines import sample
from tests.property.effort import EFFORT, PLENTY
from tests.unit.governor.test_freezes_and_budgets import NOW, many, service

SERVICES, ZONES = 12, 3
SCOPES = ["fleet", "zone:z0", "zone:z1", "zone:z9", "service:s1", "server:srv-102", "provider:local", "image:i1"]
PLAYBOOKS = sorted({*DESTRUCTIVE, *NEEDS, "switchover", "destroy"})
STATES = st.sampled_from([*FREEZING, "recovering", "aborted", "over"])
HELD = st.lists(
    st.one_of(
        st.tuples(st.just("freeze"), st.sampled_from(["frozen", "released"]), st.sampled_from(SCOPES)),
        st.tuples(st.just("incident"), STATES, st.sampled_from(SCOPES)),
        st.tuples(st.just("dependency"), st.sampled_from(["available", *DOWN]), st.sampled_from(["", "z0", "z9", "local"])),
    ),
    max_size=4,
)  # fmt: skip
"""(kind, state, scope) of what may hold remedies back."""


def holding(held: list[tuple[str, str, str]], what: What = What.PROVIDER) -> World:
    world = many(SERVICES, ZONES)
    for kind, state, scope in held:
        facts: dict[str, Any] = {"scope": scope, "why": "drawn", "name": f"{kind}-{scope}"}
        if kind == "incident":
            facts |= {"scopes": [scope], "began_ms": NOW}
        elif kind == "dependency":
            facts |= {"what": str(what)}
        sample.put(world, world.next_id, kind, state, **facts)
    return world


@EFFORT
@given(HELD, st.integers(0, SERVICES - 1), st.sampled_from(PLAYBOOKS))
def test_nothing_that_destroys_begins_where_anything_is_frozen(
    held: list[tuple[str, str, str]], number: int, playbook: str
):
    world = holding(held)
    draft, asked = Draft(world, NOW), world.get(service(number))
    stands_in = scopes_of_service(draft, asked)
    frozen = any(
        scope in stands_in
        for kind, state, scope in held
        if (kind, state) == ("freeze", "frozen") or (kind == "incident" and state in FREEZING)
    )
    found = Gate(draft).hold(asked, playbook)
    assert (found is not None and found.reason is Reason.FROZEN) is (frozen and playbook in DESTRUCTIVE)
    assert bool(Freezes(draft).reason(asked, playbook)) is (frozen and playbook in DESTRUCTIVE)


@EFFORT
@given(HELD, HELD, st.integers(0, SERVICES - 1), st.sampled_from(PLAYBOOKS), st.sampled_from(What))
def test_one_reason_more_never_lets_anything_begin(
    held: list[tuple[str, str, str]], more: list[tuple[str, str, str]], number: int, playbook: str, what: What
):
    """A recovery apart: it takes what it covers out of the budgets. Waves and needs only ever hold."""
    before, after = (holding(each, what) for each in (held, held + more))
    held_before = Gate(Draft(before, NOW)).hold(before.get(service(number)), playbook)
    held_after = Gate(Draft(after, NOW)).hold(after.get(service(number)), playbook)
    assert held_before is None or held_after is not None


@EFFORT
@given(HELD, st.integers(0, SERVICES - 1), st.sampled_from(PLAYBOOKS), st.sampled_from(What))
def test_what_saves_a_service_with_what_it_has_waits_for_no_dependency(
    held: list[tuple[str, str, str]], number: int, playbook: str, what: What
):
    """A failover, a restart or a strike goes on with the provider, the object store and the pager down."""
    world = holding(held, what)
    draft, asked = Draft(world, NOW), world.get(service(number))
    found = Gate(draft).hold(asked, playbook)
    if playbook not in NEEDS:
        assert not needs_of(draft, asked, playbook)
        assert found is None or found.reason is not Reason.DEPENDENCY
    if playbook not in WAVED:
        assert found is None or found.reason is not Reason.WAVE
    assert What.PAGER not in needs_of(draft, asked, playbook), "automation never waits for a person"


@EFFORT
@given(
    st.lists(st.tuples(st.integers(0, SERVICES - 1), st.sampled_from([*COUNTED, "switchover"])), max_size=40),
    st.lists(st.tuples(st.integers(0, SERVICES - 1), st.sampled_from(COUNTED), st.booleans()), max_size=12),
    st.integers(1, 6), st.integers(1, 9),
)  # fmt: skip
def test_no_scope_ever_has_more_under_way_than_its_budget(
    asked: list[tuple[int, str]], live: list[tuple[int, str, bool]], zone: int, fleet: int
):
    """Whatever is asked in whatever order, on top of whatever is under way already."""
    world = many(SERVICES, ZONES)
    for number, kind, over in live:
        states = [state.name for state in BY_KIND[kind].states if state.final is over]
        ident = world.next_id
        sample.put(world, ident, kind, states[0], service=service(number), name=f"{kind}-{ident}")
    limits = Limits(in_flight_zone=zone, in_flight_fleet=fleet)
    used = dict.fromkeys((FLEET, *(f"zone:z{number}" for number in range(ZONES))), 0)
    for number, _, over in live:
        for scope in (FLEET, f"zone:z{number % ZONES}"):
            used[scope] += not over
    assert len(under_way(world)) == used[FLEET]
    slots = Budgets(Draft(world, NOW), limits)
    for number, playbook in asked:
        begins = not slots.reason(world.get(service(number)), playbook)
        here = (FLEET, f"zone:z{number % ZONES}")
        room = used[FLEET] < fleet and used[here[1]] < zone
        assert begins is (room or playbook not in COUNTED)
        for scope in here:
            used[scope] += begins and playbook in COUNTED


@EFFORT
@given(
    st.lists(st.tuples(st.integers(0, SERVICES - 1), st.integers(0, 2 * HOUR_MS)), max_size=20),
    st.integers(1, 6), st.integers(1, 9),
)  # fmt: skip
def test_the_hour_counts_what_ended_in_it_and_an_empty_one_is_told(ended: list[tuple[int, int]], zone: int, fleet: int):
    world = many(SERVICES, ZONES)
    for number, ago_ms in ended:
        ident = world.next_id
        sample.put(world, ident, "failover", "done", service=service(number), name=f"failover-{ident}")
        sample.change(world, ident, since_ms=NOW - ago_ms)
    limits = Limits(hour_zone=zone, hour_fleet=fleet)
    seen = {left.scope: left for left in budgets(world, NOW, limits)}
    counted = min(4 * fleet, len(ended))  # only so many of the newest are looked at: enough to see that it is used up
    within = [number for number, ago_ms in ended[-counted:] if ago_ms <= HOUR_MS] if counted else []
    assert seen[FLEET].hour == len(within)
    for place in range(ZONES):
        assert seen[f"zone:z{place}"].hour == sum(number % ZONES == place for number in within)
    assert {left.scope for left in spent(world, NOW, limits)} == {scope for scope, left in seen.items() if left.empty}


@PLENTY
@given(st.sampled_from([FLEET, "zone:a"]), st.integers(0, 10**7), st.integers(0, 10**6), st.integers(0, 50))
def test_a_larger_fleet_never_has_less_budget_and_none_is_ever_without(
    scope: str, services: int, more: int, per_hour: int
):
    limits = limits_for(per_hour)
    for budget in (limits.in_flight, limits.hour):
        assert 0 < budget(scope, services) <= budget(scope, services + more)
    assert limits_for(per_hour + 1).hour(scope, services) >= limits.hour(scope, services)
    assert limits.in_flight(scope, services) == Limits().in_flight(scope, services), "an hour's budget widens no slot"


# ---- pace

COUNT = st.integers(0, 10_000)


@PLENTY
@given(st.integers(1, 10_000), COUNT, COUNT, st.integers(1, 10_000), st.integers(1, 20), COUNT)
def test_a_window_stays_in_its_bounds_and_failures_never_widen_it(
    window: int, well: int, failed: int, ceiling: int, floor: int, more: int
):
    ceiling = max(ceiling, floor)
    found = next_window(window, well, failed, ceiling, floor)
    assert floor <= found <= max(ceiling, floor)
    assert next_window(window, well, failed + more, ceiling, floor) <= max(found, window)
    if failed > FAILED_SHARE * (well + failed):
        assert found <= max(window // 2, floor)
    assert found <= 2 * window or found == floor


@PLENTY
@given(st.floats(1, 1e6), st.floats(0, 1e6), st.floats(0, 1e6), st.floats(1, 1e6))
def test_a_rate_stays_in_its_bounds_and_failures_halve_it(rate: float, sent: float, failed: float, ceiling: float):
    found = next_rate(rate, sent, failed, ceiling)
    assert 1.0 <= found <= ceiling
    assert found <= max(2 * rate, 1.0)
    if failed > FAILED_SHARE * (sent + failed):
        assert found <= max(rate / 2, 1.0)


@PLENTY
@given(st.lists(st.tuples(st.integers(0, 60_000), COUNT), max_size=80), COUNT, st.integers(0, 60_000))
def test_a_forecast_is_in_order_and_never_in_the_past(steps: list[tuple[int, int]], left: int, later_ms: int):
    samples: list[list[int]] = []
    now_ms = 0
    for pause_ms, remaining in steps:
        now_ms += pause_ms
        samples = kept(samples, now_ms, remaining)
        assert len(samples) <= SAMPLES
        assert samples[-1] == [now_ms, remaining]
    now_ms += later_ms
    told = forecast(samples, left, now_ms)
    if told is not None:
        assert now_ms <= told.early_ms <= told.end_ms
        assert told.late_ms == 0 or told.late_ms >= told.end_ms
        assert left == 0 or told.per_s > 0
