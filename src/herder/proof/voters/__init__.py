"""Voters and pledges: every order in which a sync service may add and remove voters, crash, move its lead and write.

`check(tables)` searches the scenes of `SCENES` with the production tables and the production arithmetic (`remedies.election`,
`remedies.enrolment`); nothing of the protocol is written here a second time. What is abstracted is said in `ABSTRACTS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from herder.machines.table import Table
from herder.proof.voters.control import Arithmetic, Control
from herder.proof.voters.fleet import Left
from herder.proof.voters.search import Broken, Scene, Searched, search

__all__ = ["ABSTRACTS", "QUICK", "SCENES", "Arithmetic", "Broken", "Scene", "Searched", "Voters", "check"]

ABSTRACTS: tuple[str, ...] = (
    "an engine's log is its commits in order, each with the promotion under which it was written; a standby's is a prefix",
    (
        "a frozen host, a cut or slow network, a late answer and a partition are steps that have not happened yet; healing is"
        " that they happen after all: a step may come at any time or never, and a job may run any number of times"
    ),
    "an agent keeps (term, order) and refuses what is older; sync sets that were sent may arrive after their work has ended",
    "who is thought lost, rightly or not, is left to chance, so a failover may begin while the primary takes writes",
    "a controller that dies forgets the pledges and positions that its handlers had gathered; the log stays",
    "counts, pauses, pages and budgets of remedies are left out: whatever may begin does so at any time",
    "ANY 1 of W acknowledges; a standby confirms and a client is told as soon as it may be: later would only let less go wrong",
)
"""What a state of the search says, and what it leaves out."""


def _scene(name: str, members: int, voters: int, **left: int) -> Scene:
    nothing = dict.fromkeys(Left._fields, 0)
    return Scene(name, members, voters, Left(**{**nothing, **left}))


QUICK: tuple[Scene, ...] = (
    _scene("three members, one voter comes and one goes", 3, 2, commits=1, strikes=1, rebuilds=1),
    _scene("three members, two failovers", 3, 2, commits=1, leads=2),
    _scene("three members, a voter goes while the lead moves", 3, 2, commits=1, leads=1, strikes=1),
    _scene("four members, one voter comes and one goes", 4, 2, commits=1, strikes=1, rebuilds=1),
    _scene("four members, a failover", 4, 3, commits=1, leads=1),
    _scene("three members, a voter comes while the lead moves", 3, 1, commits=1, leads=1, rebuilds=1),
)
"""Seconds: each change of voters against each way to move the lead."""

SCENES: tuple[Scene, ...] = (
    _scene("three members, moves of the lead, crashes, a takeover", 3, 2, commits=2, crashes=1, takeovers=1, leads=2),
    _scene(
        "three members, a voter comes and one goes while the lead moves",
        3,
        2,
        commits=1,
        leads=1,
        strikes=1,
        rebuilds=1,
    ),
    _scene("three members, a voter comes while the lead moves twice", 3, 1, commits=1, leads=2, rebuilds=1),
    _scene("four members, the lead moves, a crash", 4, 3, commits=1, crashes=1, leads=1),
    _scene("four members, one voter comes and one goes", 4, 2, commits=1, strikes=1, rebuilds=1),
    _scene("four members, a voter comes while the lead moves", 4, 2, commits=1, leads=1, rebuilds=1),
    _scene("four members, a voter goes while the lead moves", 4, 3, commits=1, leads=1, strikes=1),
)
"""Minutes: several at once; each quick scene is contained in one of these."""

STATES_MAX = 400_000
"""A scene that is larger is searched so far, breadth first, and reported as not whole: a minute and a half of one processor."""


@dataclass(frozen=True, slots=True)
class Voters:
    """What was searched, and the first rule that was found broken in each scene."""

    searched: tuple[Searched, ...]

    @property
    def violations(self) -> tuple[Broken, ...]:
        """Broken rules, with the shortest way to each."""
        return tuple(each.broken for each in self.searched if each.broken is not None)

    @property
    def states(self) -> int:
        """Distinct states after symmetry reduction, all scenes together."""
        return sum(each.states for each in self.searched)


def check(
    tables: Sequence[Table],
    scenes: Sequence[Scene] = QUICK,
    *,
    arithmetic: Arithmetic | None = None,
    states_max: int = STATES_MAX,
    first_only: bool = False,
) -> Voters:
    """Search each scene with these tables. first_only: stop at the first broken rule, as a mutant does."""
    done: list[Searched] = []
    for scene in scenes:
        done.append(search(Control(tables, arithmetic or Arithmetic()), scene, states_max))
        if first_only and done[-1].broken is not None:
            break
    return Voters(tuple(done))
