"""A large fleet: rows of arrays that become hosts and engines when something happens to them, and rows again when they rest.

What is at rest is told by relays, a bit a server. What is not has agents of its own, which speak as real ones do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from herder.engine.world import World as Committed
from herder.ports.driver import SyncSet
from herder.ports.provider import Launch
from herder.ports.wire import Job, JobReply, JobStatus, Pulse
from herder.sim import actions, hosts
from herder.sim.agent import SimAgent
from herder.sim.engine import FIRST_LSN, Data, Engine
from herder.sim.host import Entry, Host
from herder.sim.hosts import Hosts
from herder.sim.relays import Relays
from herder.sim.wire import NATS
from herder.sim.world import World
from herder.wire.frame import decode_job, encode

Slots = NDArray[np.intp]
PREFIX = "server-"
PROBE = "probe"
ILL = ("uncertain", "unavailable", "restart", "upgrading")


class FleetHosts(Hosts):
    """Hosts of a cohort's servers: slot i is the i-th server, found by the number in its name."""

    ids: NDArray[np.uint32]

    def slot_of(self, name: str) -> int | None:
        """See Hosts."""
        found = self._slots.get(name)
        number = name.removeprefix(PREFIX)
        if found is not None or not number.isdigit():
            return found
        slot = int(np.searchsorted(self.ids, np.uint32(int(number))))
        if slot < len(self.ids) and int(self.ids[slot]) == int(number):
            self.name(slot, name)
            return slot
        return None

    def find(self, name: str) -> Host | None:
        """See Hosts."""
        slot = self.slot_of(name)
        return None if slot is None else self.touch(slot)

    def touch(self, slot: int) -> Host:
        """See Hosts."""
        if slot < len(self.ids) and slot not in self._names:
            self._names[slot] = f"{PREFIX}{self.ids[slot]}"
        return super().touch(slot)


class FleetWorld(World):
    """A world whose servers were there before the day began. `settle_in` reads them from the committed log, once."""

    relays: Relays

    def __init__(self, seed: int, **rest: Any) -> None:
        super().__init__(seed, **rest)
        rows = FleetHosts(self._make_host)
        rows.ids = np.empty(0, np.uint32)
        self.hosts: FleetHosts = rows
        self.service_of: NDArray[np.uint32] = np.empty(0, np.uint32)
        self.member_of: NDArray[np.uint32] = np.empty(0, np.uint32)
        self.primary: NDArray[np.bool_] = np.empty(0, bool)
        self.off_at: NDArray[np.float64] = np.empty(0)
        self.cut: NDArray[np.bool_] = np.empty(0, bool)  # no controller hears this host
        self.unreached: NDArray[np.bool_] = np.empty(0, bool)  # nor reaches it
        self.zone_codes: dict[str, int] = {}
        self.awoken: dict[int, None] = {}  # services with agents of their own
        self._own_agent: NDArray[np.bool_] = np.empty(0, bool)
        self._known: dict[int, None] = {}  # services that have engines: now, or since they last rested
        self._committed: Committed | None = None

    @property
    def committed(self) -> Committed:
        """The world as the active controller has it."""
        active = self.active
        if active is not None and active.plane is not None:
            self._committed = active.plane.shard.world
        assert self._committed is not None
        return self._committed

    # --- at the beginning

    def settle_in(self) -> None:
        """Every server of the committed log runs, and has run."""
        world, rows = self.committed, self.hosts
        ids = world.ids("server")
        zones = world.fact(ids, "zone", "", object)
        self.zone_codes = {zone: code for code, zone in enumerate(sorted(set(zones.tolist())))}
        codes = np.fromiter(map(self.zone_codes.__getitem__, zones.tolist()), np.uint16, len(ids))
        rows.add_many(len(ids), codes, (ids >> 10).astype(np.uint32))
        rows.ids = ids
        rows.power[: len(ids)], rows.agent[: len(ids)], rows.incarnation[: len(ids)] = hosts.RUNNING, True, 1
        self.service_of = world.fact(ids, "service", 0, np.uint32)
        assert bool((self.service_of[1:] >= self.service_of[:-1]).all()), "a service's servers stand side by side"
        self.member_of = world.fact(ids, "member", 0, np.uint32)
        self.primary = world.fact(self.member_of, "role", "", "U7") == "primary"
        self.off_at, self.cut, self.unreached = (np.zeros(len(ids), kind) for kind in (float, bool, bool))
        self.relays = Relays(ids, self.member_of, self.primary)
        self._own_agent = np.zeros(len(ids), bool)
        self.relays.tell(np.arange(len(ids)), self._now_ms, self._send)

    @property
    def _now_ms(self) -> int:
        return self.start_ms + round(self.now * 1000)

    async def beat(self) -> None:
        """Relays speak each interval, until cancelled. To a controller that is new they tell everything again."""
        known = self.active
        while True:
            await asyncio.sleep(self.pulse_interval_s)
            if self.active is not known and self.active is not None:
                known = self.active
                self.relays.tell(np.flatnonzero(self._told_by_relay()), self._now_ms, self._send)
            self._replace_relays()
            self.relays.beat(self._told_by_relay(), self._now_ms, self._send)

    def _replace_relays(self) -> None:
        """A relay whose server is gone is taken over by another of its rack."""
        for number, relay in enumerate(self.relays.all):
            if self.hosts.power[relay.slots.start + relay.place] != hosts.RUNNING:
                others = np.flatnonzero(self.hosts.power[relay.slots] == hosts.RUNNING)
                if len(others):
                    self.tell_of(self.relays.take_over(number, int(others[0])))

    def _told_by_relay(self) -> NDArray[np.bool_]:
        size, rows = len(self.hosts.ids), self.hosts
        well = (rows.power[:size] == hosts.RUNNING) & (rows.frozen_until[:size] <= self.now)
        told: NDArray[np.bool_] = well & ~self._own_agent & ~self.cut
        return told

    def _send(self, data: bytes) -> None:
        for controller in self.controllers.values():
            if self.network.between(self.relay_node, controller.name):
                controller.wire.take_fleet(data)

    def tell_of(self, stretch: slice) -> None:
        """A relay that took over tells of all its hosts anew."""
        told = np.arange(stretch.start, stretch.stop)
        self.relays.tell(told[self._told_by_relay()[stretch]], self._now_ms, self._send)

    relay_node = "relays"

    # --- archives

    def set_stalled(self, slots: Slots, *, stalled: bool) -> None:
        """These hosts' members cannot archive (or can again), and say so with their next frame."""
        self.relays.stalled[slots] = stalled
        told = self._told_by_relay()[slots]
        self.relays.tell(slots[told], self._now_ms, self._send)

    def archive_again(self, services: NDArray[np.uint32]) -> None:
        """These services' backlog is stored."""
        asked = np.sort(services)
        first, end = (np.searchsorted(self.service_of, asked, side) for side in ("left", "right"))
        many = end - first
        slots = np.arange(int(many.sum())) + np.repeat(
            end - np.cumsum(many), many
        )  # first to end of each, side by side
        self.set_stalled(slots[self.primary[slots] & self.relays.stalled[slots]], stalled=False)

    # --- rows become objects

    def slots_of(self, service: int) -> list[int]:
        """Host slots of a service's servers."""
        servers = self.committed.get(service).data["servers"]
        return [int(slot) for slot in np.searchsorted(self.hosts.ids, np.array(servers, np.uint32)).tolist()]

    def awake_service(self, service: int) -> None:
        """Its hosts have agents of their own from now on."""
        if service in self.awoken:
            return
        self.awoken[service] = None
        slots = self.slots_of(service)
        if service not in self._known:
            self._known[service] = None
            self._found(service, slots)
        for slot in slots:
            host = self.hosts.touch(slot)
            if host.alive and not self._own_agent[slot]:
                self._start_agent(host)
            self._own_agent[slot] = True
        self.settle(self.committed.get(service).name)

    def _start_agent(self, host: Host) -> None:
        if host.agent is not None:
            host.agent.rouse(self.draw.random() * self.pulse_interval_s, self.relays.told)
            return
        host.agent = SimAgent(self, host, self.pulse_interval_s)
        host.agent.begin(self.draw.random() * self.pulse_interval_s)

    def rest_service(self, service: int) -> None:
        """It is well: its relays speak for it again."""
        if service not in self.awoken:
            return
        del self.awoken[service]
        slots = [slot for slot in self.slots_of(service) if self.hosts.touch(slot).agent is not None]
        cluster = self.cluster(self.committed.get(service).name)
        leading = {engine.host for engine in cluster.engines.values() if not engine.standby}
        for slot in slots:
            host = self.hosts.touch(slot)
            assert host.agent is not None
            host.agent.rest()
            self._own_agent[slot] = False
            self.relays.primary[slot], self.relays.incarnation[slot] = host.name in leading, host.incarnation
        self.relays.tell(np.array(sorted(slots), np.intp), self._now_ms, self._send)

    def rest_those_at_rest(self, for_s: float = 20.0) -> None:
        """All services that have been well for a while; a host that is off stays off until something starts it, and says
        nothing either way.
        """
        world, before_ms = self.committed, self._now_ms - round(for_s * 1000)
        for service in list(self.awoken):
            machine = world.get(service)
            speaking = [
                world.get(ident)
                for pair, slot in zip(
                    zip(machine.data["members"], machine.data["servers"], strict=True),
                    self.slots_of(service),
                    strict=True,
                )
                for ident in pair
                if self.hosts.power[slot] == hosts.RUNNING
            ]
            calm = all(each.state == "available" and each.since_ms < before_ms for each in (machine, *speaking))
            if calm and not world.playbooks_of(service):
                self.rest_service(service)

    def _found(self, service: int, slots: list[int]) -> None:
        """Its engines as they were until the first of its hosts went off, and then what that did."""
        world, machine = self.committed, self.committed.get(service)
        off = [float(self.off_at[slot]) for slot in slots if self.hosts.power[slot] != hosts.RUNNING]
        at = min(off, default=self.now)
        cluster = self.cluster(machine.name)
        cluster.at = at
        plane = self.active.plane if self.active is not None else None
        assert plane is not None
        members = [world.get(ident) for ident in machine.data["members"]]
        lead = members[0]
        branch = cluster.new_branch(None, FIRST_LSN)
        lsn = FIRST_LSN + int(cluster.bytes_per_s * at)
        voters = tuple(world.get(ident).name for ident in machine.data["voters"])
        for member, slot in zip(members, slots, strict=True):
            host = self.hosts.touch(slot)
            host.address = str(world.get(member.data["server"]).data["address"])
            engine = Engine(
                member.name, host.name, Data.WHOLE, standby=member.id != lead.id, running=True, branch=branch
            )
            engine.pid, engine.lsn, engine.streaming = cluster.new_pid(), lsn, engine.standby
            engine.source = lead.name if engine.standby else ""
            engine.sync = SyncSet(1, voters) if voters else SyncSet()
            cluster.engines[member.name] = engine
            host.disk.members[member.name] = Entry(int(machine.data["term"]), 0, plane.hands.spec(member))
            self.addresses[str(member.data["address"])] = host.name
        cluster.confirmed.confirm(branch, lsn)
        for member, slot in zip(members, slots, strict=True):
            if self.hosts.power[slot] != hosts.RUNNING:
                actions.crash(cluster, member.name, float(self.off_at[slot]) or at, "its host went off")
            if self.hosts.power[slot] == hosts.GONE:
                engine = cluster.engines[member.name]
                engine.data, engine.branch = Data.NONE, None

    def power_on(self, host: Host, launch: Launch | None = None) -> None:
        """See World. A row that runs has its agent."""
        if host.slot < len(self._own_agent):
            if host.alive and host.agent is None and not self._own_agent[host.slot]:
                return
            self.awake_service(int(self.service_of[host.slot]))
            self._own_agent[host.slot] = True
        super().power_on(host, launch)

    def services_on(self, host: Host) -> list[str]:
        """See World; a server of a fleet has members of one service."""
        if host.slot < len(self.service_of):
            name = self.committed.get(int(self.service_of[host.slot])).name
            return [name] if name in self.clusters else []
        return super().services_on(host)

    # --- bulk faults on rows

    def switch_off(self, slots: Iterable[int], *, for_good: bool = False) -> None:
        """These hosts are dead at once; those with agents of their own die as hosts do. for_good: their disks with them."""
        now = self.now
        for slot in slots:
            if self._own_agent[slot] or slot in self.hosts.touched:
                host = self.hosts.touch(slot)
                (self.remove(host) if for_good else self.power_off(host, "its host went off"))
            else:
                self.hosts.power[slot] = hosts.GONE if for_good else hosts.OFF
                self.hosts.agent[slot] = False
            self.off_at[slot] = now

    def rows_off(self, slots: Slots) -> Slots:
        """Those of them that are off."""
        off: Slots = slots[self.hosts.power[slots] == hosts.OFF]
        return off

    def cut_rows(self, slots: Slots, *, cut: bool, heard: bool = False, reached: bool = False) -> None:
        """No controller hears and reaches these hosts (or does again); they hear each other. heard, reached: one way of it
        stays open.
        """
        self.cut[slots], self.unreached[slots] = cut and not heard, cut and not reached
        if not cut:  # whoever connects again sends what it reads
            self.relays.tell(slots[self._told_by_relay()[slots]], self._now_ms, self._send)

    # --- what rows answer, and what passes a cut

    def _slot(self, server: str) -> int | None:
        """Of a host that was there before the day."""
        slot = self.hosts.slot_of(server)
        return slot if slot is not None and slot < len(self.service_of) else None

    def publish(self, host: Host, frame: Pulse) -> None:
        """See World."""
        if host.slot >= len(self.cut) or not self.cut[host.slot]:
            super().publish(host, frame)

    async def probe_from(self, node: str, address: str, port: int, timeout_s: float) -> str:
        """See World. A host that nothing has happened to answers as it is, and stays a row."""
        slot = self._row_at(address)
        row = slot is not None
        if slot is None:
            slot = self._slot(self.addresses.get(address, ""))
        if slot is not None and node in self.controllers and (self.cut[slot] or self.unreached[slot]):
            await asyncio.sleep(timeout_s)
            return "silent"
        if slot is None or not row:
            return await super().probe_from(node, address, port, timeout_s)
        well = self.hosts.power[slot] == hosts.RUNNING and self.hosts.frozen_until[slot] <= self.now
        seen = well and self.network.between(node, self.relay_node)
        await asyncio.sleep(self.network.weather.delay_s if seen else timeout_s)
        return "serving" if seen else "silent"

    def _row_at(self, address: str) -> int | None:
        """The slot of an untouched member's host, by the address that its cohort gave it."""
        number = address.removeprefix("m").removesuffix(".fleet")
        if address in self.addresses or not number.isdigit():
            return None
        slot = int(np.searchsorted(self.member_of, np.uint32(int(number))))
        return slot if slot < len(self.member_of) and int(self.member_of[slot]) == int(number) else None

    def listens(self, server: str) -> bool:
        """See World. Every row that runs has its agent."""
        slot = self._slot(server)
        return (slot is not None and slot not in self.hosts.touched) or super().listens(server)

    def deliver(self, server: str, data: bytes, node: str, come: Callable[[bytes], None]) -> None:
        """See World. A job is something that happens: the agent that does it is there from now on."""
        slot = self._slot(server)
        if slot is None:
            super().deliver(server, data, node, come)
        elif not self.unreached[slot]:
            job = decode_job(data)
            if job.name == PROBE and not self._own_agent[slot] and self.hosts.power[slot] == hosts.RUNNING:
                asyncio.get_running_loop().create_task(self._look_for(slot, job, node, come))
                return
            self.awake_service(int(self.service_of[slot]))
            super().deliver(server, data, node, lambda reply: None if self.cut[slot] else come(reply))

    async def _look_for(self, slot: int, job: Job, node: str, come: Callable[[bytes], None]) -> None:
        """A row's agent looks at an engine of another's."""
        args = job.args
        saw = await self.probe_from(job.server, str(args["address"]), int(args["port"]), float(args["timeout_s"]))
        reply = encode(JobReply(intent=job.intent, status=JobStatus.DONE, result=saw))
        if not self.cut[slot]:
            self.network.send((job.server, NATS, node), come, reply)

    def awake_the_ill(self) -> None:
        """Services that the log does not have as well and of whose hosts one is off speak for themselves: the others have
        something to say. Where all run, the silence is the network's, and relays say all there is to say.
        """
        world = self.committed
        for service in world.attention:
            ill = service not in self.awoken and world.get(service).state in ILL
            if ill and (self.hosts.power[self.slots_of(service)] != hosts.RUNNING).any():
                self.awake_service(service)
