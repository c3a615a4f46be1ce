"""Symptom -> playbook. Pure: looks at a service and its machines as they would be, proposes what to begin.

It is level-triggered: it is asked after every batch and every tick, so a symptom that was there while something else
was under way, or before a controller's death, is never lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, partial
from typing import Any

from herder.engine.decide import Draft, Input, page_input
from herder.engine.world import Machine, World
from herder.governor.budget import failovers_left
from herder.governor.gate import UNPARKED, Gate
from herder.machines.member import disk_was_full
from herder.machines.service import is_without_data
from herder.machines.table import CREATE
from herder.remedies.enrolment import enrols, kept, overtaken
from herder.remedies.estimate import choose

LIVE = ("available", "uncertain", "unavailable", "restart", "upgrading")
REPOINTING_MS = 1000
UNENDING = ("promoting", "repointing", "looking", "withdrawing")
"""States of a playbook whose deadline pages and waits on: one may have been promoted, and the old primary stays closed."""

LASTING = frozenset({"exercise_failed", "durability_overridden"})
"""Pages that are not over because all members serve: whoever raised them says when."""

REBUILD_TRIES = 5
REBUILD_PAUSE_MAX_S = 300
BOOT_FIRST_MS = 2_000
BOOT_LAST_MS = 300_000
BOOTS_AT_ONCE = 4000
"""Servers that are being started at a time, ten seconds' worth of a large account's launches: who would wait longer for the
provider's bucket than a start may take (a minute) is not begun. No page and no parked remedy: the next tick asks again."""

REVIEWED_MAX = 1000
"""Services looked at again in one tick, 20 us each; more of them take turns, premium ones first."""


class Door:
    """What may begin now goes through, what may not is parked: once said, and asked again while the reason lasts.

    A service notes one reason, that of the first of its remedies that waits. If two that wait for different things had each
    its own said, each would take the other's place at each look, and the review would not settle.
    """

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._begun = 0
        self._waiting: set[int] = set()

    @cached_property
    def _booting(self) -> int:
        return self._draft.world.count("server", "restart")

    def room_to_boot(self) -> bool:
        """May one more server be started now? Who asks and may takes the place."""
        self._begun += 1
        return self._booting + self._begun <= BOOTS_AT_ONCE

    @cached_property
    def _gate(self) -> Gate:
        return Gate(self._draft)  # reads incidents, freezes and dependencies: only when something wants to begin

    def through(self, service: Machine, playbook: str, begin: Callable[[], Input]) -> list[Input]:
        """`begin` makes the input that begins it."""
        held = self._gate.hold(service, playbook)
        waits = service.id in self._waiting
        if held is None:
            freed = [Input(service.id, "unparked", dict(UNPARKED))] if service.data.get("parked") and not waits else []
            return [begin(), *freed]
        if not held.noted or waits:
            return []
        self._waiting.add(service.id)
        if held.known(service):
            return []
        return [Input(service.id, "parked", held.facts(playbook, self._draft.now_ms), why=held.words)]


class Catalogue:
    """Holds the budget of automatic failovers. failovers_per_hour: of one service (orchestrator: one an hour)."""

    def __init__(self, failovers_per_hour: int) -> None:
        self.failovers_per_hour = failovers_per_hour

    def review(self, draft: Draft) -> list[Input]:
        """One remedy a service and round; the engine asks again until nothing follows."""
        if draft.moved:
            return self._remedies(draft, draft.take_touched())
        return self._look_again(draft)

    def _look_again(self, draft: Draft) -> list[Input]:
        """A tick: services that are not at rest have their turn. Those that are, are let go."""
        services = [draft.get(ident) for ident in draft.world.attention.some(draft.now_ms, REVIEWED_MAX)]
        found = self._remedies(draft, services)
        if not found:
            draft.at_rest = [service.id for service in services if _at_rest(draft, service)]
        return found

    def _remedies(self, draft: Draft, services: Iterable[Machine]) -> list[Input]:
        door = Door(draft)
        found: list[Input] = []
        for service in services:
            if service.kind == "service" and service.live:
                found.extend(self._boots(draft, service, door))
                found.extend(self._remedy(draft, service, door))
        return found

    def _boots(self, draft: Draft, service: Machine, door: Door) -> list[Input]:
        """Its servers that are known not to run are started again, each time after a longer pause."""
        found: list[Input] = []
        for server in (draft.get(ident) for ident in service.data["servers"]):
            if server.state == "unavailable" and service.state != "retiring":
                tries = int(server.data.get("boots", 0))
                early = draft.now_ms < server.since_ms + min(BOOT_FIRST_MS << tries, BOOT_LAST_MS)
                if early or self._fenced_first(draft, service, server) or not door.room_to_boot():
                    continue
                why = f"{server.name} does not run: start it again"
                found += door.through(service, "boot", partial(Input, server.id, "boot", why=why))
        return found

    def _fenced_first(self, draft: Draft, service: Machine, server: Machine) -> bool:
        """The lost primary's server, while a failover is to come: it fences the life it finds, also one just begun."""
        primary = draft.get(service.data["primary"])
        lost = (
            primary.state == "unavailable" and not primary.data.get("deposed") and primary.data["server"] == server.id
        )
        to_come = lost and not _failed_kind(draft, service) and self._budget_left(draft, service)
        return to_come and bool(could_lead(draft, service))

    def _remedy(self, draft: Draft, service: Machine, door: Door) -> list[Input]:
        active = _active(draft, service)
        # also once it is retired: a drain may end in a wait after its members have gone to the trash
        if service.state in ("retiring", "retired") and (idle := _overtaken_by_end(draft, service)):
            return idle
        if service.state in ("installing", "retiring"):
            return [] if active or _too_early(draft, service) else self._make_or_end(draft, service, door)
        if service.state not in LIVE:
            return _gone(draft, service)
        primary, found = draft.get(service.data["primary"]), _overtaken(draft, service)
        if not found and primary.state == "unavailable" and not primary.data.get("deposed"):
            return self._primary_lost(draft, service, primary, active, door)
        if found or primary.state != "available":
            return found
        if active is not None:
            # a new primary that has waited for followers for a while: whoever can be rebuilt is one
            waits = active.state == "repointing" and draft.now_ms - active.since_ms > REPOINTING_MS
            return self._rebuild(draft, service, primary, door) if waits else []
        if service.state != "available":
            return [
                Input(service.id, "primary_well", {}, why=f"{primary.name} serves and no playbook holds the service")
            ]
        strike = self._strike(draft, service, door)
        return strike or self._rebuild(draft, service, primary, door) or _all_well(draft, service)

    def _make_or_end(self, draft: Draft, service: Machine, door: Door) -> list[Input]:
        facts = {"service": service.id, "members": service.data["members"], "servers": service.data["servers"],
                 "primary": service.data["primary"], "sync": service.data["sync"]}  # fmt: skip
        if service.state == "installing":
            wish = facts | {"term": 1}
            return door.through(
                service, "provision", lambda: _begin(draft, "provision", service, "it is not made yet", wish)
            )
        consent = {"consent": service.name, "service_name": service.name, "term": service.data["term"] + 1}
        return [_begin(draft, "destroy", service, "its owner asked; it is not done yet", facts | consent)]

    def _primary_lost(
        self, draft: Draft, service: Machine, primary: Machine, active: Machine | None, door: Door
    ) -> list[Input]:
        if active is not None:
            return _give_way(active, server_up=_server_up(draft, primary))
        if _too_early(draft, service):
            return []
        server_up = _server_up(draft, primary)
        standbys = could_lead(draft, service)
        full = disk_was_full(primary.data, {})
        failed = "" if full else _failed_kind(draft, service)
        choice = choose(
            sync=service.data["sync"], standbys=len(standbys), server_up=server_up, failover_failed=failed == "failover",
            restart_failed=failed == "restart" or is_without_data(service.data, {}),
        )  # fmt: skip
        if choice.playbook == "failover" and not self._budget_left(draft, service):
            if not _page_open(draft, service, "failover_blocked"):
                why = (
                    f"{self.failovers_per_hour} automatic failover(s) within the hour: blocked until a person allows it"
                )
                return [Input(service.id, "blocked", {}, why=why)]
            return self._start_in_place(draft, service, "failover is blocked, so it is started again in place", door)
        if choice.playbook == "restart":
            return self._start_in_place(draft, service, choice.why, door)
        if not standbys or _comes_back(draft, service, primary):
            return []
        return door.through(service, "failover", lambda: _failover(draft, service, primary, choice.why))

    def _start_in_place(self, draft: Draft, service: Machine, why: str, door: Door) -> list[Input]:
        """Not where nothing runs, not where a start has found that its data is gone (a person has the word), not on a full disk
        (what still answers there might not come back), and not beside another that says it leads.
        """
        primary = draft.get(service.data["primary"])
        if not _server_up(draft, primary) or is_without_data(service.data, {}) or disk_was_full(primary.data, {}):
            return []
        if _another_leads(draft, service):
            return []
        alone = not could_lead(draft, service)
        return door.through(service, "restart", lambda: _restart(draft, service, why, alone=alone))

    def _budget_left(self, draft: Draft, service: Machine) -> bool:
        return failovers_left(service.data.get("failovers", ()), draft.now_ms, self.failovers_per_hour) > 0

    def _strike(self, draft: Draft, service: Machine, door: Door) -> list[Input]:
        """A lost voter goes out of the sync set while another holds everything; the last one is never struck."""
        voters = service.data["voters"]
        early = draft.now_ms < int(service.data.get("strike_retry_ms", 0))
        if not service.data["sync"] or service.state != "available" or early or _enrols(draft, service):
            return []
        for voter in voters:
            if draft.get(voter).state == "unavailable" and (keep := kept(voters, voter)):
                facts = {"service": service.id, "member": voter, "keep": keep, "primary": service.data["primary"],
                         "term": service.data["term"]}  # fmt: skip
                why = f"{draft.get(voter).name} is lost: commits must not wait for it"
                return door.through(service, "strike", partial(_begin, draft, "strike", service, why, facts))
        return []

    def _rebuild(self, draft: Draft, service: Machine, primary: Machine, door: Door) -> list[Input]:
        found: list[Input] = []
        for member in _others(draft, service):
            unenrolled = service.data["sync"] and member.id not in service.data["voters"]
            wanted = member.state == "unavailable" or (member.state == "available" and unenrolled)
            held = draft.find(member.data.get("playbook", 0))
            if not wanted or (held is not None and held.live) or _rebuild_too_early(draft, member):
                continue
            paged = any(item.create == "page" for item in found) or _page_open(draft, service, "rebuild_fails")
            if member.data.get("rebuilds", 0) >= REBUILD_TRIES and not paged:
                found.append(
                    page_input(
                        draft, service, "rebuild_fails", f"{member.name} could not be rebuilt {REBUILD_TRIES} times"
                    )
                )
            facts = {"service": service.id, "member": member.id, "primary": primary.id, "sync": service.data["sync"],
                     "term": service.data["term"], "added": [member.id]}  # fmt: skip
            why = f"{member.name} does not follow {primary.name}"
            found += door.through(service, "rebuild", partial(_begin, draft, "rebuild", service, why, facts))
        return found


def _active(draft: Draft, service: Machine) -> Machine | None:
    playbook = draft.find(service.data.get("playbook", 0))
    return playbook if playbook is not None and playbook.live else None


def _failed_kind(draft: Draft, service: Machine) -> str:
    """What the last playbook was, when it failed."""
    failed = draft.find(service.data.get("failed_playbook", 0))
    return failed.kind if failed is not None else ""


def _enrols(draft: Draft, service: Machine) -> bool:
    return enrols([(playbook.kind, playbook.state) for playbook in draft.playbooks_of(service.id)])


def _overtaken(draft: Draft, service: Machine) -> list[Input]:
    """Rebuilds and strikes that end in this very record, before an election could miss a voter that they add."""
    enrolling = _enrols(draft, service)
    return [
        Input(playbook.id, "overtaken")
        for playbook in draft.playbooks_of(service.id)
        if overtaken(playbook.kind, playbook.data, service.data, enrolling=enrolling)
    ]


def _others(draft: Draft | World, service: Machine) -> Iterator[Machine]:
    return (draft.get(ident) for ident in service.data["members"] if ident != service.data["primary"])


def _server_up(draft: Draft, primary: Machine) -> bool:
    """Its pulse is good, and the provider did not just say that nothing of it runs (its silence takes a beat to show)."""
    server = draft.get(primary.data["server"])
    evidence = primary.data.get("evidence", {})
    gone = evidence.get("provider") is False and evidence.get("incarnation") == server.data["incarnation"]
    return server.state == "available" and not gone


def _another_leads(draft: Draft, service: Machine) -> bool:
    """A standby's agent says that its engine is a primary: a promotion that was given up has been taken after all (an order of a
    controller that lost its shard), or a person made it one. Two would acknowledge if the old one were started too.
    """
    told = (member for member in _others(draft, service) if not member.data.get("deposed"))
    return any(each.state == "unavailable" and each.data.get("evidence", {}).get("role") == "primary" for each in told)


def _comes_back(draft: Draft, service: Machine, primary: Machine) -> bool:
    """A failover that fences has failed, and the server that it fenced is being started: it ends up, and is looked at, before
    anything is fenced again. Another fence would end the boot, learn nothing that the first did not, and keep the service down.
    """
    fenced = not service.data["sync"] and _failed_kind(draft, service) == "failover"
    return fenced and draft.get(primary.data["server"]).state == "restart"


def could_lead(draft: Draft | World, service: Machine) -> list[Machine]:
    """Members that may be elected. On a sync plan a new primary needs somebody to wait for: with nobody left but one, a
    failover would only be short of pledges, again and again.
    """
    usable = [member for member in _others(draft, service) if not member.data.get("deposed")]
    if service.data["sync"] and len(usable) < 2:
        return []
    return [member for member in usable if member.state in ("available", "uncertain")]


def _too_early(draft: Draft, service: Machine) -> bool:
    return draft.now_ms < int(service.data.get("retry_ms", 0))


def _rebuild_too_early(draft: Draft, member: Machine) -> bool:
    """The first try at once, then 2, 4, 8 ... seconds apart."""
    tries = int(member.data.get("rebuilds", 0))
    if tries == 0:
        return False
    pause_s = min(1 << min(tries, 16), REBUILD_PAUSE_MAX_S)
    return draft.now_ms < int(member.data.get("rebuild_ms", 0)) + pause_s * 1000


def _overtaken_by_end(draft: Draft, service: Machine) -> list[Input]:
    """It is being destroyed while it is being made, or while its lead moves: that ends, and does not wait for its members."""
    return [
        Input(playbook.id, "retire")
        for playbook in draft.playbooks_of(service.id)
        if playbook.kind == "provision" or (playbook.kind in ("failover", "switchover") and playbook.state in UNENDING)
    ]


def _give_way(active: Machine, *, server_up: bool) -> list[Input]:
    """The primary is lost under a playbook that needs it: it ends, so that failover can begin.

    One that is ended on purpose is no loss as long as its server is up; no agent says any more how that ended when it is not.
    """
    if active.kind == "strike":
        return [Input(active.id, "overtaken")]
    if active.state == "preparing" or (active.state == "stopping" and not server_up):
        return [Input(active.id, "primary_lost", why="the primary is lost before anything was changed")]
    if active.kind in ("failover", "switchover") and active.state == "repointing":
        return [Input(active.id, "primary_lost", why="the new primary is lost too")]
    return []


def _begin(draft: Draft, kind: str, service: Machine, why: str, facts: dict[str, Any]) -> Input:
    ident = draft.allocate()
    return Input(ident, CREATE, facts | {"name": f"{service.name}/{kind}-{ident}"}, why=why, create=kind)


def _restart(draft: Draft, service: Machine, why: str, *, alone: bool) -> Input:
    facts = {"service": service.id, "member": service.data["primary"], "term": service.data["term"], "alone": alone}
    return _begin(draft, "restart", service, why, facts)


def _failover(draft: Draft, service: Machine, primary: Machine, why: str) -> Input:
    """Its term is the service's next one, recorded with its first move."""
    facts = {
        "service": service.id, "old_primary": primary.id, "server": primary.data["server"], "term": service.data["term"] + 1,
        "standbys": [member.id for member in _others(draft, service) if not member.data.get("deposed")], "voters": service.data["voters"],
        "sync": service.data["sync"], "on_isolation": service.data.get("on_isolation", "serve"), "counts": True,
        "cause": primary.data.get("evidence", {}),
    }  # fmt: skip
    return _begin(draft, "failover", service, f"{primary.name} is known not to serve: {why}", facts)


def _page_open(draft: Draft, service: Machine, reason: str) -> bool:
    return any(page.data["reason"] == reason for page in draft.open_pages(service.id))


def _gone(draft: Draft, service: Machine) -> list[Input]:
    """Destroyed as its owner asked: whatever a person was told of it is over."""
    return [Input(page.id, "resolve", why=f"{service.name} was destroyed") for page in draft.open_pages(service.id)]


def _all_well(draft: Draft, service: Machine) -> list[Input]:
    """Everything of it is well: its pages are over."""
    if service.state != "available" or not _whole(draft, service):
        return []
    return [Input(page.id, "resolve", why="all its members serve") for page in _passing_pages(draft, service)]


def _passing_pages(draft: Draft, service: Machine) -> list[Machine]:
    return [page for page in draft.open_pages(service.id) if page.data["reason"] not in LASTING]


def _at_rest(draft: Draft, service: Machine) -> bool:
    """Nothing of it can call for a remedy until something of it moves."""
    if not service.live or service.state == "retired":
        return not draft.open_pages(service.id)
    if service.state != "available" or draft.playbooks_of(service.id) or _passing_pages(draft, service):
        return False
    if any(draft.get(ident).state == "unavailable" for ident in service.data["servers"]):
        return False  # it is booted after a pause; its member may look well by a late answer of the life before
    return _whole(draft, service)


def _whole(draft: Draft, service: Machine) -> bool:
    """Do all its members serve, and on a sync plan have a vote? One without is rebuilt: its pages are not over."""
    members = [draft.get(ident) for ident in service.data["members"]]
    enrolled = {*service.data["voters"], service.data["primary"]}
    return all(
        member.state == "available" and (not service.data["sync"] or member.id in enrolled) for member in members
    )
