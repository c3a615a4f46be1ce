"""What the log and the ledgers say of a fault: by what herder fenced, what it did, whose a lost write is. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from herder.lab.ledger import Entry
from herder.lab.screen import Facts, Result

LOST_BEFORE_S = 2.0
"""A write acknowledged this shortly before a fault and gone afterwards was lost to that fault."""

Windows = Sequence[tuple[float, Result]]
"""When each fault of a service began (CLOCK_MONOTONIC seconds, in order), and its result."""


def fence_of(events: Sequence[Facts], voters: int) -> str:
    """By what it was made sure that the old primary acknowledges nothing more, in words; from a window of the log."""
    found = ""
    provider = [event["name"] for event in events if event["kind"] == "server" and event["event"] == "fenced"]
    fenced = False
    for event in events:
        what = (event["kind"], event["event"])
        if what == ("failover", "fenced"):
            fenced, found = True, f"provider stopped {provider[0]}" if provider else "its agent stopped it, confirmed"
        elif what == ("failover", "lease_over"):
            fenced, found = True, "its lease ran out"
        elif what == ("failover", "pledged") and not fenced:
            found = f"pledges of {voters} voter{'' if voters == 1 else 's'}"
        elif what == ("switchover", "drained"):
            found = "clean stop, confirmed"
        elif what == ("switchover", "moved"):
            found = "FAILOVER hands over"
        elif what == ("restart", "restarted") and not found:
            found = "none: the same primary"
    return found


def story_of(events: Sequence[Facts], term: int, fence: str) -> str:
    """What herder did, on one line, from a window of the log. term: of the service after it."""
    told: dict[str, None] = {}
    rejoined: dict[str, str] = {}
    leaders = [event["name"] for event in events if event["kind"] == "member" and event["event"] == "promoted"]
    for event in events:
        what = (event["kind"], event["event"])
        subject = event["why"].split(" ", 1)[0].rstrip(":")
        if what == ("member", "promoted"):
            at = f" at term {term}" if event["name"] == leaders[-1] else ""
            told[f"promoted {event['name']}{at}{_behind(fence)}"] = None
        elif what == ("restart", "restarted"):
            told[f"started {subject} again in place"] = None
        elif what == ("server", "up"):
            told[f"booted {event['name']}"] = None
        elif what == ("rebuild", "rejoined"):
            rejoined[subject] = _how(event["why"])
        elif what == ("rebuild", "enrolled"):
            subject = next(reversed(rejoined), "")
            if subject:
                rejoined[subject] += ", enrolled" if rejoined[subject].endswith("again") else " and enrolled again"
        elif event["kind"] == "page" and event["event"] == "create":
            told[f"paged: {event['why']}"] = None
    return "; ".join([*told, *(f"{member} {how}" for member, how in rejoined.items())])


def _behind(fence: str) -> str:
    return f" behind {fence}" if fence.startswith("pledges") else ""


def _how(why: str) -> str:
    """'orders-0: rewound' and its like as a part of a sentence."""
    how = why.partition(": ")[2].partition(";")[0]
    if how.startswith("pointed at"):
        return f"follows {how.removeprefix('pointed at ')}"
    return {"followed": "follows again"}.get(how, how or "rejoined")


def well(service: Facts, servers: dict[str, Facts]) -> bool:
    """Could it stand the next fault? All members serve and are enrolled, their servers run, nothing is done about it."""
    members = service["members"]
    sync = service["plan"] == "premium" and service["engine"] == "postgres"
    return (
        service["state"] == "available"
        and not service["doing"]
        and all(member["state"] == "available" and not member["doing"] for member in members)
        and all(servers.get(member["server"], {}).get("state") == "available" for member in members)
        and (not sync or all(member["voter"] for member in members if member["role"] != "primary"))
    )


def is_of(event: Facts, service: Facts) -> bool:
    """Is it a move of this service, its members, their servers or a playbook of it?"""
    name, own = event["name"], service["name"]
    servers = {member["server"] for member in service["members"]}
    return bool(name == own or name.startswith((f"{own}-", f"{own}/")) or name in servers)


def share_out(windows: Windows, entries: Sequence[Entry], lost: Iterable[int], doubled: Iterable[int]) -> None:
    """Add a service's acknowledged, lost and doubled writes to the faults in whose time they were acknowledged."""
    for _, result in windows:
        for name in ("acknowledged", "lost", "doubled"):
            setattr(result, name, getattr(result, name) or 0)
    at = {entry.id: entry.at for entry in entries}
    for entry in entries:
        found = _window_at(windows, entry.at)
        if entry.ack and found is not None:
            found.acknowledged = (found.acknowledged or 0) + 1
    for ident in lost:
        found = _window_at(windows, at.get(ident, 0.0) + LOST_BEFORE_S)
        if found is not None:
            found.lost = (found.lost or 0) + 1
    for ident in doubled:
        found = _window_at(windows, at.get(ident, 0.0) + LOST_BEFORE_S)
        if found is not None:
            found.doubled = (found.doubled or 0) + 1


def _window_at(windows: Windows, at: float) -> Result | None:
    found = None
    for began, result in windows:
        if began <= at:
            found = result
    return found
