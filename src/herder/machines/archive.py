"""An archive: where a service's log and base backups go. Its store may be away for hours; the service serves on.

A million of them stall and drain together, so `stalled`, `drain`, `drained` and `adopt` are rows without guard, update,
emit or page: the engine steps them from arrays.
"""

from __future__ import annotations

from herder.machines.table import Deadline, Effect, Row, Spawn, State, Table, from_each

_LIVE = ("available", "uncertain", "unavailable", "restart")

ARCHIVE = Table(
    kind="archive",
    code=6,
    unit=True,
    doc="Where a service's log and base backups go. One a service; its store is a dependency.",
    states=(
        State("available", "the log is archived and base backups are on schedule"),
        State("uncertain", "its store does not take the log: it is buffered on the member's disk, base backups are suspended",
              None, Deadline(86_400, "recheck")),
        State("unavailable", "the buffer is full and the store still does not take the log: nothing of pg_wal is deleted",
              None, Deadline(3600, "recheck")),
        State("restart", "the store takes it again: the buffered log drains",
              Effect("drain_archive", ("drained", "stalled")), Deadline(1800, "overdue")),
        State("retired", "its service was destroyed; what was archived rests for the plan's days"),
        State("terminated", "gone; absorbing", final=True),
    ),
    rows=(
        Row("absent", "create", "available", why="its service archives from now on"),
        Row("absent", "adopt", "available", why="taken over as it is"),
        Row("available", "stalled", "uncertain", why="its store does not take the log"),
        Row("uncertain", "buffer_full", "unavailable", page=Spawn("archive_buffer_full"),
            why="the log that waits has filled its share of the disk (failures.md 10: never deleted)"),
        Row("uncertain", "recheck", "uncertain", why="still buffered, for a day"),
        Row("unavailable", "recheck", "unavailable", why="its buffer is still full"),
        *from_each(("uncertain", "unavailable"), "drain", "restart", why="its store takes the log again, and it is its turn"),
        Row("restart", "drained", "available", why="everything buffered is archived; base backups go on"),
        *from_each(("uncertain", "unavailable"), "drained", "available", why="its store took everything by itself"),
        Row("restart", "stalled", "uncertain", why="the store did not take it after all"),
        Row("restart", "overdue", "uncertain", why="it did not drain within half an hour; it waits for another turn"),
        *from_each(_LIVE, "retire", "retired", why="its service was destroyed", proves=("consent",)),
        Row("retired", "purge", "terminated", why="kept for the plan's days"),
    ),
)  # fmt: skip
