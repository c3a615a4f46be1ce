"""One automatic failover of a service and hour: the second fault waits for a person, and says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from herder.lab import faults
from herder.lab.rig import Rig
from tests.acceptance.stage import (
    happened,
    herder,
    last_seq,
    moves,
    nothing_lost,
    page,
    pids,
    primary_of,
    told,
    until,
    until_well,
    writes_again,
    writing,
)

pytestmark = pytest.mark.slow


@pytest.fixture
def strict() -> Iterator[Rig]:
    with Rig({"fencing": "false", "failovers_per_hour": "1"}) as rig:
        yield rig


def test_a_second_fault_within_the_hour_waits_until_a_person_allows_it(strict: Rig, tmp_path: Path):
    strict.create("postgres", "orders", "premium")
    until_well(strict, "orders")
    faults.kill_engine(pids(strict, "orders")["orders-0"])
    until(lambda: strict.show("orders")["term"] == 2, "the first fault is met")
    before, since = until_well(strict, "orders"), last_seq(strict)
    _, server = primary_of(strict, "orders")
    with writing(strict, "orders", tmp_path) as account:
        began = faults.freeze(server)
        try:
            until(lambda: page(strict, "orders", "failover_blocked"), "a page says that failover is blocked")
            ill = herder(strict, "status", "--json").json
            assert ("orders", "unavailable") in {(unit["name"], unit["state"]) for unit in ill["not_well"]}
            events = moves(strict, "orders", since)
            assert not happened(events, "member", "promoted"), told(events)
            assert strict.show("orders")["term"] == before["term"], told(events)
            assert herder(strict, "allow-failover", "orders").code == 0
            writes_again(strict, "orders", account, began)
        finally:
            with suppress(faults.NotPossible):
                faults.thaw(server)
        after = until_well(strict, "orders")
    nothing_lost(account)
    assert after["term"] == before["term"] + 1
    allowed = happened(moves(strict, "orders", since), "service", "allowed")
    assert [move["actor"] for move in allowed] == ["person"], "the log tells who allowed it"
    until(lambda: page(strict, "orders", "failover_blocked", "resolved"), "the page is over when all is well")
