"""The production control plane over the simulated world: provisioned by it, broken, and brought back by it."""

import asyncio

import pytest

from herder.governor.scopes import scopes_of
from herder.sim.clock import SimRandom, pass_time, run
from herder.sim.controller import trace_hash
from herder.sim.faults import Faults
from herder.sim.seeds.wellness import ill
from herder.sim.world import World

PLANS = {"gold": "premium", "silver": "standard", "bronze": "dev"}


class Fleet:
    """One service of each plan, and what tests ask of them."""

    def __init__(self, seed, **tuned):
        self.seed, self.tuned = seed, tuned

    async def open(self):
        self.world = World(self.seed)
        self.faults = Faults(self.world, SimRandom(self.seed, "faults"))
        self.controller = await self.world.controller(**self.tuned)
        for name, plan in PLANS.items():
            await self.plane.control.create_service(engine="postgres", name=name, plan=plan)
        for name in PLANS:
            await self.well(name, 60)
        await pass_time(5)
        return self

    @property
    def plane(self):
        return self.world.active.plane

    @property
    def committed(self):
        return self.plane.loop.world

    async def well(self, name, within_s):
        await self.plane.control.wait(name, "available", within_s)

    async def until(self, ready, within_s):
        async with asyncio.timeout(within_s):
            while not ready():
                await pass_time(0.1)

    async def all_well(self, within_s):
        await self.until(lambda: self.world.active and not ill(self.committed), within_s)

    def state(self, name):
        return self.committed.named("service", name).state

    def primary(self, name):
        return self.committed.get(self.committed.named("service", name).data["primary"])

    def host(self, name):
        primary = self.primary(name)
        return self.world.host(self.committed.get(primary.data["server"]).name)

    def lost(self, name):
        cluster = self.world.cluster(name)
        engine = cluster.engines[self.primary(name).name]
        return cluster.confirmed.lost(engine.branch, engine.lsn)

    def doubled(self, name):
        self.world.reckon()
        return self.world.cluster(name).tally.doubled

    def paged(self, reason):
        return [
            page for page in self.committed.of_kind("page") if page.state == "open" and page.data["reason"] == reason
        ]

    def done(self, kind):
        return sum(machine.state == "done" for machine in self.committed.of_kind(kind))


def story(play, seed=1, **tuned):
    """Play it in a fleet that is well; returns what the play returns."""

    async def main():
        fleet = await Fleet(seed, **tuned).open()
        result = await play(fleet)
        await fleet.world.close()
        return result

    return run(main)


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


def standbys(fleet, name):
    service = fleet.committed.named("service", name)
    members = [fleet.committed.get(ident) for ident in service.data["members"] if ident != service.data["primary"]]
    return [fleet.world.host(fleet.committed.get(member.data["server"]).name) for member in members]


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


def test_a_full_disk_whose_failover_is_blocked_is_no_restart_and_ends_with_the_room():
    async def play(fleet):
        fleet.faults.kill_host(fleet.host("gold"))
        await fleet.until(lambda: fleet.done("failover") == 1, 30)
        await fleet.all_well(300)
        fleet.faults.fill_disk(fleet.host("gold"), 60, how="stuck")
        await fleet.until(lambda: fleet.paged("failover_blocked"), 20)
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
