"""The modelled engines: what is confirmed, what a promotion loses, who still streams, and two that confirm at once."""

import pytest

from herder.model.errors import Refused
from herder.ports.driver import Role, SyncSet
from herder.sim import actions
from herder.sim.engine import RECEIVER_TIMEOUT_S, WINDOW_BYTES, Cluster

RATE = 1000.0


class Ground:
    """Which hosts are asleep, which directions are cut."""

    def __init__(self):
        self.asleep, self.cuts = set(), set()

    def awake(self, host):
        return host not in self.asleep

    def flows(self, source, target):
        return (source, target) not in self.cuts


@pytest.fixture
def ground():
    return Ground()


def cluster_of(ground, standbys, sync=SyncSet()):  # noqa: B008  frozen
    cluster = Cluster("db", ground, RATE)
    actions.found(cluster, "m0", "h0", SyncSet(), 0.0)
    for number in range(1, standbys + 1):
        cluster.engines[f"m{number}"] = type(cluster.engines["m0"])(f"m{number}", f"h{number}")
        actions.copy(cluster, f"m{number}", "m0", 0.0)
        actions.start(cluster, f"m{number}", 0.0)
    cluster.settle(0.0)
    actions.set_sync(cluster, "m0", sync, 0.0)
    return cluster


def change(cluster, now, act):
    cluster.advance(now)
    act()
    return cluster.settle(now)


def test_a_commit_is_confirmed_when_one_standby_of_the_set_has_it(ground):
    cluster = cluster_of(ground, 2, SyncSet(1, ("m1", "m2")))
    cluster.settle(10.0)
    assert cluster.confirmed.bytes == pytest.approx(10 * RATE, abs=2)
    change(cluster, 10.0, lambda: ground.asleep.add("h1"))
    cluster.settle(20.0)
    assert cluster.confirmed.bytes == pytest.approx(20 * RATE, abs=2)


def test_without_a_standby_of_the_set_nothing_is_confirmed_and_little_is_written(ground):
    cluster = cluster_of(ground, 2, SyncSet(1, ("m1",)))
    change(cluster, 10.0, lambda: ground.asleep.add("h1"))
    before = cluster.confirmed.bytes
    cluster.settle(100.0)
    assert cluster.confirmed.bytes == before
    assert 0 < cluster.engines["m0"].lsn - cluster.engines["m1"].lsn <= WINDOW_BYTES + 2
    assert cluster.confirms(100.0) == []


def test_acknowledgements_that_do_not_come_back_confirm_nothing(ground):
    cluster = cluster_of(ground, 1, SyncSet(1, ("m1",)))
    change(cluster, 1.0, lambda: ground.cuts.add(("h1", "h0")))
    before = cluster.confirmed.bytes
    cluster.settle(3.0)
    assert cluster.confirmed.bytes == before


def test_a_standby_whose_primary_was_killed_sees_it_at_once_and_of_a_dead_host_after_a_while(ground):
    cluster = cluster_of(ground, 1)
    change(cluster, 1.0, lambda: actions.crash(cluster, "m0", 1.0, "killed"))
    assert cluster.read("m1", 1.0).upstream is False

    ground.asleep.clear()
    cluster = cluster_of(ground, 1)
    due = change(cluster, 1.0, lambda: ground.asleep.add("h0"))
    assert due == 1.0 + RECEIVER_TIMEOUT_S
    reading = cluster.read("m1", 2.0)
    assert reading.upstream is True
    assert reading.upstream_age_s == pytest.approx(1.0)
    cluster.settle(due)
    assert cluster.read("m1", due).upstream is False


def test_a_pledge_holds_over_a_restart_and_only_a_standby_gives_one(ground):
    cluster = cluster_of(ground, 1)
    at = change(cluster, 5.0, lambda: None) and actions.pledge(cluster, "m1", 5.0)
    cluster.settle(6.0)
    actions.stop(cluster, "m1", 6.0, clean=False)
    actions.start(cluster, "m1", 7.0)
    cluster.settle(9.0)
    assert cluster.read("m1", 9.0).upstream is False
    assert cluster.engines["m1"].position == at
    with pytest.raises(Refused, match="is no standby"):
        actions.pledge(cluster, "m0", 9.0)


def test_a_promotion_forks_a_branch_and_what_only_the_old_primary_had_is_lost(ground):
    cluster = cluster_of(ground, 1)
    change(cluster, 10.0, lambda: ground.cuts.update({("h0", "h1"), ("h1", "h0")}))
    cluster.settle(12.0)
    actions.crash(cluster, "m0", 12.0, "killed")
    actions.pledge(cluster, "m1", 12.0)
    actions.promote(cluster, "m1", SyncSet(), 12.0)
    cluster.settle(20.0)
    leader = cluster.engines["m1"]
    assert leader.position.timeline == 2
    assert cluster.confirmed.lost(leader.branch, leader.lsn) == pytest.approx(2 * RATE, abs=3)
    assert actions.diverged(cluster, "m0", "m1") == pytest.approx(2 * RATE, abs=3)


def test_two_primaries_that_both_confirm_are_noticed(ground):
    cluster = cluster_of(ground, 1)
    change(cluster, 10.0, lambda: ground.cuts.update({("h0", "h1"), ("h1", "h0")}))
    actions.promote(cluster, "m1", SyncSet(), 10.0)
    cluster.settle(13.0)
    assert cluster.tally.doubled_s == pytest.approx(3.0)


def test_a_former_primary_is_rewound_a_straight_follower_is_not(ground):
    cluster = cluster_of(ground, 2)
    change(cluster, 5.0, lambda: ground.cuts.update({("h0", "h1"), ("h1", "h0")}))
    cluster.settle(6.0)
    actions.stop(cluster, "m0", 6.0, clean=False)
    actions.stop(cluster, "m2", 6.0, clean=False)
    ground.cuts.clear()
    actions.promote(cluster, "m1", SyncSet(), 6.0)
    assert actions.rejoin(cluster, "m0", "m1", 6.5) == "rewound"
    assert actions.rejoin(cluster, "m2", "m1", 6.5) == "rewound"  # it had streamed what m1 never got

    cluster = cluster_of(ground, 2)
    cluster.settle(5.0)
    actions.crash(cluster, "m0", 5.0, "killed")
    actions.promote(cluster, "m1", SyncSet(), 5.0)
    actions.follow(cluster, "m2", "m1", 5.0)
    cluster.settle(5.0)
    cluster.settle(8.0)
    assert cluster.read("m2", 8.0).upstream is True
    assert cluster.read("m2", 8.0).position.timeline == 2


def test_a_clean_stop_gives_standbys_everything_and_says_where_the_log_ends(ground):
    cluster = cluster_of(ground, 1)
    cluster.settle(5.0)
    actions.stop(cluster, "m0", 5.0, clean=True)
    rest = cluster.engines["m0"].rest
    assert rest is not None
    assert cluster.read("m1", 5.0).received > rest.lsn


def test_a_primary_that_starts_answers_after_its_recovery(ground):
    cluster = cluster_of(ground, 0)
    actions.crash(cluster, "m0", 5.0, "killed")
    actions.start(cluster, "m0", 6.0, recovery_s=2.0)
    assert cluster.read("m0", 7.0).alive is False
    assert cluster.read("m0", 8.0).role is Role.PRIMARY
    cluster.settle(9.0)
    assert cluster.tally.confirmed_s < 9.0
