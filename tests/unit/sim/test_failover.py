"""The production control plane over the simulated world: provisioned by it, broken, and brought back by it."""

import pytest

from herder.governor.scopes import scopes_of
from herder.sim.clock import pass_time
from herder.sim.controller import trace_hash
from herder.sim.seeds.wellness import ill
from tests.unit.sim.stage import story


@pytest.mark.parametrize("name", ["gold", "silver"])
def test_the_host_of_a_primary_dies_and_another_member_leads(name):
    async def play(fleet):
        old = fleet.primary(name).name
        fleet.faults.kill_host(fleet.host(name))
        await fleet.until(lambda: fleet.state(name) != "available", 10)
        await fleet.well(name, 20)
        assert fleet.primary(name).name != old
        await fleet.all_well(120)
        assert fleet.done("failover") == 1
        assert fleet.doubled(name) == []
        return fleet.lost(name)

    lost = story(play)
    assert lost == 0 if name == "gold" else lost < 100


def test_a_killed_engine_of_a_dev_service_is_started_again():
    async def play(fleet):
        fleet.faults.kill_engine(fleet.host("bronze"))
        await fleet.until(lambda: fleet.done("restart") == 1, 10)
        await fleet.well("bronze", 10)
        return fleet.lost("bronze")

    assert story(play) == 0


def test_a_disk_that_dies_under_the_only_copy_is_one_page_and_no_more_starts():
    async def play(fleet):
        fleet.world.lose_disk(fleet.host("bronze"))
        await fleet.until(lambda: fleet.state("bronze") == "unavailable" and fleet.paged("data_lost"), 30)
        began = len(list(fleet.committed.of_kind("restart")))
        await pass_time(3600)
        restarts = [playbook.state for playbook in fleet.committed.of_kind("restart")]
        return began, restarts, [page.data["reason"] for page in fleet.committed.of_kind("page")]

    assert story(play) == (1, ["paged"], ["data_lost"])


def test_a_disk_that_comes_back_is_started_again_by_a_persons_word():
    async def play(fleet):
        engine = fleet.world.cluster("bronze").engines[fleet.primary("bronze").name]
        data, branch = engine.data, engine.branch
        fleet.world.lose_disk(fleet.host("bronze"))
        await fleet.until(lambda: fleet.paged("data_lost"), 30)
        engine.data, engine.branch = data, branch
        await fleet.plane.control.restart("bronze")
        await fleet.all_well(60)
        return fleet.paged("data_lost"), fleet.lost("bronze")

    assert story(play) == ([], 0)


def test_a_service_whose_data_is_lost_is_given_up_by_destroying_it():
    async def play(fleet):
        fleet.world.lose_disk(fleet.host("bronze"))
        await fleet.until(lambda: fleet.paged("data_lost"), 30)
        service = fleet.committed.named("service", "bronze").id
        await fleet.plane.control.destroy_service("bronze", "bronze")
        await fleet.until(lambda: fleet.committed.get(service).state == "retired", 60)
        await pass_time(30)
        return fleet.paged("data_lost")

    assert story(play) == []


def test_a_disk_that_dies_under_a_standard_primary_is_a_failover_and_nobodys_page():
    async def play(fleet):
        fleet.world.lose_disk(fleet.host("silver"))
        await fleet.until(lambda: fleet.done("failover") == 1, 30)
        await fleet.all_well(120)
        ends = [playbook.state for playbook in fleet.committed.of_kind("restart")]
        return ends, list(fleet.committed.of_kind("page")), fleet.lost("silver") < 100_000

    assert story(play) == (["abandoned"], [], True)


def test_a_server_says_whose_it_is_from_its_first_start():
    async def play(fleet):
        return {(server.data["provider"], scopes_of(server)[2]) for server in fleet.committed.of_kind("server")}

    assert story(play) == {("simulated", "provider:simulated")}


def test_a_short_freeze_moves_nothing():
    async def play(fleet):
        fleet.faults.freeze_host(fleet.host("silver"), 0.8)
        await pass_time(30)
        return fleet.done("failover"), fleet.state("silver")

    assert story(play) == (0, "available")


@pytest.mark.parametrize("name", ["gold", "silver"])
def test_a_frozen_primary_that_thaws_after_its_failover_confirms_nothing(name):
    async def play(fleet):
        old = fleet.host(name)
        fleet.faults.freeze_host(old, 40)
        await fleet.until(lambda: fleet.done("failover") == 1, 30)
        await pass_time(60)
        await fleet.all_well(120)
        assert fleet.lost(name) < 100
        return fleet.doubled(name)

    assert story(play) == []


@pytest.mark.parametrize("seed", range(3))
def test_the_controller_is_killed_in_mid_failover_and_goes_on_with_it(seed):
    async def play(fleet):
        fleet.faults.kill_host(fleet.host("gold"))
        await fleet.until(lambda: any(m.live for m in fleet.committed.of_kind("failover")), 10)
        fleet.faults.crash_controller(5.0)
        await pass_time(6)
        await fleet.all_well(120)
        return fleet.done("failover"), fleet.lost("gold"), fleet.doubled("gold")

    assert story(play, seed) == (1, 0, [])


def test_nats_gone_for_a_minute_is_us_and_nobody_is_judged():
    async def play(fleet):
        fleet.faults.nats_down(60)
        await pass_time(90)
        return fleet.done("failover"), fleet.done("restart"), ill(fleet.committed)

    assert story(play) == (0, 0, [])


def test_a_second_controller_takes_over_when_the_first_stays_dead():
    async def play(fleet):
        fleet.world.add_controller("controller-b")
        fleet.world.crash_controller("controller-a", 600)
        await fleet.until(lambda: fleet.world.active is not None, 60)
        assert fleet.world.active.name == "controller-b"
        fleet.faults.kill_host(fleet.host("gold"))
        await fleet.until(lambda: fleet.done("failover") == 1, 60)
        await fleet.all_well(120)
        return fleet.lost("gold")

    assert story(play) == 0


def test_without_fencing_a_standard_service_fails_over_when_its_lease_has_run_out():
    async def play(fleet):
        fleet.world.mood.can_fence = False
        await pass_time(5)  # the lease begins
        assert fleet.primary("silver").data["leased"]
        host = fleet.host("silver").name
        fleet.faults.cut(host, "*", 120)
        await fleet.until(lambda: fleet.done("failover") == 1, 60)
        await pass_time(20)
        return fleet.doubled("silver")

    assert story(play, on_isolation="stop") == []


def test_the_same_seed_is_the_same_story():
    async def play(fleet):
        fleet.faults.kill_host(fleet.host("gold"))
        await fleet.all_well(120)
        return trace_hash(fleet.plane)

    assert story(play, 4) == story(play, 4)
    assert story(play, 4) != story(play, 5)


def test_a_host_that_came_back_by_itself_as_its_old_life_does_not_stand_in_its_successors_way():
    async def play(fleet):
        host = fleet.host("bronze")
        fleet.world.mood.no_launch = True  # the boot is asked for and not done while the old life comes back
        fleet.faults.reboot_host(host, 12)
        await pass_time(30)
        fleet.world.mood.no_launch = False
        await fleet.all_well(300)
        server = fleet.committed.named("server", host.name)
        return host.incarnation == server.data["incarnation"]

    assert story(play)


def test_a_host_that_came_back_by_itself_is_taken_back_where_nothing_can_be_fenced():
    async def play(fleet):
        fleet.world.mood.can_fence = False
        host = fleet.host("bronze")
        fleet.world.mood.no_launch = True  # the boot is asked for and not done while the old life comes back
        fleet.faults.reboot_host(host, 12)
        await pass_time(30)
        fleet.world.mood.no_launch = False
        await fleet.all_well(120)
        first = fleet.committed.named("server", host.name).data
        assert first["incarnation"] == host.incarnation == 1
        fleet.faults.reboot_host(host, 4)  # the number that was counted then is not its life's
        await pass_time(3)
        await fleet.all_well(120)
        assert host.incarnation == 1
        fleet.faults.kill_host(host)
        await pass_time(2)
        await fleet.all_well(120)
        return fleet.committed.named("server", host.name).data["incarnation"], host.incarnation

    assert story(play) == (4, 4)  # 2 and 3 were counted for lives that never began


@pytest.mark.parametrize("can_fence", [True, False])
@pytest.mark.parametrize("how", ["never", "unheard"])
def test_a_server_whose_launch_failed_is_made_when_the_provider_is_back(how, can_fence):
    async def play(fleet):
        mood = fleet.world.mood
        mood.can_fence = can_fence
        mood.happened, mood.down = float(how == "unheard"), how == "never"  # it is made, and every answer is lost
        await fleet.plane.control.create_service(engine="postgres", name="late", plan="dev")
        await pass_time(130)
        mood.happened, mood.down = 0.0, False
        await fleet.well("late", 400)
        await fleet.all_well(60)
        service = fleet.committed.named("service", "late")
        return [fleet.committed.get(server).data["directory"] != "" for server in service.data["servers"]]

    assert story(play) == [True]


def test_pages_of_a_destroyed_service_are_over():
    async def play(fleet):
        fleet.world.mood.no_launch = True
        fleet.faults.kill_host(fleet.host("bronze"))
        await fleet.until(lambda: fleet.committed.open_pages(fleet.committed.named("service", "bronze").id), 400)
        fleet.world.mood.no_launch = False
        await fleet.plane.control.destroy_service("bronze", "bronze")
        await fleet.until(lambda: fleet.state("bronze") == "retired", 300)
        await pass_time(5)
        return [page.state for page in fleet.committed.of_kind("page")]

    assert set(story(play)) == {"resolved"}


@pytest.mark.parametrize("name", ["gold", "silver"])
def test_a_host_that_dies_as_a_planned_move_begins_is_failed_over_at_once(name):
    async def play(fleet):
        fleet.faults.kill_host(fleet.host(name))
        await fleet.plane.control.switchover(name)
        began = fleet.world.now
        await fleet.until(lambda: fleet.done("failover") == 1, 100)
        lasted = fleet.world.now - began
        return [each.state for each in fleet.committed.of_kind("switchover")], lasted < 20

    assert story(play) == (["abandoned"], True)


def test_a_host_that_dies_as_an_exercise_begins_is_failed_over_at_once():
    async def play(fleet):
        fleet.faults.kill_host(fleet.host("gold"))
        await fleet.plane.control.exercise_now("gold", how="failover")
        await fleet.until(lambda: any(each.state == "done" for each in fleet.committed.of_kind("failover")), 20)
        return sorted(each.state for each in fleet.committed.of_kind("failover"))

    assert story(play) == ["abandoned", "done"]


async def only_a_stale_standby_is_left(fleet):
    """One standby of the premium service has missed what the other confirmed, and only it can be asked."""
    primary, world = fleet.primary("gold"), fleet.world
    standbys = [m for m in fleet.committed.of_kind("member") if m.name.startswith("gold-") and m.id != primary.id]
    hosts = [fleet.committed.get(member.data["server"]).name for member in standbys]
    fleet.faults.cut(fleet.host("gold").name, hosts[0], 120)
    await pass_time(2.0)
    fleet.faults.kill_host(fleet.host("gold"))
    fleet.faults.cut(hosts[1], "nats", 40)
    fleet.world.mood.down = True
    await pass_time(35)
    world.mood.down = False
    await pass_time(120)
    return fleet.lost("gold")


def test_a_stale_standby_alone_is_never_promoted():
    assert story(only_a_stale_standby_is_left) == 0


def test_the_checker_notices_the_loss_when_the_quorum_is_skipped(monkeypatch):
    monkeypatch.setattr("herder.remedies.election.pledges_needed", lambda voters, k=1: 1)
    assert story(only_a_stale_standby_is_left) > 10_000
