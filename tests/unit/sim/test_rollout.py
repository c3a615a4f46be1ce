"""A rolling reboot by the production control plane over the simulated world, one service of each plan."""

from herder.machines.registry import BY_CODE
from herder.machines.table import Table
from tests.unit.sim.test_failover import PLANS, story

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
