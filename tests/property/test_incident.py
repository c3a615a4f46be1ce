"""A scenario out of any log: it can be written, read again as the same, and run, or it is refused in words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herder.model.errors import InvalidInput, NotFound
from herder.sim.drill import reading
from herder.sim.drill.incident import BACK, BEFORE_MS, FELL, scenario_from
from herder.sim.drill.writing import to_toml
from tests.property.effort import EFFORT

T0 = 1_772_600_000_000
NAMES = {
    "server": ["srv-0", "srv-1", "srv-2", "srv-3"], "dependency": ["object-store", "provider:local", "zone:a", "pager", "x"],
    "incident": ["incident-9"], "page": ["page-3"], "service": ["orders"],
}  # fmt: skip
EVENTS = {
    "server": [*sorted(FELL), *sorted(BACK), "boot"], "dependency": ["failing", "down", "answering"],
    "incident": ["create", "mass", "recovered"], "page": ["create", "resolve"], "service": ["primary_uncertain"],
}  # fmt: skip
TARGETS = {
    "server": ["available", "uncertain"], "dependency": ["uncertain", "unavailable", "restart", "available"],
    "incident": ["verifying", "recovering", "over"], "page": ["open", "resolved"], "service": ["uncertain"],
}  # fmt: skip
SERVERS = [{"id": f"srv-{n}", "zone": "a" if n < 2 else "b", "state": "available"} for n in range(8)]
SERVICES = [{"engine": "postgres", "plan": "premium", "state": "available"}] * 3


@st.composite
def logs(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Rows in their order, with an incident somewhere among them; the rest is whatever a log may hold."""
    at_ms, rows = T0, []
    for seq in range(1, draw(st.integers(1, 25))):
        at_ms += draw(st.integers(0, 90_000))
        kind = draw(st.sampled_from(["server", "server", "server", "dependency", "incident", "page", "service"]))
        rows.append({
            "at_ms": at_ms, "seq": seq, "kind": kind, "name": draw(st.sampled_from(NAMES[kind])), "source": "available",
            "event": draw(st.sampled_from(EVENTS[kind])), "target": draw(st.sampled_from(TARGETS[kind])), "why": "", "actor": "herder",
        })  # fmt: skip
    return rows


@EFFORT
@given(logs(), st.booleans(), st.sampled_from(["incident-9", "page-3", "incident-1"]))
def test_what_a_log_tells_becomes_the_same_drill_each_time_or_is_refused(
    rows: list[dict[str, Any]], shaped: bool, incident: str
):
    fleet = (SERVICES, SERVERS) if shaped else ()
    about = [row for row in rows if row["kind"] in ("incident", "page") and row["name"] == incident]
    if not about:
        with pytest.raises(NotFound):
            scenario_from(rows, incident, *fleet)
        return
    try:
        made = scenario_from(rows, incident, *fleet)
    except InvalidInput:  # nothing around it fell that a drill could repeat
        return
    assert made == scenario_from(rows, incident, *fleet)
    assert reading.parse(to_toml(made), incident) == made
    assert [event.at_ms for event in made.events] == sorted(event.at_ms for event in made.events)
    for event in made.events:
        assert about[0]["at_ms"] - BEFORE_MS <= event.at_ms
        assert made.start_ms <= event.at_ms <= (event.until_ms or event.at_ms) <= made.end_ms
        assert 0 < event.share <= 1
