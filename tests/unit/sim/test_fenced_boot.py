"""A life that is fenced while it is being started never comes up: its server gets another one, and only one runs."""

import pytest

from herder.engine.decide import Input, decide
from herder.sim.clock import pass_time
from tests.machines import sample
from tests.unit.sim.stage import story

FENCED = "fenced while it was being started"


async def fence_in_mid_boot(fleet, name):
    """The host of a service's primary dies; the boot that follows is fenced while it is under way. Its incarnation."""
    host = fleet.host(name)
    server = fleet.committed.named("server", host.name)
    fleet.faults.kill_host(host)
    await fleet.until(lambda: fleet.committed.get(server.id).state == "restart", 60)
    fenced = fleet.committed.get(server.id).data["incarnation"]
    await fleet.plane.hands.provider.fence(server.name, fenced)
    fleet.plane.hands.submit(Input(server.id, "fenced", why=FENCED))
    await fleet.until(lambda: fleet.committed.get(server.id).state == "unavailable", 5)
    return server.id, fenced


@pytest.mark.parametrize("seed", range(3))
def test_a_server_that_is_fenced_while_it_boots_is_started_as_another_life(seed):
    async def play(fleet):
        server, fenced = await fence_in_mid_boot(fleet, "bronze")
        await fleet.all_well(180)
        machine, host = fleet.committed.get(server), fleet.host("bronze")
        assert (host.alive, host.incarnation, host.fenced) == (True, machine.data["incarnation"], fenced)
        assert machine.data["incarnation"] == fenced + 1
        return fleet.lost("bronze"), fleet.doubled("bronze")

    assert story(play, seed) == (0, [])


def test_the_boot_that_was_under_way_says_nothing_of_the_life_after_it():
    """Its outcome comes late, with the version of the state that it was begun in."""

    async def play(fleet):
        server, fenced = await fence_in_mid_boot(fleet, "bronze")
        seen = []
        fleet.plane.loop.watch(
            lambda committed: seen.extend(
                (move.source, move.target) for move in committed.decision.moves if move.machine == server
            )
        )
        await pass_time(1.5)  # no boot is begun within the catalogue's first pause
        assert seen == []
        return fleet.committed.get(server).state, fleet.committed.get(server).data["incarnation"] - fenced

    assert story(play) == ("unavailable", 0)


def test_a_fence_in_mid_boot_is_a_row_that_counts_no_life():
    world = sample.well()
    sample.change(world, sample.SERVERS[0], state="restart")
    world.get(sample.SERVERS[0]).data["incarnation"] = 4
    after = decide(world, [Input(sample.SERVERS[0], "fenced")], sample.NOW_MS).after[sample.SERVERS[0]]
    assert (after.state, after.data["incarnation"]) == ("unavailable", 4)
    late = decide(
        world, [Input(sample.SERVERS[0], "fenced"), Input(sample.SERVERS[0], "up", {}, entered=3)], sample.NOW_MS
    )
    assert late.after[sample.SERVERS[0]].state == "unavailable"
