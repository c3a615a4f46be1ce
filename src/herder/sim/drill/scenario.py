"""A scenario: a fleet, a clock, what goes wrong when, and what must be true afterwards. Frozen types and their words.

`reading` makes one from a TOML file, `writing` makes the file again, `incident` makes one from a real log.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from herder.model.plans import Engine


class What(StrEnum):
    """What may happen to a fleet. RULES says where, and what else must be told."""

    DOWN = "down"
    DELAY = "delay"
    DIE = "die"
    HALT = "halt"
    POWER_OFF = "power_off"
    FREEZE = "freeze"
    CUT = "cut"
    CLOCK_JUMP = "clock_jump"
    REBOOT = "reboot"


class Direction(StrEnum):
    """Which way of a cut network is closed, as the controller sees it."""

    BOTH = "both"
    TO = "to"
    FROM = "from"


@dataclass(frozen=True, slots=True)
class Rule:
    """scopes: kinds of scope it may strike. needs, may: the keys besides at, what, scope and note."""

    scopes: tuple[str, ...]
    needs: tuple[str, ...]
    may: tuple[str, ...]
    doc: str


HOSTS = ("fleet", "zone")
DEPENDENCIES = ("object_store", "provider", "pager")

PARTS: dict[str, tuple[str, ...]] = {
    "object_store": ("reads", "writes"),
    "provider": ("launches", "boots", "stops", "restores"),
    "pager": (),
    "fleet": (),
    "controller": (),
    "zone": (),
}
"""Kinds of scope, and the parts of each that may fail alone (`object_store:writes`). A zone is named: `zone:a`."""

RULES: dict[What, Rule] = {
    What.DOWN: Rule(DEPENDENCIES, ("until",), (), "it does not answer; what needs it is parked"),
    What.DELAY: Rule(("provider", "pager"), ("delay_s", "until"), ("share",), "a share of what is sent there comes late"),
    What.DIE: Rule(HOSTS, (), ("share", "spread_s"), "hosts are gone for good and their disks with them"),
    What.HALT: Rule(HOSTS, (), ("share", "spread_s"),
                    "hosts stop and keep their disks; they can be started at once, and nobody but herder does"),
    What.POWER_OFF: Rule(HOSTS, ("until",), ("share", "spread_s", "return_s"),
                         "hosts stop and keep their disks, and nobody can start them; at `until` they come back, within return_s"),
    What.FREEZE: Rule(HOSTS, ("until",), ("share", "spread_s"),
                      "hosts stand still and then go on as if nothing had been"),
    What.CUT: Rule((*HOSTS, "controller"), ("until",), ("share", "direction"),
                   "the network between them and the controller is closed; they serve, and see each other"),
    What.CLOCK_JUMP: Rule(("controller",), ("step_s",), (), "its wall clock is step_s ahead from then on"),
    What.REBOOT: Rule(HOSTS, ("until",), ("image",),
                      "an operator's order, not a fault: every host onto `image` by `until`, in waves"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Scope:
    """kind: a key of PARTS. name: the zone, or the part of a dependency; '' = all of it."""

    kind: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else self.kind


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happens. share: of the hosts in scope, or of the messages for DELAY. until_ms: None = for good.

    spread_s: it strikes hosts one after another within this time. return_s: the same for their return.
    """

    at_ms: int
    what: What
    scope: Scope
    share: float = 1.0
    until_ms: int | None = None
    spread_s: float = 0.0
    return_s: float = 0.0
    delay_s: float = 0.0
    step_s: float = 0.0
    direction: Direction = Direction.BOTH
    image: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class PlanShare:
    """How much of the fleet is this engine on this plan. share: 0-1, all shares add up to 1."""

    engine: Engine
    plan: str
    share: float


@dataclass(frozen=True, slots=True)
class ZoneShare:
    """How much of the fleet's hosts stand here. share: 0-1, all shares add up to 1."""

    name: str
    share: float


@dataclass(frozen=True, slots=True)
class ProviderLimits:
    """What the provider lets one account do. launches_at_once: servers that recovery starts at a time.

    launch_s, boot_s: how long one takes, and up to half as long again. A launch is new hardware with an empty disk.
    """

    launches_per_s: float = 200.0
    launches_at_once: int = 4_000
    launch_s: float = 15.0
    boots_per_s: float = 400.0
    boot_s: float = 20.0

    @property
    def starts_per_s(self) -> float:
        """What herder is held to. It starts a server and does not know which of both that is for its provider: one bucket."""
        return min(self.launches_per_s, self.boots_per_s)


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """wal_bytes_per_s: what one service makes, in the mean; buffer_bytes: what its disk may hold of it;
    drain_bytes_per_s: what the whole fleet may upload at once after an outage; drains_per_s: services begun a second.
    """

    wal_bytes_per_s: float = 2_000.0
    buffer_bytes: float = 4 * 1024.0**3
    drain_bytes_per_s: float = 25e9
    drains_per_s: float = 1_000.0


@dataclass(frozen=True, slots=True)
class Fleet:
    """The shape of it. services: how many when the command line does not say. pulse_s: seconds between frames."""

    services: int
    plans: tuple[PlanShare, ...]
    zones: tuple[ZoneShare, ...]
    provider: ProviderLimits = ProviderLimits()
    archive: ArchiveLimits = ArchiveLimits()
    pulse_s: float = 1.0


PER: dict[str, tuple[str, float]] = {
    "host_dies": ("host-year", 365.25 * 86_400),
    "disk_dies": ("host-year", 365.25 * 86_400),
    "host_freezes": ("host-month", 30.44 * 86_400),
    "process_crashes": ("engine-month", 30.44 * 86_400),
    "launch_fails": ("launch", 1.0),
    "boot_fails": ("boot", 1.0),
}
"""The usual failures: what each is counted by, and that in seconds (1 for what is counted by tries)."""


@dataclass(frozen=True, slots=True)
class Rate:
    """One usual failure. name: a key of PER. value: so many in each of `per`. source: where the number is from."""

    name: str
    value: float
    source: str

    @property
    def per_s(self) -> float:
        """Expected in a second for one host or engine; for what is counted by tries, the chance of one."""
        return self.value / PER[self.name][1]


class Measure(StrEnum):
    """What a drill can be held to. Each is a number of its result."""

    LOST_PREMIUM = "lost_premium"
    LOST_BEYOND_BOUND = "lost_beyond_bound"
    TWO_PRIMARIES = "two_primaries"
    WRONG_PROMOTIONS = "wrong_promotions"
    AMPLIFICATION = "amplification"
    WELL_AFTER_S = "well_after_s"
    PAGES = "pages"
    NEEDED_A_PERSON = "needed_a_person"
    NOT_WELL = "not_well"
    WITHOUT_DATA = "without_data"
    DESTROYED_WHILE_BLIND = "destroyed_while_blind"
    NOT_REBOOTED = "not_rebooted"
    PROJECTION_LAG_S = "projection_lag_s"


MEANING: dict[Measure, str] = {
    Measure.LOST_PREMIUM: "acknowledged writes lost by premium services",
    Measure.LOST_BEYOND_BOUND: "services that lost more than their plan allows",
    Measure.TWO_PRIMARIES: "times that two primaries of one service acknowledged writes",
    Measure.WRONG_PROMOTIONS: "promotions of services whose primary served all the while",
    Measure.AMPLIFICATION: "effects done for each effect that was needed",
    Measure.WELL_AFTER_S: "seconds from the measured moment until the last service was well",
    Measure.PAGES: "pages sent to a person",
    Measure.NEEDED_A_PERSON: "remedies that ended with a person",
    Measure.NOT_WELL: "services not well at the end, but for those whose every copy was lost: they wait for a restore",
    Measure.WITHOUT_DATA: "services whose every copy was lost with its disks: only a backup brings them back",
    Measure.DESTROYED_WHILE_BLIND: "members or servers destroyed while the archive they would come back from was down",
    Measure.NOT_REBOOTED: "hosts in scope that had not been rebooted when the window closed",
    Measure.PROJECTION_LAG_S: "virtual seconds that the projection was behind at the end",
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """An assertion that the report checks; a bound that is None is not asked."""

    measure: Measure
    at_most: float | None = None
    at_least: float | None = None

    def __str__(self) -> str:
        bounds = [f"at least {self.at_least:g}"] if self.at_least is not None else []
        bounds += [f"at most {self.at_most:g}"] if self.at_most is not None else []
        return f"{self.measure} {' and '.join(bounds)}"

    def holds(self, value: float | None) -> bool:
        """What was not measured does not hold: a drill that did not get there has proven nothing."""
        if value is None:
            return False
        return (self.at_most is None or value <= self.at_most) and (self.at_least is None or value >= self.at_least)


@dataclass(frozen=True, slots=True)
class Scenario:
    """All of it. start_ms, end_ms: the virtual clock, ms of the epoch; measured_ms: from here on 'well after' counts."""

    name: str
    title: str
    story: str
    start_ms: int
    end_ms: int
    measured_ms: int
    fleet: Fleet
    rates: tuple[Rate, ...]
    events: tuple[Event, ...]
    wanted: tuple[Wanted, ...]
    source: str = ""
    seed: int = 1

    @property
    def seconds(self) -> float:
        """How long the day is."""
        return (self.end_ms - self.start_ms) / 1000

    def with_services(self, services: int) -> Scenario:
        """The same day with a fleet of another size; limits of the provider stay what they are."""
        return replace(self, fleet=replace(self.fleet, services=services))
