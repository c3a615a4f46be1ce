"""Random walks over all tables with the real catalogue: whatever may happen happens in any order, and what must hold holds.

Each step is one event that a machine may get in its state: an outcome of its effect, its deadline, a sign of the pulse.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from herder.engine.bulk import due
from herder.engine.decide import Input, decide
from herder.engine.record import FORMAT, GENESIS, Body, open_record, pack, seal
from herder.engine.world import Machine, World
from herder.fleet import commands, exercise
from herder.machines.verify import FROM_OUTSIDE
from herder.model.errors import HerderError
from herder.ports.driver import Position, Reading
from herder.ports.store import StoredRecord
from herder.remedies.catalogue import LASTING, Catalogue
from tests.machines import sample

STEPS = 150
WALKS = 60
HEALING = 80
"""Rounds of 15 seconds, shorter than every deadline, in which all must come well; rebuilds wait up to 300 s."""

FORGED = frozenset({"retire", "purge", "again", "primary_well", "resolve", "overtaken", "primary_lost",
                    "exercise_began", "exercise_ended", "exercise_failed", "durability_overridden"})  # fmt: skip
"""Sent by the catalogue, which plays itself here, and by those who also end what they began."""


class Walk:
    """One walk; the same seed walks the same way."""

    def __init__(self, seed: int, world: World) -> None:
        self.chance = random.Random(seed)
        self.world = world
        self.now_ms = sample.NOW_MS
        self.last: StoredRecord | None = None
        self.review = Catalogue(failovers_per_hour=self.chance.choice([1, 3, 1000])).review
        self.path: list[str] = []

    def step(self) -> None:
        self.now_ms += self.chance.choice([10, 200, 1_000, 25_000, 130_000])
        self._take(self._command() if self.chance.random() < 0.05 else [self._event()])

    def heal(self) -> None:
        """From now on everything works, and every sign is good: effects succeed, servers are heard, engines answer."""
        for _ in range(HEALING):
            self.now_ms += 15_000
            good = [*commands.allow_failover(self.world, "orders", "ann"), *due(self.world, self.now_ms)]
            for machine in self.world.machines.values():
                if machine.kind == "server":
                    good.append(Input(machine.id, "heard", entered=machine.entered))
                elif machine.kind == "member":
                    good.append(Input(machine.id, "well", entered=machine.entered))
                if machine.at.effect is not None and machine.kind != "member" and machine.state != "uncertain":
                    good.append(self._input(machine, machine.at.effect.outcomes[0]))
            self._take(good)
            self.check()

    def _take(self, inputs: list[Input]) -> None:
        before = {m.id: (m.data["term"], m.data.get("timeline", 0)) for m in self.world.of_kind("service")}
        self.path += [
            f"{self.world.machines[i.machine].kind if i.machine in self.world.machines else i.create} {i.event}"
            for i in inputs
        ]
        decision = decide(self.world, inputs, self.now_ms, self.review)
        assert decision.unsettled == ""
        if decision.moves:
            columns, notes = pack(decision.moves)
            body = Body(FORMAT, "moves", "", columns, notes)
            self.last = seal(0, self.world.seq + 1, 1, self.now_ms, GENESIS, body)
            self.world.apply(open_record(self.last, None))
        for ident, (term, timeline) in before.items():
            now = self.world.get(ident).data
            assert now["term"] >= term, "a term went back"
            assert now.get("timeline", 0) >= timeline, "a timeline went back"

    def _event(self) -> Input:
        busy = [machine for machine in self.world.machines.values() if machine.at.effect is not None]
        if busy and self.chance.random() < 0.6:
            machine = self.chance.choice(busy)
            return self._input(machine, machine.at.effect.outcomes[0])
        while True:
            machine = self.chance.choice([m for m in self.world.machines.values() if m.state != "resolved"])
            at = machine.at
            events = [*(at.effect.outcomes if at.effect else ()), *([at.deadline.event] if at.deadline else [])]
            events += [event for event in FROM_OUTSIDE.get(machine.kind, {}) if event not in FORGED]
            if events and (machine.kind, machine.state) != ("page", "open"):
                return self._input(machine, self.chance.choice(events))

    def _input(self, machine: Machine, event: str) -> Input:
        facts = self._facts(machine, event)
        if facts is None:  # nobody can be elected
            event, facts = {"pledged": "short", "ready": "not_ready"}[event], {}
        return Input(machine.id, event, facts, entered=machine.entered)

    def _facts(self, machine: Machine, event: str) -> dict[str, Any] | None:
        told: dict[str, Any] = {"evidence": {"why": event}, "lease_s": 5.0, "last_read": {"lsn": 1}}
        if event in {"pledged", "ready"}:
            voters = machine.data["voters"] or machine.data["standbys"]
            if voters:
                candidate = self.chance.choice(voters)
                others = [m for m in machine.data["standbys"] if m != candidate] or [machine.data["old_primary"]]
                return {"candidate": candidate, "new_voters": others if machine.data["sync"] else [], "counts": True}
            return None
        if event == "promoted":
            return told | {"timeline": self.world.get(sample.SERVICE).data.get("timeline", 1) + 1}
        return told

    def _command(self) -> list[Input]:
        command = self.chance.choice([
            lambda: commands.switch_over(self.world, "orders", "", "ann"),
            lambda: commands.restart_service(self.world, "orders", "ann"),
            lambda: commands.allow_failover(self.world, "orders", "ann"),
            lambda: exercise.begin(self.world, "orders", "failover", "due", self.now_ms, self._reading),
        ])  # fmt: skip
        try:
            return command()
        except HerderError:
            return [self._event()]

    def _reading(self, member: Machine) -> Reading:
        """Everybody streams from it."""
        members = (self.world.get(ident).name for ident in sample.MEMBERS if self.world.find(ident))
        return Reading(alive=True, position=Position(1, 100), streaming=dict.fromkeys(members, 100))

    def check(self) -> None:
        service = self.world.get(sample.SERVICE)
        primary = self.world.get(service.data["primary"])
        assert primary.data["role"] == "primary"
        leaders = [m.name for m in self.world.of_kind("member") if m.data["role"] == "primary"]
        assert leaders == [primary.name], "the log knows two primaries"
        if service.data["sync"]:
            assert service.data["voters"], "no voter is left"
            assert primary.id not in service.data["voters"], "the primary waits for itself"
        leading = [
            m.name for m in self.world.machines.values() if m.kind in {"failover", "switchover", "restart"} and m.live
        ]
        assert len(leading) <= 1, "two playbooks lead at once"
        pages = [(p.data["subject"], p.data["reason"]) for p in self.world.of_kind("page") if p.state == "open"]
        assert len(pages) == len(set(pages)), "the same page twice"


@pytest.mark.parametrize("make", [sample.well, sample.small], ids=["premium", "standard"])
def test_no_walk_breaks_what_must_hold(make):
    for seed in range(WALKS):
        walk = Walk(seed, make())
        for _ in range(STEPS):
            try:
                walk.step()
                walk.check()
            except (AssertionError, KeyError, RuntimeError) as error:
                pytest.fail(f"walk {seed}: {error!r} after ... {walk.path[-12:]}")


@pytest.mark.parametrize("make", [sample.well, sample.small], ids=["premium", "standard"])
def test_wherever_a_walk_ends_all_comes_well_again(make):
    """S9: under fair outcomes no state is a trap, and no page stays open."""
    for seed in range(WALKS // 2):
        walk = Walk(seed, make())
        for _ in range(STEPS):
            walk.step()
        left = walk.path[-12:]
        walk.heal()
        ill = {
            m.name: m.state
            for kind in ("service", "member", "server")
            for m in walk.world.of_kind(kind)
            if m.state != "available"
        }
        assert not ill, f"walk {seed} after ... {left}"
        pages = [page.data["reason"] for page in walk.world.of_kind("page") if page.state == "open"]
        assert not {*pages} - LASTING, "whoever raised a lasting page says when it is over"
