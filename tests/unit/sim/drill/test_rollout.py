"""An operator's order in a drill: every host has a new life at its end, also the one that a rack's relay runs on."""

from collections import Counter
from dataclasses import replace

from herder.sim.clock import pass_time
from herder.sim.drill.rollout import order_reboot
from herder.sim.drill.scenario import Event, Scope, What
from tests.unit.sim.drill.test_observer import WELL, day

ORDER = Event(
    WELL.start_ms, What.REBOOT, Scope("fleet"), until_ms=WELL.start_ms + 3_600_000, image="mended", note="a hole"
)
ORDERED = replace(WELL, events=(ORDER,))


def test_every_host_of_the_fleet_is_rebooted_and_the_observer_counts_them():
    async def play(rig):
        task = order_reboot(rig.world, ORDER)
        rig.tasks.append(task)
        await rig.until(task.done, 3600)
        assert task.exception() is None
        await pass_time(60)
        rollout = rig.committed.get(int(rig.committed.ids("rollout")[-1]))
        assert (rollout.state, rollout.data["failed"]) == ("done", 0)
        assert set(rig.world.hosts.incarnation[: len(rig.world.hosts.ids)].tolist()) == {2}
        assert not any(relay.place for relay in rig.world.relays.all), "relays are back on their first servers"
        switchovers = Counter(move.state for move in rig.committed.of_kind("switchover"))
        several = sum(len(service.data["members"]) > 1 for service in rig.committed.of_kind("service"))
        assert switchovers == {"done": several}, "each primary with standbys moved once, Valkey's too"

    rig, result = day(play, ORDERED)
    assert (result.not_rebooted, result.lost_premium, result.lost_beyond_bound, len(result.pages)) == (0, 0, 0, 0)
    assert {state for kind, state in rig.states if kind in ("service", "member", "server")} == {"available"}
