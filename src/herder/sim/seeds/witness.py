"""Watches a seed's world from outside while it goes on: what agents do, who can acknowledge, who is told.

Nothing here asks herder what it believes, but for one thing: whether a person was told of what clients see.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from herder.model.plans import PLANS
from herder.sim.act import Act
from herder.sim.engine import Cluster
from herder.sim.seeds.person import Person
from herder.sim.world import World

ONCE = frozenset({"create_primary", "promote", "restart", "rejoin", "failover_to", "destroy"})
"""Jobs that a playbook's step has done once, whatever intents it asks with: asked again they would do more than nothing."""

LOOK_S = 10.0
UNTOLD_S = 900.0
"""A service whose clients cannot write for this long, with a controller there all the while, and no page open about it."""

THAW_S = 0.05
"""The thaw window of a lease (decision 0006): that long two may acknowledge on an asynchronous plan."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that did not hold. check: its name; words: what was seen."""

    check: str
    words: str

    def __str__(self) -> str:
        return f"{self.check}: {self.words}"


@dataclass(slots=True)
class Witness:
    """promotions: (virtual seconds, service, term, member, machine that had it done) in their order."""

    world: World
    person: Person
    found: list[Finding] = field(default_factory=list)
    promotions: list[tuple[float, str, int, str, int]] = field(default_factory=list)
    done: Counter[tuple[str, str]] = field(default_factory=Counter)
    acts: Counter[str] = field(default_factory=Counter)
    rare: Counter[str] = field(default_factory=Counter)
    struck: set[int] = field(default_factory=set)  # whose work it was to set a sync set while hosts were cut off
    _marks: dict[str, tuple[int, int]] = field(default_factory=dict)
    _steps: dict[tuple[str, str, int, int], str] = field(default_factory=dict)  # member, job, term, order: its intent
    _founded: dict[str, str] = field(default_factory=dict)
    _silent_s: dict[str, float] = field(default_factory=dict)

    def begin(self) -> None:
        """Watch from now on."""
        self.world.acts.append(self.on_act)
        self.world.buried.append(self.on_burial)

    def wrong(self, check: str, words: str) -> None:
        """Something must not be."""
        self.found.append(Finding(check, f"{words} (at {self.world.now:.1f} s)"))

    # --- what agents do

    def on_act(self, act: Act) -> None:
        """One job was done by an agent."""
        self.acts[act.name] += 1
        self.done[act.member, act.intent] += 1
        if self.done[act.member, act.intent] > 1:
            self.wrong("applied twice", f"{act.name} of {act.member} with intent {act.intent}")
        if act.name in ONCE:
            before = self._steps.setdefault((act.member, act.name, act.term, act.order), act.intent)
            if before != act.intent:
                self.wrong("applied twice", f"{act.name} of {act.member} for one step, as {before} and as {act.intent}")
        mark = (act.term, act.order)
        if mark < self._marks.get(act.member, (0, 0)) and not act.intent.startswith("lease."):
            self.wrong("terms", f"{act.name} of {act.member} at {mark} after {self._marks[act.member]}")
        self._marks[act.member] = max(mark, self._marks.get(act.member, (0, 0)))
        if act.name in ("promote", "set_sync"):
            self._waits(act)
        if act.leader:
            self._promoted(act)
        elif act.name == "create_primary":
            other = self._founded.setdefault(act.service, act.member)
            if other != act.member:
                self.wrong("applied twice", f"{act.service} was founded as {other} and as {act.member}")
        elif act.name == "set_sync" and self.world.network.cuts:
            self.struck.add(int(act.intent.split(".", 1)[0]))
        elif act.name == "destroy" and act.service not in self.person.consented:
            self.wrong("destroyed", f"the data of {act.member} without its owner's consent")

    def _waits(self, act: Act) -> None:
        """A primary whose commits wait for voters is never told to wait for nobody."""
        made = self.person.made[act.service]
        engine = self.world.cluster(act.service).engines[act.member]
        if PLANS[made.plan].sync and made.engine == "postgres" and not engine.sync.k:
            self.wrong("alone", f"{act.member} waits for nobody after {act.name} in term {act.term}")

    def _promoted(self, act: Act) -> None:
        """Terms of promotions rise, and each has one leader."""
        earlier = [(term, member) for _, service, term, member, _ in self.promotions if service == act.service]
        if earlier and act.term < earlier[-1][0]:
            self.wrong("terms", f"{act.leader} was promoted in term {act.term} after {earlier[-1]}")
        rival = next((member for term, member in earlier if term == act.term and member != act.leader), "")
        if rival:
            self.wrong("terms", f"{act.leader} and {rival} were both promoted in term {act.term}")
        if (act.term, act.leader) not in earlier:
            work = int(act.intent.split(".", 1)[0])
            self.promotions.append((act.at_s, act.service, act.term, act.leader, work))

    def on_burial(self, service: str, member: str) -> None:
        """A server was removed with data on it."""
        if service not in self.person.consented:
            self.wrong("destroyed", f"the server of {member} was removed with its data")

    # --- what clients see

    async def look(self) -> None:
        """Until cancelled: is a person told of what clients see?"""
        while True:
            await asyncio.sleep(LOOK_S)
            active = self.world.active
            if active is None or active.plane is None:
                continue
            committed = active.plane.loop.world
            told = {int(page.data["subject"]) for page in committed.of_kind("page") if page.state == "open"}
            for name, cluster in self.world.clusters.items():
                down = {engine.host for engine in cluster.engines.values() if not self.world.awake(engine.host)}
                self.rare["two hosts of a service down"] += len(down) > 1 and name not in self.person.consented
                service = committed.named("service", name)
                if name in self.person.consented or service is None or self._confirms(cluster):
                    self._silent_s.pop(name, None)
                    continue
                silent_s = self._silent_s[name] = self._silent_s.get(name, 0.0) + LOOK_S
                around = any(committed.get(ident).kind in ("incident", "freeze", "dependency") for ident in told)
                if silent_s == UNTOLD_S and not around and service.id not in told:
                    self.wrong("untold", f"{name} takes no writes for {UNTOLD_S:.0f} s and nobody was told")

    def _confirms(self, cluster: Cluster) -> bool:
        return bool(cluster.confirms(self.world.now))

    # --- at the end

    def seen(self, kinds: dict[int, str]) -> Counter[str]:
        """Rare things that only somebody outside sees. kinds: of machines, by id."""
        self.rare["a voter was struck under a partition"] = sum(kinds.get(work) == "strike" for work in self.struck)
        self.rare["a divergent log was kept"] = sum(
            engine.kept > 0 for cluster in self.world.clusters.values() for engine in cluster.engines.values()
        )
        return +self.rare

    def losses(self, cluster: Cluster) -> list[int]:
        """See losses_of, now."""
        return losses_of(cluster, self.world.now)

    def clients(self, *, can_fence: bool) -> None:
        """What clients had acknowledged, against what there is; and who acknowledged at one time."""
        self.world.reckon()
        for name, cluster in self.world.clusters.items():
            made = self.person.made[name]
            sync = PLANS[made.plan].sync and made.engine == "postgres"
            longest = THAW_S if not can_fence and not sync else 0.0
            if cluster.tally.longest_s > longest:
                at_s, one, other = cluster.tally.doubled[0]
                words = f"{one} and {other} of {name} both acknowledged from {at_s:.1f} s for {cluster.tally.doubled_s:.3f} s"
                self.wrong("two primaries", words)
            if name in self.person.consented:
                continue
            for at_s, member, only in cluster.overwritten:
                self.wrong("overwritten", f"{only} acknowledged bytes that only {member} held, at {at_s:.1f} s")
            self._lost(name, cluster, sync=sync)

    def _lost(self, name: str, cluster: Cluster, *, sync: bool) -> None:
        plan = PLANS[self.person.made[name].plan]
        losses = self.losses(cluster)
        if (sync or plan.members == 1) and losses:
            self.wrong("lost", f"{sum(losses)} acknowledged bytes of {name} ({plan.name})")
        bound = min(plan.max_loss_bytes, plan.max_loss_s * cluster.bytes_per_s)
        if plan.members > 1 and max(losses, default=0) > bound:
            self.wrong("lost", f"{max(losses)} bytes of {name} in one promotion, its plan's bound is {bound:.0f}")

    def budget(self, kinds: dict[int, str], jumped_s: float) -> None:
        """Automatic failovers of a service within any hour. kinds: of machines, by id; jumped_s: by how much clocks were set."""
        for name in {service for _, service, _, _, _ in self.promotions}:
            at = [
                at_s for at_s, service, _, _, work in self.promotions if service == name and kinds[work] == "failover"
            ]
            limit = int(self.person.plan.tuned.get("failovers_per_hour", 1)) + self.person.allowed[name]
            within = 3600.0 - jumped_s
            most = max((sum(t <= later < t + within for later in at) for t in at), default=0)
            if most > limit:
                self.wrong("budget", f"{most} automatic failovers of {name} within an hour, {limit} are allowed")


def losses_of(cluster: Cluster, now: float) -> list[int]:
    """Acknowledged bytes of each branch that whoever leads now does not hold; without a leader, whoever holds most."""
    leading = [engine for engine in cluster.engines.values() if engine.leads(now) and engine.branch is not None]
    logs = leading or [engine for engine in cluster.engines.values() if engine.branch is not None]
    ways = [cluster.confirmed.losses(engine.branch, engine.lsn) for engine in logs if engine.branch is not None]
    return min(ways, key=sum, default=list(cluster.confirmed.reach.values()))
