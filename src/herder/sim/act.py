"""What an agent did, for those who watch a simulated world from outside."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Act:
    """One job that an agent did to the end. at_s: virtual seconds; leader: who leads after it, '' when that did not change."""

    at_s: float
    name: str
    service: str
    member: str
    host: str
    term: int
    order: int
    intent: str
    leader: str = ""
