"""What an agent can bring about by lying: doubt of its own member and of nobody else but, as a question, the primary."""

from __future__ import annotations

from typing import Any, cast

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from herder.engine.decide import Input, decide
from herder.fleet.watch import Watch
from herder.ports.driver import Reading
from herder.ports.wire import FRAME_VERSION, MemberPulse, Pulse
from herder.pulse.board import Board
from herder.pulse.detector import Limits
from herder.remedies.catalogue import Catalogue
from tests.machines import sample
from tests.property.effort import EFFORT
from tests.property.test_frames import READINGS, WHOLE, WORDS
from tests.unit.engine.yard import VirtualClock

SERVICE, PRIMARY = sample.SERVICE, sample.MEMBERS[0]
LIARS = {slot: f"srv-{server}" for slot, server in enumerate(sample.SERVERS)}
TOLD = st.builds(
    MemberPulse, member=st.sampled_from(["orders-0", "orders-1", "orders-2", "bills-0"]), service=WORDS,
    term=st.sampled_from([0, 1, 1, 1, 2, 2**63]), reading=READINGS | st.builds(Reading, alive=st.booleans()),
    exited=st.booleans(), exit_line=WORDS,
)  # fmt: skip
PULSES = st.builds(
    Pulse, version=st.just(FRAME_VERSION), server=st.just("liar"), incarnation=st.just(1), agent_pid=WHOLE, life=st.just("a"),
    seq=st.just(0), sent_ms=WHOLE, paused_ms=WHOLE, rss_kb=WHOLE, disk_free=WHOLE, members=st.lists(TOLD, max_size=3).map(tuple),
)  # fmt: skip


def word(*overrides: str) -> Pulse:
    """Of orders-0: by which settings its commits do not wait."""
    told = MemberPulse(member="orders-0", service="orders", term=1, reading=Reading(alive=True, overrides=overrides))
    return Pulse(
        version=FRAME_VERSION, server="liar", incarnation=1, agent_pid=1, life="a", seq=0, sent_ms=0, paused_ms=0, rss_kb=0,
        disk_free=0, members=(told,),
    )  # fmt: skip


@example(0, [(word("every role has synchronous_commit = off"), 0.0), (word(), 0.0)])  # its page is opened, and is over
@EFFORT
@given(st.integers(0, 2), st.lists(st.tuples(PULSES, st.floats(0, 6)), min_size=1, max_size=6))
def test_no_word_of_an_agent_ends_or_promotes_anything_that_is_not_its_own(slot: int, story: list[tuple[Pulse, float]]):
    """S6: of another member than its own it can raise the question whether the primary serves, and nothing else."""
    world, clock = sample.well(), VirtualClock(sample.NOW_MS)
    board, told, frozen = Board(1.0, Limits(1.5, 8.0)), list[Input](), list[str]()
    board.expect(LIARS[slot], 1, clock.monotonic())
    watch = Watch(lambda: world, board, cast(Any, None), clock, told.append, frozen.append)
    own = {sample.MEMBERS[slot], sample.SERVERS[slot]}
    for seq, (pulse, pause_s) in enumerate(story):
        clock.at_ms += round(pause_s * 1000)
        told.clear()
        watch.on_pulse(msgspec.structs.replace(pulse, server=LIARS[slot], seq=seq), b"")
        for item in told:
            if item.create:
                assert (item.create, item.facts["reason"]) == ("page", "store_went_back")
                assert frozen, "a term above the log's freezes what would be decided on it"
            elif item.machine == SERVICE:
                assert (slot, item.event) == (0, "durability_overridden")
            elif item.event == "resolve":
                assert (slot, world.get(item.machine).data["reason"]) == (0, "durability_overridden")
            elif item.machine not in own:
                assert (item.machine, item.event) == (PRIMARY, "suspected")
        decision = decide(world, told, clock.now_ms(), Catalogue(failovers_per_hour=1).review)
        for machine in decision.after.values():
            if machine.kind == "member" and machine.id not in own:
                assert machine.state in ("available", "uncertain")
            assert machine.kind != "failover" or slot == 0, "somebody else's word began a failover"
        for machine in decision.after.values():
            world.put(machine)
