"""What judges the seeds, against brute force: logs as sets of bytes, each known by who wrote it, and every byte counted."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from herder.sim.branch import Acknowledged, Branch
from herder.sim.seeds.plan import FAULTS, KINDS, ORDERS, Item, draw_items, from_json, to_json
from herder.sim.seeds.shrink import shrink
from tests.property.effort import EFFORT, PLENTY

MEMBERS = 3
Byte = tuple[int, int]
"""(number of the branch that it was written on, its place in the log)."""

MEMBER = st.integers(0, MEMBERS - 1)
SOME = st.integers(1, 5)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), MEMBER, SOME), st.tuples(st.just("confirm"), MEMBER, st.integers(0, 12)),
        st.tuples(st.just("promote"), MEMBER, SOME), st.tuples(st.just("follow"), MEMBER, st.integers(0, 20)),
        st.tuples(st.just("copy"), MEMBER, MEMBER),
    ),
    max_size=25,
)  # fmt: skip


@dataclass
class Yard:
    """Members' logs twice: as the judge keeps them (a branch and an end), and as every single byte."""

    branches: list[Branch] = field(default_factory=lambda: [Branch(1, 1, None, 0)] * MEMBERS)
    bytes: list[list[Byte]] = field(default_factory=lambda: [[] for _ in range(MEMBERS)])
    leads: list[bool] = field(default_factory=lambda: [True, *[False] * (MEMBERS - 1)])
    told: Acknowledged = field(default_factory=Acknowledged)
    acknowledged: set[Byte] = field(default_factory=set)
    made: int = 1

    def end(self, member: int) -> int:
        return len(self.bytes[member])

    def write(self, member: int, count: int) -> None:
        if self.leads[member]:
            own = self.branches[member].number
            self.bytes[member] += [(own, place) for place in range(self.end(member), self.end(member) + count)]

    def confirm(self, member: int, back: int) -> None:
        """All of the member's own branch, but for the last few bytes, is confirmed."""
        if self.leads[member]:
            branch, reach = self.branches[member], max(self.end(member) - back, 0)
            self.told.confirm(branch, reach)
            self.acknowledged |= {byte for byte in self.bytes[member][:reach] if byte[0] == branch.number}

    def promote(self, member: int, _: int) -> None:
        self.made += 1
        older = self.branches[member].owner(self.end(member))
        self.branches[member] = Branch(self.made, older.timeline + 1, older, self.end(member))
        self.leads[member] = True

    def follow(self, member: int, count: int) -> None:
        """It streams some more from the first member of whose log its own is the beginning, as a standby may."""
        for source in range(MEMBERS):
            if source != member and self.begins(source, member):
                reach = min(self.end(member) + count, self.end(source))
                self.bytes[member], self.branches[member] = self.bytes[source][:reach], self.branches[source]
                self.leads[member] = False
                return

    def copy(self, member: int, source: int) -> None:
        if member != source:
            self.bytes[member], self.branches[member] = list(self.bytes[source]), self.branches[source]
            self.leads[member] = False

    def begins(self, source: int, member: int) -> bool:
        return self.bytes[source][: self.end(member)] == self.bytes[member]


def lived(steps: list[tuple[str, int, int]]) -> Yard:
    yard = Yard()
    for what, member, number in steps:
        getattr(yard, what)(member, number)
    return yard


@PLENTY
@given(STEPS)
def test_one_log_holds_another_when_every_byte_of_it_is_there_and_parts_where_they_differ(
    steps: list[tuple[str, int, int]],
):
    yard = lived(steps)
    for source in range(MEMBERS):
        for member in range(MEMBERS):
            held = yard.branches[source].holds(yard.end(source), yard.branches[member], yard.end(member))
            assert held is yard.begins(source, member)
            logs = zip(yard.bytes[source], yard.bytes[member], strict=False)
            same = next((place for place, (one, other) in enumerate(logs) if one != other), None)
            parted = min(yard.end(source), yard.end(member)) if same is None else same
            ends = (yard.end(source), yard.branches[member], yard.end(member))
            assert yard.branches[source].common(*ends) == parted


@PLENTY
@given(STEPS)
def test_what_is_lost_is_counted_to_the_byte(steps: list[tuple[str, int, int]]):
    yard = lived(steps)
    assert yard.told.bytes == len(yard.acknowledged)
    for member in range(MEMBERS):
        there = set(yard.bytes[member])
        missing = [byte for byte in yard.acknowledged if byte not in there]
        losses = yard.told.losses(yard.branches[member], yard.end(member))
        by_branch = [sum(byte[0] == number for byte in missing) for number in range(yard.made + 1)]
        assert sorted(losses) == sorted(count for count in by_branch if count)
        for other in range(MEMBERS):
            only = (yard.acknowledged & there) - set(yard.bytes[other])
            ends = (yard.branches[member], yard.end(member), yard.branches[other], yard.end(other))
            assert yard.told.only(*ends) == len(only)


# ---- the list of a seed


ITEMS = st.lists(
    st.builds(Item, st.integers(0, 999), st.floats(0, 9_999), st.sampled_from(KINDS), st.integers(-1, 9)), max_size=30
)


@PLENTY
@given(ITEMS)
def test_a_list_of_faults_comes_out_of_its_file_as_it_went_in(items: list[Item]):
    read = from_json(to_json(items))
    assert sorted(read, key=repr) == sorted(items, key=repr)
    assert [(item.at_s, item.number) for item in read] == sorted((item.at_s, item.number) for item in items)


@EFFORT
@given(st.integers(0, 2**31), st.floats(0.02, 2), st.integers(1, 28))
def test_every_seed_draws_known_things_in_order_of_services_that_there_are(seed: int, hours: float, services: int):
    items = draw_items(seed, hours, services)
    assert items == draw_items(seed, hours, services)
    assert [item.number for item in items] == list(range(len(items)))
    assert list(items) == sorted(items, key=lambda item: item.at_s)
    assert all(item.kind in FAULTS and -1 <= item.aim < services for item in items if item.kind not in ORDERS)
    assert all(0 <= item.aim < services for item in items if item.kind in ORDERS)
    assert any(item.kind in FAULTS for item in items)


@EFFORT
@given(st.sets(st.integers(0, 39), min_size=1, max_size=6), st.integers(7, 40))
def test_shrinking_keeps_exactly_what_a_failure_needs(needed: set[int], drawn: int):
    needed = {number % drawn for number in needed}
    items = [Item(number, float(number), "kill_host") for number in range(drawn)]
    kept = shrink(items, lambda some: needed <= {item.number for item in some}, 10_000)
    assert {item.number for item in kept} == needed


@EFFORT
@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(0, 25))
def test_shrinking_never_tries_more_often_than_it_may_and_never_invents_anything(answers: list[bool], runs: int):
    """Whatever is answered, also by something that fails now and then."""
    items = [Item(number, float(number), "kill_host") for number in range(20)]
    tried: list[int] = []

    def fails(some: object) -> bool:
        tried.append(1)
        return answers[len(tried) % len(answers)]

    kept = shrink(items, fails, runs)
    assert len(tried) <= runs
    assert kept
    assert [item.number for item in kept] == sorted({item.number for item in kept})
