"""Mutants of what concerns many at once: archives, dependencies, incidents, freezes, rollouts, pages."""

from __future__ import annotations

from herder.machines.table import Row
from herder.proof.mutants.parts import Entry, Mutant, plus, row, state, without

_WIDE: tuple[Entry, ...] = (
    ("a full buffer is nobody's page", "the log fills the disk, and nobody is told", row("archive", "uncertain", "buffer_full", page=None), ""),
    ("a drain without an end", "an archive may drain for ever", state("archive", "restart", deadline=None), ""),
    ("a stalled archive is thrown away", "an archive whose store is away for a day is retired",
     row("archive", "uncertain", "recheck", target="retired"), ""),
    ("a stalled store is dead", "an archive is taken for full at the first failure", row("archive", "available", "stalled", target="unavailable"), ""),
    ("the owner's drain means nothing", "an archive whose store is back is not drained",
     without("archive", "unavailable", "drain"), ""),
    ("one failing call is an outage", "a dependency is taken for down at its first failure",
     row("dependency", "available", "failing", target="unavailable"), ""),
    ("everything at once", "what waited for a dependency begins at once when it answers",
     row("dependency", "unavailable", "answering", target="available"), ""),
    ("a page every five minutes", "an outage pages again and again", row("dependency", "unavailable", "overdue", which=0, update=None), ""),
    ("an outage is nobody's page", "a dependency is down for hours, and nobody is told",
     row("dependency", "unavailable", "overdue", which=0, page=None), ""),
    ("a person's word means nothing", "somebody declares a dependency well, and it stays down",
     without("dependency", "unavailable", "declared_well"), ""),
    ("us is them", "it is our own network, and recovery begins", row("incident", "verifying", "us", target="recovering"), ""),
    ("no verdict is a verdict", "nobody could say whether it is us, and recovery begins",
     row("incident", "verifying", "overdue", target="recovering"), ""),
    ("others' silence after ours is a mass outage", "we hear others again, and recovery begins without asking",
     row("incident", "ours", "theirs", which=0, target="recovering"), ""),
    ("our own signs mean nothing", "our own clock or store says that it is us, and others are asked first",
     without("incident", "absent", "create", which=0), ""),
    ("a mass outage is nobody's page", "hundreds are down, and nobody is told", row("incident", "verifying", "mass", page=None), ""),
    ("a verdict that flaps for ever", "it is us, it is them, it is us: without end", row("incident", "ours", "theirs", which=0, update=None), ""),
    ("a recovery that is never over is nobody's page", "it goes on for hours, and nobody is told",
     row("incident", "recovering", "overdue", page=None), ""),
    ("nobody may pause", "a person holds the recovery, and it goes on", without("incident", "recovering", "pause"), ""),
    ("nobody may abort", "a person ends the recovery, and it goes on", without("incident", "recovering", "abort"), ""),
    ("a person's freeze melts", "what a person froze is released after an hour",
     row("freeze", "frozen", "overdue", which=1, target="released", page=None), ""),
    ("an empty budget is nobody's page", "remedies stop, and nobody is told", row("freeze", "absent", "create", which=0, page=None), ""),
    ("an empty budget freezes for ever", "a scope whose budget was used up once is never healed again",
     without("freeze", "frozen", "overdue", which=0), ""),
    ("a freeze is forgotten", "a freeze lasts for days, and nobody is told", row("freeze", "frozen", "overdue", which=1, page=None), ""),
    ("a rollout that goes badly goes on", "reboots fail, and the rollout is not stopped", row("rollout", "running", "stopped", target="running"), ""),
    ("a stopped rollout is nobody's page", "it waits for a person, and nobody is told", row("rollout", "running", "stopped", page=None), ""),
    ("a rollout past its window", "servers are rebooted after the time that was given", without("rollout", "running", "window_over"), ""),
    ("nobody may end a rollout", "a person ends it, and it goes on",
     row("rollout", "running", "abort", target="running"), ""),
    ("a page that comes back", "a page that was resolved is opened again", plus("page", Row("resolved", "again", "open")), ""),
    ("a page that is never over", "nothing resolves it", without("page", "open", "resolve"), ""),
    ("a second page for the same", "the same trouble is another page", row("page", "open", "again", update=None, keep=False), ""),
)  # fmt: skip

WIDE: tuple[Mutant, ...] = tuple(Mutant(*entry) for entry in _WIDE)
