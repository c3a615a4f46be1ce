"""The whole configuration of one Valkey server, each line with its reason. Written by us only; never CONFIG REWRITE."""

from __future__ import annotations

import hashlib

from herder.drivers.valkey.marker import AOF_DIR, Intent, Marker
from herder.ports.driver import MemberSpec, Source

ADMIN_USER = "herder"
REPLICATION_USER = "herder_replication"

NOWHERE = ("127.0.0.1", 0)
"""What a replica that follows nobody is pointed at. Nothing can listen on port 0; the engine keeps the cached state of
its last primary, so that a partial resync with the next one still works (tried with 9.1.2)."""

MAX_LAG_S = 2
"""Seconds since a replica's last acknowledgement after which it does not count. Replicas acknowledge once a second."""

MEMORY_SHARE = 0.75
"""Part of the member's memory that data may use. The rest is for copy-on-write during a fork, client and replica
buffers; 25 % is what ElastiCache reserves (failure 17)."""

MIB = 1024 * 1024

APP_RULES = (
    "~* &* +@all -@admin -@dangerous "
    # Theirs, although listed as dangerous: their own keys, and what clients ask to find their way.
    "+flushall +flushdb +keys +sort +sort_ro +info +role +swapdb +restore +client|list"
)
"""An application's rights. No CONFIG GET: it would show the replication password. No REPLICAOF, FAILOVER, DEBUG, SAVE,
SHUTDOWN, MONITOR, ACL, CLIENT KILL or CLIENT PAUSE: each can undo a fence or stop the service."""


def quoted(text: str) -> str:
    """A value in the configuration file's own quoting; passwords may hold anything."""
    return (
        '"'
        + "".join(
            c if (c.isascii() and c.isalnum()) or c in "-_.:/" else "".join(f"\\x{b:02x}" for b in c.encode())
            for c in text
        )
        + '"'
    )


def hashed(password: str) -> str:
    """An ACL password rule that does not show the password."""
    return "#" + hashlib.sha256(password.encode()).hexdigest()


def upstream_of(marker: Marker) -> tuple[str, int]:
    """What the file says to follow. A primary's file says nowhere: an engine started by anybody never leads by itself."""
    if marker.intent is Intent.STANDBY and marker.source is not None:
        return marker.source.address, marker.source.port
    return NOWHERE


def min_replicas(marker: Marker) -> int:
    """How many replicas must be in touch for a write.

    A standby keeps 1: if FAILOVER makes it the primary before we could say more, it acknowledges nothing alone.
    """
    return marker.sync.k if marker.intent is Intent.PRIMARY else 1


def backlog_bytes(memory_mb: int) -> int:
    """1/16 of the memory: 32 MiB for a 512 MiB member, some seconds of its busiest stream (failure 18)."""
    return max(1, memory_mb // 16) * MIB


def _users(spec: MemberSpec) -> list[str]:
    lines = [f"user {ADMIN_USER} on {hashed(spec.admin_password)} ~* &* +@all"]
    lines.append(f"user {REPLICATION_USER} on {hashed(spec.replication_password)} +psync +replconf +ping")
    if spec.user != "default":
        lines.append("# Nobody in particular may only PING: a probe without a password tells loading from serving.")
        lines.append("user default reset on nopass +ping")
    lines.append(f"user {spec.user} on {hashed(spec.password)} {APP_RULES}")
    return lines


def _network(spec: MemberSpec) -> list[str]:
    return [
        "# This address only. Members of one machine may share a port, so 127.0.0.1 is nobody's.",
        f"bind {spec.address}",
        "# Replication leaves from this address too, so that what cuts the address off cuts the stream off.",
        f"bind-source-addr {spec.address}",
        f"port {spec.port}",
        "# The users below guard every address; protected mode would turn away probes, which have no password.",
        "protected-mode no",
        "# Finds clients whose host died without a word.",
        "tcp-keepalive 60",
        "timeout 0",
        f"replica-announce-ip {spec.address}",
        f"replica-announce-port {spec.port}",
        "# The one free text that HELLO shows: how a primary's agent learns which member a replica is.",
        f"availability-zone {quoted(spec.member)}",
    ]


def _data(spec: MemberSpec) -> list[str]:
    limit = int(spec.memory_mb * MEMORY_SHARE)
    return [
        f"dir {quoted(spec.data_dir)}",
        "# Every write is in the log before it is answered: a crash of the process loses nothing, of the machine about a second.",
        "appendonly yes",
        "# The agent has it fsynced once a second; `everysec` would hold back what is answered while an fsync lasts.",
        "appendfsync no",
        f"appenddirname {AOF_DIR}",
        "appendfilename appendonly.aof",
        "aof-use-rdb-preamble yes",
        "# A torn last write of a crash is cut off; damage elsewhere stops the start.",
        "aof-load-truncated yes",
        "auto-aof-rewrite-percentage 100",
        f"auto-aof-rewrite-min-size {max(8, spec.memory_mb // 16)}mb",
        "# No snapshots besides the log: each is a fork, and a fork is what runs out of memory.",
        'save ""',
        f"maxmemory {limit}mb",
        "# A full data set refuses writes; it never drops an acknowledged key by itself.",
        "maxmemory-policy noeviction",
        "# Huge pages make copy-on-write copy 2 MiB for each byte written.",
        "disable-thp yes",
    ]


def _replication(spec: MemberSpec, marker: Marker) -> list[str]:
    host, port = upstream_of(marker)
    hard, soft = max(16, spec.memory_mb // 8), max(8, spec.memory_mb // 16)
    return [
        "# A member that was pledged or led comes back following nobody; the driver gives the role.",
        f"replicaof {host} {port}",
        f"primaryuser {REPLICATION_USER}",
        f"primaryauth {quoted(spec.replication_password)}",
        "replica-read-only yes",
        "replica-serve-stale-data yes",
        "# Fewer replicas in touch than this: writes are refused (no quorum; it bounds the loss in time).",
        f"min-replicas-to-write {min_replicas(marker)}",
        f"min-replicas-max-lag {MAX_LAG_S}",
        f"repl-backlog-size {backlog_bytes(spec.memory_mb)}",
        "# Never dropped: with the backlog the replication id would change, and positions with it.",
        "repl-backlog-ttl 0",
        "repl-ping-replica-period 1",
        "# A silent peer is given up after this; a reconnect costs a partial resync only.",
        "repl-timeout 10",
        "# Straight to the socket and at once: there is no second replica to wait for.",
        "repl-diskless-sync yes",
        "repl-diskless-sync-delay 0",
        "# A new, empty standby loads from the socket; one that holds data keeps it until the copy is complete.",
        "repl-diskless-load on-empty-db",
        "# A replica too slow for this is dropped before it takes the primary's headroom (failures 17, 18).",
        f"client-output-buffer-limit replica {hard}mb {soft}mb 60",
        "# At a clean stop a primary waits this long for replicas to have everything.",
        "shutdown-timeout 10",
    ]


def render(spec: MemberSpec, marker: Marker) -> str:
    """The file's text."""
    sections = (
        ("network", _network(spec)),
        ("data", _data(spec)),
        ("replication", _replication(spec, marker)),
        (
            "rights",
            [
                *_users(spec),
                "enable-debug-command no",
                "enable-module-command no",
                "enable-protected-configs no",
            ],
        ),
        ("process", ["# Standard output goes to the log beside this directory.", 'logfile ""', "daemonize no"]),
    )
    lines = ["# Written by herder as a whole; a change made here is lost."]
    for name, body in sections:
        lines += ["", f"## {name}", *body]
    return "\n".join(lines) + "\n"


def source_words(source: Source | None) -> tuple[str, str]:
    """Arguments of REPLICAOF."""
    host, port = NOWHERE if source is None else (source.address, source.port)
    return host, str(port)
