"""A rolling reboot by the production control plane over the simulated world, one service of each plan."""

import pytest

from herder.machines.registry import BY_CODE
from herder.machines.table import Table
from herder.model.errors import Conflict, Refused
from herder.sim.clock import pass_time
from tests.unit.sim.stage import PLANS, story

AWAY = ("upgrading", "restart", "uncertain", "unavailable")


def moves(committed, kind):
    """(machine, event, target) of the moves of one kind in a commit."""
    for move in committed.decision.moves:
        table: Table = BY_CODE[move.kind]
        if table.kind == kind:
            yield move.machine, table.events[move.event], table.state_names[move.target]


class Witness:
    """Looks at every commit: who was away together, and how often primaries moved."""

    def __init__(self, fleet):
        self.fleet, self.worst, self.switchovers, self.upgraded = fleet, 0, [], []
        self.follow(fleet.plane)

    def follow(self, plane):
        plane.loop.watch(self.saw)

    def saw(self, committed):
        world = self.fleet.committed
        for name in PLANS:
            servers = world.named("service", name).data["servers"]
            self.worst = max(self.worst, sum(world.get(ident).state in AWAY for ident in servers))
        self.upgraded += [machine for machine, event, _ in moves(committed, "server") if event == "upgrade"]
        self.switchovers += [machine for machine, event, _ in moves(committed, "switchover") if event == "create"]


def incarnations(fleet):
    return {server.name: server.data["incarnation"] for server in fleet.committed.of_kind("server")}


def images(fleet):
    return {server.data.get("image") for server in fleet.committed.of_kind("server")}


def pages(fleet):
    return [page.data["reason"] for page in fleet.committed.of_kind("page")]


def the(fleet):
    """The order's row."""
    return fleet.committed.get(int(fleet.committed.ids("rollout")[-1]))


async def order(fleet, **wanted):
    await fleet.plane.control.rollout_reboot(**{"scope": "fleet", "image": "mended", "why": "a hole"} | wanted)


def all_are_new(fleet):
    assert set(incarnations(fleet).values()) == {2}
    assert {fleet.world.host(name).incarnation for name in incarnations(fleet)} == {2}
    assert images(fleet) == {"mended"}
    assert [fleet.lost(name) for name in PLANS] == [0, 0, 0]
    assert not any(fleet.doubled(name) for name in PLANS)


def test_every_server_gets_a_new_life_and_nobody_loses_anything():
    async def play(fleet):
        witness = Witness(fleet)
        await order(fleet)
        await fleet.until(lambda: the(fleet).state == "done", 1800)
        await fleet.all_well(60)
        all_are_new(fleet)
        assert witness.worst == 1
        assert pages(fleet) == []
        assert len(witness.switchovers) == 2, "each primary with standbys moved once"
        assert sorted(witness.upgraded) == sorted(int(ident) for ident in fleet.committed.ids("server"))
        assert fleet.done("failover") == 0
        assert (the(fleet).data["done"], the(fleet).data["failed"]) == (6, 0)

    story(play)


def test_a_controller_that_dies_in_the_middle_is_succeeded_and_no_server_goes_twice():
    async def play(fleet):
        witness = Witness(fleet)
        await order(fleet)
        await fleet.until(lambda: the(fleet).data.get("done", 0) == 2, 600)
        fleet.world.crash_controller("controller-a", 20)
        await pass_time(25)
        await fleet.until(lambda: fleet.world.active, 60)
        witness.follow(fleet.plane)
        await fleet.until(lambda: the(fleet).state == "done", 1800)
        await fleet.all_well(60)
        all_are_new(fleet)
        assert witness.worst == 1
        assert len(witness.upgraded) == len(set(witness.upgraded)) == 6

    story(play)


def test_a_controller_that_dies_while_a_server_reboots_brings_it_back():
    async def play(fleet):
        await order(fleet)
        await fleet.until(lambda: fleet.committed.count("server", "restart"), 600)
        fleet.world.crash_controller("controller-a", 20)
        await pass_time(25)
        await fleet.until(lambda: fleet.world.active, 60)
        await fleet.until(lambda: the(fleet).state == "done", 1800)
        await fleet.all_well(60)
        all_are_new(fleet)

    story(play)


def test_a_primary_that_dies_while_a_standby_reboots_is_failed_over_and_the_order_goes_on():
    async def play(fleet):
        servers = fleet.committed.named("service", "gold").data["servers"]
        await order(fleet)
        await fleet.until(lambda: any(fleet.committed.get(ident).state == "restart" for ident in servers), 900)
        fleet.faults.kill_host(fleet.host("gold"))
        await fleet.until(lambda: the(fleet).state == "done", 3600)
        await fleet.all_well(120)
        assert fleet.lost("gold") == 0
        assert fleet.doubled("gold") == []
        assert images(fleet) == {"mended"}

    story(play)


def test_a_person_pauses_resumes_and_ends_it():
    async def play(fleet):
        control = fleet.plane.control
        await order(fleet, until="6h")
        with pytest.raises(Conflict):
            await order(fleet)
        await fleet.until(lambda: the(fleet).data.get("done", 0) == 1, 600)
        await control.order_rollout(the(fleet).name, "pause")
        await pass_time(30)
        done = the(fleet).data["done"]
        await pass_time(300)
        assert (the(fleet).state, the(fleet).data["done"]) == ("paused", done)
        (row,) = (await control.order_rollout(the(fleet).name, "resume", until="2h"))["rollouts"]
        assert (row["state"], row["left"]) == ("running", 6 - done)
        await fleet.until(lambda: the(fleet).data["done"] > done, 600)
        await control.order_rollout(the(fleet).name, "abort")
        await pass_time(120)
        assert the(fleet).state == "aborted"
        assert set(incarnations(fleet).values()) == {1, 2}

    story(play)


def test_a_provider_that_cannot_fence_reboots_nothing():
    async def play(fleet):
        fleet.world.mood.can_fence = False
        with pytest.raises(Refused, match="cannot end a server for sure"):
            await order(fleet)

    story(play)


def test_a_leased_primary_is_started_again_with_its_server():
    async def play(fleet):
        await order(fleet)
        await fleet.until(lambda: the(fleet).state == "done", 1800)
        await fleet.all_well(60)
        all_are_new(fleet)

    story(play, on_isolation="stop")
