"""Rows that fire in no aspect of the product, each with its reason: walked in their table alone, with every event allowed.

A row that is neither fired by an aspect nor named here fails `herder verify`, so that nothing new stays unsearched unnoticed.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Alone:
    """Rows of a kind on an event, in states (() = all of them)."""

    kind: str
    event: str
    states: tuple[str, ...] = ()

    def names(self, kind: str, event: str, state: str) -> bool:
        """Is it one of these?"""
        return (kind, event) == (self.kind, self.event) and (not self.states or state in self.states)


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that are alone for one reason. title: in a few words."""

    title: str
    why: str
    rows: tuple[Alone, ...]


GROUPS: tuple[Group, ...] = (
    Group(
        "not built yet",
        "nobody sends it: archives are made, filled and retired with backups, the trash is kept, and silence is told in one way",
        (
            Alone("archive", "create"), Alone("archive", "buffer_full"), Alone("archive", "recheck", ("unavailable",)),
            Alone("archive", "drain", ("unavailable",)), Alone("archive", "drained", ("unavailable",)),
            Alone("archive", "retire"), Alone("archive", "purge"), Alone("service", "purge"), Alone("member", "purge"),
            Alone("server", "silent_long"),
        ),
    ),
    Group(
        "a late word",
        "the catalogue ends a playbook in the very record that would make its word late, or begins none in that state. Late it is "
        "all the same when several words come in one record, since the catalogue looks only after the last of them (the aspects "
        "`together` follow two at a time, with few faults), when a command was accepted before what it is about changed, or when "
        "the playbook was begun by another version",
        (
            Alone("member", "followed", ("installing", "available", "uncertain", "unavailable", "restart")),
            Alone("member", "rebuild_failed", ("installing", "available", "uncertain", "unavailable", "restart")),
            Alone("member", "promoted", ("installing",)),
            Alone("member", "deposed", ("installing",)), Alone("member", "restarting", ("uncertain",)),
            Alone("service", "strike_ended", ("restart",)),
            Alone("service", "strike_failed", ("unavailable", "restart")), Alone("service", "voter_removed", ("unavailable", "restart")),
            Alone("service", "switchover_began", ("uncertain",)), Alone("service", "abandoned", ("uncertain", "restart")),
            Alone("service", "exercise_began", ("available", "uncertain", "restart")),
            Alone("service", "exercise_ended", ("uncertain", "restart")),
            Alone("service", "blocked", ("uncertain", "upgrading")), Alone("service", "primary_unavailable", ("restart",)),
        ),
    ),
    Group(
        "one fault more",
        "these need a further fault than their aspects have: one beside a controller that goes on unaware, or while a voter is "
        "put in force. No aspect takes such a step; which rows fire is counted by steps that are taken",
        (
            Alone("service", "promoted", ("uncertain", "restart")), Alone("service", "abandoned", ("available",)),
            Alone("service", "blocked", ("available", "restart")), Alone("rebuild", "overdue", ("enrolling",)),
            Alone("member", "exited", ("unavailable",)), Alone("failover", "overdue", ("withdrawing",)),
            Alone("failover", "retire", ("withdrawing",)), Alone("switchover", "overdue", ("withdrawing",)),
            Alone("switchover", "retire", ("withdrawing",)),
        ),
    ),
    Group(
        "another hand",
        "an engine that changed its role by itself, ended while herder starts it, or whose lease went with its disk: the world "
        "here does that to nobody; judged case by case in the tests of the judge and the leases",
        (
            Alone("member", "ill", ("available", "uncertain")), Alone("member", "exited", ("restart",)),
            Alone("member", "released", ("uncertain", "unavailable", "restart")),
        ),
    ),
    Group(
        "the fleet's loops look elsewhere",
        "recovery and the storm watch take up only services and incidents in other states today; the row lets a look that "
        "is late be noted",
        (
            Alone("service", "admitted", ("installing", "upgrading")), Alone("incident", "recovered", ("ours",)),
            Alone("incident", "progress", ("paused",)),
        ),
    ),
)  # fmt: skip


def reason(kind: str, event: str, state: str) -> str:
    """The title of the group that names the row, '' for none."""
    return next((group.title for group in GROUPS if any(row.names(kind, event, state) for row in group.rows)), "")
