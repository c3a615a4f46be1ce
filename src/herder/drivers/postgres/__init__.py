"""PostgreSQL: how a member is made, started, stopped, promoted and brought back, kept in small rooms.

layout (what lies where, durable writes), config (what is written and why), control (pg_control, timelines), template
(new clusters by copying), session (SQL to the local engine), lifecycle (start and stop), rejoin (an old primary comes
back), driver (the contract), probe (a look from outside).
"""

from herder.drivers.postgres.driver import PostgresDriver
from herder.drivers.postgres.probe import probe

__all__ = ["PostgresDriver", "probe"]
