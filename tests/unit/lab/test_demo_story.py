"""What the demo reads out of a window of the log and out of a ledger; the rows are those of real runs, shortened."""

from herder.lab.ledger import Entry
from herder.lab.screen import Result
from herder.lab.story import fence_of, is_of, share_out, story_of, well

PREMIUM_ENGINE_KILLED = [
    ("member", "orders-0", "suspected", "uncertain", "a standby lost its stream from it"),
    ("failover", "orders/failover-21", "create", "pledging", "orders-0 is known not to serve"),
    ("failover", "orders/failover-21", "pledged", "promoting", "enough pledges; orders-1 reaches farthest"),
    ("failover", "orders/failover-21", "promoted", "repointing", "orders-1 leads from 2:0/50000A8"),
    ("member", "orders-1", "promoted", "available", "orders/failover-21: orders-1 leads from 2:0/50000A8"),
    ("rebuild", "orders/rebuild-22", "rejoined", "catching_up", "orders-0: rewound"),
    ("rebuild", "orders/rebuild-22", "enrolled", "done", "ANY 1 of orders-0, orders-2"),
]
STANDARD_HOST_KILLED = [
    ("failover", "reports/failover-26", "create", "fencing", "reports-0 is known not to serve"),
    ("failover", "reports/failover-26", "fenced", "pledging", "the old primary is fenced"),
    ("server", "srv-12", "fenced", "unavailable", "fenced for the failover of reports"),
    ("failover", "reports/failover-26", "pledged", "promoting", "reports-1 reaches farthest, at most 0 bytes behind"),
    ("member", "reports-1", "promoted", "available", "reports/failover-26: reports-1 leads from 2:0/3000060"),
    ("server", "srv-12", "up", "available", "its agent sends its pulse"),
    ("rebuild", "reports/rebuild-27", "rejoined", "catching_up", "reports-0: rewound"),
]
VALKEY_ENGINE_KILLED = [
    ("restart", "carts/restart-23", "create", "restarting", "asynchronous: a restart in place loses nothing"),
    ("restart", "carts/restart-23", "restarted", "done", "carts-0 answers again"),
]
SWITCHOVER = [
    ("switchover", "orders/switchover-28", "drained", "promoting", "the old primary is stopped, confirmed"),
    ("member", "orders-1", "promoted", "available", "orders/switchover-28: orders-1 leads from 4:0/5000558"),
    ("rebuild", "orders/rebuild-29", "rejoined", "catching_up", "orders-0: followed"),
    ("rebuild", "orders/rebuild-29", "enrolled", "done", "ANY 1 of orders-0, orders-2"),
]


def rows(told):
    return [
        {"seq": number, "kind": kind, "name": name, "event": event, "source": "x", "target": target, "why": why}
        for number, (kind, name, event, target, why) in enumerate(told)
    ]


def service(**changed):
    members = [
        {"id": "orders-0", "role": "primary", "state": "available", "doing": "", "voter": False, "server": "srv-5"},
        {"id": "orders-1", "role": "standby", "state": "available", "doing": "", "voter": True, "server": "srv-6"},
    ]
    return {"name": "orders", "engine": "postgres", "plan": "premium", "state": "available", "doing": "",
            "members": members} | changed  # fmt: skip


SERVERS = {"srv-5": {"state": "available"}, "srv-6": {"state": "available"}}


def test_a_premium_failover_is_fenced_by_pledges_and_told_on_one_line():
    events = rows(PREMIUM_ENGINE_KILLED)
    fence = fence_of(events, voters=2)
    assert fence == "pledges of 2 voters"
    assert story_of(events, 3, fence) == (
        "promoted orders-1 at term 3 behind pledges of 2 voters; orders-0 rewound and enrolled again"
    )


def test_a_standard_failover_names_the_server_that_its_provider_fenced():
    events = rows(STANDARD_HOST_KILLED)
    fence = fence_of(events, voters=0)
    assert fence == "provider stopped srv-12"
    assert story_of(events, 2, fence) == "promoted reports-1 at term 2; booted srv-12; reports-0 rewound"


def test_a_fence_by_the_agent_is_not_given_to_the_provider():
    events = rows([row for row in STANDARD_HOST_KILLED if row[0] != "server"])
    assert fence_of(events, voters=0) == "its agent stopped it, confirmed"


def test_a_restart_in_place_needs_no_fence():
    events = rows(VALKEY_ENGINE_KILLED)
    assert fence_of(events, voters=0) == "none: the same primary"
    assert story_of(events, 1, "") == "started carts-0 again in place"


def test_a_switchover_is_a_clean_stop():
    events = rows(SWITCHOVER)
    assert fence_of(events, voters=2) == "clean stop, confirmed"
    assert story_of(events, 4, "") == "promoted orders-1 at term 4; orders-0 follows again, enrolled"


def test_a_page_is_told():
    events = rows([("page", "page-30", "create", "open", "the fence could not be confirmed: not promoting (S2)")])
    assert story_of(events, 1, "") == "paged: the fence could not be confirmed: not promoting (S2)"


def test_of_two_promotions_only_the_last_has_the_term():
    events = rows([*PREMIUM_ENGINE_KILLED, ("member", "orders-2", "promoted", "available", "orders-2 leads")])
    assert story_of(events, 4, "").startswith("promoted orders-1; promoted orders-2 at term 4")


def test_a_service_is_well_when_it_could_stand_the_next_fault():
    assert well(service(), SERVERS)
    assert not well(service(state="uncertain"), SERVERS)
    assert not well(service(doing="failover: pledging"), SERVERS)
    assert not well(service(), SERVERS | {"srv-6": {"state": "restart"}})


def test_a_standby_that_no_commit_waits_for_yet_is_no_protection():
    found = service()
    found["members"][1]["voter"] = False
    assert not well(found, SERVERS)
    assert well(found | {"plan": "standard"}, SERVERS)


def test_a_move_belongs_to_its_service_by_name_or_by_server():
    assert all(is_of({"name": name}, service()) for name in ("orders", "orders-1", "orders/failover-2", "srv-6"))
    assert not any(is_of({"name": name}, service()) for name in ("orders2", "reports-0", "srv-60"))


def test_a_write_counts_for_the_fault_in_whose_time_it_was_acknowledged():
    first, second = Result("engine killed", "orders", "premium"), Result("host killed", "orders", "premium")
    entries = [
        Entry(1, 9.0, 9.0, ""),
        Entry(2, 11.0, 11.0, ""),
        Entry(3, 21.0, 21.0, ""),
        Entry(4, 22, 22, "", ack=False),
    ]
    share_out([(10.0, first), (20.0, second)], entries, [], [])
    assert (first.acknowledged, second.acknowledged) == (1, 1)
    assert (first.lost, second.lost, first.doubled, second.doubled) == (0, 0, 0, 0)


def test_a_write_acknowledged_just_before_a_fault_is_lost_to_that_fault():
    first, second = Result("engine killed", "orders", "premium"), Result("host killed", "orders", "premium")
    entries = [Entry(1, 12.0, 12.0, ""), Entry(2, 19.5, 19.5, "")]
    share_out([(10.0, first), (20.0, second)], entries, [1, 2], [2])
    assert (first.lost, second.lost, second.doubled) == (1, 1, 1)


def test_a_fault_of_all_services_adds_up():
    shared = Result("control plane killed", "all three", "")
    share_out([(10.0, shared)], [Entry(1, 11.0, 11.0, "")], [], [])
    share_out([(10.0, shared)], [Entry(1, 11.0, 11.0, ""), Entry(2, 12.0, 12.0, "")], [2], [])
    assert (shared.acknowledged, shared.lost) == (3, 1)
