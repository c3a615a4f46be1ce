"""Playbooks are counted alike by every store."""

from herder.ports.store import PlaybookRuns
from tests.conformance.store_fixtures import (  # noqa: F401  fixtures are found by name
    SHARD,
    batch,
    database_fixture,
    move,
    own_postgres_fixture,
    postgres_store_fixture,
    store_fixture,
)


class Log:
    """Moves, each a record of its own unless told together."""

    def __init__(self):
        self.rows = []
        self.seq = 0

    def told(self, at_s, *moves):
        self.seq += 1
        self.rows += [move(self.seq, n, at_ms=at_s * 1000, **facts) for n, facts in enumerate(moves)]

    def run(self, machine, kind, begin_s, end="", took_s=0, service="orders", actor="herder", page=False):
        self.told(begin_s, made(machine, kind, service, actor))
        if end:
            last = ended(machine, kind, end, service)
            self.told(begin_s + took_s, last, *([paged(90 + machine, service)] if page else []))


def made(machine, kind, service="orders", actor="herder"):
    return {"machine": machine, "kind": kind, "service": service, "source": "absent", "event": "create",
            "target": "first", "actor": actor}  # fmt: skip


def ended(machine, kind, end, service="orders"):
    return {"machine": machine, "kind": kind, "service": service, "source": "last", "event": "over", "target": end}


def paged(machine, service="orders", event="create"):
    return {
        "machine": machine,
        "kind": "page",
        "service": service,
        "source": "absent",
        "event": event,
        "target": "open",
    }


def noted(event, service="orders"):
    return {
        "machine": 1,
        "kind": "service",
        "service": service,
        "source": "available",
        "event": event,
        "target": "available",
    }


async def counted(store, log, since_s=0):
    await store.append(batch(None, history=tuple(log.rows)))
    return {(row.kind, row.exercised): row for row in await store.playbook_runs(since_s * 1000)}


async def test_runs_are_counted_by_how_they_ended(store):
    log = Log()
    for machine, took_s in ((10, 1), (11, 2), (12, 4)):
        log.run(machine, "failover", 100, "done", took_s)
    log.run(13, "failover", 100, "paged", 20, page=True)
    log.run(14, "failover", 100)
    log.run(15, "switchover", 100, "abandoned", 3)
    log.run(16, "rebuild", 100, "failed", 3)
    log.run(17, "rebuild", 100, "done", 3, page=True)
    found = await counted(store, log)
    assert found["failover", False] == PlaybookRuns(
        kind="failover", exercised=False, began=5, running=1, done=3, abandoned=0, failed=0, paged=1, needed_person=1,
        p50_ms=2000.0, p90_ms=3600.0, max_ms=4000.0,
    )  # fmt: skip
    assert (found["switchover", False].abandoned, found["switchover", False].max_ms) == (1, None)
    rebuild = found["rebuild", False]
    assert (rebuild.began, rebuild.failed, rebuild.done, rebuild.needed_person) == (2, 1, 1, 1)


async def test_a_page_of_another_service_in_the_same_record_is_not_its_page(store):
    log = Log()
    log.told(100, made(10, "failover"), paged(20, "bills"))
    log.told(101, ended(10, "failover", "done"))
    log.run(11, "failover", 102)
    log.told(103, ended(11, "failover", "done"), paged(20, event="again"))
    assert (await counted(store, log))["failover", False].needed_person == 1


async def test_exercises_are_counted_apart_with_what_followed_from_them(store):
    log = Log()
    log.run(10, "rebuild", 90, "done", 1)
    log.told(100, made(11, "failover", actor="exercise"), noted("exercise_began"))
    log.told(101, ended(11, "failover", "done"), made(12, "rebuild"))
    log.run(13, "rebuild", 101, "done", 2, service="bills")
    log.told(104, ended(12, "rebuild", "done"))
    log.told(105, noted("exercise_ended"))
    log.run(14, "failover", 106, "done", 5)
    log.told(110, made(15, "switchover", actor="exercise"), noted("exercise_began"))
    log.run(16, "rebuild", 111)
    found = await counted(store, log)
    assert {key: row.began for key, row in found.items()} == {
        ("failover", False): 1, ("failover", True): 1, ("rebuild", False): 2, ("rebuild", True): 2, ("switchover", True): 1,
    }  # fmt: skip
    assert (found["failover", True].max_ms, found["failover", False].max_ms) == (1000.0, 5000.0)


async def test_only_what_began_in_the_period_counts(store):
    log = Log()
    log.run(10, "failover", 99, "done", 2)
    log.run(11, "failover", 100, "done", 2)
    log.run(0, "failover", 100, "done", 2)  # a line for many machines
    found = await counted(store, log, since_s=100)
    assert [(row.began, row.done) for row in found.values()] == [(1, 1)]
    assert await store.playbook_runs(10**12) == []
