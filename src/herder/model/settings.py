"""Every setting of the control plane: its default, its unit and the reason for its number. Values only; no I/O."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. kind: 'str', 'int', 'float' or 'bool'. env is HERDER_ + the name in capitals."""

    name: str
    kind: str
    default: str
    doc: str
    secret: bool = False

    @property
    def env(self) -> str:
        """The environment variable that sets it."""
        return f"HERDER_{self.name.upper()}"


SETTINGS: tuple[Setting, ...] = (
    Setting("dir", "str", "", "Data directory. Default: ~/.local/share/herder, as root /var/lib/herder."),
    Setting("database_url", "str", "", "PostgreSQL >= 15 that keeps herder's state; empty: its own, from the wheel.", secret=True),
    Setting("nats_url", "str", "", "NATS server; empty: its own, from the wheel."),
    Setting("listen", "str", "", "HOST:PORT for HTTP besides the unix socket; empty: the socket only."),
    Setting("engine_user", "str", "nobody", "User that engine processes run as when herder is root."),
    Setting("subnet", "str", "", "IPv4 /24 of servers and members; empty: a free 10.x.y.0/24 (root) or 127.x.y.0/24."),
    Setting("fencing", "bool", "true", "May the provider fence servers? Off: premium still fails over (pledges), standard only by lease."),
    Setting("pulse_interval_s", "float", "1.0", "Seconds between an agent's pulse frames; changes are sent at once besides."),
    Setting("silence_floor_s", "float", "1.5", "Seconds: no server is uncertain before this much silence. One missed frame plus half a beat."),
    Setting("silence_ceiling_s", "float", "8.0", "Seconds: silence longer than this makes a server uncertain however irregular its rhythm was."),
    Setting("probe_timeout_s", "float", "0.8", "Seconds a vantage point's look at an engine may take. Three SYN tries of a lossy link fit."),
    Setting("failovers_per_hour", "int", "1", "Automatic failovers of one service within an hour; then it blocks and pages (orchestrator's number)."),
    Setting("lease_s", "float", "5.0", "Seconds a standard primary may serve without a renewal when nothing can fence it."),
    Setting("on_isolation", "str", "serve", "serve | stop: what an isolated standard primary does when its lease runs out; serve forbids unfenced promotion."),
    Setting("exercise_plans", "str", "", "Plans whose services are exercised without being told, like premium,standard; empty: only who has it on."),
    Setting("exercises_at_once", "int", "1", "Exercises under way in the fleet at most, and one a zone: a real fault meanwhile finds the rest calm."),
    Setting("log_retention_days", "float", "30", "Days that records and told moves are kept; 0: for good. What a start needs is never dropped."),
    Setting("postgres_bin", "str", "", "Directory of PostgreSQL programs; empty: system packages, then the wheel."),
    Setting("valkey_bin", "str", "", "Path of valkey-server; empty: PATH, then the wheel."),
    Setting("nats_bin", "str", "", "Path of nats-server; empty: PATH, then the wheel."),
)  # fmt: skip

BY_NAME: dict[str, Setting] = {setting.name: setting for setting in SETTINGS}
