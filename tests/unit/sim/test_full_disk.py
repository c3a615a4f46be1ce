"""Full disks: who has no room does not lead, and a primary without room gives way where that loses nothing."""

import pytest

from herder.sim.clock import pass_time
from tests.unit.sim.stage import standbys, story


@pytest.mark.parametrize("name", ["gold", "silver"])
def test_nobody_is_promoted_on_a_full_disk_and_the_primary_is_started_in_place(name):
    async def play(fleet):
        led = fleet.primary(name).name
        for host in standbys(fleet, name):
            fleet.faults.fill_disk(host, 300, how="nearly")
        await pass_time(3)
        fleet.faults.kill_host(fleet.host(name))
        await fleet.until(lambda: fleet.paged("pledges_short"), 30)
        assert "its disk is full" in fleet.paged("pledges_short")[0].data["text"]
        await fleet.well(name, 120)
        return fleet.primary(name).name == led, fleet.lost(name)

    assert story(play) == (True, 0)


def test_standbys_that_pledged_in_vain_follow_as_soon_as_the_primary_is_started_in_place():
    """They stream from nobody after a failover that came to nothing: commits waited 24 s for their rebuilds."""

    async def play(fleet):
        for host in standbys(fleet, "gold"):
            fleet.faults.fill_disk(host, 300, how="nearly")
        await pass_time(3)
        fleet.faults.kill_host(fleet.host("gold"))
        await fleet.until(lambda: fleet.paged("pledges_short"), 30)
        await fleet.well("gold", 120)
        await pass_time(0.5)
        engines = fleet.world.cluster("gold").engines
        led = fleet.primary("gold").name
        return [engine.source == led for name, engine in engines.items() if name != led]

    assert story(play) == [True, True]


def test_of_two_that_reach_as_far_the_one_with_room_leads():
    async def play(fleet):
        first, second = standbys(fleet, "gold")
        fleet.faults.fill_disk(first, 300, how="nearly")
        await pass_time(3)
        fleet.faults.kill_host(fleet.host("gold"))
        await fleet.until(lambda: fleet.done("failover") == 1, 30)
        return fleet.host("gold") is second, fleet.lost("gold")

    assert story(play) == (True, 0)


def test_a_primary_whose_disk_is_full_gives_way_to_a_standby_with_room():
    async def play(fleet):
        host, led = fleet.host("gold"), fleet.primary("gold").name
        fleet.faults.fill_disk(host, 300, how="stuck")
        await fleet.until(lambda: fleet.done("failover") == 1, 15)
        await fleet.well("gold", 10)
        assert "its disk has been full" in str(fleet.committed.named("member", led).data["evidence"])
        assert fleet.primary("gold").name != led
        await fleet.all_well(400)
        return fleet.lost("gold"), fleet.doubled("gold"), fleet.done("failover")

    assert story(play) == (0, [], 1)


@pytest.mark.parametrize("name", ["silver", "bronze"])
def test_a_primary_whose_disk_is_full_goes_on_where_a_failover_could_lose_something(name):
    async def play(fleet):
        fleet.faults.fill_disk(fleet.host(name), 100, how="stuck")
        states = set()
        for _ in range(60):
            await pass_time(1)
            states.add(fleet.state(name))
        await pass_time(60)
        return states, len(list(fleet.committed.of_kind("failover"))), len(list(fleet.committed.of_kind("restart")))

    assert story(play) == ({"available"}, 0, 0)


async def full_after_its_only_failover(fleet):
    """The budget of the hour is used up, then the new primary's disk fills up for a minute."""
    fleet.faults.kill_host(fleet.host("gold"))
    await fleet.until(lambda: fleet.done("failover") == 1, 30)
    await fleet.all_well(300)
    fleet.faults.fill_disk(fleet.host("gold"), 60, how="stuck")
    await fleet.until(lambda: fleet.paged("failover_blocked"), 20)


def test_a_full_disk_whose_failover_is_blocked_is_no_restart_and_ends_with_the_room():
    async def play(fleet):
        await full_after_its_only_failover(fleet)
        began = len(list(fleet.committed.of_kind("restart")))
        await pass_time(40)
        assert (fleet.state("gold"), len(list(fleet.committed.of_kind("restart")))) == ("unavailable", began)
        await fleet.all_well(60)
        return fleet.done("failover"), fleet.lost("gold")

    assert story(play) == (1, 0)


def test_a_planned_move_does_not_go_to_a_full_disk():
    async def play(fleet):
        for host in standbys(fleet, "gold"):
            fleet.faults.fill_disk(host, 300, how="nearly")
        await pass_time(3)
        led = fleet.primary("gold").name
        await fleet.plane.control.switchover("gold")
        await fleet.until(lambda: fleet.committed.of_kind("switchover"), 10)
        await fleet.until(lambda: all(not each.live for each in fleet.committed.of_kind("switchover")), 60)
        await fleet.well("gold", 30)
        return fleet.primary("gold").name == led, [each.state for each in fleet.committed.of_kind("switchover")]

    assert story(play) == (True, ["abandoned"])


def test_a_candidate_whose_disk_fills_up_meanwhile_leads_when_there_is_room_and_until_then_nothing_is_called_available(
    monkeypatch,
):
    monkeypatch.setattr("herder.remedies.room.ROOM_BYTES", 0)  # as if it had filled up after the last pulse

    async def play(fleet):
        fleet.world.mood.can_fence = False
        for host in standbys(fleet, "gold"):
            fleet.faults.fill_disk(host, 200, how="nearly")
        await pass_time(3)
        old = fleet.host("gold")
        fleet.faults.freeze_host(old, 20)
        await fleet.until(lambda: fleet.state("gold") != "available", 20)
        states = set()
        for _ in range(100):
            await pass_time(1)
            states.add(fleet.state("gold"))
        assert old.awake, "the old primary answers again all that time"
        assert "available" not in states, states
        await fleet.all_well(400)
        return fleet.lost("gold"), fleet.doubled("gold")

    assert story(play) == (0, [])


def test_a_primary_whose_disk_was_full_and_whose_engine_has_ended_is_started_again():
    """Found by seed 700003: room alone does not bring it back, and nothing else was looked for."""

    async def play(fleet):
        await full_after_its_only_failover(fleet)
        fleet.faults.kill_engine(fleet.host("gold"))
        await pass_time(60)
        await fleet.all_well(120)
        return fleet.lost("gold"), fleet.doubled("gold")

    assert story(play) == (0, [])
