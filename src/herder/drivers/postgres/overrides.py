"""Settings by which commits do not wait for the sync set, whatever it is: of a database or a role.

The server's own is written by herder, and ALTER SYSTEM is off. A session may still say so for itself; nothing tells of that.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

LOOK_EVERY_S = 30.0
"""Such a setting is made by hand and holds for new sessions; a small catalog is read."""

WAITING = ("on", "true", "yes", "1", "remote_apply")
"""Values of synchronous_commit with which a commit is on a standby's disk before it is acknowledged."""

OVERRIDES = """
SELECT coalesce('role ' || r.rolname, 'every role') || coalesce(' in database ' || d.datname, '')
       || ' has ' || replace(o.setting, '=', ' = ')
  FROM pg_db_role_setting s
  LEFT JOIN pg_roles r ON r.oid = s.setrole
  LEFT JOIN pg_database d ON d.oid = s.setdatabase
 CROSS JOIN LATERAL unnest(s.setconfig) AS o (setting)
 WHERE split_part(o.setting, '=', 1) = 'synchronous_commit'
   AND lower(split_part(o.setting, '=', 2)) <> ALL ($1)
 ORDER BY 1
 LIMIT 10
"""


class Overrides:
    """What was found at the last look, by data directory."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._found: dict[str, tuple[float, tuple[str, ...]]] = {}

    async def of(self, connection: Any, data_dir: str, timeout_s: float) -> tuple[str, ...]:
        """In words; looked for again when the last look is old."""
        now = self._clock()
        at, found = self._found.get(data_dir, (-LOOK_EVERY_S, ()))
        if now - at >= LOOK_EVERY_S:
            rows = await connection.fetch(OVERRIDES, WAITING, timeout=timeout_s)
            found = tuple(str(row[0]) for row in rows)
            self._found[data_dir] = (now, found)
        return found
