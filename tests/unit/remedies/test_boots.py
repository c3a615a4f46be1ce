"""Which servers that are known not to run are started again, and when."""

from __future__ import annotations

import pytest

from herder.engine.world import World
from tests.machines import sample
from tests.unit.remedies.test_catalogue import NOW, PRIMARY, dead_primary, proposed, with_states


def boots(world: World, now_ms: int = NOW + 600_000) -> list[int]:
    """Servers that a tick starts."""
    return [item.machine for item in proposed(world, now_ms) if item.event == "boot"]


def test_the_lost_primarys_server_is_started_after_its_fence():
    """Found by a drill: the fence for the failover ended the life that had just been begun, a minute later it was begun anew."""
    world = with_states(dead_primary(), s0="unavailable", s1="unavailable")
    assert boots(world) == [sample.SERVERS[1]]
    world.get(PRIMARY).data["deposed"] = True
    assert boots(world) == list(sample.SERVERS[:2])


def test_a_lost_primarys_server_is_started_where_no_failover_comes():
    alone = with_states(dead_primary(sample.small("postgres", "dev", 1)), s0="unavailable")
    assert boots(alone) == [sample.SERVERS[0]]
    spent = with_states(dead_primary(failovers=[NOW + 599_000]), s0="unavailable")
    assert boots(spent) == [sample.SERVERS[0]]


def test_no_more_servers_are_started_at_a_time_than_the_provider_can(monkeypatch: pytest.MonkeyPatch):
    world = with_states(s1="unavailable", s2="unavailable")
    monkeypatch.setattr("herder.remedies.catalogue.BOOTS_AT_ONCE", 1)
    assert boots(world) == [sample.SERVERS[1]]
    assert boots(with_states(s0="restart", s1="unavailable")) == []
