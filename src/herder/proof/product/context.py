"""What an effect's handler works with, taken from a state of the log; and the marks by which agents tell newer from older."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from herder.machines.dependency import What
from herder.machines.table import State
from herder.proof.product.shelf import FIRST_PLAYBOOK, NEAR, Kind, Seen, Shelf, Work, turn_mask

SETTLED = ("available", "uncertain")
"""States of a server in which its agent is asked."""

_MOVES_LEAD = ("failover", "switchover")


class Context(NamedTuple):
    """One effect that is due. Members are slots (-1 = none), groups of them masks.

    ident: the machine's id; slot: the member or server that it is about; behind, rank: of its jobs, as in `small.Member`.
    up: servers that the log has as available; asked: those whose agents are asked (available or uncertain). well: the
    slot's own server is available. stays: a rebuild's member was not deposed, so it may be pointed at the primary as it is. needed: the member may
    not go away now. leased: the log counts on the lease of the old primary. past: of a controller that lost its shard, servers
    whose life it knows was counted out since, and still runs.
    """

    effect: str
    ident: int
    kind: str
    state: str
    slot: int = -1
    old: int = -1
    candidate: int = -1
    primary: int = -1
    target: int = -1
    standbys: int = 0
    voters: int = 0
    new_voters: int = 0
    keep: int = 0
    recorded: int = 0
    everybody: int = 0
    up: int = 0
    asked: int = 0
    timeline: int = 0
    sync: bool = False
    well: bool = False
    stays: bool = False
    needed: bool = False
    leased: bool = False
    planned: bool = False
    rested: bool = False
    behind: int = 0
    rank: int = 0
    asks: int = 0
    past: int = 0

    def turned(self, turn: tuple[int, ...]) -> Context:
        """The same with members in another order."""
        turned: dict[str, Any] = {name: turn[value] for name in _SINGLES if (value := getattr(self, name)) >= 0}
        turned |= {name: turn_mask(getattr(self, name), turn) for name in _MASKS}
        return self._replace(**turned)


_SINGLES = ("slot", "old", "candidate", "primary", "target")
_MASKS = ("standbys", "voters", "new_voters", "keep", "recorded", "everybody", "up", "asked", "asks", "past")


def contexts(shelf: Shelf, kind: Kind, tables: Mapping[str, Seen]) -> Iterator[Context]:
    """Every effect that is due in a state of the log."""
    yield from _of_near(shelf, kind, tables)
    if shelf.blank:
        return
    for place, work in enumerate(shelf.works):
        state = tables[work.kind].by_name[work.state]
        if state.effect is not None:
            yield narrow(_of_work(shelf, kind, place, work, state.effect.name))
    for slot in range(kind.members):
        yield from _of_units(shelf, kind, slot, tables)


def _of_work(shelf: Shelf, kind: Kind, place: int, work: Work, effect: str) -> Context:
    about = work.get("member", -1)
    old = work.get("old_primary", -1)
    unit = shelf.members[about] if about >= 0 else None
    everybody = (1 << kind.members) - 1
    return Context(
        effect, FIRST_PLAYBOOK + place, work.kind, work.state, slot=about, old=old, candidate=work.get("candidate", -1),
        primary=work.get("primary", shelf.primary), target=work.get("to", -1), standbys=work.get("standbys", 0),
        voters=work.get("voters", 0), new_voters=work.get("new_voters", 0), keep=work.get("keep", work.get("added", 0)),
        recorded=shelf.voters, everybody=everybody, up=_up(shelf, ("available",)), asked=_up(shelf, SETTLED),
        timeline=shelf.timeline, sync=kind.sync, well=about >= 0 and shelf.servers[about].state == "available",
        stays=unit is not None and not unit.deposed,
        leased=old >= 0 and shelf.members[old].leased, rested=bool(work.get("rest")), rank=work.rank,
        asks=work.asks,
    )  # fmt: skip


def _of_near(shelf: Shelf, kind: Kind, tables: Mapping[str, Seen]) -> Iterator[Context]:
    """Of the fleet's machines. rested: its store's, not its provider's; well: the archive in it is."""
    archive = shelf.near("archive")
    for near in shelf.around:
        effect = tables[near.kind].by_name[near.state].effect
        if effect is not None:
            yield narrow(Context(
                effect.name, NEAR[near.kind], near.kind, near.state, up=_up(shelf, ("available",)), everybody=(1 << kind.members) - 1,
                rested=near.get("what") == What.OBJECT_STORE, well=archive is None or archive.state == "available",
            ))  # fmt: skip


def _up(shelf: Shelf, states: tuple[str, ...]) -> int:
    return sum(1 << slot for slot, server in enumerate(shelf.servers) if server.state in states)


def _of_units(shelf: Shelf, kind: Kind, slot: int, tables: Mapping[str, Seen]) -> Iterator[Context]:
    member, server = shelf.members[slot], shelf.servers[slot]
    leads = kind.members > 1 and shelf.primary == slot
    moves = any(work.kind in _MOVES_LEAD for work in shelf.works)
    needed = leads or moves
    for ident, name, unit in ((kind.member(slot), "member", member), (kind.server(slot), "server", server)):
        state: State = tables[name].by_name[unit.state]
        if state.effect is not None:
            yield narrow(Context(
                state.effect.name, ident, name, unit.state, slot=slot, primary=shelf.primary, needed=needed,
                planned=server.planned and not member.deposed and not (moves and shelf.primary == slot), everybody=(1 << kind.members) - 1, up=_up(shelf, ("available",)), sync=kind.sync,
                well=member.state not in ("retiring", "retired", "terminated"), rank=unit.rank,
                asks=1 << slot if unit.rank else 0,
            ))  # fmt: skip


_WHO = ("effect", "ident", "kind", "behind", "rank", "asks", "past")
"""What is read of every context: whose jobs they are, and which are the newer ones."""

READS: dict[str, tuple[str, ...]] = {
    "fence_primary": ("old", "everybody"), "await_lease": ("leased", "standbys", "old"),
    "collect_pledges": ("standbys", "voters", "timeline", "sync", "everybody"),
    "promote_candidate": ("candidate", "new_voters", "sync", "standbys", "old"),
    "withdraw_promotion": ("candidate",),
    "repoint_standbys": ("candidate", "standbys", "old", "sync", "recorded"), "end_primary": ("old",),
    "prepare_switchover": ("target", "standbys", "old", "sync"), "drain_primary": ("old", "sync", "candidate"),
    "look_who_leads": ("old", "candidate", "sync", "asked"),
    "promote_drained": ("candidate", "old", "rested", "standbys", "recorded", "sync", "timeline", "new_voters"),
    "restart_primary": ("slot", "everybody"), "place_member": ("well", "slot"), "rejoin_member": ("slot", "primary", "stays"),
    "await_catch_up": ("slot", "primary"), "load_sync_set": ("primary", "recorded", "slot"),
    "load_first_sync_set": ("primary", "keep"), "shrink_sync_set": ("primary", "keep"),
    "await_servers": ("up", "everybody"), "found_primary": ("primary",), "clone_standbys": ("primary", "everybody"),
    "stop_members": ("asked", "everybody"), "trash_members": ("asked", "everybody"),
    "ask_vantages": ("slot", "everybody", "up"), "watch_server": ("slot",), "launch_server": ("slot",),
    "boot_server": ("slot", "planned", "well", "primary"), "end_server": ("slot", "needed"), "destroy_server": ("slot",),
    "check_canaries": ("everybody", "up"), "watch_ourselves": ("everybody", "up"), "probe_dependency": ("rested",),
    "watch_dependency": ("rested",), "drain_backlog": ("rested", "well"), "drain_archive": (),
}  # fmt: skip
"""Effect -> what its relation reads of a context. All else is left out, so that contexts that come to the same are one."""

READS_UNAWARE: dict[str, tuple[str, ...]] = {
    "fence_primary": ("old",), "collect_pledges": ("standbys",), "repoint_standbys": ("candidate", "standbys", "old"),
    "promote_drained": ("candidate", "old", "rested", "standbys", "new_voters", "sync"),
    "load_sync_set": ("primary", "recorded"),
}  # fmt: skip
"""What decides about the jobs of one whose outcomes nobody hears: less, for some."""

NOT_ONLY_ASKS = frozenset({"boot_server", "launch_server", "destroy_server"})
"""Effects that change something without an agent that lets them in."""


class Watched(Context):
    """A context whose unread fields are an error to read: `READS` would be wrong."""

    def __getattribute__(self, name: str) -> Any:
        """A field, or anything else of a tuple."""
        if name in _DEFAULTS and name not in _WHO and name not in READS.get(self[0], ()):
            raise RuntimeError(f"{self[0]} reads {name}, which READS does not say")
        return super().__getattribute__(name)


_DEFAULTS: dict[str, Any] = {"effect": "", "ident": 0, "kind": "", "state": ""} | Context._field_defaults


def narrow(context: Context) -> Context:
    """As much of it as its effect's relation reads."""
    read = READS.get(context.effect)
    if read is None:
        return context
    unread = {name: value for name, value in _DEFAULTS.items() if name not in _WHO and name not in read}
    return context._replace(**unread)


def unaware(context: Context, ident: int, willing: int) -> Context:
    """The same of a controller that lost its shard. willing: agents that have let in nothing newer."""
    read = READS_UNAWARE.get(context.effect, READS.get(context.effect, ()))
    kept = {name: getattr(context, name) for name in ("effect", *read)}
    return Context(**{**_DEFAULTS, **kept, "ident": ident, "asks": willing})


def is_powerless(zombie: Context) -> bool:
    """No agent lets it in any more, and it can do nothing else: it may as well have died."""
    return not zombie.asks and zombie.effect not in NOT_ONLY_ASKS
