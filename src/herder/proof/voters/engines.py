"""What engines and the world around them do: write, receive, acknowledge, crash, come back, and run jobs.

Every step is atomic and may happen at any time or never. A frozen host, a cut cable, a slow disk or a late message is an
engine whose step has not happened yet, and healing is that it happens after all: neither needs a step of its own.
"""

from __future__ import annotations

from collections.abc import Iterator

from herder.proof.voters.fleet import Fleet, Node

Step = tuple[str, Fleet]
"""What happened, in words, and the fleet after it."""


def engines(fleet: Fleet) -> Iterator[Step]:
    """Steps that nobody orders."""
    for ident, node in enumerate(fleet.nodes, 1):
        if node.up and node.leads:
            yield from _writes(fleet, ident, node)
            yield from _acknowledges(fleet, ident, node)
        if node.up and not node.leads and node.upstream and fleet.node(node.upstream).up:
            yield from _receives(fleet, ident, node)
        if node.up and fleet.left.crashes:
            yield f"member {ident} crashes", crashed(fleet, ident).spend("crashes")
        if not node.up and not stopped(node):
            yield f"member {ident} starts again", fleet.with_node(ident, up=True)
    for late in fleet.late:
        node = fleet.node(late.target)
        rest = fleet._replace(late=tuple(other for other in fleet.late if other != late))
        if node.up and node.leads and late.mark >= node.mark:
            yield (
                f"a late job reaches member {late.target}: it waits for any of {_names(late.waits)}",
                with_waits(rest, late.target, late.waits, late.mark),
            )


STOPPED = -1
"""`upstream` of a primary that its agent has stopped for sure: only a job starts it again."""


def stopped(node: Node) -> bool:
    """Ended by an order, not by a crash."""
    return node.upstream == STOPPED


def _writes(fleet: Fleet, ident: int, node: Node) -> Iterator[Step]:
    if fleet.left.commits:
        yield f"member {ident} writes a commit", fleet.with_node(ident, log=(*node.log, node.leads)).spend("commits")


def _acknowledges(fleet: Fleet, ident: int, node: Node) -> Iterator[Step]:
    """ANY 1 (W): the farthest that one of W has confirmed. With an empty set nobody is waited for. Most of it comes at once
    (`at_once`); here is left what contradicts a commit that a client was told of before.
    """
    if (safe := _safe(node)) and fleet.acked[: len(safe)] != safe:
        yield f"member {ident} acknowledges commit {len(safe)} of its log", fleet._replace(acked=safe)


def _safe(node: Node) -> tuple[int, ...]:
    """The longest log that it may tell clients of, () when it leads nothing that is confirmed."""
    confirmed = max((reach for member, reach in node.heard if member in node.waits), default=0)
    reach = min(confirmed if node.waits else len(node.log), len(node.log))
    while reach > node.fork and node.log[reach - 1] != node.leads:
        reach -= 1
    return node.log[:reach] if reach > node.fork else ()


def at_once(fleet: Fleet) -> tuple[Fleet, list[str]]:
    """The same after confirmations and acknowledgements that are possible, with their words: they wait for nothing.

    That nothing is missed by it: a confirmation or an acknowledgement that comes later only lets less happen. Whatever may
    be done with fewer confirmations may be done with more of them, and what breaks a rule with a shorter log told to clients
    breaks it with a longer one. Only of two histories that contradict each other the order counts (`_acknowledges`).
    """
    said: list[str] = []
    for ident, node in enumerate(fleet.nodes, 1):
        if node.up and not node.leads and node.upstream:
            up, held = fleet.node(node.upstream), len(node.log)
            if held and up.up and _streams(node, up) and dict(up.heard).get(ident, 0) < held:
                fleet = _heard(fleet, ident, held)
                said.append(f"member {ident} confirms {held} commits to member {node.upstream}")
    for ident, node in enumerate(fleet.nodes, 1):
        if node.up and node.leads and node.heard:
            safe = _safe(node)
            if len(safe) > len(fleet.acked) and safe[: len(fleet.acked)] == fleet.acked:
                fleet = fleet._replace(acked=safe)
                said.append(f"member {ident} acknowledges commit {len(safe)} of its log")
    return fleet, said


def _streams(node: Node, up: Node) -> bool:
    """Only a log that is a prefix can stream, and none goes back to an older timeline."""
    return up.log[: len(node.log)] == node.log and node.timeline <= up.timeline


def _receives(fleet: Fleet, ident: int, node: Node) -> Iterator[Step]:
    """The next commit, and the switch to its upstream's timeline."""
    up = fleet.node(node.upstream)
    held = len(node.log)
    if not _streams(node, up):
        return
    if held < len(up.log) and (held < up.fork or node.timeline == up.timeline):
        got = fleet.with_node(ident, log=up.log[: held + 1])
        yield f"member {ident} receives commit {held + 1} from member {node.upstream}", _heard(got, ident, held + 1)
    if node.timeline < up.timeline and held >= up.fork:
        yield (
            f"member {ident} is on the timeline of member {node.upstream}",
            fleet.with_node(ident, timeline=up.timeline, fork=up.fork),
        )


def _heard(fleet: Fleet, ident: int, reach: int) -> Fleet:
    """Its upstream has the confirmation, which it may act on at any later time."""
    upstream = fleet.node(ident).upstream
    heard = dict(fleet.node(upstream).heard) | {ident: reach}
    return fleet.with_node(upstream, heard=tuple(sorted(heard.items())))


def crashed(fleet: Fleet, ident: int) -> Fleet:
    """Its processes are gone, its disk is not; connections end."""
    return fleet.with_node(ident, up=False, heard=())


# ---- jobs, as an agent runs them


def admitted(node: Node, mark: tuple[int, int]) -> bool:
    """Its agent runs it: nothing newer was promised."""
    return node.up and mark >= node.mark


def with_waits(fleet: Fleet, ident: int, waits: tuple[int, ...], mark: tuple[int, int]) -> Fleet:
    """`set_sync`: the set is in force, and the streams of those struck from it are ended (they may come back)."""
    node = fleet.node(ident)
    struck = {*node.waits} - {*waits}
    heard = tuple((member, 0 if member in struck else reach) for member, reach in node.heard)
    return fleet.with_node(ident, waits=tuple(sorted(waits)), heard=heard, mark=mark)


def pledged(fleet: Fleet, ident: int, mark: tuple[int, int]) -> Fleet:
    """`pledge`: it streams from nobody, durably."""
    return fleet.with_node(ident, upstream=0, mark=mark)


def following(fleet: Fleet, ident: int, source: int, mark: tuple[int, int]) -> Fleet:
    """`follow`: a standby streams from another member; what it confirmed to that one before no longer counts."""
    fleet = fleet.with_node(ident, upstream=source, mark=mark)
    heard = dict(fleet.node(source).heard) | {ident: 0}
    return fleet.with_node(source, heard=tuple(sorted(heard.items())))


def promoted(fleet: Fleet, ident: int, waits: tuple[int, ...], mark: tuple[int, int]) -> Fleet:
    """`promote`: the set first, then it leads, on the next timeline. On a primary only the set is put in force."""
    node = fleet.node(ident)
    if node.leads:
        return with_waits(fleet, ident, waits, mark)
    era = fleet.era + 1
    return fleet.with_node(
        ident, leads=era, fork=len(node.log), timeline=node.timeline + 1, waits=tuple(sorted(waits)), upstream=0, mark=mark,
    )._replace(era=era)  # fmt: skip


def copied(fleet: Fleet, ident: int, source: int, mark: tuple[int, int]) -> Fleet:
    """`rejoin`: stopped for sure, rewound or copied, it streams from the source with what that one held."""
    whole = fleet.node(source)
    fleet = fleet.with_node(
        ident, log=whole.log, timeline=whole.timeline, up=True, leads=0, fork=whole.fork, waits=(), heard=()
    )
    return following(fleet, ident, source, mark)


def drained(fleet: Fleet, ident: int, mark: tuple[int, int]) -> Fleet:
    """`drain`: a clean stop, confirmed; whoever streams may or may not have received everything before."""
    return fleet.with_node(ident, up=False, upstream=STOPPED, heard=(), mark=mark)


def _names(members: tuple[int, ...]) -> str:
    return ", ".join(map(str, members)) or "nobody"
