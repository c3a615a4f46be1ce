"""Who is waited for, and when work about it is out of date. Pure; the arithmetic of voters beside `election`.

W, the set that a primary waits for, is always a subset of V, the voters of the log: V grows before W, W shrinks before V.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar


def kept(voters: Sequence[int], lost: int) -> list[int]:
    """Voters that are left when one is struck. None: it is the last one (or no voter), and is not struck."""
    left = [voter for voter in voters if voter != lost]
    return left if len(left) < len(voters) else []


def waited_for(voters: Sequence[int], primary: int) -> list[int]:
    """W for these voters: all of them but the primary itself."""
    return [voter for voter in voters if voter != primary]


def successors(standbys: Sequence[int], candidate: int, old: int) -> list[int]:
    """Voters of a planned move's new term: the other standbys, or the old primary when there is none. Never empty."""
    return [standby for standby in standbys if standby != candidate] or [old]


_Name = TypeVar("_Name")


def flushed(reach: Mapping[_Name, int], keep: Iterable[_Name], position: int) -> bool:
    """Have all that are kept flushed past the primary's position of the moment when W shrank? Only then may the log forget
    the struck one: whatever it alone had confirmed is with each of them. reach: flushed position of those that stream.
    """
    return all(reach.get(name, -1) >= position for name in keep)


def enrols(playbooks: Iterable[tuple[str, str]]) -> bool:
    """Is a voter being put in force now? playbooks: kind and state of those of the service that are live."""
    return ("rebuild", "enrolling") in playbooks


def overtaken(kind: str, facts: Mapping[str, Any], service: Mapping[str, Any], *, enrolling: bool) -> bool:
    """Must this playbook end because the service has moved on? enrolling: `enrols` of the service's playbooks.

    A rebuild or strike of an older term works for a primary that leads no more, or is being replaced: a voter that it
    recorded now would be missing among those that the election asks for pledges. A strike that was under way when a
    voter is enrolled gives way and begins anew: the set that is loaded then has the struck one in it again, and the log
    would forget a voter that the primary waits for.
    """
    if kind not in ("rebuild", "strike"):
        return False
    return facts["term"] < service["term"] or (kind == "strike" and enrolling)
