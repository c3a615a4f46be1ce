"""The course of a run: services and load, every fault at its moment, the world healed again, and the wait until all is well.

Faults run beside each other, each in a thread of its own, and look for their target as it is then: who leads is not in
the schedule. While the control plane is away the last that it said is taken.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from herder.lab.chaos.acts import Acts, Target
from herder.lab.chaos.load import Load, pace_s
from herder.lab.chaos.schedule import PLANE, Planned
from herder.lab.faults import NotPossible
from herder.lab.rig import Rig
from herder.lab.story import well
from herder.model.errors import HerderError, Refused, TimedOut, Unreachable

Facts = dict[str, Any]

MADE_S = 300.0
"""Seconds in which a service must be available: thirty servers on two cores take their time."""

WELL_S = 300.0
"""Seconds from the last fault's end in which all must be well. The longest pause between two tries of a rebuild, the
slowest of all remedies, is 300 s; a minute and less is usual."""

STEADY_S = 5.0
"""Seconds for which all must stay well: right after a fault everything still looks so."""

LOOK_S = 0.5
CHECKPOINT_S = 20.0
"""Seconds between looks at every member's bank."""

EVENTS = 3_000
"""Moves fetched at a checkpoint; what was seen before is kept."""


@dataclass(slots=True)
class Happened:
    """A fault as it came. began, ended: CLOCK_MONOTONIC seconds; at_ms: wall clock, as the log has it.

    state: 'done', or 'not possible' with the reason as `on`. how: what was said about its end.
    """

    planned: Planned
    service: str
    on: str = ""
    state: str = ""
    began: float = 0.0
    ended: float = 0.0
    at_ms: int = 0
    how: str = ""
    effect: str = ""
    gap_s: float | None = None


@dataclass(frozen=True, slots=True)
class Wrong:
    """A bank that did not hold what it must. at_s: since the faults began."""

    service: str
    member: str
    at_s: float
    words: str


@dataclass(slots=True)
class Course:
    """One run. say: a line for whoever watches. services: name -> (engine, plan). began, healed, ended: CLOCK_MONOTONIC
    seconds at which the faults began, the last one was over, and the clients were told to stop.
    """

    rig: Rig
    services: dict[str, tuple[str, str]]
    say: Callable[[str], None]
    loads: dict[str, Load] = field(default_factory=dict)
    happened: list[Happened] = field(default_factory=list)
    events: dict[tuple[Any, ...], Facts] = field(default_factory=dict)
    looks: dict[str, int] = field(default_factory=dict)
    wrong: list[Wrong] = field(default_factory=list)
    crashes: list[str] = field(default_factory=list)
    well_after: dict[str, float] = field(default_factory=dict)
    not_well: dict[str, str] = field(default_factory=dict)
    namespaces: set[str] = field(default_factory=set)
    since_seq: int = 0
    began: float = 0.0
    healed: float = 0.0
    ended: float = float("inf")
    _seen: tuple[list[Facts], list[Facts]] = ([], [])
    _over: threading.Event = field(default_factory=threading.Event)
    _plane: threading.RLock = field(default_factory=threading.RLock)
    _threads: list[threading.Thread] = field(default_factory=list)

    # --- before ---------------------------------------------------------------------------------------------------

    def make(self) -> None:
        """All services, and wait until each is available."""
        self.say(f"making {len(self.services)} services")
        for name, (engine, plan) in self.services.items():
            self.rig.create(engine, name, plan, wait=False)
        for name in self.services:
            self.rig.wait(name, "available", MADE_S)
        self._await_well(MADE_S)

    def lay_disks(self, names: Sequence[str], acts: Acts) -> None:
        """A small disk below each member of these services; one member of a service at a time, so that it goes on, and
        two services: many hosts that die at once are a mass event, which is another day.
        """
        if not names:
            return
        self.say(f"laying small disks below {', '.join(names)}: each of their hosts is killed once for that")
        with ThreadPoolExecutor(2) as together:
            list(together.map(lambda name: self._lay_disks(name, acts), names))

    def _lay_disks(self, name: str, acts: Acts) -> None:
        laid: set[str] = set()
        while True:
            members = sorted(self.rig.show(name)["members"], key=lambda member: str(member["role"]), reverse=True)
            rest = [member for member in members if member["id"] not in laid]
            if not rest:
                return
            member = rest[0]
            acts.prepare_disk(self.rig.server_of(member))
            laid.add(member["id"])
            self._await_answered(name, member)
            self._await_well(MADE_S, [name])

    def _await_answered(self, name: str, before: Facts) -> None:
        """Until another engine runs for that member: right after its host was killed everything still looks well."""
        give_up = time.monotonic() + MADE_S
        while time.monotonic() < give_up:
            now = self.rig.member(name, before["id"])
            if now["pid"] not in (0, before["pid"]) and now["state"] == "available":
                return
            time.sleep(LOOK_S)
        raise TimedOut(f"{before['id']} did not come back on its small disk")

    def load(self) -> None:
        """The clients of every service. Two at a time: each is three processes that import for a second."""
        every_s = pace_s(len(self.services))
        self.say(f"a writer, probers and a bank on each service, each a write every {every_s * 1000:.0f} ms")
        place = self.rig.path / "ledgers"
        place.mkdir(mode=0o700)

        def begin(name: str) -> None:
            load = Load(self.rig.show(name), self.rig.files.socket, place, every_s)
            load.start()
            self.loads[name] = load

        with ThreadPoolExecutor(2) as together:
            list(together.map(begin, self.services))
        self._await_well(MADE_S)

    # --- the faults -----------------------------------------------------------------------------------------------

    def break_things(self, schedule: Sequence[Planned], acts: Acts) -> None:
        """Each fault at its moment; returns when all are over. What is ended early heals nothing: it is torn down."""
        self.since_seq = max((event["seq"] for event in self.rig.events("", 1)), default=0)
        self.began = time.monotonic()
        self._begin_thread(self._look_on)
        self._begin_thread(self._check_banks)
        names = list(self.services)
        faults = []
        for planned in schedule:
            if self._over.wait(max(self.began + planned.at_s - time.monotonic(), 0.0)):
                return
            fault = Happened(planned, "" if planned.service == PLANE else names[planned.service])
            self.happened.append(fault)
            faults.append(self._begin_thread(partial(self._one, fault, acts)))
        for thread in faults:
            thread.join()

    def _one(self, fault: Happened, acts: Acts) -> None:
        planned = fault.planned
        fault.began, fault.at_ms = time.monotonic(), time.time_ns() // 1_000_000
        on_plane = planned.service == PLANE
        keeps_away = on_plane and planned.lasts_s > 0  # nobody else may start the controller meanwhile
        if keeps_away:
            self._plane.acquire()
        try:
            target = None if on_plane else self._target(fault.service, planned.member)
            fault.on, undo = acts.begin(planned.kind, target, planned.way)
            fault.state = "done"
            lasts = f" for {planned.lasts_s:.1f} s" if planned.lasts_s else ""
            self.say(f"{self._clock()} {planned.kind}: {fault.on}{lasts}")
            if undo is not None and not self._over.wait(planned.lasts_s):
                fault.how = undo()
        except (NotPossible, Refused, Unreachable, TimedOut) as error:
            fault.state, fault.on = (fault.state or "not possible"), fault.on or error.message
            fault.how = error.message
            self.say(f"{self._clock()} {planned.kind}: {error.message}")
        finally:
            fault.ended = time.monotonic()
            if keeps_away:
                self._plane.release()
        if planned.lasts_s and fault.state == "done":
            self.say(f"{self._clock()} {planned.kind} is over: {fault.on}{'; ' * bool(fault.how)}{fault.how}")

    def _clock(self) -> str:
        return f"{time.monotonic() - self.began:7.1f} s "

    def _target(self, name: str, which: int) -> Target:
        services, servers = self._ask()
        by_id = {server["id"]: server for server in servers}
        service = next((service for service in services if service["name"] == name), None)
        if service is None:
            raise NotPossible(f"{name} is not known just now")
        members = sorted(service["members"], key=lambda member: (member["role"] != "primary", member["id"]))
        member = members[min(which, len(members) - 1)]
        server = by_id.get(member["server"])
        if server is None:
            raise NotPossible(f"{member['id']} has no server just now")
        peers = [("the controller and the clients", f"{server['address'].rpartition('.')[0]}.1")]
        for other in members:
            if other is not member and other["server"] in by_id:
                peers += [(other["id"], other["address"]), (other["id"], by_id[other["server"]]["address"])]
        return Target(member, server, tuple(peers))

    def _ask(self) -> tuple[list[Facts], list[Facts]]:
        with suppress(Unreachable, TimedOut):
            self._seen = (self.rig.services(), self.rig.servers())
            self.namespaces |= {server["namespace"] for server in self._seen[1] if server["namespace"]}
        return self._seen

    # --- besides --------------------------------------------------------------------------------------------------

    def _begin_thread(self, work: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def _look_on(self) -> None:
        """Keep what was last known; and a controller that ended by itself is told, and started as a machine's init would."""
        while not self._over.wait(LOOK_S):
            self._ask()
            if self._plane.acquire(blocking=False):
                try:
                    self._start_what_crashed()
                finally:
                    self._plane.release()

    def _start_what_crashed(self) -> None:
        process = self.rig.process
        if process is None or process.poll() is None:
            return
        self.crashes.append(f"herder up ended by itself (exit {process.returncode}):\n{self.rig.log_tail(40)}")
        self.say(f"{self._clock()} herder up ended by itself and is started again")
        with suppress(HerderError):
            self.rig.start_control_plane()

    def _check_banks(self) -> None:
        while not self._over.wait(CHECKPOINT_S):
            self.checkpoint()

    def checkpoint(self) -> None:
        """Every bank on every member that answers, and the moves of the log since."""
        for name, load in self.loads.items():
            for member in load.service["members"]:
                found = load.total(member)
                if found is None or self._over.is_set():
                    continue
                self.looks[name] = self.looks.get(name, 0) + 1
                if not found.right:
                    words = (
                        f"{member['id']} held {found.total} in {found.accounts} accounts, {found.astray} of them astray"
                    )
                    self.wrong.append(Wrong(name, member["id"], time.monotonic() - self.began, words))
        self.fetch_events()

    def fetch_events(self) -> None:
        """Merge the newest moves into what is kept."""
        with suppress(Unreachable, TimedOut):
            for event in self.rig.events("", EVENTS):
                if event["seq"] > self.since_seq:
                    self.events[event["seq"], event["kind"], event["name"], event["event"], event["target"]] = event

    # --- after ----------------------------------------------------------------------------------------------------

    def await_well(self) -> None:
        """The world is healed: until all services are well, or WELL_S has passed."""
        self.healed = time.monotonic()
        self.say(f"{self._clock()} no more faults; waiting until every service is well")
        self.not_well = self._await_well(WELL_S, strict=False)

    def _await_well(self, timeout_s: float, names: Sequence[str] = (), *, strict: bool = True) -> dict[str, str]:
        """Until all are well; who is not after that time, and why. strict: raises TimedOut instead, and else they must
        stay well for STEADY_S.
        """
        began = time.monotonic()
        wanted = list(names or self.services)
        for name in wanted:
            self.well_after.pop(name, None)
        while True:
            left = self._not_well(wanted)
            now = time.monotonic()
            for name in wanted:
                if name in left:
                    self.well_after.pop(name, None)
                else:
                    self.well_after.setdefault(name, now - began)
            calm_s = now - began - max((self.well_after.get(name, now) for name in wanted), default=0.0)
            if (not left and (strict or calm_s >= STEADY_S)) or (left and now - began > timeout_s):
                break
            time.sleep(LOOK_S)
        if left and strict:
            raise TimedOut(f"not well after {timeout_s:g} s: {left}", f"look at {self.rig.files.log}")
        return left

    def _not_well(self, wanted: Sequence[str]) -> dict[str, str]:
        try:
            services, servers = self.rig.services(), {server["id"]: server for server in self.rig.servers()}
        except (Unreachable, TimedOut) as error:
            return dict.fromkeys(wanted, error.message)
        known = {service["name"]: service for service in services}
        return {
            name: _state(known.get(name), servers)
            for name in wanted
            if name not in known or not well(known[name], servers)
        }

    def end(self) -> None:
        """No more threads, no more clients. Whatever went before."""
        self._over.set()
        for thread in self._threads:
            thread.join(90.0)
        self.ended = time.monotonic()
        for load in self.loads.values():
            load.stop()


def _state(service: Facts | None, servers: dict[str, Facts]) -> str:
    if service is None:
        return "it is not there"
    members = [
        f"{member['id']} {member['role']} {member['state']} {member['doing']}".strip()
        + f" on {member['server']} {servers.get(member['server'], {}).get('state', 'gone')}"
        + (", voter" if member["voter"] else "")
        for member in service["members"]
    ]
    return f"{service['state']} {service['doing']}".strip() + f" ({'; '.join(members)})"
