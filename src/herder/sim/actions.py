"""What a driver does to an engine, at the moment at which it takes effect; how long it takes is the agent's business."""

from __future__ import annotations

from herder.model.errors import Conflict, HerderError, InvalidInput, Refused, Unreachable
from herder.ports.driver import Position, SyncSet
from herder.sim.engine import (
    END_OF_RECOVERY_BYTES,
    FIRST_LSN,
    SHUTDOWN_RECORD_BYTES,
    Cluster,
    Data,
    Engine,
)


def found(cluster: Cluster, member: str, host: str, sync: SyncSet, now: float) -> Engine:
    """An empty primary, or the one that is there already."""
    cluster.advance(now)
    engine = cluster.engines.setdefault(member, Engine(member, host))
    if engine.data is Data.WHOLE:
        if engine.standby:
            raise Refused(f"{member} holds a standby", "an existing standby is promoted, not created")
    else:
        engine.data, engine.standby, engine.sync = Data.WHOLE, False, sync
        engine.branch, engine.lsn, engine.source = cluster.new_branch(None, FIRST_LSN), FIRST_LSN, ""
    start(cluster, member, now)
    return engine


def source_of(cluster: Cluster, member: str, source: str, now: float) -> Engine:
    """The engine to copy or follow, if it is in reach. Raises Unreachable, InvalidInput."""
    if source == member:
        raise InvalidInput(f"{member} cannot follow itself", "name its primary")
    engine, own = cluster.engines.get(source), cluster.engines[member]
    reached = engine is not None and engine.answers(now) and cluster.terrain.awake(engine.host)
    if engine is None or not reached or not _between(cluster, engine, own):
        raise Unreachable(f"{source} cannot be reached from {member}")
    return engine


def _between(cluster: Cluster, one: Engine, other: Engine) -> bool:
    terrain = cluster.terrain
    return terrain.flows(one.host, other.host) and terrain.flows(other.host, one.host)


def copy(cluster: Cluster, member: str, source: str, now: float) -> None:
    """A base backup has arrived whole: the source's log as of now, following it. Not started yet."""
    cluster.advance(now)
    engine, upstream = cluster.engines[member], source_of(cluster, member, source, now)
    cluster.overwrite(engine, upstream, now)
    engine.data, engine.standby, engine.rest, engine.heard = Data.WHOLE, True, None, None
    engine.branch, engine.lsn, engine.source = upstream.branch, upstream.lsn, source
    engine.sync = upstream.sync  # its configuration is copied too, and set anew before it may lead


def start(cluster: Cluster, member: str, now: float, recovery_s: float = 0.0) -> bool:
    """Start on the data as it is; False when it runs already."""
    cluster.advance(now)
    engine = cluster.has(member)
    if engine.running:
        return False
    engine.running, engine.ready_at, engine.pid = True, now + recovery_s, cluster.new_pid()
    engine.rest, engine.exit_line, engine.retry_at = None, "", now
    return True


def stop(cluster: Cluster, member: str, now: float, *, clean: bool) -> None:
    """No process is left. clean: standbys in touch had everything, and where the log ends is known."""
    cluster.advance(now)
    engine = cluster.engines.get(member)
    if engine is None or not engine.running:
        return
    if clean and engine.leads(now):
        engine.rest = engine.position
        engine.lsn += SHUTDOWN_RECORD_BYTES
        for standby in cluster.engines.values():
            if standby.streaming and standby.source == member and cluster._moves(engine, standby):  # noqa: SLF001
                standby.lsn = max(standby.lsn, engine.lsn)
    engine.running, engine.streaming, engine.stalled_at = False, False, None
    engine.exit_line = "database system is shut down"


def crash(cluster: Cluster, member: str, now: float, line: str) -> bool:
    """Its processes are gone; the log on disk stays. False when it did not run."""
    cluster.advance(now)
    engine = cluster.engines.get(member)
    if engine is None or not engine.running:
        return False
    engine.running, engine.streaming, engine.stalled_at, engine.rest = False, False, None, None
    engine.exit_line = line
    return True


def pledge(cluster: Cluster, member: str, now: float) -> Position:
    """It streams from nobody any more, also after a restart; how far it reaches."""
    cluster.advance(now)
    engine = cluster.has(member)
    if not engine.standby:
        raise Refused(f"{member} is no standby", "a primary is fenced by stopping it")
    engine.source, engine.streaming, engine.stalled_at = "", False, None
    return engine.position


def promote(cluster: Cluster, member: str, sync: SyncSet, now: float) -> Position:
    """Sync set first, then it writes a branch of its own."""
    cluster.advance(now)
    cluster.check_sync(sync)
    engine = cluster.up(member, now)
    engine.sync = sync
    if engine.standby:
        if engine.branch is None:
            raise HerderError(f"{member} has no log")
        engine.source, engine.streaming, engine.standby, engine.heard = "", False, False, None
        engine.branch = cluster.new_branch(engine.branch.owner(engine.lsn), engine.lsn)
        engine.lsn += END_OF_RECOVERY_BYTES
    return engine.position


def hand_over(cluster: Cluster, member: str, target: str, now: float) -> Position:
    """Valkey's FAILOVER: writes pause until the target has everything, then the roles change. Asked again, it is done already."""
    cluster.advance(now)
    engine, heir = cluster.up(member, now), cluster.engines.get(target)
    if engine.standby and engine.source == target:
        return engine.position
    if engine.standby or heir is None or not heir.answers(now) or not heir.streaming or heir.source != member:
        raise Conflict(f"{target} is no replica in touch with {member}", "wait until it streams")
    heir.lsn = max(heir.lsn, engine.lsn)
    promote(cluster, target, SyncSet(), now)
    engine.standby, engine.source, engine.retry_at = True, target, now
    return engine.position


def follow(cluster: Cluster, member: str, source: str, now: float) -> None:
    """Stream from `source` from now on; one out of reach is followed once it is in reach."""
    cluster.advance(now)
    engine = cluster.has(member)
    if not engine.standby:
        raise Refused(f"{member} is no standby", "stop it, then let it rejoin")
    if source == member:
        raise InvalidInput(f"{member} cannot follow itself", "name its primary")
    if engine.source != source:
        engine.source, engine.streaming, engine.stalled_at, engine.retry_at = source, False, None, now
        engine.heard = None


def set_sync(cluster: Cluster, member: str, sync: SyncSet, now: float) -> int:
    """In force at once; walsenders of struck members are ended. Returns the flushed LSN."""
    cluster.advance(now)
    cluster.check_sync(sync)
    engine = cluster.up(member, now)
    if engine.standby:
        raise Refused(f"{member} is a standby", "its own list is set when it is promoted")
    struck = set(engine.sync.members) - set(sync.members)
    engine.sync = sync
    for standby in cluster.engines.values():
        if standby.member in struck and standby.source == member and standby.streaming:
            standby.streaming, standby.stalled_at, standby.retry_at = False, None, now + 0.1
    return engine.lsn


def rejoin(cluster: Cluster, member: str, source: str, now: float) -> str:
    """Which way a member of the past becomes a standby of `source`: 'followed', 'rewound' or 'copied'. Changes nothing."""
    engine = cluster.engines[member]
    upstream = source_of(cluster, member, source, now)
    if upstream.standby:
        raise Refused(f"{source} is a standby", "name the primary")
    if engine.running and not engine.standby:
        raise Refused(f"{member} runs as a primary", "stop it first")
    if engine.data is not Data.WHOLE or engine.branch is None or upstream.branch is None:
        return "copied"
    if upstream.branch.holds(upstream.lsn, engine.branch, engine.lsn):
        return "followed"
    return "rewound"


def diverged(cluster: Cluster, member: str, source: str) -> int:
    """Bytes of a member's log since it and its new source's parted: they are kept beside the data."""
    engine, upstream = cluster.engines[member], cluster.engines[source]
    if engine.branch is None or upstream.branch is None:
        return 0
    return engine.lsn - engine.branch.common(engine.lsn, upstream.branch, upstream.lsn)
