"""The world is what the log says, by replay or from a snapshot."""

from __future__ import annotations

import pytest

from herder.engine.record import open_record
from herder.engine.world import Machine, World
from herder.stores.memory.store import MemoryStore
from tests.machines import sample
from tests.unit.engine import story, yard


async def stored_story() -> tuple[MemoryStore, World]:
    clock = yard.VirtualClock()
    store = MemoryStore(clock)
    shard = await yard.told(store, clock)
    return store, shard.world


async def replayed(store: MemoryStore, until: int, begin: World | None = None) -> World:
    world = begin or World()
    prev = await store.read(0, world.seq) if world.seq else None
    for stored in await store.tail(0, world.seq, limit=until - world.seq):
        world.apply(open_record(stored, prev))
        prev = stored
    return world


def everything(world: World) -> tuple[object, ...]:
    counted = world.census.by_kind()
    world.recount()
    assert world.census.by_kind() == counted, "moves were counted otherwise than machines are"
    return (yard.world_of(world), [m.order for m in world.machines.values()], world.seq, world.epoch, world.next_id)


async def test_replay_gives_the_world_that_was_lived():
    store, lived = await stored_story()
    assert everything(await replayed(store, lived.seq)) == everything(lived)


async def test_a_snapshot_gives_back_what_replay_gives_at_every_moment():
    store, lived = await stored_story()
    for seq in range(1, lived.seq + 1):
        world = await replayed(store, seq)
        restored = World.restore(world.snapshot())
        assert everything(restored) == everything(world)
        assert everything(await replayed(store, lived.seq, restored)) == everything(lived)


async def test_kinds_are_indexed_in_order_of_their_making():
    _, lived = await stored_story()
    restored = World.restore(lived.snapshot())
    for world in (lived, restored):
        assert [machine.id for machine in world.of_kind("rebuild")] == sorted(m.id for m in world.of_kind("rebuild"))
        assert len(list(world.of_kind("rebuild"))) == 3
        assert not list(world.of_kind("page"))


def test_a_name_belongs_to_the_newest_that_is_not_gone():
    world = World()
    sample.put(world, 1, "service", "terminated", name="orders")
    sample.put(world, 2, "service", "available", name="orders")
    sample.put(world, 3, "service", "terminated", name="orders")
    found = world.named("service", "orders")
    assert found is not None
    assert found.id == 2
    assert world.named("service", "other") is None
    assert world.named("member", "orders") is None


def test_a_copy_shares_nothing_that_a_decision_changes():
    machine = Machine(1, "page", "open", data={"times": 1})
    copy = machine.copy()
    copy.data["times"] = 2
    copy.state = "resolved"
    assert (machine.state, machine.data) == ("open", {"times": 1})


@pytest.mark.parametrize(("state", "live"), [("available", True), ("terminated", False), ("absent", False)])
def test_what_is_gone_is_not_live(state: str, live: bool):
    assert Machine(1, "member", state).live is live


def test_a_machine_without_a_name_is_called_by_its_kind():
    assert Machine(7, "page", "open").name == "page-7"


async def test_the_story_uses_every_playbook_but_restart():
    _, lived = await stored_story()
    kinds = {machine.kind for machine in lived.machines.values()}
    assert {"provision", "failover", "rebuild", "switchover", "strike", "destroy"} <= kinds
    assert story.service(lived).state == "retired"
