"""What herder writes for a PostgreSQL member, each setting with its reason in the file itself.

Three files, because they change at different times and a small one is durable sooner: `postgresql.conf` (from the spec,
whole), `herder.sync.conf` (the sync set), `herder.stream.conf` (whom it follows; empty after a pledge).
"""

from __future__ import annotations

import hashlib
import hmac
import os
import pwd
import re
import secrets
from base64 import b64encode
from ipaddress import ip_address

from herder.drivers.postgres.layout import Layout
from herder.model.errors import InvalidInput
from herder.ports.driver import MemberSpec, Source, SyncSet

ADMIN = "herder"
REPLICATION = "herder_replication"

SCRAM_ITERATIONS = 4096
"""PostgreSQL's default; passwords here are random, so more rounds would only slow every connection down."""

Row = tuple[str, str, str]


def quoted(text: str) -> str:
    """A configuration value in single quotes. InvalidInput for a line break, which no quoting can carry."""
    if "\n" in text or "\0" in text:
        raise InvalidInput("a configuration value holds a line break", "use a value of one line")
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def slot_name(member: str) -> str:
    """A member's replication slot: its id with what a slot's name cannot hold replaced."""
    return re.sub(r"[^a-z0-9_]", "_", member.lower())[:63]


def scram_verifier(password: str) -> str:
    """The SCRAM-SHA-256 verifier PostgreSQL would store: made here, so that no log can ever show the password."""
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, SCRAM_ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    parts = (b64encode(part).decode() for part in (salt, stored, server))
    return "SCRAM-SHA-256${}:{}${}:{}".format(SCRAM_ITERATIONS, *parts)


def _memory(memory_mb: int) -> list[Row]:
    connections = min(500, max(50, memory_mb // 5))
    return [
        ("shared_buffers", f"{max(16, memory_mb // 4)}MB", "a quarter of the member's memory, PostgreSQL's own advice"),
        ("effective_cache_size", f"{max(32, memory_mb * 3 // 4)}MB", "what the planner may expect to be cached"),
        ("maintenance_work_mem", f"{max(16, memory_mb // 16)}MB", "three autovacuum workers may take it at once"),
        ("work_mem", f"{max(1, memory_mb // 128)}MB", "a sort or hash each; with all connections busy it still fits"),
        ("max_connections", str(connections), "a backend takes 5-10 MB; the same on all members, standbys need it"),
        ("superuser_reserved_connections", "5", "herder, its checks and a person get in when clients took the rest"),
        ("huge_pages", "off", "asking for pages that are not reserved only costs time at the start"),
    ]


def _log_of_writes() -> list[Row]:
    return [
        ("wal_level", "replica", "standbys and base backups need it"),
        ("wal_log_hints", "on", "pg_rewind needs it (checksums imply it; said so that nobody turns it off)"),
        ("full_page_writes", "on", "a torn page after a power cut is repaired from it"),
        ("fsync", "on", "without it a power cut loses acknowledged writes"),
        ("synchronous_commit", "on", "with a sync set: acknowledged means flushed on a standby too"),
        ("max_wal_size", "1GB", "a checkpoint before that much is written; bounds crash recovery"),
        ("min_wal_size", "80MB", "five recycled segments; more would fill small volumes"),
        ("checkpoint_timeout", "5min", "bounds crash recovery on a quiet member"),
        ("max_wal_senders", "10", "members, one copy each being made, and backups"),
        ("max_replication_slots", "10", "one for each standby, and a few of the customer's"),
        ("max_slot_wal_keep_size", "2GB", "a standby that stays away loses its slot, not the primary its disk"),
        ("wal_keep_size", "128MB", "eight segments for a standby whose slot is not there yet, and for pg_rewind"),
    ]


def _streaming() -> list[Row]:
    return [
        ("hot_standby", "on", "a standby answers reads and, more to the point, its agent"),
        ("max_standby_streaming_delay", "1s", "a reader on a standby may not hold up replay, hence not promotion"),
        (
            "wal_retrieve_retry_interval",
            "100ms",
            "a cut stream is tried again at once; the default costs 5 s (measured)",
        ),
        ("wal_receiver_status_interval", "1s", "the primary's view of a standby is at most a second old"),
        (
            "wal_receiver_timeout",
            "3s",
            "half of it in silence and the standby asks: so it is a vantage point on the primary",
        ),
        ("wal_sender_timeout", "6s", "a frozen standby does not hold up a clean stop longer than this"),
        ("recovery_target_timeline", "'latest'", "a standby goes with the promoted member onto its timeline"),
    ]


def _manners() -> list[Row]:
    return [
        # On: a backend that crashed is recovered from in place in 0.1 s, also when no control plane is alive (decision 5).
        # Off would tell the control plane at once, but turns one bad query into an outage when it is away.
        ("restart_after_crash", "on", "a crashed backend is recovered from in place, control plane or not"),
        ("allow_alter_system", "off", "postgresql.auto.conf would override what herder set, sync set included"),
        ("password_encryption", "scram-sha-256", "md5 verifiers are as good as the password"),
        ("scram_iterations", str(SCRAM_ITERATIONS), "passwords are random; more only slows connecting"),
        ("tcp_keepalives_idle", "5", "with the next two: a vanished client or standby is noticed in about 10 s"),
        ("tcp_keepalives_interval", "2", "see tcp_keepalives_idle"),
        ("tcp_keepalives_count", "3", "see tcp_keepalives_idle"),
        ("tcp_user_timeout", "10s", "the same when data was sent and is not acknowledged"),
        ("client_connection_check_interval", "10s", "a query whose client has gone ends"),
        ("log_destination", "stderr", "with the collector off: into one file that herder turns over"),
        ("logging_collector", "off", "one process less, and a start that fails is told in the same file"),
        ("log_line_prefix", "'%m [%p] %b %e '", "time, pid, kind of process, SQLSTATE: herder reads this back"),
        ("log_checkpoints", "off", "a line each five minutes from every member of a fleet says nothing"),
        ("log_timezone", "UTC", "one clock for the fleet"),
        ("timezone", "UTC", "the server's own zone would differ between members"),
    ]  # fmt: skip


def render_main(spec: MemberSpec, layout: Layout) -> str:
    """`postgresql.conf`, whole."""
    rows: list[Row] = [
        ("listen_addresses", quoted(spec.address), "the member's own address; its URL names it for life"),
        ("port", str(spec.port), "the member's port"),
        (
            "unix_socket_directories",
            quoted(str(layout.socket_dir)),
            "its agent comes in here, by its operating system user",
        ),
        ("unix_socket_permissions", "0700", "nobody else does"),
        *_memory(spec.memory_mb),
        *_log_of_writes(),
        *_streaming(),
        *_manners(),
    ]
    lines = [f"{name} = {value}  # {reason}" for name, value, reason in rows]
    head = "# Written by herder, whole, at every start: a change made here does not last.\n"
    tail = "include 'herder.sync.conf'\ninclude 'herder.stream.conf'\n"
    return head + "\n".join(lines) + "\n" + tail


def render_sync(sync: SyncSet) -> str:
    """`herder.sync.conf`. InvalidInput when more confirmations are asked than there are members to give them.

    An empty list with k > 0 would silently mean asynchronous.
    """
    if sync.k < 0 or sync.k > len(set(sync.members)):
        raise InvalidInput(f"ANY {sync.k} of {len(sync.members)} members", "name at least k members, or set k to 0")
    names = ", ".join('"' + member.replace('"', '""') + '"' for member in sync.members)
    value = f"ANY {sync.k} ({names})" if sync.k else ""
    return f"synchronous_standby_names = {quoted(value)}  # a commit waits for these; the control plane records them first\n"


def parse_sync(value: str) -> SyncSet:
    """The inverse of `render_sync`, from the value in force. Anything herder did not write is SyncSet(k=-1)."""
    if not value:
        return SyncSet()
    found = re.fullmatch(r'ANY (\d+) \(((?:"(?:[^"]|"")*"(?:, )?)+)\)', value)
    if not found:
        return SyncSet(-1)
    names = re.findall(r'"((?:[^"]|"")*)"', found[2])
    return SyncSet(int(found[1]), tuple(name.replace('""', '"') for name in names))


def conninfo(source: Source, user: str, password: str, name: str, database: str = "") -> str:
    """A libpq connection string; each value quoted as libpq wants it."""
    pairs = {
        "host": source.address,
        "port": str(source.port),
        "user": user,
        "password": password,
        "dbname": database,
        "application_name": name,
        "connect_timeout": "2",  # seconds; libpq takes no less
        "keepalives_idle": "1",
        "keepalives_interval": "1",
        "keepalives_count": "3",
        "tcp_user_timeout": "3000",  # milliseconds; as wal_receiver_timeout
        "sslmode": "prefer",
        "gssencmode": "disable",
    }
    escaped = {key: text.replace("\\", "\\\\").replace("'", "\\'") for key, text in pairs.items() if text}
    return " ".join(f"{key}='{text}'" for key, text in escaped.items())


def render_stream(spec: MemberSpec, source: Source | None) -> str:
    """`herder.stream.conf`; None: nobody is followed (a primary, or a pledge), which also holds over a restart."""
    if source is None:
        return "# Follows nobody: a primary, or a standby that has pledged not to stream.\nprimary_conninfo = ''\n"
    text = conninfo(source, REPLICATION, spec.replication_password, spec.member)
    return (
        f"# Follows {source.member}.\nprimary_conninfo = {quoted(text)}\n"
        f"primary_slot_name = {quoted(slot_name(spec.member))}  # the source keeps what this member has not yet\n"
    )


def follows(text: str) -> bool:
    """Does this `herder.stream.conf` name somebody?"""
    return "primary_conninfo = ''" not in text


def _networks(spec: MemberSpec) -> list[str]:
    networks: list[str] = []
    for address in dict.fromkeys((spec.address, *spec.peers)):
        try:
            parsed = ip_address(address)
        except ValueError:
            networks.append(address)  # a host name: PostgreSQL resolves it
            continue
        # A packet to any 127.x.y.z is sent from 127.0.0.1 unless bound, so loopback peers cannot be told apart.
        networks.append(
            "127.0.0.0/8" if parsed.version == 4 and parsed.is_loopback else f"{address}/{parsed.max_prefixlen}"
        )
    return list(dict.fromkeys(networks))


def _login() -> str | None:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container's made-up uid: the agent then gives its password
        return None


def render_hba(spec: MemberSpec) -> str:
    """`pg_hba.conf`: the agent by its operating system user, peers by password, clients to everything but our own users."""
    local = "peer map=herder" if _login() else "scram-sha-256"
    lines = [f"local all {ADMIN} {local}", "local all all scram-sha-256"]
    for network in _networks(spec):
        lines += [
            f"host replication {REPLICATION} {network} scram-sha-256",
            f"host postgres {REPLICATION} {network} scram-sha-256",  # its slot on the source
            f"host all {ADMIN} {network} scram-sha-256",  # pg_rewind by a peer's agent
        ]
    lines += [f"host {kind} {ADMIN},{REPLICATION} all reject" for kind in ("all", "replication")]
    lines.append("host all all all scram-sha-256")
    return "# Written by herder, whole, at every start.\n" + "\n".join(lines) + "\n"


def render_ident() -> str:
    """`pg_ident.conf`: which operating system user may be `herder` on the local socket."""
    login = _login()
    return f'herder "{login}" {ADMIN}\n' if login else ""
